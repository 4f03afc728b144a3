//! What 200 sockets that never read cost, and whom: the server's memory while their rooms are busy, and how soon others get what is posted
//! beside the same load without them. In the end they read, and each gets everything in order.
//!
//! `cargo bench -p chatcore-benches --bench slow`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chatcore::id::UserId;
use chatcore::model::AccessSecret;
use chatcore::service::{GroupInput, LoginInput, RegisterInput};
use chatcore::{Chat, Settings};
use chatcore_hyper::{Api, HttpSettings};
use chatcore_sqlx::SqliteStore;
use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SOCKETS: usize = 200;
/// Posts of one round, each of 1 KiB.
const POSTS: usize = 3_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return runtime.block_on(serve());
    }
    runtime.block_on(measure());
}

/// The server, over SQLite so that what is posted is not in its memory: prints its address, a room and three tokens, and serves until its
/// standard input ends.
async fn serve() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::connect(&format!("sqlite:{}", folder.path().join("chat.db").display())).await.unwrap();
    let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
    settings.work_per_user = None;
    settings.hashing.memory_kib = 64;
    settings.hashing.iterations = 1;
    settings.hub.connections_per_user = SOCKETS + 1;
    settings.connects_per_user = None;
    let chat = Chat::builder(store.storage(), settings).start().unwrap();
    let http = HttpSettings {
        requests_per_address: None,
        frames_per_second: 1_000_000,
        connections_per_user: SOCKETS + 1,
        // A socket that does not read does not answer pings either.
        heartbeat: Duration::from_secs(600),
        ..HttpSettings::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let mut people = Vec::new();
    for name in ["ada", "bob", "eve"] {
        let email = format!("{name}@example.org");
        let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
        chat.register(input, None).await.unwrap();
        let login = LoginInput { login: name, password: "correct horse", device: None };
        let token = chat.login(login, None).await.unwrap().access_token;
        people.push((chat.authenticate(&token).await.unwrap(), token));
    }
    let members: Vec<UserId> = people[1..].iter().map(|(person, _)| person.user).collect();
    let group = GroupInput { name: "busy", members: &members, client_id: None };
    println!("{}", chat.create_group(&people[0].0, group).await.unwrap().room.summary.room.id);
    for (_, token) in people {
        println!("{token}");
    }
    std::io::stdout().flush().unwrap();
    let stop = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    let stopped = async {
        let _ = stop.await;
    };
    chatcore_hyper::serve(listener, Api::new(chat, http), stopped).await.unwrap();
}

type Ws = WebSocketStream<TcpStream>;

/// A socket that has begun; the kernel keeps little for one that does not read.
async fn connect(address: SocketAddr, token: &str) -> Ws {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let tcp = TcpSocket::new_v4().unwrap();
    tcp.set_recv_buffer_size(4096).unwrap();
    let tcp = tcp.connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, tcp).await.unwrap();
    socket.send(Message::text(r#"{"type":"resume","id":"r","rooms":{}}"#)).await.unwrap();
    while !text(&mut socket).await.contains(r#""id":"r""#) {}
    socket
}

async fn text(socket: &mut Ws) -> String {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return text.to_string();
        }
    }
}

/// The number of an event frame.
fn seq(frame: &str) -> Option<u64> {
    let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
    (frame["type"] == "event").then(|| frame["seq"].as_u64().unwrap())
}

/// Posts one after the other; how long each takes to its reader, in order of time.
async fn round(writer: &mut Ws, reader: &mut Ws, room: &str) -> Vec<Duration> {
    let mut times = Vec::with_capacity(POSTS);
    let body = "x".repeat(1000);
    for n in 0..POSTS {
        let frame = format!(r#"{{"type":"message.send","id":"{n}","room":"{room}","body":"{body}"}}"#);
        let began = Instant::now();
        writer.send(Message::text(frame)).await.unwrap();
        while seq(&text(reader).await).is_none() {}
        times.push(began.elapsed());
        while !text(writer).await.contains(r#""type":"ack""#) {}
    }
    times.sort_unstable();
    times
}

/// Resident memory of a process, in KiB (proc(5)).
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn measure() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address: SocketAddr = lines.next().unwrap().parse().unwrap();
    let room = lines.next().unwrap();
    let tokens: Vec<String> = lines.take(3).collect();
    let (mut ada, mut bob) = (connect(address, &tokens[0]).await, connect(address, &tokens[1]).await);
    let without = round(&mut ada, &mut bob, &room).await;
    let mut stuck = Vec::new();
    for _ in 0..SOCKETS {
        stuck.push(connect(address, &tokens[2]).await);
    }
    let mut memory = vec![resident(child.id())];
    let mut with = Vec::new();
    for _ in 0..3 {
        with = round(&mut ada, &mut bob, &room).await;
        memory.push(resident(child.id()));
    }
    println!(
        "slow: {SOCKETS} sockets that never read, {} KiB resident; after {POSTS} posts of 1 KiB {} KiB, after twice as many {} KiB, after thrice {} KiB: {:.1} KiB a socket, of which the last third {:.1}",
        memory[0],
        memory[1],
        memory[2],
        memory[3],
        (memory[3] as f64 - memory[0] as f64) / SOCKETS as f64,
        (memory[3] as f64 - memory[2] as f64) / SOCKETS as f64,
    );
    let at = |times: &[Duration], percent: usize| times[times.len() * percent / 100];
    for percent in [50, 99] {
        let (one, other) = (at(&without, percent), at(&with, percent));
        println!(
            "slow: from a post to another's event, p{percent}: {one:?} without them, {other:?} beside them: {:.2} times",
            other.as_secs_f64() / one.as_secs_f64()
        );
    }
    let began = Instant::now();
    let readers = stuck.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            let (mut last, mut count) = (None, 0);
            while count < 3 * POSTS {
                let Some(seq) = seq(&text(&mut socket).await) else { continue };
                assert!(last.is_none_or(|last| seq == last + 1), "{seq} after {last:?}");
                (last, count) = (Some(seq), count + 1);
            }
        })
    });
    for reader in futures::future::join_all(readers).await {
        reader.unwrap();
    }
    let all = SOCKETS * 3 * POSTS;
    println!(
        "slow: they read on, and each got all {} events in order: {:.0} events a second",
        3 * POSTS,
        all as f64 / began.elapsed().as_secs_f64()
    );
    drop(child.stdin.take());
    child.wait().unwrap();
}
