//! Every field of every body that the API document lists, with what is not meant for it: of another type, far too long, with a NUL, nested
//! without end. Each is refused with its field named, nothing comes of it, and nothing is a defect of the server.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server, Store, text};

/// A status, and a code: of the field for a 422, else of the problem.
type Outcome = (u16, &'static str);

/// A text in a body.
struct Field {
    method: &'static str,
    /// As in the document.
    path: &'static str,
    name: &'static str,
    /// A body in which everything is good.
    good: Value,
    /// What comes of 60,000 letters.
    long: Outcome,
    /// What comes of a good value with a NUL in it.
    nul: Outcome,
    /// Whether null is the same as leaving it out.
    optional: bool,
}

const LONG: Outcome = (422, "too_long");
const CHARACTERS: Outcome = (422, "characters");
const FORMAT: Outcome = (422, "format");
const UNKNOWN: Outcome = (422, "unknown");
const LOGIN: Outcome = (401, "unauthenticated");

fn fields() -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |method, path, good: &Value, list: &[(&'static str, Outcome, Outcome, bool)]| {
        for (name, long, nul, optional) in list.iter().copied() {
            fields.push(Field { method, path, name, good: good.clone(), long, nul, optional });
        }
    };
    let new = json!({"username": "eve", "email": "eve@example.org", "password": "correct horse", "display_name": "E"});
    add(
        "post",
        "/auth/register",
        &new,
        &[
            ("username", LONG, CHARACTERS, false),
            ("email", LONG, FORMAT, false),
            // A password may hold anything, so a NUL in it is a character; this one ends as an account.
            ("password", LONG, (201, ""), false),
            ("display_name", LONG, CHARACTERS, true),
        ],
    );
    let login = json!({"login": "ada", "password": "correct horse", "device": "a phone"});
    add(
        "post",
        "/auth/login",
        &login,
        &[("login", LOGIN, LOGIN, false), ("password", LOGIN, LOGIN, false), ("device", LONG, CHARACTERS, true)],
    );
    add("post", "/auth/refresh", &json!({"refresh_token": "x"}), &[("refresh_token", LOGIN, LOGIN, false)]);
    let profile = json!({"display_name": "A", "email": "a@example.org"});
    add("patch", "/auth/me", &profile, &[("display_name", LONG, CHARACTERS, true), ("email", LONG, FORMAT, true)]);
    let change = json!({"current_password": "x", "new_password": "battery staple"});
    add(
        "put",
        "/auth/password",
        &change,
        &[("current_password", (422, "wrong"), (422, "wrong"), false), ("new_password", LONG, (422, "wrong"), false)],
    );
    add("post", "/friends/request", &json!({"username": "bob"}), &[("username", LONG, CHARACTERS, true)]);
    add("post", "/friends/request", &json!({"user_id": "{bob}"}), &[("user_id", FORMAT, FORMAT, true)]);
    let status = json!({"status": "accepted"});
    add("put", "/friends/{friendship_id}/status", &status, &[("status", UNKNOWN, UNKNOWN, false)]);
    let group = json!({"kind": "group", "name": "a group", "client_id": "x"});
    add(
        "post",
        "/chat-rooms",
        &group,
        &[("kind", UNKNOWN, UNKNOWN, false), ("name", LONG, CHARACTERS, false), ("client_id", LONG, CHARACTERS, true)],
    );
    let direct = json!({"kind": "direct", "user_id": "{bob}"});
    add("post", "/chat-rooms", &direct, &[("user_id", FORMAT, FORMAT, false)]);
    add("patch", "/chat-rooms/{room_id}", &json!({"name": "x"}), &[("name", LONG, CHARACTERS, false)]);
    let role = json!({"role": "admin"});
    add("put", "/chat-rooms/{room_id}/members/{user_id}/role", &role, &[("role", UNKNOWN, UNKNOWN, false)]);
    let message = json!({"body": "x", "client_id": "x"});
    add(
        "post",
        "/messages/{room_id}",
        &message,
        &[("body", LONG, CHARACTERS, false), ("client_id", LONG, CHARACTERS, true)],
    );
    add("patch", "/messages/{room_id}/{seq}", &json!({"body": "x"}), &[("body", LONG, CHARACTERS, false)]);
    fields
}

/// What is no text: numbers and lists, which `attacks_input` and `attacks_rooms` are about.
const OTHERS: [(&str, &str, &str); 4] = [
    ("post", "/chat-rooms", "member_ids"),
    ("post", "/chat-rooms/{room_id}/members", "user_ids"),
    ("post", "/messages/{room_id}", "reply_to"),
    ("put", "/chat-rooms/{room_id}/read", "seq"),
];

/// The names of what a body may hold, through references and alternatives.
fn names(document: &Value, schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(pointer) = schema["$ref"].as_str() {
        names(document, document.pointer(&pointer[1..]).unwrap(), found);
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        for schema in schema[several].as_array().into_iter().flatten() {
            names(document, schema, found);
        }
    }
    found.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
}

/// The people and things that the paths are about.
struct Stage {
    server: Server,
    ada: Person,
    bob: Person,
    room: String,
    seq: u64,
    friendship: String,
}

impl Stage {
    async fn set() -> Self {
        let server = Server::start(Store::Memory).await;
        let (ada, bob) = (server.named("ada").await, server.named("bob").await);
        let cat = server.named("cat").await;
        let room = server.group(&[&ada, &bob]).await;
        let seq = server.say(&ada, &room, "hi").await;
        let request = server.post(&cat, "/friends/request", json!({"user_id": ada.id})).await.expect(201);
        Self { server, ada, bob, room, seq, friendship: text(&request["id"]) }
    }

    fn fill(&self, template: &str) -> String {
        template
            .replace("{room_id}", &self.room)
            .replace("{user_id}", &self.bob.id)
            .replace("{seq}", &self.seq.to_string())
            .replace("{friendship_id}", &self.friendship)
    }

    async fn send(&self, field: &Field, value: &str) -> Answer {
        // By hand, for what is nested too deep to be a `Value`.
        let mut body = field.good.clone();
        body[field.name] = json!("@here@");
        let body = body.to_string().replace("{bob}", &self.bob.id).replace("\"@here@\"", value);
        let token = format!("Bearer {}", self.ada.token);
        let headers = [("content-type", "application/json"), ("authorization", token.as_str())];
        // Without a token where none is asked for: that is where anybody can send what they like.
        let headers =
            if field.path.starts_with("/auth/re") || field.path == "/auth/login" { &headers[..1] } else { &headers };
        let method = field.method.to_uppercase();
        self.server.raw(&method, &self.fill(field.path), headers, body).await
    }

    /// What nothing that was refused may change.
    async fn look(&self) -> [Value; 5] {
        let events = format!("/chat-rooms/{}/events?limit=100", self.room);
        let requests = "/friends/requests".to_owned();
        let mut seen = [const { Value::Null }; 5];
        let paths = ["/auth/me".to_owned(), "/chat-rooms".to_owned(), "/friends".to_owned(), requests, events];
        for (seen, path) in seen.iter_mut().zip(paths) {
            *seen = self.server.get(&self.ada, &path).await.expect(200);
        }
        seen
    }
}

#[track_caller]
fn refused(what: &str, answer: &Answer, field: &str, (status, code): Outcome) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
    assert!(answer.body.len() < 1_000, "{what}: what was sent does not come back");
    match status {
        422 => answer.invalid(&[(field, code)]),
        201 => {}
        _ => drop(answer.problem(status, code)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_every_body_is_known_here() {
    let server = Server::start(Store::Memory).await;
    let document = server.call(Method::GET, "/openapi.json", None, None).await.expect(200);
    let mut listed = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let mut found = BTreeSet::new();
            names(&document, &operation["requestBody"]["content"]["application/json"]["schema"], &mut found);
            listed.extend(found.into_iter().map(|name| (method.clone(), path.clone(), name)));
        }
    }
    let known: BTreeSet<_> = fields()
        .iter()
        .map(|field| (field.method, field.path, field.name))
        .chain(OTHERS)
        .map(|(method, path, name)| (method.to_owned(), path.to_owned(), name.to_owned()))
        .collect();
    assert_eq!(listed, known, "teach this file what is new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_of_another_type_or_without_end_is_malformed() {
    let stage = Stage::set().await;
    let before = stage.look().await;
    let arrays = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{}1{}", r#"{"x":"#.repeat(10_000), "}".repeat(10_000));
    // The last one closes the text, and gives the field twice.
    let values =
        ["1", "1e999", "true", "[]", "[\"x\"]", "{}", "{\"$ne\":null}", &arrays, &objects, "\"\\ud800\"", "\"x"];
    for field in fields() {
        for value in values {
            let what = format!("{} {} {}: {}", field.method, field.path, field.name, &value[..value.len().min(20)]);
            refused(&what, &stage.send(&field, value).await, field.name, (400, "malformed"));
        }
        let what = format!("{} {} {} twice", field.method, field.path, field.name);
        let twice = format!("\"x\",\"{}\":\"x\"", field.name);
        refused(&what, &stage.send(&field, &twice).await, field.name, (400, "malformed"));
        if !field.optional {
            let what = format!("{} {} {}: null", field.method, field.path, field.name);
            refused(&what, &stage.send(&field, "null").await, field.name, (400, "malformed"));
        }
    }
    assert_eq!(stage.look().await, before, "nothing came of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_is_too_long_or_holds_a_nul_is_named() {
    let stage = Stage::set().await;
    let before = stage.look().await;
    let long = json!("x".repeat(60_000)).to_string();
    for field in fields() {
        let what = format!("{} {} {}", field.method, field.path, field.name);
        refused(&format!("{what}, long"), &stage.send(&field, &long).await, field.name, field.long);
        let good = field.good[field.name].as_str().unwrap().replace("{bob}", &stage.bob.id);
        let nul = json!(format!("{good}\0{good}")).to_string();
        let answer = stage.send(&field, &nul).await;
        // The field that the password change finds wrong is the other one: the new password is a good one.
        let name = if field.name == "new_password" { "current_password" } else { field.name };
        refused(&format!("{what}, with a NUL"), &answer, name, field.nul);
    }
    assert_eq!(stage.look().await, before, "nothing came of it");
    // Up to the NUL it would have been a good one: nothing cuts it off there.
    for password in ["correct horse", "correct horse\0", "correct horse\0x"] {
        let login = json!({"login": "eve", "password": password});
        let answer = stage.server.call(Method::POST, "/auth/login", None, Some(&login)).await;
        answer.problem(401, "unauthenticated");
    }
    let whole = json!({"login": "eve", "password": "correct horse\0correct horse"});
    stage.server.call(Method::POST, "/auth/login", None, Some(&whole)).await.expect(200);
    // An emoji comes in the path.
    for (emoji, code) in [("%00", "characters"), ("x%00", "characters"), (&"x".repeat(5_000), "too_long")] {
        let path = format!("/messages/{}/{}/reactions/{emoji}", stage.room, stage.seq);
        let problem = stage.server.put(&stage.ada, &path, json!({})).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], "emoji", "{code}: {problem}");
    }
}
