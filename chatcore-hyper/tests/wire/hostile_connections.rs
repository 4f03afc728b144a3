//! Connections that are opened and not used: a thousand that send nothing, or a byte now and then.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};

use crate::harness::{PATIENCE, Server, Store};
use crate::hostile_frames::Raw;

/// What HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends the bytes one at a time, then nothing. Answers when the server has closed, if it has.
async fn trickle(begun: Instant, stream: TcpStream, bytes: Vec<u8>, at_once: bool) -> Option<Duration> {
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        if at_once {
            let _ = write.write_all(&bytes).await;
        } else {
            let mut now_and_then = tokio::time::interval(Duration::from_millis(150));
            now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for byte in bytes {
                now_and_then.tick().await;
                if write.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
        }
        // Held open: who closes is the server.
        std::future::pending::<()>().await;
        drop(write);
    });
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer)).await;
    sending.abort();
    ended.ok().map(|_| begun.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_handshakes() {
    let limit = Duration::from_secs(2);
    let server = Server::with(Store::Memory, |_, http| http.header_timeout = limit).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let mut socket = server.socket(&ada, "/ws").await;
    socket.frame("hello").await;
    let handshake = b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nx: y\r\n";
    let kinds: [(&str, Vec<u8>, bool); 5] = [
        ("nothing", vec![], true),
        ("a handshake, a byte now and then", handshake.to_vec(), false),
        ("a head without its end", handshake.to_vec(), true),
        ("what HTTP/2 begins with, a byte now and then", PREFACE.to_vec(), false),
        ("what HTTP/2 begins with, and no more", PREFACE.to_vec(), true),
    ];
    let mut slow = Vec::new();
    for _ in 0..200 {
        for (what, bytes, at_once) in kinds.clone() {
            let begun = Instant::now();
            let stream = TcpStream::connect(server.address).await.unwrap();
            slow.push((what, tokio::spawn(trickle(begun, stream, bytes, at_once))));
        }
        // Connections are accepted in their order: with this one all before it are, and none is left to the system's queue.
        drop(Raw::open(&server, &ada, "/ws").await);
    }
    // The others are served meanwhile, on new connections too.
    let mut longest = Duration::ZERO;
    let mut served = 0;
    while slow.iter().any(|(_, task)| !task.is_finished()) {
        let begun = Instant::now();
        server.say(&bob, &room, "hi").await;
        let mut fresh = server.started(&bob, json!({})).await;
        fresh.send(json!({"type": "ping", "id": "1"})).await;
        fresh.ack("1").await;
        longest = longest.max(begun.elapsed());
        served += 1;
    }
    eprintln!("1000 slow handshakes: {served} others were served meanwhile, the longest took {longest:?}");
    assert!(served > 5, "{served}");
    for (what, task) in slow {
        let took = task.await.unwrap();
        let took = took.unwrap_or_else(|| panic!("{what}: still open"));
        assert!(took >= limit, "{what}: {took:?}, too early");
    }
    // A socket that has been opened is not under that limit.
    socket.send(json!({"type": "ping", "id": "1"})).await;
    socket.ack("1").await;
}
