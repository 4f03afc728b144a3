//! Clients that are slow, silent or wild: each gets its answer, and the others notice nothing.

use std::time::Duration;

use chatcore::service::RateLimit;
use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{Got, PATIENCE, Server, Store};

/// One that lets nobody dawdle over a request's head.
async fn impatient() -> Server {
    Server::with(Store::Memory, |_, http| http.header_timeout = Duration::from_millis(700)).await
}

/// Reads until the server ends the connection; what it said.
async fn ended(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("the connection stays").unwrap();
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_whole_are_ended() {
    let server = impatient().await;
    let ada = server.person().await;
    // Nothing; what may yet be either version of HTTP; heads that never end.
    for opening in
        ["", "P", "PRI * HTTP/2.0\r\n", "G", "GET /healthz HTTP/1.1\r\n", "GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: web"]
    {
        let mut streams = Vec::new();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(opening.as_bytes()).await.unwrap();
            streams.push(stream);
        }
        // Others are served meanwhile.
        server.get(&ada, "/auth/me").await.expect(200);
        let began = Instant::now();
        let said = join_all(streams.into_iter().map(ended)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{opening:?}: {:?}", began.elapsed());
        assert!(said.iter().all(|said| said.is_empty() || said.starts_with(b"HTTP/1.1 408")), "{opening:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_something_may_be_silent_afterwards() {
    let server = impatient().await;
    let ada = server.person().await;
    let mut socket = server.started(&ada, json!({})).await;
    // Longer than a head may take: a socket has its own signs of life.
    assert!(tokio::time::timeout(Duration::from_millis(1500), socket.read_patiently()).await.is_err());
    socket.send(json!({"type": "ping", "id": "1"})).await;
    socket.ack("1").await;
}

/// Promise 6: the server stops reading the frames of one who does not take the answers, and goes on when they are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_does_not_take_answers_is_not_read_any_more() {
    let server = Server::start(Store::Memory).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let mut socket = server.started(&ada, json!({})).await;
    // Each answer is long, because it carries the id.
    let id = |n: usize| format!("{n}-{}", "x".repeat(60));
    let mut sent = 0;
    let mut blocked = false;
    while !blocked {
        let frame = json!({"type": "message.send", "id": id(sent), "room": room, "body": "y".repeat(4000)});
        blocked = tokio::time::timeout(Duration::from_secs(1), socket.send(frame)).await.is_err();
        sent += usize::from(!blocked);
        assert!(sent < 50_000, "the server reads on for ever");
    }
    // What it has read is done, and no more.
    let stored = server.get(&bob, &format!("/chat-rooms/{room}")).await.expect(200)["head"].as_u64().unwrap();
    assert!(stored <= sent as u64 + 2);
    let mut last = 0;
    let mut acks = 0;
    while last < stored {
        let got = tokio::time::timeout(Duration::from_secs(5), socket.read_patiently()).await;
        match got.unwrap_or_else(|_| panic!("nothing after {last} of {stored}; acks {acks} of {sent}")) {
            Got::Frame(frame) if frame["type"] == "ack" => acks += 1,
            Got::Frame(frame) if frame["type"] == "event" => last = frame["seq"].as_u64().unwrap(),
            Got::Frame(_) => {}
            end => panic!("{end:?} at {last} of {stored}"),
        }
    }
}

/// Handshakes with a good token, one after another: each leaves a socket that has ended, and costs its user one of the attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_of_one_user_are_counted() {
    let minute = RateLimit::new(40, Duration::from_secs(600));
    let server = Server::with(Store::Memory, |core, _| core.connects_per_user = Some(minute)).await;
    let (ada, bob) = (server.person().await, server.person().await);
    // 32 tabs that come back at once are let in.
    for _ in 0..40 {
        drop(server.socket(&ada, "/ws").await);
    }
    let token = format!("Bearer {}", ada.token);
    let refused = server.handshake("/ws", &[("authorization", &token)]).await.err().unwrap();
    refused.problem(429, "rate_limited");
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 1);
    let protocols = format!("chatcore.v1, bearer.{}", ada.token);
    let mut told = server.handshake("/ws", &[("sec-websocket-protocol", &protocols)]).await.ok().unwrap();
    let bye = told.bye("rate", 4429).await;
    assert!(bye["retry_after_ms"].as_u64().unwrap() > 10_000, "coming again sooner does not help: {bye}");
    drop(server.socket(&bob, "/ws").await);
}

/// One user has one budget, whichever way they spend it: a socket over it is answered, and stays open; others are not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_one_user_is_one_budget() {
    let server =
        Server::with(Store::Memory, |core, _| core.work_per_user = Some(RateLimit::new(60, Duration::from_secs(3600))))
            .await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.group(&[&ada, &bob]).await;
    let mut sockets = [server.started(&ada, json!({})).await, server.started(&ada, json!({})).await];
    let mut refused = 0;
    let mut spent = 0;
    for n in 0..40 {
        let socket = &mut sockets[n % 2];
        let id = n.to_string();
        let body = "x".repeat(3000);
        socket.send(json!({"type": "message.send", "id": id, "room": room, "body": body})).await;
        let answer = socket.answer(&id).await;
        if answer["type"] == "ack" {
            assert_eq!(refused, 0, "what is spent comes back slowly");
            spent += 1;
        } else {
            assert_eq!((&answer["code"], &answer["budget"]), (&json!("rate_limited"), &json!("work")));
            assert!(answer["retry_after_ms"].as_u64().unwrap() > 0);
            refused += 1;
        }
    }
    // A post of 3000 bytes costs as much as two small ones.
    assert!((10..=15).contains(&spent), "{spent}");
    // What is too much as a whole is refused as a whole.
    let limited = server.post(&ada, "/chat-rooms", json!({"kind": "group", "name": "x", "member_ids": [bob.id]})).await;
    limited.problem(429, "rate_limited");
    assert_eq!(limited.json()["budget"], "work");
    for socket in &mut sockets {
        socket.send(json!({"type": "ping", "id": "still here"})).await;
        socket.ack("still here").await;
    }
    server.get(&bob, "/chat-rooms").await.expect(200);
}
