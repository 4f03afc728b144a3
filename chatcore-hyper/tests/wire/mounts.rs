//! The service within somebody else's server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use bytes::Bytes;
use chatcore::Chat;
use chatcore::memory::MemoryStore;
use chatcore::service::RateLimit;
use chatcore::store::Storage;
use chatcore_hyper::{Api, PeerAddress};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use crate::harness::settings;

fn api(prefix: &str) -> Api {
    let (core, mut http) = settings();
    http.prefix = prefix.to_owned();
    let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), core).start().unwrap();
    Api::new(chat, http)
}

/// Nested in axum, REST and sockets.
#[tokio::test]
async fn in_axum() {
    let app = Router::new().route("/", get(async || "the host's own page")).nest_service("/chat", api(""));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let call = async |method: &str, path: &str, body: Value| {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::builder().method(method).uri(path).header("host", "x").header("content-type", "application/json");
        let response = sender.send_request(request.body(Full::<Bytes>::from(body.to_string())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    };
    assert_eq!(call("GET", "/", Value::Null).await, (200, Bytes::from("the host's own page")));
    let new = json!({"username": "ada", "email": "ada@example.org", "password": "correct horse"});
    assert_eq!(call("POST", "/chat/auth/register", new).await.0, 201);
    let login = json!({"login": "ada", "password": "correct horse"});
    let (status, tokens) = call("POST", "/chat/auth/login", login).await;
    assert_eq!(status, 200);
    let tokens: Value = serde_json::from_slice(&tokens).unwrap();

    let stream = TcpStream::connect(address).await.unwrap();
    let request = Request::builder()
        .uri("/chat/ws")
        .header("host", "x")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", fastwebsockets::handshake::generate_key())
        .header("authorization", format!("Bearer {}", tokens["access_token"].as_str().unwrap()))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    let mut ws = fastwebsockets::WebSocket::after_handshake(TokioIo::new(upgraded), fastwebsockets::Role::Client);
    ws.set_auto_apply_mask(true);
    let hello = ws.read_frame().await.unwrap();
    let hello: Value = serde_json::from_slice(&hello.payload).unwrap();
    assert_eq!(hello["type"], "hello");
    serving.abort();
}

/// Called as a service, with a body of another type, under a prefix.
#[tokio::test]
async fn as_a_service_for_any_body() {
    let mut api = api("/chat");
    let chunks = [Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from("{\"login\":\"x\",")))]
        .into_iter()
        .chain([Ok(http_body::Frame::data(Bytes::from("\"password\":\"y\"}")))]);
    let body = StreamBody::new(futures::stream::iter(chunks));
    let request = Request::post("/chat/auth/login").header("content-type", "application/json").body(body).unwrap();
    let response = api.call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let outside = Request::get("/auth/me").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(api.call(outside).await.unwrap().status(), StatusCode::NOT_FOUND);
    let beside = Request::get("/chatter").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(api.call(beside).await.unwrap().status(), StatusCode::NOT_FOUND);
}

/// In axum with the limits on connections that `serve` keeps, as `docs/hosting.md` shows it.
#[tokio::test]
async fn in_axum_under_the_limits_of_connections() {
    let (core, mut http) = settings();
    http.connections_per_address = 2;
    http.idle_timeout = Duration::from_secs(2);
    let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), core).start().unwrap();
    let api = Api::new(chat, http);
    let told = get(async |request: axum::extract::Request| {
        request.extensions().get::<PeerAddress>().map(|peer| peer.0.to_string()).unwrap_or_default()
    });
    let app = Router::new().route("/peer", told).nest_service("/chat", api.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = api.connections().clone();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let Some(connection) = connections.admit(Some(peer)) else { continue };
            let app = app.clone();
            tokio::spawn(async move { connection.serve(stream, app).await });
        }
    });
    let mut oldest = TcpStream::connect(address).await.unwrap();
    for path in ["/peer", "/chat/healthz"] {
        let stream = TcpStream::connect(address).await.unwrap();
        let own = stream.local_addr().unwrap().to_string();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "x").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(path != "/peer" || body == own, "{body:?}");
    }
    // The first one was idle, and gave way to the third.
    let mut space = [0; 1];
    let ended = tokio::time::timeout(Duration::from_secs(5), oldest.read(&mut space)).await;
    assert_eq!(ended.expect("it is still open").unwrap_or(0), 0);
    api.connections().drain(Duration::from_secs(10)).await;
    assert_eq!(api.connections().stats().open, 0);
}

/// In a plain `axum::serve` a layer tells the peer's address, as `docs/hosting.md` shows it.
#[tokio::test]
async fn in_axum_with_the_peers_address() {
    async fn peer(
        ConnectInfo(peer): ConnectInfo<SocketAddr>,
        mut request: axum::extract::Request,
    ) -> axum::extract::Request {
        request.extensions_mut().insert(PeerAddress(peer));
        request
    }
    let (mut core, http) = settings();
    core.logins_per_address = Some(RateLimit::new(1, Duration::from_secs(3600)));
    let chat = Chat::builder(Storage::single(Arc::new(MemoryStore::new())), core).start().unwrap();
    let app = Router::new().nest_service("/chat", Api::new(chat, http)).layer(axum::middleware::map_request(peer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    for (from, status) in [("127.0.0.1", 401), ("127.0.0.1", 429), ("127.0.0.2", 401)] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let login = json!({"login": "ada", "password": "a wrong guess"}).to_string();
        let request = Request::post("/chat/auth/login").header("host", "x").header("content-type", "application/json");
        let response = sender.send_request(request.body(Full::<Bytes>::from(login)).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{from}");
    }
}
