//! Answers that are asked for and never taken, connections that do nothing, and more connections than there may be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatcore::Chat;
use chatcore::memory::MemoryStore;
use chatcore::store::Storage;
use chatcore_hyper::Api;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{PATIENCE, Person, Server, Socket, Store, settings};

const MIB: usize = 1024 * 1024;

/// A client of HTTP/2 whose streams have that window, and its connection, which answers pings until it ends.
struct Http2 {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    async fn connect(address: std::net::SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (send, connection) =
            h2::client::Builder::new().initial_window_size(window).handshake(stream).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    async fn ask(&mut self, who: &Person, path: &str) -> ResponseFuture {
        let request = Request::get(format!("http://chat.example{path}"))
            .header("authorization", format!("Bearer {}", who.token))
            .body(())
            .unwrap();
        let mut send = self.send.clone().ready().await.unwrap();
        send.send_request(request, true).unwrap().0
    }

    async fn end(self) -> Result<(), h2::Error> {
        tokio::time::timeout(PATIENCE, self.connection).await.expect("the connection is still open").unwrap()
    }
}

/// A room with a page of about 400 KB, and those who are in it.
async fn long_room(server: &Server) -> (Person, Person, String) {
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    for _ in 0..100 {
        server.say(&bob, &room, &"x".repeat(4000)).await;
    }
    (ada, bob, format!("/messages/{room}?limit=100"))
}

fn length(headers: &HeaderMap) -> usize {
    headers["content-length"].to_str().unwrap().parse().unwrap()
}

/// The service on a server that knows nothing of its limits on connections.
async fn plain_server(api: Api) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(api.clone());
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await
            });
        }
    });
    address
}

async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// 300 pages of 400 KB are asked for over HTTP/2 and not taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_never_taken_over_http2() {
    let server = Server::start(Store::Memory).await;
    let (ada, bob, page) = long_room(&server).await;
    for (host, address) in [("serve", server.address), ("plain", plain_server(server.api.clone()).await)] {
        // With a window of one byte, the server's library takes each body over as a whole.
        for window in [0, 1] {
            let mut connections = Vec::new();
            let mut answers = Vec::new();
            for _ in 0..5 {
                let mut connection = Http2::connect(address, window).await;
                for _ in 0..60 {
                    answers.push(connection.ask(&ada, &page).await);
                }
                connections.push(connection);
            }
            let (mut kept, mut refused) = (Vec::new(), 0);
            let mut bytes = 0;
            for answer in answers {
                let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
                if answer.status() == 200 {
                    bytes += length(answer.headers());
                } else {
                    assert_eq!(answer.status(), 429);
                    assert_eq!(answer.headers()["retry-after"], "1");
                    refused += 1;
                }
                kept.push(answer);
            }
            assert!(bytes <= 4 * MIB && bytes > 3 * MIB, "{host}, window {window}: {bytes} bytes wait");
            assert!(refused > 280, "{refused}");
            let unsent = usize::try_from(server.api.stats().unsent_bytes).unwrap();
            // Refusals wait too, and count for the address.
            assert!(unsent >= bytes && unsent <= 5 * MIB, "{unsent}");
            // It is ada's limit, and hers alone; what has an effect is told her even so.
            server.get(&ada, &page).await.problem(429, "rate_limited");
            assert!(server.get(&bob, &page).await.body.len() > 400_000);
            drop((kept, connections));
            eventually("what was not taken is gone with its connection", || server.api.stats().unsent_bytes == 0).await;
            server.get(&ada, &page).await.expect(200);
        }
    }
}

/// Refusals wait to be taken too: with many addresses' worth of them, the heads alone are sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_are_never_taken() {
    let server = Server::with(Store::Memory, |_, http| http.unsent_bytes_per_client = 64 * 1024).await;
    let nobody = Person { token: "none".to_owned(), ..server.person().await };
    let mut connections = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..4 {
        let mut connection = Http2::connect(server.address, 0).await;
        for _ in 0..60 {
            answers.push(connection.ask(&nobody, "/auth/me").await);
        }
        connections.push(connection);
    }
    let mut explained = 0;
    let mut kept = Vec::new();
    for answer in answers {
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert!([401, 429].contains(&answer.status().as_u16()), "{answer:?}");
        explained += usize::from(answer.headers().contains_key("content-type"));
        kept.push(answer);
    }
    assert!((10..70).contains(&explained), "{explained}");
    assert!(server.api.stats().unsent_bytes <= 64 * 1024);
}

/// A connection whose answers are not taken is ended, however promptly it answers pings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_taken_in_time_ends_its_connection() {
    let server = Server::with(Store::Memory, |_, http| {
        http.write_timeout = Duration::from_secs(2);
        http.header_timeout = Duration::from_millis(500);
    })
    .await;
    let (ada, _, page) = long_room(&server).await;
    for window in [0, 1] {
        let begun = Instant::now();
        let mut connection = Http2::connect(server.address, window).await;
        let answer = connection.ask(&ada, &page).await.await.unwrap();
        assert_eq!(answer.status(), 200);
        let _ = connection.end().await;
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
        drop(answer);
    }

    // HTTP/1.1, one request behind the other, more than the system's buffers take.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {page} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", ada.token);
    stream.write_all(request.repeat(50).as_bytes()).await.unwrap();
    let begun = Instant::now();
    // Empty lines are no request. Once the server has closed, they are answered with a reset.
    while stream.write_all(b"\r\n").await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(server.api.stats().unsent_bytes, 0);

    // A client that takes its answers is not.
    let mut connection = Http2::connect(server.address, MIB as u32).await;
    for _ in 0..5 {
        let mut body = connection.ask(&ada, &page).await.await.unwrap().into_body();
        while let Some(piece) = body.data().await {
            body.flow_control().release_capacity(piece.unwrap().len()).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
}

/// The page of a host, in front of the API.
#[derive(Clone)]
struct Page(Bytes);

impl tower_service::Service<Request<hyper::body::Incoming>> for Page {
    type Response = http::Response<chatcore_hyper::ResponseBody>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<hyper::body::Incoming>) -> Self::Future {
        std::future::ready(Ok(http::Response::new(self.0.clone().into())))
    }
}

/// A file that is larger than all buffers on the way, over both versions of HTTP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_the_host_have_the_same_deadline() {
    let (core, mut http) = settings();
    http.write_timeout = Duration::from_secs(1);
    let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), core).start().unwrap();
    let api = Api::new(chat, http);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let file = Bytes::from(vec![b'x'; 64 * MIB]);
    let serving = chatcore_hyper::serve_with(listener, api.clone(), Page(file.clone()), std::future::pending());
    tokio::spawn(serving);
    let open = || api.connections().stats().open;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /page HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 16]).await.unwrap();
    eventually("HTTP/1.1 is ended", || open() == 0).await;
    for window in [0, 1] {
        let connection = Http2::connect(address, window).await;
        let mut send = connection.send.clone().ready().await.unwrap();
        let request = Request::get("http://chat.example/page").body(()).unwrap();
        let answer = send.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(length(answer.headers()), file.len());
        let _ = connection.end().await;
        eventually("HTTP/2 is ended", || open() == 0).await;
    }
}

/// Pings alone keep no connection open, and a socket is never idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_ended() {
    let server = Server::with(Store::Memory, |_, http| {
        http.idle_timeout = Duration::from_secs(2);
        http.header_timeout = Duration::from_millis(500);
    })
    .await;
    let ada = server.person().await;
    let mut socket = server.socket(&ada, "/ws").await;
    socket.frame("hello").await;
    let begun = Instant::now();
    let mut connection = Http2::connect(server.address, 65_535).await;
    let answer = connection.ask(&ada, "/auth/me").await.await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    connection.end().await.expect("it is asked to go, not cut off");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    alive(&mut socket).await;
}

async fn alive(socket: &mut Socket) {
    socket.send(json!({"type": "ping", "id": "1"})).await;
    socket.ack("1").await;
}

/// Whether the server has closed a connection on which nothing was asked.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut space = [0; 16];
    let read = stream.read(&mut space);
    matches!(tokio::time::timeout(Duration::from_millis(100), read).await, Ok(Ok(0) | Err(_)))
}

/// One address opens connections and does nothing with them: its own give way, those of people who are signed in do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_ones_of_an_address_give_way_to_newcomers() {
    let server = Server::with(Store::Memory, |_, http| http.connections_per_address = 4).await;
    let ada = server.person().await;
    let mut socket = server.socket(&ada, "/ws").await;
    socket.frame("hello").await;
    let mut streams = Vec::new();
    for n in 0..20 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // Slow handshakes are idle too.
        stream.write_all(if n % 2 == 0 { b"GET /ws HTTP" } else { b"PRI * HTTP" }).await.unwrap();
        streams.push(stream);
    }
    // The harness's own connection, which is kept for the next call, has brought a good token.
    server.get(&ada, "/auth/me").await.expect(200);
    let newcomer = server.person().await;
    server.get(&newcomer, "/auth/me").await.expect(200);
    alive(&mut socket).await;
    let stats = server.api.connections().stats();
    assert!(stats.open <= 8 && stats.gave_way >= 16, "{stats:?}");
    let mut closed = Vec::new();
    for stream in &mut streams {
        closed.push(is_closed(stream).await);
    }
    assert!(closed[..16].iter().all(|closed| *closed), "{closed:?}");
    assert!(closed[16..].iter().any(|closed| !closed), "{closed:?}");
}

/// The same for a user, and for the server as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_the_server_have_limits_too() {
    let server = Server::with(Store::Memory, |_, http| http.connections_per_user = 3).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let mut connections = Vec::new();
    for _ in 0..5 {
        let mut connection = Http2::connect(server.address, 65_535).await;
        assert_eq!(connection.ask(&ada, "/auth/me").await.await.unwrap().status(), 200);
        connections.push(connection);
    }
    for connection in connections.drain(..2) {
        let _ = connection.end().await;
    }
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = server.socket(&ada, "/ws").await;
        socket.frame("hello").await;
        sockets.push(socket);
    }
    for connection in connections {
        let _ = connection.end().await;
    }
    // Sockets are busy, and do not give way.
    let token = format!("Bearer {}", ada.token);
    let refused = server.handshake("/ws", &[("authorization", &token)]).await;
    refused.err().expect("a fourth one").problem(429, "rate_limited");
    for socket in &mut sockets {
        alive(socket).await;
    }
    server.get(&bob, "/auth/me").await.expect(200);

    let server = Server::with(Store::Memory, |_, http| http.connections = 3).await;
    let ada = server.person().await;
    let mut socket = server.socket(&ada, "/ws").await;
    socket.frame("hello").await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut newer = Vec::new();
    for _ in 0..5 {
        newer.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut connection = Http2::connect(server.address, 65_535).await;
    assert_eq!(connection.ask(&ada, "/auth/me").await.await.unwrap().status(), 200);
    assert!(is_closed(&mut idle).await);
    alive(&mut socket).await;
    assert!(server.api.connections().stats().open <= 3);
}

/// Requests that are taken back as soon as they are sent (CVE-2023-44487).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_taken_back_at_once() {
    let server = Server::start(Store::Memory).await;
    let ada = server.person().await;
    let connection = Http2::connect(server.address, 65_535).await;
    let mut sent = 0;
    let ended = async {
        loop {
            let request = Request::get("http://chat.example/auth/me").body(()).unwrap();
            let Ok(mut send) = connection.send.clone().ready().await else { break };
            let Ok((_, mut stream)) = send.send_request(request, false) else { break };
            stream.send_reset(h2::Reason::CANCEL);
            sent += 1;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it goes on for ever");
    let error = connection.end().await.expect_err("it is ended");
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "after {sent}: {error}");
    server.get(&ada, "/auth/me").await.expect(200);
}
