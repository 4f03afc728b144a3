//! Crowds that do not read, do not finish, or do not know a token: what they cost the server, and what the others notice of them.
//!
//! The server of these tests is a process of its own (this very program), so that its memory is not mixed up with its clients' or with that of
//! other tests.

use std::io::{BufRead as _, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chatcore::time::SystemClock;
use fastwebsockets::{OpCode, WebSocket};
use http::Request;
use http_body_util::Empty;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio::time::Instant;

use crate::harness::{Clients, PATIENCE, Person, Server, Socket, Store};
use crate::hostile_frames::{Raw, frame as frame_of};

/// Which store the other process is to use; without it there is none to be.
const VARIABLE: &str = "CHATCORE_TEST_HOSTILE_SERVER";

/// The other process, when this program is started as that. In an ordinary run it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_its_own() {
    let Ok(store) = std::env::var(VARIABLE) else { return };
    let store = if store == "sqlite" { Store::Sqlite } else { Store::Memory };
    let limits = chatcore_hyper::HttpSettings::default().requests_per_address;
    // Small, so that what is not read stays with the server, and not in the system's buffers; and that what was sent has been read, but for little.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(32 * 1024).unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1024).unwrap();
    let server = Server::on(listener, store, Arc::new(SystemClock), |_, http| http.requests_per_address = limits).await;
    eprintln!("listening {}", server.address);
    // Until whoever started it ends, or closes the pipe.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// A server in a process of its own. Ends when it is dropped.
struct Apart {
    clients: Clients,
    process: Child,
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Apart {
    fn start(store: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hostile_crowds::server_of_its_own", "--nocapture"])
            .env(VARIABLE, store)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(process.stderr.take().unwrap()).lines();
        let address =
            lines.find_map(|line| line.unwrap().strip_prefix("listening ").map(|address| address.parse().unwrap()));
        Self { clients: Clients::of(address.expect("it listens")), process }
    }

    /// The memory that the process has in use, in bytes; nothing where the system does not tell.
    fn memory(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(kib.trim().trim_end_matches(" kB").parse::<usize>().ok()? * 1024)
    }
}

/// The least of a frame that tells order.
#[derive(Deserialize)]
struct Numbered {
    r#type: String,
    seq: Option<u64>,
}

/// A socket that is read only when somebody asks: its buffer is small, so that soon nothing more goes into it.
struct Slow(WebSocket<TokioIo<Upgraded>>);

impl Slow {
    async fn open(clients: &Clients, who: &Person, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(32 * 1024).unwrap();
        let stream = socket.connect(clients.address).await.unwrap();
        let request = Request::builder()
            .uri(path)
            .header("host", "x")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", fastwebsockets::handshake::generate_key())
            .header("authorization", format!("Bearer {}", who.token))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let mut response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 101);
        let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
        Self(WebSocket::after_handshake(TokioIo::new(upgraded), fastwebsockets::Role::Client))
    }

    /// Reads events until that one: each number once, in order, without a hole.
    async fn catch_up(mut self, from: u64, to: u64) {
        let mut next = from;
        while next <= to {
            let frame = self.0.read_frame().await.unwrap();
            if frame.opcode != OpCode::Text {
                assert_eq!(frame.opcode, OpCode::Ping);
                continue;
            }
            let frame: Numbered = serde_json::from_slice(&frame.payload).unwrap();
            if frame.r#type == "event" {
                assert_eq!(frame.seq, Some(next), "a hole or a repeat");
                next += 1;
            }
        }
    }
}

/// Posts so many, each when the one before has come to all; answers how long each took to come to each, sorted.
async fn busy(sender: &mut Socket, readers: &mut [Socket], body: &str, count: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        sender.send(json!({"type": "message.send", "body": body})).await;
        for reader in readers.iter_mut() {
            reader.event().await;
            took.push(begun.elapsed());
        }
        sender.event().await;
    }
    took.sort_unstable();
    took
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 99 / 100]
}

const MIB: usize = 1 << 20;

async fn two_hundred_that_do_not_read(store: &str) {
    const SLOW: usize = 200;
    const FIRST: usize = 80;
    const MORE: usize = 120;
    let apart = Apart::start(store);
    let clients = &apart.clients;
    let (ada, bob) = (clients.person().await, clients.person().await);
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(clients.person().await);
    }
    let people: Vec<&Person> = [&ada, &bob].into_iter().chain(&crowd).collect();
    let room = clients.group(&people).await;
    let path = format!("/ws/chat/{room}");
    let mut sender = clients.socket(&ada, &path).await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(clients.socket(&bob, &path).await);
    }
    let body = "x".repeat(4_000);
    // What it is without them; the tail is full after that.
    let without = busy(&mut sender, &mut readers, &body, FIRST).await;
    let head = people.len() as u64 + FIRST as u64;
    let mut slow = Vec::new();
    for n in 0..SLOW {
        slow.push(Slow::open(clients, &crowd[n % crowd.len()], &path).await);
    }
    let before = apart.memory();
    let first = busy(&mut sender, &mut readers, &body, FIRST).await;
    let filled = apart.memory();
    let more = busy(&mut sender, &mut readers, &body, MORE).await;
    let after = apart.memory();
    if let (Some(before), Some(filled), Some(after)) = (before, filled, after) {
        let grown = |from: usize, to: usize| to.saturating_sub(from) as f64 / MIB as f64;
        let unread = (FIRST + MORE) * 4_000 * SLOW / MIB;
        eprintln!(
            "{store}: {SLOW} sockets that do not read, {unread} MiB unread: {:.1} MiB for the first {FIRST} messages, {:.1} MiB for {MORE} more",
            grown(before, filled),
            grown(filled, after)
        );
        // One batch of 128 KiB each is what they may hold; what waits for them beyond that is in the log.
        assert!(grown(before, after) < 75.0, "{before} {filled} {after}");
        assert!(grown(filled, after) < 24.0, "{filled} {after}");
    }
    let with: Vec<Duration> = {
        let mut with = [first, more].concat();
        with.sort_unstable();
        with
    };
    eprintln!("{store}: p99 from post to event: {:?} without them, {:?} beside them", p99(&without), p99(&with));
    // Other tests run beside this one, so it is no measurement; but waiting for one that does not read would take for ever.
    assert!(p99(&with) < (p99(&without) * 10).max(Duration::from_secs(1)), "{:?}", p99(&with));
    // They read again.
    let to = head + (FIRST + MORE) as u64;
    let reading = slow.into_iter().map(|socket| tokio::spawn(socket.catch_up(head + 1, to)));
    let read = tokio::time::timeout(PATIENCE * 3, futures::future::join_all(reading)).await.expect("all of them");
    read.into_iter().for_each(|read| read.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_that_do_not_read_memory() {
    two_hundred_that_do_not_read("memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_that_do_not_read_sqlite() {
    two_hundred_that_do_not_read("sqlite").await;
}

/// A post and its event, again and again, until told to stop; answers how many, and the longest.
async fn chatter(clients: &Clients, who: &Person, room: &str, stop: &AtomicBool) -> (usize, Duration) {
    let mut socket = clients.socket(who, &format!("/ws/chat/{room}")).await;
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        clients.say(who, room, "still here").await;
        socket.event().await;
        longest = longest.max(begun.elapsed());
        count += 1;
    }
    (count, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handshakes_with_bad_tokens() {
    const ATTEMPTS: usize = 10_000;
    let apart = Arc::new(Apart::start("memory"));
    let (ada, bob) = (apart.clients.person().await, apart.clients.person().await);
    let room = apart.clients.direct(&ada, &bob).await;
    let stop = Arc::new(AtomicBool::new(false));
    let chatting = {
        let (apart, stop, ada, room) = (apart.clone(), stop.clone(), ada.clone(), room.clone());
        tokio::spawn(async move { chatter(&apart.clients, &ada, &room, &stop).await })
    };
    let before = apart.memory();
    let forged = format!("{}x", ada.token);
    let workers = (0..32).map(|worker| {
        let (apart, forged) = (apart.clone(), forged.clone());
        tokio::spawn(async move {
            for n in (worker..ATTEMPTS).step_by(32) {
                // Every eighth as a browser does, which is told on the socket.
                if n % 8 == 0 {
                    let protocols = format!("chatcore.v1, bearer.{forged}");
                    let headers = [("sec-websocket-protocol", protocols.as_str())];
                    let mut socket = apart.clients.handshake("/ws", &headers).await.ok().unwrap();
                    let bye = socket.frame("bye").await;
                    assert!(["revoked", "rate"].contains(&bye["code"].as_str().unwrap()), "{bye}");
                } else {
                    let header = format!("Bearer {forged}");
                    let refused = apart.clients.handshake("/ws", &[("authorization", &header)]).await.err().unwrap();
                    assert!([401, 429].contains(&refused.status.as_u16()), "{refused:?}");
                }
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    for worker in workers {
        worker.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (count, longest) = chatting.await.unwrap();
    assert!(count > 10, "the good client went on: {count}");
    if let (Some(before), Some(after)) = (before, apart.memory()) {
        let grown = after.saturating_sub(before) as f64 / MIB as f64;
        eprintln!("{ATTEMPTS} bad handshakes: {grown:.1} MiB; meanwhile {count} posts, the longest took {longest:?}");
        assert!(grown < 32.0, "{grown}");
    }
    // Those who are known are still let in from that address.
    apart.clients.started(&bob, json!({})).await;
}

/// Each kind of input, as much of it as the server takes, from sockets that never read: none of it is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_of_those_who_never_read() {
    const SOCKETS: usize = 20;
    const BYTES: usize = MIB;
    let apart = Apart::start("memory");
    let clients = &apart.clients;
    let (ada, bob) = (clients.person().await, clients.person().await);
    let room = clients.direct(&ada, &bob).await;
    let text = |frame: serde_json::Value| frame_of(0x81, frame.to_string().as_bytes());
    let unknown = "01a1f7f8-3000-7c00-a1b2-c3d4e5f60001";
    let kinds = [
        ("pings", frame_of(0x89, &[b'x'; 125])),
        ("empty pings", frame_of(0x89, b"")),
        ("pongs", frame_of(0x8a, &[b'x'; 125])),
        ("parts", frame_of(0x00, &[b' '; 1_000])),
        ("pings of the protocol", text(json!({"type": "ping", "id": "x".repeat(100)}))),
        ("resumes", text(json!({"type": "resume", "id": "1", "rooms": {unknown: 1}, "more": true}))),
        ("typing", text(json!({"type": "typing", "room": room, "on": true}))),
        ("reading", text(json!({"type": "read", "room": room, "seq": 1}))),
        ("posts", text(json!({"type": "message.send", "id": "1", "room": room, "body": "x", "client_id": "same"}))),
        ("unknown frames", text(json!({"type": "from.the.future", "id": "1"}))),
    ];
    for (what, one) in kinds {
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(8 * 1024).unwrap();
            socket.set_send_buffer_size(32 * 1024).unwrap();
            let stream = socket.connect(clients.address).await.unwrap();
            sockets.push(Raw::open_on(stream, clients, &ada, "/ws").await);
        }
        let before = apart.memory();
        let some = one.repeat((16 * 1024_usize).div_ceil(one.len()));
        let flooding = sockets.into_iter().map(|mut socket| {
            let (some, begun) = (some.clone(), what == "parts");
            tokio::spawn(async move {
                if begun {
                    socket.write(&frame_of(0x01, b"{")).await;
                }
                let mut written = 0;
                while written < BYTES {
                    if tokio::time::timeout(Duration::from_millis(700), socket.write(&some)).await.is_err() {
                        break;
                    }
                    written += some.len();
                }
                (socket, written)
            })
        });
        let flooded = futures::future::join_all(flooding).await;
        let written: usize = flooded.iter().map(|socket| socket.as_ref().unwrap().1).sum();
        // The others are served.
        clients.say(&bob, &room, "still here").await;
        if let (Some(before), Some(after)) = (before, apart.memory()) {
            let grown = after.saturating_sub(before) as f64 / MIB as f64;
            eprintln!("{what}: {} KiB a socket were taken, {grown:.1} MiB more", written / SOCKETS / 1024);
            assert!(grown < 8.0, "{what}: {grown}");
        }
    }
}
