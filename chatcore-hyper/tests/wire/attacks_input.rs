//! Input that is meant to hurt: JSON, Unicode, paths, methods, headers, origins. None of it depends on the store.

use fastwebsockets::Frame;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{PATIENCE, Person, Server, Store, text};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Writes bytes as they are, and reads until the server closes.
async fn exchange(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
    read.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request line as it is, with a token.
async fn line(server: &Server, who: &Person, line: &str, headers: &str) -> (u16, String) {
    let host =
        if headers.to_lowercase().contains("host:") { String::new() } else { format!("host: {}\r\n", server.address) };
    let request = format!("{line}\r\n{host}connection: close\r\nauthorization: Bearer {}\r\n{headers}\r\n", who.token);
    let answer = exchange(server, request.as_bytes()).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_bombs() {
    let server = Server::start(Store::Memory).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.group(&[&ada, &bob]).await;
    let token = format!("Bearer {}", ada.token);
    let auth = ("authorization", token.as_str());
    let post = format!("/messages/{room}");
    let deep = |n: usize| format!(r#"{{"body":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    let objects = format!(r#"{}1{}"#, r#"{"body":"#.repeat(7_000), "}".repeat(7_000));
    for body in [
        deep(100),
        deep(30_000),
        objects.clone(),
        r#"{"body":"one","body":"two"}"#.to_owned(),
        r#"{"body":"x","reply_to":1e999}"#.to_owned(),
        r#"{"body":"x","reply_to":-1}"#.to_owned(),
        r#"{"body":"x","reply_to":1.5}"#.to_owned(),
        format!(r#"{{"body":"x","reply_to":{}}}"#, "9".repeat(50_000)),
        r#"{"body":"\ud800"}"#.to_owned(),
        r#"{"body":"x"}{"body":"y"}"#.to_owned(),
        "\u{feff}{\"body\":\"x\"}".to_owned(),
        "{'body':'x'}".to_owned(),
        "NaN".to_owned(),
    ] {
        let answer = server.raw("POST", &post, &[JSON, auth], body.clone()).await;
        assert_eq!(answer.status, 400, "{}: {answer:?}", &body[..body.len().min(60)]);
        assert!(answer.body.len() < 1_000, "a short answer");
        answer.problem(400, "malformed");
    }
    let beyond = r#"{"body":"x","reply_to":99999999999999999999999999}"#;
    server.raw("POST", &post, &[JSON, auth], beyond).await.invalid(&[("reply_to", "range")]);
    server.raw("POST", &post, &[JSON, auth], &b"{\"body\":\"\xff\"}"[..]).await.problem(400, "malformed");
    let long = json!({"body": "x".repeat(60_000)});
    server.post(&ada, &post, long).await.invalid(&[("body", "too_long")]);
    assert_eq!(server.get(&ada, &post).await.expect(200)["items"], json!([]), "nothing came of it");
    // What nobody asked for is skipped without being followed down.
    let more = format!(r#"{{"body":"x","more":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    server.raw("POST", &post, &[JSON, auth], more).await.expect(201);

    // A list of 100,000 is too large; one that just fits is refused before anything is looked up, shortly.
    for (path, name) in [("/chat-rooms".to_owned(), "member_ids"), (format!("/chat-rooms/{room}/members"), "user_ids")]
    {
        let list = |count: usize, id: &str| {
            let mut body = json!({"kind": "group", "name": "x"});
            body[name] = vec![id; count].into();
            body
        };
        server.post(&ada, &path, list(100_000, "x")).await.problem(413, "too_large");
        for body in [list(1_600, &bob.id), list(20_000, "")] {
            let answer = server.post(&ada, &path, body).await;
            answer.rule("full");
            assert!(answer.body.len() < 1_000);
        }
        // The same one again and again is one.
        let one = server.post(&ada, &path, list(1_000, &bob.id)).await;
        assert!(one.status.is_success(), "{one:?}");
        assert_eq!(one.json()["member_count"], 2);
    }
    let ids = |count: usize| format!("/users?ids={}", vec![bob.id.as_str(); count].join(","));
    server.get(&ada, &ids(101)).await.invalid(&[("ids", "too_long")]);
    for count in [1_000, 1_700] {
        let status = server.get(&ada, &ids(count)).await.status.as_u16();
        assert!([414, 431].contains(&status), "hyper refuses the head: {status}");
    }

    // The same on a socket: three in a row end it, so a good frame stands between.
    let mut socket = server.started(&ada, json!({})).await;
    let bombs = [
        deep(30_000),
        objects,
        r#"{"type":"ping","type":"ping","id":"x"}"#.to_owned(),
        format!(r#"{{"type":"read","id":"x","room":"{room}","seq":1e999}}"#),
        format!(r#"{{"type":"read","id":"x","room":"{room}","seq":{}}}"#, "9".repeat(50_000)),
    ];
    for (bomb, n) in bombs.iter().zip(0..) {
        socket.send_text(bomb).await;
        assert_eq!(socket.frame("error").await["code"], "malformed", "{n}");
        socket.send(json!({"type": "ping", "id": format!("p{n}")})).await;
        socket.ack(&format!("p{n}")).await;
    }
    let rooms: serde_json::Map<_, _> =
        (0..1_001).map(|n| (format!("01920000-0000-7000-8000-{n:012}"), json!(0))).collect();
    socket.send(json!({"type": "resume", "id": "r", "rooms": rooms})).await;
    socket.error("r", "invalid").await;
    socket.send(json!({"type": "ping", "id": "x".repeat(129)})).await;
    assert_eq!(socket.frame("error").await["errors"][0]["code"], "too_long");
}

/// What a name may be made of. What is legal besides is a matter of taste, and of the username beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unicode_look_alikes() {
    let server = Server::start(Store::Memory).await;
    let ada = server.named("ada").await;
    for (name, n) in [
        "аda",
        "ａda",
        "ada\u{200b}",
        "ad\u{131}",
        "ada\u{301}",
        "ada\u{202e}",
        "ad\u{0}a",
        "ﬁona",
        "ſam",
        "ada\u{fe0f}",
    ]
    .iter()
    .zip(0..)
    {
        let new = json!({"username": name, "email": format!("x{n}@example.org"), "password": "correct horse"});
        server.call(Method::POST, "/auth/register", None, Some(&new)).await.invalid(&[("username", "characters")]);
        server.post(&ada, "/friends/request", json!({"username": name})).await.invalid(&[("username", "characters")]);
    }
    // The Kelvin sign is a k to those who fold by Unicode; trimming makes no second "ada" either.
    for name in ["\u{212a}ada", " ada", "ada\n"] {
        let new = json!({"username": name, "email": "k@example.org", "password": "correct horse"});
        server.call(Method::POST, "/auth/register", None, Some(&new)).await.invalid(&[("username", "characters")]);
    }
    let room = server.group(&[&ada]).await;
    let path = format!("/chat-rooms/{room}");
    let hidden = [
        '\u{0}', '\u{1b}', '\u{7f}', '\u{85}', '\u{61c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}',
        '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2060}', '\u{2066}', '\u{2067}', '\u{2068}',
        '\u{2069}', '\u{feff}', '\u{fff9}', '\n', '\r', '\t',
    ];
    for c in hidden {
        for name in [format!("A{c}da"), format!("gpj{c}exe")] {
            server
                .patch(&ada, "/auth/me", json!({"display_name": name}))
                .await
                .invalid(&[("display_name", "characters")]);
            server.patch(&ada, &path, json!({"name": name})).await.invalid(&[("name", "characters")]);
            let login = json!({"login": "ada", "password": "correct horse", "device": name});
            let answer = server.call(Method::POST, "/auth/login", None, Some(&login)).await;
            answer.invalid(&[("device", "characters")]);
        }
    }
    for nothing in
        [" ", "\u{3000}", "\u{2800}", "\u{3164}", "\u{200d}\u{200c}", "\u{ad}", "\u{e0041}", "\u{115f}\u{1160}"]
    {
        server.patch(&ada, "/auth/me", json!({"display_name": nothing})).await.invalid(&[("display_name", "blank")]);
        server.patch(&ada, &path, json!({"name": nothing})).await.invalid(&[("name", "blank")]);
    }
    // Folded to what it looks like, and found by that.
    for (typed, kept) in
        [("Ａｄａ", "Ada"), ("ﬁona", "fiona"), (" Ada ", "Ada"), ("e\u{301}", "é"), ("👩\u{200d}🚀", "👩\u{200d}🚀")]
    {
        let account = server.patch(&ada, "/auth/me", json!({"display_name": typed})).await.expect(200);
        assert_eq!(account["display_name"], kept);
    }
    // Marks upon marks are bounded like all characters. A look-alike is another name, with its owner's username beside it.
    let marks = format!("Z{}", "\u{336}".repeat(63));
    server.patch(&ada, "/auth/me", json!({"display_name": marks})).await.expect(200);
    let marks = format!("Z{}", "\u{336}".repeat(64));
    server.patch(&ada, "/auth/me", json!({"display_name": marks})).await.invalid(&[("display_name", "too_long")]);
    let alike = server.patch(&ada, "/auth/me", json!({"display_name": "Аdmin"})).await.expect(200);
    assert_eq!((&alike["display_name"], &alike["username"]), (&json!("Аdmin"), &json!("ada")));
    // A body is anybody's text: only NUL is refused, and it comes back as it was.
    let body = "\u{202e}gpj.exe\u{202c} \u{200b} Z\u{336}";
    let message = server.post(&ada, &format!("/messages/{room}"), json!({"body": body})).await.expect(201);
    assert_eq!(message["body"], body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths() {
    let server = Server::start(Store::Memory).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    // Nothing is normalised: what a proxy in front has let through by its spelling means nothing else here.
    for path in [
        "//auth/me",
        "/auth//me",
        "/auth/me/",
        "/auth/./me",
        "/auth/../auth/me",
        "/healthz/../auth/me",
        "/%61uth/me",
        "/auth%2fme",
        "/auth%2Fme",
        "/auth/%2e%2e/auth/me",
        "/auth/me%00",
        "/auth/me;x=1",
        "/AUTH/ME",
        "/auth/me%20",
        "/auth\\me",
        "/docs/../../../../etc/passwd",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
    ] {
        let (status, answer) = line(&server, &ada, &format!("GET {path} HTTP/1.1"), "").await;
        assert_eq!(status, 404, "{path}: {answer}");
    }
    for path in [
        format!("/chat-rooms/{room}%2fmembers"),
        format!("/chat-rooms/{room}%00"),
        format!("/chat-rooms/{room}%2e"),
        format!("/chat-rooms/..%2f{room}"),
        "/chat-rooms/%2e%2e".to_owned(),
        "/chat-rooms/%".to_owned(),
        "/chat-rooms/%zz".to_owned(),
        "/chat-rooms/%c0%ae%c0%ae".to_owned(),
        format!("/messages/{room}/3%00"),
        format!("/messages/{room}/%2b3"),
        format!("/messages/{room}/0x3"),
        format!("/messages/{room}/3.0"),
    ] {
        let (status, answer) = line(&server, &ada, &format!("GET {path} HTTP/1.1"), "").await;
        // A sign before the number is the one thing that Rust reads and the document does not name.
        let expected = if path.contains("%2b") { 404 } else { 400 };
        assert_eq!(status, expected, "{path}: {answer}");
    }
    let long = "x".repeat(20_000);
    let (status, _) = line(&server, &ada, &format!("GET /users/{long} HTTP/1.1"), "").await;
    assert!([414, 431].contains(&status), "{status}");
    let (status, _) = line(&server, &ada, "GET /auth/me HTTP/1.1", &format!("x-long: {long}\r\n")).await;
    assert_eq!(status, 431);
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let (status, _) = line(&server, &ada, "GET /auth/me HTTP/1.1", &many).await;
    assert_eq!(status, 431);
    // The method is the one in the request line.
    for header in ["x-http-method-override", "x-method-override", "x-http-method"] {
        let headers = format!("{header}: DELETE\r\n");
        let (status, answer) = line(&server, &ada, "GET /auth/me?_method=DELETE HTTP/1.1", &headers).await;
        assert_eq!(status, 200, "{answer}");
        let (status, _) =
            line(&server, &ada, "POST /auth/me HTTP/1.1", &format!("{headers}content-length: 0\r\n")).await;
        assert_eq!(status, 405);
    }
    for method in ["HEAD", "TRACE", "CONNECT", "PROPFIND", "get"] {
        let (status, answer) = line(&server, &ada, &format!("{method} /auth/me HTTP/1.1"), "").await;
        assert!([400, 405].contains(&status), "{method}: {answer}");
        assert!(!answer.contains(&ada.token), "{method} gives nothing back");
    }
    // Rewriting headers of some proxies, and another host, reach the same path with the same rights.
    let headers = "x-original-url: /healthz\r\nx-rewrite-url: /healthz\r\nx-forwarded-host: evil.example\r\nhost: evil.example\r\n";
    let (status, answer) = line(&server, &ada, "GET /auth/me HTTP/1.1", headers).await;
    assert_eq!(status, 200);
    assert!(!answer.contains("evil.example"));
    let (status, answer) = line(&server, &ada, "GET http://evil.example/auth/me HTTP/1.1", "").await;
    assert_eq!(status, 200, "RFC 9112 §3.2.2: {answer}");
    let unknown = format!("GET /auth/me HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address);
    assert!(exchange(&server, unknown.as_bytes()).await.starts_with("HTTP/1.1 401"));
    // One request is not two: both lengths, or two of them.
    for lengths in ["content-length: 5\r\ntransfer-encoding: chunked\r\n", "content-length: 5\r\ncontent-length: 6\r\n"]
    {
        let request = format!(
            "POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{lengths}\r\n0\r\n\r\nGET /auth/me HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
            ada.token
        );
        let answer = exchange(&server, request.as_bytes()).await;
        assert!(!answer.contains(&ada.id), "{answer}");
    }
}

/// The id of a request is the client's own only where it is harmless in a log, a header and a document.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_ids() {
    let server = Server::start(Store::Memory).await;
    let ada = server.person().await;
    let kept = ["x", "a-1_2.3", "\"><script>", &"x".repeat(64)];
    for id in kept {
        let answer = server.raw("GET", "/auth/me", &[("x-request-id", id)], "").await;
        assert_eq!(answer.problem(401, "unauthenticated")["request_id"], id);
    }
    for id in ["", " ", "a b", "a\tb", "é", &"x".repeat(65), &"x".repeat(5_000)] {
        let answer = server.raw("GET", "/auth/me", &[("x-request-id", id)], "").await;
        let found = text(&answer.problem(401, "unauthenticated")["request_id"]);
        assert!(found != id && found.len() == 36, "{found}");
        assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    for folded in ["x-request-id: a\r\n b: c\r\n", "x-request-id: a\rset-cookie: b=c\r\n", "x-request-id: a\0b\r\n"] {
        let (_, answer) = line(&server, &ada, "GET /auth/me HTTP/1.1", folded).await;
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(!head.contains("set-cookie") && !head.contains("\nb:"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_of_others() {
    let list = chatcore_hyper::AllowedOrigins::List(vec!["https://good.example".into()]);
    let server = Server::with(Store::Memory, |_, http| http.origins = list).await;
    let ada = server.person().await;
    let token = format!("Bearer {}", ada.token);
    let protocols = format!("chatcore.v1, bearer.{}", ada.token);
    let own = format!("http://{}", server.address);
    let port = format!("http://{}:{}", server.address.ip(), server.address.port() ^ 1);
    let (long, user) = (format!("{own}.evil.example"), format!("http://{}@evil.example", server.address));
    for (origin, good) in [
        ("https://good.example", true),
        (own.as_str(), true),
        ("null", false),
        ("", false),
        ("*", false),
        ("https://good.example.evil", false),
        ("https://evil.example/https://good.example", false),
        ("https://evil-good.example", false),
        ("https://sub.good.example", false),
        ("https://good.example:8443", false),
        ("http://good.example", false),
        ("https://good.example/", false),
        ("https://good.example, https://evil.example", false),
        ("https://good.exampl\u{e9}", false),
        ("file://", false),
        (port.as_str(), false),
        (long.as_str(), false),
        (user.as_str(), false),
    ] {
        let headers = [("origin", origin), ("authorization", token.as_str())];
        let answer = server.raw("GET", "/auth/me", &headers, "").await;
        // A page of another origin may send what it likes; it cannot read the answer, and has no token to send.
        answer.expect(200);
        let shown = answer.headers.get("access-control-allow-origin").map(|value| value.as_bytes());
        assert_eq!(shown, good.then_some(origin.as_bytes()), "{origin}");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
        let ask = [("origin", origin), ("access-control-request-method", "DELETE")];
        let preflight = server.raw("OPTIONS", "/auth/me", &ask, "").await;
        assert_eq!(preflight.headers.contains_key("access-control-allow-methods"), good, "{origin}");
        // Cross-site hijacking of a socket: refused by origin, before the token is looked at, whichever way it comes.
        for token in [("authorization", token.as_str()), ("sec-websocket-protocol", protocols.as_str())] {
            let opened = server.handshake("/ws", &[("origin", origin), token]).await;
            assert_eq!(opened.is_ok(), good, "{origin}");
            if let Err(answer) = opened {
                answer.problem(403, "forbidden");
            }
        }
    }
    // No cookie is ever set or read, so there is nothing for another page to ride on.
    let cookie = format!("token={}; session={}", ada.token, ada.refresh);
    let ridden = server.handshake("/ws", &[("origin", &own), ("cookie", &cookie)]).await.err().unwrap();
    ridden.problem(401, "unauthenticated");
    let login = json!({"login": ada.name, "password": "correct horse"});
    let answer = server.call(Method::POST, "/auth/login", None, Some(&login)).await;
    assert!(!answer.headers.contains_key("set-cookie"));
    // A form of another page cannot send JSON without a preflight.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let headers = [("content-type", kind), ("origin", "https://evil.example"), ("authorization", token.as_str())];
        let answer = server.raw("POST", "/chat-rooms", &headers, r#"{"kind":"group","name":"x"}"#).await;
        answer.problem(415, "unsupported_media_type");
    }
    let rooms: Value = server.get(&ada, "/chat-rooms").await.expect(200);
    assert_eq!(rooms["items"], json!([]));
    // And one that got in by its token is watched like all: a foreign frame type does nothing.
    let mut socket = server.socket(&ada, "/ws").await;
    socket.write(Frame::text(b"GET / HTTP/1.1".to_vec().into())).await;
    assert_eq!(socket.frame("error").await["code"], "malformed");
}
