//! What an idle socket costs: 5,000 of them, on `/ws`, resumed and silent, against a server in a process of its own.
//!
//! `cargo bench -p chatcore-benches --bench idle`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use chatcore::memory::MemoryStore;
use chatcore::model::AccessSecret;
use chatcore::service::{LoginInput, RegisterInput};
use chatcore::store::Storage;
use chatcore::{Chat, Settings};
use chatcore_hyper::{Api, HttpSettings};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SOCKETS: usize = 5_000;
const PEOPLE: usize = 100;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("serve") {
        return tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(serve());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

/// The server: prints its address and then a token a line, and serves until its standard input ends.
async fn serve() {
    let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
    settings.work_per_user = None;
    settings.hashing.memory_kib = 64;
    settings.hashing.iterations = 1;
    settings.logins_per_account = None;
    settings.logins_per_address = None;
    settings.registrations_per_address = None;
    settings.hub.connections_per_user = SOCKETS;
    settings.connects_per_user = None;
    let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), settings).start().unwrap();
    let http = HttpSettings {
        requests_per_address: None,
        connections_per_address: SOCKETS,
        connections_per_user: SOCKETS,
        ..HttpSettings::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    for n in 0..PEOPLE {
        let (username, email) = (format!("person{n}"), format!("person{n}@example.org"));
        let input = RegisterInput { username: &username, email: &email, password: "correct horse", display_name: None };
        chat.register(input, None).await.unwrap();
        let login = LoginInput { login: &username, password: "correct horse", device: None };
        println!("{}", chat.login(login, None).await.unwrap().access_token);
    }
    std::io::stdout().flush().unwrap();
    let stop = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    let stopped = async {
        let _ = stop.await;
    };
    chatcore_hyper::serve(listener, Api::new(chat, http), stopped).await.unwrap();
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
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.next().unwrap().unwrap();
    let tokens: Vec<String> = lines.by_ref().take(PEOPLE).map(Result::unwrap).collect();
    // One first, so that what the first socket costs for all is not counted.
    let mut sockets = vec![connect(&address, &tokens[0]).await];
    let before = resident(child.id());
    let begun = std::time::Instant::now();
    for n in 0..SOCKETS {
        sockets.push(connect(&address, &tokens[n % PEOPLE]).await);
    }
    let joined = begun.elapsed();
    // A ping to the last one: everything before it has been served.
    let last = sockets.last_mut().unwrap();
    last.send(Message::text(r#"{"type":"ping","id":"p"}"#)).await.unwrap();
    wait_for(last, r#""id":"p""#).await;
    let after = resident(child.id());
    let bytes = (after - before) as f64 * 1024.0 / SOCKETS as f64;
    println!(
        "idle: {SOCKETS} sockets on /ws, {before} KiB -> {after} KiB resident: {:.1} KiB a socket",
        bytes / 1024.0
    );
    println!(
        "idle: joined at {:.0} sockets a second (client and server on this machine)",
        SOCKETS as f64 / joined.as_secs_f64()
    );
    drop(sockets);
    drop(child.stdin.take());
    child.wait().unwrap();
}

type Ws = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(address: &str, token: &str) -> Ws {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let config = tokio_tungstenite::tungstenite::protocol::WebSocketConfig::default().read_buffer_size(1024);
    let (mut socket, _) = tokio_tungstenite::connect_async_with_config(request, Some(config), true).await.unwrap();
    socket.send(Message::text(r#"{"type":"resume","id":"r","rooms":{}}"#)).await.unwrap();
    wait_for(&mut socket, r#""id":"r""#).await;
    socket
}

async fn wait_for(socket: &mut Ws, what: &str) {
    while let Some(message) = socket.next().await {
        if matches!(message.unwrap(), Message::Text(text) if text.contains(what)) {
            return;
        }
    }
    panic!("the socket ended before {what}");
}
