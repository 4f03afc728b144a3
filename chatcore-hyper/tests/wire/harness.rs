//! A server on a private port, people who use it, and their sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chatcore::memory::MemoryStore;
use chatcore::model::AccessSecret;
use chatcore::store::Storage;
use chatcore::time::{Clock, SystemClock};
use chatcore::{Chat, Settings};
use chatcore_hyper::{Api, HttpSettings};
use chatcore_sqlx::SqliteStore;
use chatcore_sqlx::testing::TemporaryDatabase;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, WebSocketError};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::upgrade::Upgraded;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a server of these tests keeps its data in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Store {
    Memory,
    Sqlite,
    Maria,
    MySql,
    Mongo,
    /// The logs in MongoDB, everything else in MariaDB.
    Hybrid,
}

impl Store {
    /// The store, or nothing and a line that says so where the server that it needs is not named.
    pub(crate) fn there(self) -> Option<Self> {
        let variables: &[&str] = match self {
            Self::Memory | Self::Sqlite => &[],
            Self::Maria => &[MARIADB],
            Self::MySql => &[MYSQL],
            Self::Mongo => &[MONGODB],
            Self::Hybrid => &[MARIADB, MONGODB],
        };
        for variable in variables {
            if std::env::var_os(variable).is_none() {
                eprintln!("{variable} is not set: not tested");
                return None;
            }
        }
        Some(self)
    }

    /// An empty store, and what has to live as long.
    pub(crate) async fn open(self) -> (Storage, Guard) {
        match self {
            Self::Memory => (Storage::single(Arc::new(MemoryStore::new())), Box::new(())),
            Self::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}", folder.path().join("chat.db").display());
                (SqliteStore::connect(&url).await.unwrap().storage(), Box::new(folder))
            }
            Self::Maria => Self::on_server(MARIADB).await,
            Self::MySql => Self::on_server(MYSQL).await,
            Self::Hybrid => {
                let (storage, rooms) = Box::pin(Self::Maria.open()).await;
                let (logs, messages) = Box::pin(Self::Mongo.open()).await;
                (Storage { messages: logs.messages, ..storage }, Box::new((rooms, messages)))
            }
            Self::Mongo => {
                let url = std::env::var(MONGODB).unwrap();
                let database = chatcore_mongo::testing::TemporaryDatabase::create(&url).await.unwrap();
                (database.store().await.unwrap().storage(), Box::new(database))
            }
        }
    }

    async fn on_server(variable: &str) -> (Storage, Guard) {
        let database = TemporaryDatabase::create(&std::env::var(variable).unwrap()).await.unwrap();
        (database.store().await.unwrap().storage(), Box::new(database))
    }
}

pub(crate) const MARIADB: &str = "CHATCORE_TEST_MARIADB";
pub(crate) const MYSQL: &str = "CHATCORE_TEST_MYSQL";
pub(crate) const MONGODB: &str = "CHATCORE_TEST_MONGODB";

/// What lives as long as a store.
pub(crate) type Guard = Box<dyn std::any::Any + Send + Sync>;

/// Makes one test a store of an `async fn(Store)`.
macro_rules! on_every_store {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {$(
        mod $name {
            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                if let Some(store) = $crate::harness::Store::Memory.there() {
                    super::$name(store).await;
                }
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                if let Some(store) = $crate::harness::Store::Sqlite.there() {
                    super::$name(store).await;
                }
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                if let Some(store) = $crate::harness::Store::Maria.there() {
                    super::$name(store).await;
                }
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mysql() {
                if let Some(store) = $crate::harness::Store::MySql.there() {
                    super::$name(store).await;
                }
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mongodb() {
                if let Some(store) = $crate::harness::Store::Mongo.there() {
                    super::$name(store).await;
                }
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn hybrid() {
                if let Some(store) = $crate::harness::Store::Hybrid.there() {
                    super::$name(store).await;
                }
            }
        }
    )*};
}
pub(crate) use on_every_store;

/// A running server. Stops when it is dropped.
pub(crate) struct Server {
    clients: Clients,
    pub(crate) api: Api,
    pub(crate) storage: Storage,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) done: Option<tokio::task::JoinHandle<()>>,
    _guard: Guard,
}

impl std::ops::Deref for Server {
    type Target = Clients;

    fn deref(&self) -> &Clients {
        &self.clients
    }
}

/// Those who use a server: this process's own, or another one's.
pub(crate) struct Clients {
    pub(crate) address: SocketAddr,
    http: Client<HttpConnector, Full<Bytes>>,
    names: AtomicU32,
}

/// Settings without limits that a fast test would meet, and with cheap hashes.
pub(crate) fn settings() -> (Settings, HttpSettings) {
    let mut core = Settings::new(AccessSecret::new([7; 32]).unwrap());
    core.work_per_user = None;
    core.hashing.memory_kib = 64;
    core.hashing.iterations = 1;
    core.logins_per_account = None;
    core.logins_by_strangers = None;
    core.logins_per_address = None;
    core.registrations_per_address = None;
    core.connects_per_user = None;
    core.hub.connections_per_user = 1000;
    let http = HttpSettings {
        requests_per_address: None,
        frames_per_second: 1_000_000,
        connections_per_address: 100_000,
        connections_per_user: 100_000,
        ..HttpSettings::default()
    };
    (core, http)
}

impl Server {
    pub(crate) async fn start(store: Store) -> Self {
        Self::with(store, |_, _| {}).await
    }

    pub(crate) async fn with(store: Store, change: impl FnOnce(&mut Settings, &mut HttpSettings)) -> Self {
        Self::at(store, Arc::new(SystemClock), change).await
    }

    /// A server that tells the time by this clock.
    pub(crate) async fn at(
        store: Store,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Settings, &mut HttpSettings),
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), store, clock, change).await
    }

    /// A server on a listener that is there already.
    pub(crate) async fn on(
        listener: TcpListener,
        store: Store,
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Settings, &mut HttpSettings),
    ) -> Self {
        Self::over(listener, store.open().await, clock, change)
    }

    /// A server on a listener and a store that are there already.
    pub(crate) fn over(
        listener: TcpListener,
        (storage, guard): (Storage, Guard),
        clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut Settings, &mut HttpSettings),
    ) -> Self {
        let (mut core, mut http) = settings();
        change(&mut core, &mut http);
        let chat = Chat::builder(storage.clone(), core).clock(clock).start().unwrap();
        let api = Api::new(chat, http);
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = api.clone();
        let done = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            chatcore_hyper::serve(listener, serving, stopped).await.unwrap();
        });
        Self { clients: Clients::of(address), api, storage, stop: Some(stop), done: Some(done), _guard: guard }
    }

    /// Asks the server to stop, and answers the task to wait for.
    pub(crate) fn stop(&mut self) -> tokio::task::JoinHandle<()> {
        self.stop.take().unwrap().send(()).unwrap();
        self.done.take().unwrap()
    }
}

impl Clients {
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self {
            address,
            http: Client::builder(TokioExecutor::new())
                // Before the server does so, which would meet a request on its way.
                .pool_idle_timeout(Duration::from_secs(4))
                .build_http(),
            names: AtomicU32::new(0),
        }
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let response = tokio::time::timeout(PATIENCE, self.http.request(request)).await.unwrap().unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// A request with a body as given.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    /// A call, with or without a token and a body.
    pub(crate) async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Full::new(Bytes::from(body.to_string()))
            }
            None => Full::default(),
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Registers somebody with a name of their own, and logs them in.
    pub(crate) async fn person(&self) -> Person {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        self.named(&format!("person{number}")).await
    }

    pub(crate) async fn named(&self, name: &str) -> Person {
        let email = format!("{name}@example.org");
        let new = json!({"username": name, "email": email, "password": "correct horse"});
        self.call(Method::POST, "/auth/register", None, Some(&new)).await.expect(201);
        self.login(name).await
    }

    pub(crate) async fn login(&self, name: &str) -> Person {
        let login = json!({"login": name, "password": "correct horse"});
        let tokens = self.call(Method::POST, "/auth/login", None, Some(&login)).await.expect(200);
        Person {
            id: text(&tokens["user"]["id"]),
            name: name.to_owned(),
            token: text(&tokens["access_token"]),
            refresh: text(&tokens["refresh_token"]),
        }
    }

    pub(crate) async fn get(&self, who: &Person, path: &str) -> Answer {
        self.call(Method::GET, path, Some(&who.token), None).await
    }

    pub(crate) async fn post(&self, who: &Person, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(&who.token), Some(&body)).await
    }

    pub(crate) async fn put(&self, who: &Person, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(&who.token), Some(&body)).await
    }

    pub(crate) async fn patch(&self, who: &Person, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(&who.token), Some(&body)).await
    }

    pub(crate) async fn delete(&self, who: &Person, path: &str) -> Answer {
        self.call(Method::DELETE, path, Some(&who.token), None).await
    }

    /// The direct room of two people.
    pub(crate) async fn direct(&self, one: &Person, other: &Person) -> String {
        let answer = self.post(one, "/chat-rooms", json!({"kind": "direct", "user_id": other.id})).await;
        text(&answer.json()["id"])
    }

    /// A group of these people; the first one owns it.
    pub(crate) async fn group(&self, people: &[&Person]) -> String {
        let others: Vec<&str> = people[1..].iter().map(|person| person.id.as_str()).collect();
        let new = json!({"kind": "group", "name": "a group", "member_ids": others});
        text(&self.post(people[0], "/chat-rooms", new).await.expect(201)["id"])
    }

    /// Posts a message; answers its number.
    pub(crate) async fn say(&self, who: &Person, room: &str, body: &str) -> u64 {
        let answer = self.post(who, &format!("/messages/{room}"), json!({"body": body})).await.expect(201);
        answer["seq"].as_u64().unwrap()
    }

    /// A socket with the token in the header.
    pub(crate) async fn socket(&self, who: &Person, path: &str) -> Socket {
        let token = format!("Bearer {}", who.token);
        self.handshake(path, &[("authorization", &token)]).await.unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// A socket for all rooms that has begun, from the positions named.
    pub(crate) async fn started(&self, who: &Person, rooms: Value) -> Socket {
        let mut socket = self.socket(who, "/ws").await;
        socket.frame("hello").await;
        socket.send(json!({"type": "resume", "id": "start", "rooms": rooms})).await;
        socket.ack("start").await;
        socket
    }

    /// A handshake with these headers: a socket, or the answer that refused it.
    pub(crate) async fn handshake(&self, path: &str, headers: &[(&str, &str)]) -> Result<Socket, Answer> {
        self.handshake_as(path, headers, true).await
    }

    /// A handshake of a client that answers the server's pings, or does not.
    pub(crate) async fn handshake_as(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        pongs: bool,
    ) -> Result<Socket, Answer> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = Request::builder()
            .uri(format!("http://{}{path}", self.address))
            .header("host", self.address.to_string())
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", fastwebsockets::handshake::generate_key());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let mut response = sender.send_request(request).await.unwrap();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            return Err(Answer { status: head.status, headers: head.headers, body });
        }
        let headers = response.headers().clone();
        let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
        let mut ws = fastwebsockets::WebSocket::after_handshake(TokioIo::new(upgraded), fastwebsockets::Role::Client);
        ws.set_auto_close(false);
        ws.set_auto_pong(pongs);
        ws.set_max_message_size(16 << 20);
        Ok(Socket { ws: FragmentCollector::new(ws), headers, kept: VecDeque::new() })
    }
}

/// The text of a JSON string.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

/// Somebody with an account and a session.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) refresh: String,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The body, which has to come with that status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        if status == 204 {
            assert!(self.body.is_empty());
            return Value::Null;
        }
        assert_eq!(self.headers["content-type"], "application/json");
        self.json()
    }

    /// The problem, which has to be of that status and code, and whole.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["errors"].is_array());
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        problem
    }

    /// The `rule` problem with that rule.
    #[track_caller]
    pub(crate) fn rule(&self, rule: &str) {
        assert_eq!(self.problem(409, "rule")["rule"], rule);
    }

    /// The `invalid` problem whose fields and codes are exactly these.
    #[track_caller]
    pub(crate) fn invalid(&self, fields: &[(&str, &str)]) {
        let problem = self.problem(422, "invalid");
        let found: Vec<(String, String)> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| (text(&error["field"]), text(&error["code"])))
            .collect();
        let wanted: Vec<(String, String)> = fields.iter().map(|(f, c)| ((*f).to_owned(), (*c).to_owned())).collect();
        assert_eq!(found, wanted, "{problem}");
    }
}

/// A client's socket.
pub(crate) struct Socket {
    ws: FragmentCollector<TokioIo<Upgraded>>,
    pub(crate) headers: HeaderMap,
    /// Frames that came while another one was waited for.
    kept: VecDeque<Value>,
}

/// What a socket gives.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Frame(Value),
    /// The close, with its code.
    Close(u16),
    /// The connection is gone without a close.
    Gone,
}

impl Socket {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.write(Frame::text(Payload::Owned(text.as_bytes().to_vec()))).await;
    }

    pub(crate) async fn write(&mut self, frame: Frame<'_>) {
        // The server may have closed already; what it said is read all the same.
        let _ = self.ws.write_frame(frame).await;
    }

    /// The server ends the connection, and does not reset it: then nothing that it sent before can be lost.
    pub(crate) async fn end(&mut self) {
        let end = tokio::time::timeout(PATIENCE, self.ws.read_frame()).await.expect("the connection stays");
        match end {
            Err(WebSocketError::UnexpectedEOF) => {}
            Err(error) => panic!("{error} instead of the end"),
            Ok(frame) => panic!("{:?} after the close", frame.opcode),
        }
    }

    /// What comes next, past what was kept.
    pub(crate) async fn read(&mut self) -> Got {
        tokio::time::timeout(PATIENCE, self.read_patiently()).await.expect("nothing came")
    }

    pub(crate) async fn read_patiently(&mut self) -> Got {
        loop {
            let Ok(frame) = self.ws.read_frame().await else { return Got::Gone };
            match frame.opcode {
                OpCode::Text => return Got::Frame(serde_json::from_slice(&frame.payload).unwrap()),
                OpCode::Close => {
                    let code = u16::from_be_bytes(frame.payload[..2].try_into().unwrap());
                    let _ = self.ws.write_frame(Frame::close(code, b"")).await;
                    return Got::Close(code);
                }
                OpCode::Binary => panic!("a binary frame came"),
                OpCode::Ping | OpCode::Pong | OpCode::Continuation => {}
            }
        }
    }

    /// The next frame that fits; others are kept for later, in order.
    pub(crate) async fn find(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.kept.iter().position(&fits) {
            return self.kept.remove(place).unwrap();
        }
        let wait = async {
            loop {
                match self.read_patiently().await {
                    Got::Frame(frame) if fits(&frame) => return frame,
                    Got::Frame(frame) => self.kept.push_back(frame),
                    end => panic!("{end:?} instead of {what}; kept: {:?}", self.kept),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(frame) => frame,
            Err(_) => panic!("no {what} came; kept: {:?}", self.kept),
        }
    }

    pub(crate) async fn frame(&mut self, kind: &str) -> Value {
        self.find(kind, |frame| frame["type"] == kind).await
    }

    pub(crate) async fn ack(&mut self, id: &str) -> Value {
        let answer = self.answer(id).await;
        assert_eq!(answer["type"], "ack", "{answer}");
        answer
    }

    pub(crate) async fn error(&mut self, id: &str, code: &str) -> Value {
        let answer = self.answer(id).await;
        assert_eq!(answer["type"], "error", "{answer}");
        assert_eq!(answer["code"], code, "{answer}");
        answer
    }

    pub(crate) async fn answer(&mut self, id: &str) -> Value {
        self.find(&format!("answer to {id}"), |frame| frame["id"] == id).await
    }

    pub(crate) async fn event(&mut self) -> Value {
        self.frame("event").await
    }

    pub(crate) async fn signal(&mut self, name: &str) -> Value {
        self.find(name, |frame| frame["signal"] == name).await
    }

    /// The `bye` and the close that have to come, whatever comes before.
    pub(crate) async fn bye(&mut self, code: &str, close: u16) -> Value {
        let bye = self.frame("bye").await;
        assert_eq!(bye["code"], code, "{bye}");
        match self.read().await {
            Got::Close(found) => assert_eq!(found, close),
            Got::Frame(frame) => panic!("{frame} after the bye"),
            Got::Gone => panic!("no close after {bye}"),
        }
        bye
    }

    /// Whether an event or signal of that kind has come, once the server has answered a ping: nothing is under way then.
    pub(crate) async fn has(&mut self, fits: impl Fn(&Value) -> bool) -> bool {
        self.send(json!({"type": "ping", "id": "fence"})).await;
        self.ack("fence").await;
        self.kept.iter().any(fits)
    }
}
