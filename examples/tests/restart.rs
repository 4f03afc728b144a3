//! The server is killed under load and started again, or its disk is full for a while: what was acknowledged is there, once, and the numbers
//! are dense.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SENDERS: usize = 32;
const KILLS: usize = 3;
/// Acknowledged posts before each kill.
const POSTS_A_LIFE: usize = 200;

/// The server's binary, which cargo has put beside the tests.
fn binary() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().unwrap().parent().unwrap().join("examples/server");
    assert!(path.exists(), "{} is not built: cargo build --example server", path.display());
    path
}

/// A server process. Killed when it is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(folder: &Path, listen: &str) -> Self {
        Self::run(Command::new(binary()), folder, listen)
    }

    /// One whose files cannot grow beyond so many KiB, as on a disk that is full.
    fn confined(folder: &Path, kib: u32) -> Self {
        let mut command = Command::new("bash");
        // An ignored signal stays ignored, so that the write fails and the process lives.
        command.args(["-c", &format!("trap '' XFSZ; ulimit -S -f {kib}; exec \"$0\" \"$@\"")]).arg(binary());
        Self::run(command, folder, "127.0.0.1:0")
    }

    /// The disk has room again.
    fn release(&self) {
        let pid = self.child.id().to_string();
        let released = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status().unwrap();
        assert!(released.success());
    }

    fn run(mut command: Command, folder: &Path, listen: &str) -> Self {
        let mut child = command
            .args(["--listen", listen, "--store", &format!("sqlite:{}", folder.join("chat.db").display())])
            .args(["--logins-per-account", "off", "--logins-per-address", "off", "--registrations-per-address", "off"])
            .args(["--work-per-user", "off", "--requests-per-address", "off", "--frames-per-second", "100000"])
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap_or_else(|| panic!("no address in {line:?}"));
        let address = address.trim().trim_end_matches('/').parse().unwrap();
        Self { child, address }
    }

    fn kill(&mut self) {
        // SIGKILL on Unix.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Http {
    client: Client<HttpConnector, Full<bytes::Bytes>>,
    address: SocketAddr,
}

impl Http {
    async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map_or_else(Full::default, |body| Full::from(body.to_string()));
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let response = self.client.request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn person(&self, name: &str) -> (String, String) {
        let email = format!("{name}@example.org");
        let new = json!({"username": name, "email": email, "password": "correct horse"});
        assert_eq!(self.call("POST", "/auth/register", "", Some(new)).await.0, 201);
        let login = json!({"login": name, "password": "correct horse"});
        let (status, tokens) = self.call("POST", "/auth/login", "", Some(login)).await;
        assert_eq!(status, 200);
        (tokens["user"]["id"].as_str().unwrap().to_owned(), tokens["access_token"].as_str().unwrap().to_owned())
    }
}

/// Posts under one key after the other until told to stop; a key is sent again until it is acknowledged. Answers the
/// acknowledged keys with their numbers.
async fn send(
    address: SocketAddr,
    token: String,
    room: String,
    name: String,
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicUsize>,
) -> HashMap<String, u64> {
    let mut acked = HashMap::new();
    let mut number = 0;
    'connect: while !stop.load(Ordering::Relaxed) {
        let mut request = format!("ws://{address}/ws/chat/{room}").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let Ok((mut socket, _)) = tokio_tungstenite::connect_async(request).await else {
            // Refused while the server is away; there is no event to wait for but its return.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let key = format!("{name}-{number}");
            let frame = json!({"type": "message.send", "id": key, "body": format!("{key} says"), "client_id": key});
            if socket.send(Message::text(frame.to_string())).await.is_err() {
                continue 'connect;
            }
            loop {
                let Some(Ok(message)) = socket.next().await else { continue 'connect };
                let Message::Text(text) = message else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame["type"] == "ack" && frame["id"] == key.as_str() {
                    acked.insert(key, frame["seq"].as_u64().unwrap());
                    acks.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                    break;
                }
            }
        }
    }
    acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::start(folder.path(), "127.0.0.1:0");
    let address = server.address;
    let http = Http { client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http(), address };
    let mut people = Vec::new();
    for n in 0..SENDERS {
        people.push(http.person(&format!("sender{n}")).await);
    }
    let owner = people[0].1.clone();
    let members: Vec<_> = people[1..].iter().map(|(id, _)| id.clone()).collect();
    let new = json!({"kind": "group", "name": "load", "member_ids": members});
    let (status, room) = http.call("POST", "/chat-rooms", &owner, Some(new)).await;
    assert_eq!(status, 201);
    let room = room["id"].as_str().unwrap().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let acks = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = people
        .into_iter()
        .enumerate()
        .map(|(n, (_, token))| {
            tokio::spawn(send(address, token, room.clone(), format!("sender{n}"), stop.clone(), acks.clone()))
        })
        .collect();
    for life in 1..=KILLS + 1 {
        tokio::time::timeout(Duration::from_secs(60), async {
            while acks.load(Ordering::Relaxed) < life * POSTS_A_LIFE {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the senders go on");
        if life <= KILLS {
            server.kill();
            server = Process::start(folder.path(), &address.to_string());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut acked = HashMap::new();
    for sender in senders {
        acked.extend(tokio::time::timeout(Duration::from_secs(30), sender).await.expect("it stops").unwrap());
    }
    let mut keys = HashMap::new();
    let mut seen = HashSet::new();
    let mut after = 0;
    loop {
        let path = format!("/chat-rooms/{room}/events?after={after}&limit=100");
        let (status, page) = http.call("GET", &path, &owner, None).await;
        assert_eq!(status, 200);
        for event in page["items"].as_array().unwrap() {
            after += 1;
            assert_eq!(event["seq"], after, "dense");
            if event["event"] == "message.posted" {
                let message = &event["data"]["message"];
                let key = message["client_id"].as_str().unwrap().to_owned();
                assert_eq!(message["body"], format!("{key} says"), "whole");
                assert!(seen.insert(key.clone()), "{key} stands twice");
                keys.insert(key, after);
            }
        }
        if page["more"] == false {
            assert_eq!(page["head"], after);
            break;
        }
    }
    assert!(acked.len() >= (KILLS + 1) * POSTS_A_LIFE);
    for (key, seq) in &acked {
        assert_eq!(keys.get(key), Some(seq), "{key} was acknowledged");
    }
    // At most one post of each sender was under way at the end.
    assert!(keys.len() <= acked.len() + SENDERS);
}

#[test]
fn a_bad_setting_is_named() {
    let output = Command::new(binary()).args(["--store", "postgres://x"]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--store") && said.contains("sqlite:FILE"), "{said}");
}

#[cfg(unix)]
#[test]
fn it_stops_cleanly_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Process::start(folder.path(), "127.0.0.1:0");
    let asked = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    assert!(server.child.wait().unwrap().success());
}

/// While there is no room, what cannot be stored is refused as unavailable and what is stored can be read; when there is, it goes on by itself.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::confined(folder.path(), 2048);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let http = Http { client, address: server.address };
    let (_, ada) = http.person("ada").await;
    let (_, room) =
        http.call("POST", "/chat-rooms", &ada, Some(json!({"kind": "group", "name": "full", "member_ids": []}))).await;
    let path = format!("/messages/{}", room["id"].as_str().unwrap());
    let post = async |key: usize| {
        let body = format!("{key} {}", "x".repeat(3000));
        http.call("POST", &path, &ada, Some(json!({"body": body, "client_id": key.to_string()}))).await
    };
    let mut acknowledged = Vec::new();
    let full = loop {
        let key = acknowledged.len();
        let (status, answer) = post(key).await;
        match status {
            201 => acknowledged.push((key, answer["seq"].as_u64().unwrap())),
            503 => break key,
            other => panic!("{other}: {answer}"),
        }
        assert!(acknowledged.len() < 5000, "the disk is never full");
    };
    let (status, page) = http.call("GET", &format!("{path}?limit=1"), &ada, None).await;
    assert_eq!((status, page["items"][0]["client_id"].as_str()), (200, Some((full - 1).to_string().as_str())));
    server.release();
    let again = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let (200 | 201, answer) = post(full).await {
                return answer["seq"].as_u64().unwrap();
            }
        }
    });
    acknowledged.push((full, again.await.expect("it goes on by itself")));
    for (key, seq) in acknowledged {
        let (status, message) = http.call("GET", &format!("{path}/{seq}"), &ada, None).await;
        assert_eq!((status, message["client_id"].as_str()), (200, Some(key.to_string().as_str())));
        // Dense, so nothing else is there, and nothing twice. The first event is the own joining.
        assert_eq!(seq, key as u64 + 2);
    }
}
