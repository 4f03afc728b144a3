//! Clients that do not keep to WebSocket, send too much, or fall silent; sockets whose token runs out. Written byte by byte, since a client
//! library refuses to. None of it depends on the store.

use std::sync::Arc;
use std::time::Duration;

use chatcore::testing::ManualClock;
use chatcore::time::{Clock as _, SystemClock};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{Clients, PATIENCE, Person, Server, Store, text};

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;

/// A socket without a library.
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A frame with this first byte, which holds the flags and the opcode; masked with zeros, as a client may.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len() as u64, true);
    frame.extend_from_slice(payload);
    frame
}

fn head(first: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut head = vec![first];
    match length {
        0..126 => head.push(mask | length as u8),
        126..65_536 => {
            head.push(mask | 126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            head.push(mask | 127);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    if masked {
        head.extend_from_slice(&[0; 4]);
    }
    head
}

impl Raw {
    pub(crate) async fn open(clients: &Clients, who: &Person, path: &str) -> Self {
        Self::open_on(TcpStream::connect(clients.address).await.unwrap(), clients, who, path).await
    }

    pub(crate) async fn open_on(stream: TcpStream, clients: &Clients, who: &Person, path: &str) -> Self {
        let mut raw = Self { stream, buffer: Vec::new() };
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {}\r\nauthorization: Bearer {}\r\n\r\n",
            clients.address,
            fastwebsockets::handshake::generate_key(),
            who.token
        );
        raw.write(request.as_bytes()).await;
        let end = loop {
            if let Some(at) = raw.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(raw.fill().await, "no answer to the handshake");
        };
        assert!(raw.buffer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&raw.buffer));
        raw.buffer.drain(..end);
        let hello = raw.json().await;
        assert_eq!(hello["type"], "hello");
        raw
    }

    /// Writes; the server may have closed meanwhile, and what it said is read all the same.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    async fn fill(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        matches!(read.expect("nothing came"), Ok(count) if count > 0)
    }

    /// The next frame, or nothing when the connection has ended.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let buffer = &self.buffer;
            let (skip, length) = match buffer.get(1) {
                Some(126) if buffer.len() >= 4 => (4, usize::from(u16::from_be_bytes([buffer[2], buffer[3]]))),
                Some(127) => panic!("a frame that large"),
                Some(short @ 0..126) => (2, usize::from(*short)),
                _ => (usize::MAX / 2, 0),
            };
            if buffer.len() >= skip.saturating_add(length) {
                let mut frame: Vec<u8> = self.buffer.drain(..skip + length).collect();
                return Some((frame[0], frame.split_off(skip)));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next text, as JSON. Pings are passed over, unanswered.
    async fn json(&mut self) -> Value {
        loop {
            match self.next().await.expect("the connection is gone") {
                (TEXT, text) => return serde_json::from_slice(&text).unwrap(),
                (PING, _) => {}
                (first, payload) => panic!("{first:x} {payload:?}"),
            }
        }
    }

    /// What the socket answers to a ping of the protocol's, past what else comes.
    async fn lives(&mut self) {
        self.write(&frame(TEXT, br#"{"type":"ping","id":"alive"}"#)).await;
        while self.json().await["id"] != "alive" {}
    }

    /// The `bye` and the close that have to come.
    async fn ends(&mut self, what: &str, code: &str, close: u16) -> Value {
        let bye = loop {
            let frame = self.json().await;
            if frame["type"] == "bye" {
                break frame;
            }
        };
        assert_eq!(bye["code"], code, "{what}");
        let (first, payload) = self.next().await.unwrap_or_else(|| panic!("{what}: no close"));
        assert_eq!((first, &payload[..2]), (CLOSE, &close.to_be_bytes()[..]), "{what}");
        bye
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_websocket_closes() {
    let server = Server::start(Store::Memory).await;
    let ada = server.person().await;
    let ping = br#"{"type":"ping","id":"1"}"#;
    let mut unmasked = head(TEXT, ping.len() as u64, false);
    unmasked.extend_from_slice(ping);
    let mut cases = vec![
        ("reserved bit 1".to_owned(), frame(0xc1, ping)),
        ("reserved bit 2".to_owned(), frame(0xa1, ping)),
        ("reserved bit 3".to_owned(), frame(0x91, ping)),
        ("no mask".to_owned(), unmasked),
        ("a long ping".to_owned(), frame(PING, &[b'x'; 126])),
        ("a long pong".to_owned(), frame(PONG, &[b'x'; 126])),
        ("a long close".to_owned(), frame(CLOSE, &[3; 126])),
        ("a ping in parts".to_owned(), frame(0x09, b"x")),
        ("a close in parts".to_owned(), frame(0x08, &1000u16.to_be_bytes())),
        ("a close of one byte".to_owned(), frame(CLOSE, b"x")),
        ("the end of no message".to_owned(), frame(0x80, ping)),
        ("a message within another".to_owned(), [frame(0x01, b"{"), frame(TEXT, ping)].concat()),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push((format!("opcode {opcode}"), frame(0x80 | opcode, ping)));
    }
    for (what, bytes) in cases {
        let mut socket = Raw::open(&server, &ada, "/ws").await;
        socket.write(&bytes).await;
        let bye = socket.ends(&what, "protocol", 1002).await;
        assert_eq!(bye["reconnect"], false);
    }
    // What is legal, if strange: empty pings, a ping within a message, empty parts, and a close without a code.
    let mut socket = Raw::open(&server, &ada, "/ws").await;
    let strange =
        [frame(0x01, b""), frame(PING, b"within"), frame(0x00, ping), frame(PONG, b"unasked"), frame(0x80, b"")];
    socket.write(&strange.concat()).await;
    assert_eq!(socket.next().await, Some((PONG, b"within".to_vec())));
    assert_eq!(socket.json().await["type"], "ack");
    socket.write(&frame(CLOSE, b"")).await;
    assert_eq!(socket.next().await.map(|(first, _)| first), Some(CLOSE), "RFC 6455 §5.5.1: a close is answered");
    assert_eq!(socket.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_is_answered_with_its_code() {
    let server = Server::start(Store::Memory).await;
    let ada = server.person().await;
    for (sent, answered) in [(1000, 1000), (1001, 1001), (4000, 4000), (999, 1002), (1005, 1002), (1006, 1002)] {
        let mut socket = Raw::open(&server, &ada, "/ws").await;
        socket.write(&frame(CLOSE, &u16::to_be_bytes(sent))).await;
        let (first, payload) = socket.next().await.unwrap_or_else(|| panic!("{sent}: no answer"));
        assert_eq!((first, &payload[..2]), (CLOSE, &u16::to_be_bytes(answered)[..]), "{sent}");
        assert_eq!(socket.next().await, None, "and the connection ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_closes_before_it_has_come() {
    let server = Server::start(Store::Memory).await;
    let ada = server.person().await;
    let part = vec![b' '; 40_000];
    for (what, bytes) in [
        ("announced, one byte too many", head(TEXT, 65_537, true)),
        ("announced, 2^40", head(TEXT, 1 << 40, true)),
        ("announced, 2^63 - 1", head(TEXT, (1 << 63) - 1, true)),
        ("announced, 2^64 - 1", head(TEXT, u64::MAX, true)),
        ("two parts", [frame(0x01, &part), frame(0x80, &part)].concat()),
        ("two parts, and no end", [frame(0x01, &part), frame(0x00, &part)].concat()),
        ("many parts", [frame(0x01, b"x"), frame(0x00, &[b' '; 500]).repeat(140)].concat()),
        ("binary, announced", head(0x82, 65_537, true)),
    ] {
        let mut socket = Raw::open(&server, &ada, "/ws").await;
        socket.write(&bytes).await;
        socket.ends(what, "protocol", 1009).await;
    }
    // The largest message is legal in parts as well.
    let mut socket = Raw::open(&server, &ada, "/ws").await;
    let mut bytes = frame(0x01, br#"{"type":"ping","id":"1""#);
    bytes.extend(frame(0x00, &[b' '; 4_096]).repeat(15));
    bytes.extend(frame(0x80, &[&[b' '; 65_536 - 61_440 - 23 - 1][..], b"}"].concat()));
    socket.write(&bytes).await;
    assert_eq!(socket.json().await["id"], "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_utf8_however_it_is_cut() {
    let server = Server::start(Store::Memory).await;
    let ada = server.person().await;
    let good = r#"{"type":"ping","id":"é€👍"}"#.as_bytes();
    let mut socket = Raw::open(&server, &ada, "/ws").await;
    for cut in 1..good.len() {
        socket.write(&[frame(0x01, &good[..cut]), frame(0x80, &good[cut..])].concat()).await;
        assert_eq!(socket.json().await["id"], "é€👍", "cut at {cut}");
    }
    let single: Vec<u8> = (0..good.len()).flat_map(|at| frame(u8::from(at == 0), &good[at..=at])).collect();
    socket.write(&[single, frame(0x80, b"")].concat()).await;
    assert_eq!(socket.json().await["id"], "é€👍");
    for (what, parts) in [
        ("a byte that is none", vec![&b"{\"type\":\"\xff\"}"[..]]),
        ("the same, later", vec![&b"{\"type\":\""[..], b"\xff\"}"]),
        ("an end too soon", vec![&b"{\"type\":\"\xe2\x82"[..]]),
        ("an end too soon, later", vec![&b"{\"type\":\"\xe2"[..], b"\x82"]),
        ("a long spelling", vec![&b"\xc0\xaf"[..]]),
        ("half a pair", vec![&b"\xed\xa0\x80"[..]]),
        ("beyond the last", vec![&b"\xf4\x90\x80\x80"[..]]),
    ] {
        let mut socket = Raw::open(&server, &ada, "/ws").await;
        let last = parts.len() - 1;
        let opcode = |at: usize| u8::from(at == 0) | if at == last { 0x80 } else { 0 };
        let bytes: Vec<u8> = parts.iter().enumerate().flat_map(|(at, part)| frame(opcode(at), part)).collect();
        socket.write(&bytes).await;
        socket.ends(what, "protocol", 1007).await;
    }
    let mut socket = Raw::open(&server, &ada, "/ws").await;
    socket.write(&frame(CLOSE, &[0x03, 0xe8, 0xff])).await;
    socket.ends("the reason of a close", "protocol", 1007).await;
    for binary in [frame(0x82, b""), frame(0x82, good), [frame(0x02, good), frame(0x80, b"")].concat()] {
        let mut socket = Raw::open(&server, &ada, "/ws").await;
        socket.write(&binary).await;
        socket.ends("binary", "protocol", 1003).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_by_the_thousand() {
    let server = Server::start(Store::Memory).await;
    let ada = server.person().await;
    let before = server.api.stats().frames;
    let mut socket = Raw::open(&server, &ada, "/ws").await;
    socket.write(&frame(TEXT, b"{").repeat(3_000)).await;
    socket.ends("three in a row", "protocol", 4400).await;
    assert_eq!(server.api.stats().frames - before, 3, "no further one was looked at");
    // A good frame in between begins the count anew; one of an unknown type is well-formed.
    let mut socket = Raw::open(&server, &ada, "/ws").await;
    for good in [&br#"{"type":"ping","id":"1"}"#[..], br#"{"type":"from.the.future","id":"1"}"#] {
        let round = [frame(TEXT, b"{"), frame(TEXT, b"[]"), frame(TEXT, good)].concat();
        for _ in 0..300 {
            socket.write(&round).await;
            for expected in [Value::Null, Value::Null, json!("1")] {
                assert_eq!(socket.json().await["id"], expected);
            }
        }
    }
    socket.lives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_frames_a_second() {
    let server = Server::with(Store::Memory, |_, http| http.frames_per_second = 50).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let mut calm = Raw::open(&server, &bob, "/ws").await;
    for (what, flood) in [
        ("frames", frame(TEXT, br#"{"type":"ping"}"#)),
        ("unknown frames", frame(TEXT, br#"{"type":"from.the.future"}"#)),
        ("pings", frame(PING, b"x")),
        ("pongs that nobody asked for", frame(PONG, b"x")),
    ] {
        let before = server.api.stats().frames;
        let mut socket = Raw::open(&server, &ada, "/ws").await;
        let (mut read, mut write) = socket.stream.into_split();
        let flooding = tokio::spawn(async move {
            let _ = write.write_all(&flood.repeat(10_000)).await;
            write
        });
        // It reads all the while, or its own buffers would stop it.
        let mut buffer = Vec::new();
        tokio::time::timeout(PATIENCE, async { while read.read_buf(&mut buffer).await.unwrap_or(0) > 0 {} })
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&buffer);
        assert!(said.contains(r#""code":"rate""#) && said.contains("retry_after_ms"), "{what}: {said}");
        let close = buffer.windows(4).any(|bytes| bytes[0] == CLOSE && bytes[2..] == 4429u16.to_be_bytes());
        assert!(close, "{what}: {said}");
        let looked_at = server.api.stats().frames - before;
        // A burst of 50, and what comes back while it is used up.
        assert!((51..500).contains(&looked_at), "{what}: {looked_at} of 10,000 were looked at");
        drop((flooding.await.unwrap().reunite(read)).unwrap());
        calm.lives().await;
        socket = Raw::open(&server, &ada, "/ws").await;
        socket.lives().await;
    }
}

/// Parts of messages, of which the library says nothing before the message is whole: they cost from the same budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_messages_are_paced() {
    let server = Server::with(Store::Memory, |_, http| http.frames_per_second = 50).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let mut calm = Raw::open(&server, &bob, "/ws").await;
    for (what, first, part) in [
        ("empty parts", frame(0x01, b""), frame(0x00, b"")),
        ("parts of a byte", frame(0x01, b"{"), frame(0x00, b" ")),
        ("parts of some bytes", frame(0x01, b"{"), frame(0x00, &[b' '; 200])),
        ("binary ones", frame(0x02, b""), frame(0x00, b"")),
        ("pongs between parts", frame(0x01, b""), [frame(PONG, b""), frame(0x00, b"")].concat()),
    ] {
        let mut socket = Raw::open(&server, &ada, "/ws").await;
        socket.write(&[first, part.repeat(1_000)].concat()).await;
        let bye = socket.ends(what, "rate", 4429).await;
        assert_eq!(bye["reconnect"], true, "{what}");
        calm.lives().await;
    }
    // A message that comes in parts of a sensible size is one like any other, and so is one in a few small parts.
    let mut socket = Raw::open(&server, &ada, "/ws").await;
    for n in 0..3 {
        let mut bytes = frame(0x01, format!(r#"{{"type":"ping","id":"{n}""#).as_bytes());
        bytes.extend(frame(0x00, &[b' '; 1_024]).repeat(60));
        bytes.extend(frame(0x00, b" ").repeat(8));
        bytes.extend(frame(0x80, b"}"));
        socket.write(&bytes).await;
        assert_eq!(socket.json().await["id"], n.to_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pongs_that_answer_pings_are_free() {
    let server = Server::with(Store::Memory, |_, http| {
        http.frames_per_second = 1;
        http.heartbeat = Duration::from_millis(500);
    })
    .await;
    let ada = server.person().await;
    let mut socket = Raw::open(&server, &ada, "/ws").await;
    let mut pings = 0;
    while pings < 6 {
        match socket.next().await.expect("it lives") {
            (PING, payload) => {
                pings += 1;
                socket.write(&frame(PONG, &payload)).await;
            }
            other => panic!("{other:?}"),
        }
    }
    socket.lives().await;
}

/// Gone without a word, as behind a cable that was cut: nothing is read, answered or closed. One that sends a frame so slowly that it never
/// ends is no better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_ones_are_closed_after_two_intervals() {
    let heartbeat = Duration::from_millis(500);
    let server = Server::with(Store::Memory, |_, http| http.heartbeat = heartbeat).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(Raw::open(&server, &ada, "/ws").await);
    }
    let mut alive = server.socket(&bob, "/ws").await;
    let mut trickling = Raw::open(&server, &ada, "/ws").await;
    let endless = frame(TEXT, &[b' '; 30_000]);
    let mut sent = 0;
    assert_eq!(server.api.stats().sockets, 52);
    let mut first_gone = None;
    while server.api.stats().sockets > 1 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", server.api.stats());
        if first_gone.is_none() && server.api.stats().sockets < 52 {
            first_gone = Some(begun.elapsed());
        }
        trickling.write(&endless[sent..sent + 1]).await;
        sent += 1;
        // A round trip of a living client, which paces this loop.
        alive.send(json!({"type": "ping", "id": "1"})).await;
        alive.ack("1").await;
    }
    assert!(first_gone.is_none_or(|after| after >= heartbeat * 2), "{first_gone:?}");
    for socket in &mut silent {
        let bye = socket.ends("silent", "heartbeat", 4408).await;
        assert_eq!(bye["reconnect"], true);
    }
    trickling.ends("trickling", "heartbeat", 4408).await;
}

/// By the injected clock: the heartbeat, which is short here, is when it is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_runs_out_closes_and_a_fresh_one_keeps_open() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let server = Server::at(Store::Memory, clock.clone(), |_, http| http.heartbeat = Duration::from_secs(1)).await;
    let ada = server.person().await;
    let mut lapsing = server.socket(&ada, "/ws").await;
    let mut renewing = server.socket(&ada, "/ws").await;
    lapsing.frame("hello").await;
    clock.advance(Duration::from_secs(14 * 60 + 30));
    let body = json!({"refresh_token": ada.refresh});
    let tokens = server.call(Method::POST, "/auth/refresh", None, Some(&body)).await.expect(200);
    renewing.send(json!({"type": "auth", "id": "1", "token": tokens["access_token"]})).await;
    renewing.ack("1").await;
    assert!(!lapsing.has(|frame| frame["type"] == "bye").await, "30 seconds are left");
    clock.advance(Duration::from_secs(31));
    let bye = lapsing.bye("expired", 4401).await;
    assert_eq!(bye["reconnect"], true);
    server.get(&ada, "/auth/me").await.problem(401, "unauthenticated");
    // One that has run out, or was never good, renews nothing and ends nothing.
    for token in [ada.token.as_str(), "x", "", tokens["refresh_token"].as_str().unwrap()] {
        renewing.send(json!({"type": "auth", "id": "2", "token": token})).await;
        renewing.error("2", "unauthenticated").await;
    }
    clock.advance(Duration::from_secs(14 * 60));
    renewing.send(json!({"type": "ping", "id": "3"})).await;
    renewing.ack("3").await;
    clock.advance(Duration::from_secs(61));
    renewing.bye("expired", 4401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subprotocols() {
    let server = Server::start(Store::Memory).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let (adas, bobs) = (format!("bearer.{}", ada.token), format!("bearer.{}", bob.token));
    let header = format!("Bearer {}", ada.token);
    let (both, twice) = (format!("chatcore.v1, {adas}, {bobs}"), format!("chatcore.v1, {adas}, {adas}"));
    let ours = format!("chatcore.v1, {adas}");
    for headers in [
        vec![("sec-websocket-protocol", both.as_str())],
        vec![("sec-websocket-protocol", twice.as_str())],
        vec![("sec-websocket-protocol", ours.as_str()), ("sec-websocket-protocol", bobs.as_str())],
        vec![("sec-websocket-protocol", ours.as_str()), ("authorization", header.as_str())],
        vec![("authorization", header.as_str()), ("authorization", header.as_str())],
        vec![("sec-websocket-protocol", adas.as_str())],
        vec![("sec-websocket-protocol", "chatcore.v2"), ("sec-websocket-protocol", adas.as_str())],
    ] {
        server.handshake("/ws", &headers).await.err().unwrap().problem(400, "malformed");
    }
    for protocols in ["chatcore.v1", "chat, superchat", "", ", ,", "CHATCORE.V1"] {
        let answer = server.handshake("/ws", &[("sec-websocket-protocol", protocols)]).await.err().unwrap();
        answer.problem(401, "unauthenticated");
    }
    // Beside a token in its own header, none but ours is selected.
    for (protocols, selected) in [("chat, superchat", None), ("chat, chatcore.v1", Some("chatcore.v1")), ("", None)] {
        let headers = [("sec-websocket-protocol", protocols), ("authorization", header.as_str())];
        let socket = server.handshake("/ws", &headers).await.ok().unwrap();
        let found = socket.headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
        assert_eq!(found, selected, "{protocols}");
    }
    for token in ["bearer.", "bearer.x", "bearer.a.b.c"] {
        let protocols = format!("chatcore.v1, {token}");
        let mut socket = server.handshake("/ws", &[("sec-websocket-protocol", &protocols)]).await.ok().unwrap();
        socket.bye("revoked", 4401).await;
    }
    let many = format!("{ours}, {}", ["x"; 3_000].join(", "));
    let socket = server.handshake("/ws", &[("sec-websocket-protocol", &many)]).await.ok().unwrap();
    assert_eq!(socket.headers["sec-websocket-protocol"], "chatcore.v1", "and nothing of what was offered besides");
    let huge = format!("{ours}, {}", "x".repeat(20_000));
    assert_eq!(server.handshake("/ws", &[("sec-websocket-protocol", &huge)]).await.err().unwrap().status, 431);
    let endless = format!("chatcore.v1, bearer.{}", "a".repeat(12_000));
    let mut socket = server.handshake("/ws", &[("sec-websocket-protocol", &endless)]).await.ok().unwrap();
    let bye = socket.bye("revoked", 4401).await;
    assert!(text(&bye["detail"]).len() < 100);
}
