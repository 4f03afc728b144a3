//! The service within somebody else's server.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use chatcore::Chat;
use chatcore::memory::MemoryStore;
use chatcore::store::Storage;
use chatcore_hyper::Api;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
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
