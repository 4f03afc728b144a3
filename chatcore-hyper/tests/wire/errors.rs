//! Each error code of the contract's table, and each business rule, over HTTP.

use std::time::Duration;

use chatcore::service::RateLimit;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Person, Server, Store, on_every_store, text};

on_every_store!(
    malformed_requests,
    no_route_and_no_method,
    bodies_too_large_or_of_another_type,
    every_wrong_field_is_named_at_once,
    what_is_taken_is_named,
    rules_of_friendships,
    rules_of_rooms,
    friends_only_is_a_server_option,
    friends_only_covers_groups,
    rules_of_messages,
    outsiders_are_forbidden_everything,
    limits_say_when_to_come_again,
    unknown_fields_are_ignored,
    cors,
    tokens,
);

const NOBODY: &str = "01920000-0000-7000-8000-000000000001";

async fn malformed_requests(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let json_type = ("content-type", "application/json");
    for body in ["", "{", "[]", "null", r#"{"login":1,"password":"x"}"#, r#"{"login":"x"}"#] {
        server.raw("POST", "/auth/login", &[json_type], body).await.problem(400, "malformed");
    }
    // Serde would read the fields in their order from it.
    let token = format!("Bearer {}", ada.token);
    let headers = [json_type, ("authorization", token.as_str())];
    server.raw("PATCH", "/auth/me", &headers, r#" ["Ada", null]"#).await.problem(400, "malformed");
    for path in [
        "/users/x",
        "/users?ids=x",
        "/users?ids=",
        "/users",
        "/users?q=ab&ids=01920000-0000-7000-8000-000000000001",
        "/users?q=ab&q=cd",
        "/users?ids=01920000-0000-7000-8000-000000000001&limit=x",
        "/users?ids=01920000-0000-7000-8000-000000000001&cursor=x",
        "/friends?cursor=x",
        "/friends?limit=x",
        "/friends?limit=-1",
        "/chat-rooms/x",
        "/chat-rooms?cursor=AAAA",
        "/chat-rooms/67e55044-10b1-426f-9247-bb680e5fe0c8",
        "/messages/01920000-0000-7000-8000-000000000001?before=3&after=1",
        "/messages/01920000-0000-7000-8000-000000000001?around=x",
        "/messages/01920000-0000-7000-8000-000000000001/x",
        "/chat-rooms/01920000-0000-7000-8000-000000000001/events?before=3&after=1",
        "/users/%ff",
        "/users?q=%ff%ff",
    ] {
        server.get(&ada, path).await.problem(400, "malformed");
    }
    for (path, field) in [
        ("/friends?limit=0", "limit"),
        ("/friends?limit=101", "limit"),
        ("/friends?limit=99999999999999999999", "limit"),
        ("/messages/01920000-0000-7000-8000-000000000001?before=0", "before"),
        ("/messages/01920000-0000-7000-8000-000000000001?after=9007199254740992", "after"),
    ] {
        server.get(&ada, path).await.invalid(&[(field, "range")]);
    }
    server.get(&ada, "/friends/requests?direction=up").await.invalid(&[("direction", "unknown")]);
    server.get(&ada, "/users?q=a").await.invalid(&[("q", "too_short")]);
    server.post(&ada, "/chat-rooms", json!({"kind": "direct"})).await.problem(400, "malformed");
    server.post(&ada, "/chat-rooms", json!({"kind": "club"})).await.invalid(&[("kind", "unknown")]);
    server.post(&ada, "/friends/request", json!({})).await.problem(400, "malformed");
}

async fn no_route_and_no_method(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    for path in ["/nothing", "/users/x/y/z", "/auth/me/", "//auth/me", "/auth/../auth/me"] {
        server.get(&ada, path).await.problem(404, "not_found");
    }
    let answer = server.delete(&ada, "/auth/me").await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.headers["allow"], "GET, PATCH, OPTIONS");
    for path in ["/users/", "/chat-rooms/", "/messages/", "/ws/rooms/"] {
        let path = if path == "/ws/rooms/" { format!("{path}{NOBODY}/status") } else { format!("{path}{NOBODY}") };
        server.get(&ada, &path).await.problem(404, "not_found");
    }
}

async fn bodies_too_large_or_of_another_type(store: Store) {
    let server = Server::start(store).await;
    let large = format!(r#"{{"login":"{}","password":"x"}}"#, "x".repeat(70_000));
    let json_type = ("content-type", "application/json");
    server.raw("POST", "/auth/login", &[json_type], large).await.problem(413, "too_large");
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let answer = server.raw("POST", "/auth/login", &[("content-type", content_type)], "{}").await;
        answer.problem(415, "unsupported_media_type");
    }
    server.raw("POST", "/auth/login", &[], "{}").await.problem(415, "unsupported_media_type");
    // A parameter and another case are legal.
    let charset = ("content-type", "Application/JSON; charset=utf-8");
    server
        .raw("POST", "/auth/login", &[charset], r#"{"login":"x","password":"y"}"#)
        .await
        .problem(401, "unauthenticated");
    // Deep nesting is refused, not followed.
    let bomb = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    server.raw("POST", "/auth/login", &[json_type], bomb).await.problem(400, "malformed");
}

async fn every_wrong_field_is_named_at_once(store: Store) {
    let server = Server::start(store).await;
    let register = async |body: Value| server.call(Method::POST, "/auth/register", None, Some(&body)).await;
    let body = json!({"username": "1x", "email": "x", "password": "short", "display_name": " \n"});
    let wrong = [("username", "too_short"), ("email", "format"), ("password", "too_short"), ("display_name", "blank")];
    register(body).await.invalid(&wrong);
    let long = |n: usize| "x".repeat(n);
    let body = json!({"username": long(33), "email": format!("{}@example.org", long(250)), "password": long(129), "display_name": long(65)});
    let wrong =
        [("username", "too_long"), ("email", "too_long"), ("password", "too_long"), ("display_name", "too_long")];
    register(body).await.invalid(&wrong);
    let body = json!({"username": "1ada", "email": "", "password": "", "display_name": "a\u{0}b"});
    register(body).await.invalid(&[
        ("username", "format"),
        ("email", "blank"),
        ("password", "blank"),
        ("display_name", "characters"),
    ]);
    let largest =
        json!({"username": long(32), "email": "a@example.org", "password": long(128), "display_name": long(64)});
    register(largest).await.expect(201);
    let login = json!({"login": " ", "password": ""});
    let answer = server.call(Method::POST, "/auth/login", None, Some(&login)).await;
    answer.invalid(&[("login", "blank"), ("password", "blank")]);
    let ada = server.person().await;
    server
        .put(&ada, "/auth/password", json!({"current_password": "", "new_password": "x"}))
        .await
        .invalid(&[("new_password", "too_short"), ("current_password", "blank")]);
    server
        .put(&ada, "/auth/password", json!({"current_password": "wrong horse", "new_password": "a new password"}))
        .await
        .invalid(&[("current_password", "wrong")]);
    server
        .patch(&ada, "/auth/me", json!({"email": "x", "display_name": ""}))
        .await
        .invalid(&[("display_name", "blank"), ("email", "format")]);
    let room = server.group(&[&ada]).await;
    let body = json!({"body": "x".repeat(4001), "client_id": "x".repeat(65), "reply_to": 0});
    let wrong = [("body", "too_long"), ("client_id", "too_long"), ("reply_to", "range")];
    server.post(&ada, &format!("/messages/{room}"), body).await.invalid(&wrong);
    server.post(&ada, &format!("/messages/{room}"), json!({"body": "a\u{0}"})).await.invalid(&[("body", "characters")]);
    server
        .post(&ada, &format!("/messages/{room}"), json!({"body": "x", "reply_to": 1}))
        .await
        .invalid(&[("reply_to", "unknown")]);
    server
        .post(&ada, &format!("/messages/{room}"), json!({"body": "x".repeat(4000), "client_id": "x".repeat(64)}))
        .await
        .expect(201);
    let group = json!({"kind": "group", "name": "", "client_id": "é", "member_ids": [NOBODY]});
    server.post(&ada, "/chat-rooms", group).await.invalid(&[
        ("name", "blank"),
        ("client_id", "characters"),
        ("member_ids[0]", "unknown"),
    ]);
    server
        .patch(&ada, &format!("/chat-rooms/{room}"), json!({"name": "x".repeat(81)}))
        .await
        .invalid(&[("name", "too_long")]);
    server.put(&ada, &format!("/chat-rooms/{room}/read"), json!({"seq": 99})).await.invalid(&[("seq", "range")]);
    server
        .put(&ada, &format!("/chat-rooms/{room}/members/{}/role", ada.id), json!({"role": "king"}))
        .await
        .invalid(&[("role", "unknown")]);
}

async fn what_is_taken_is_named(store: Store) {
    let server = Server::start(store).await;
    let ada = server.named("ada").await;
    server.named("bob").await;
    let body = json!({"username": "ADA", "email": "Bob@Example.org", "password": "correct horse"});
    let problem = server.call(Method::POST, "/auth/register", None, Some(&body)).await.problem(409, "conflict");
    let fields: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| (text(&e["field"]), text(&e["code"]))).collect();
    assert_eq!(fields, [("username".into(), "taken".into()), ("email".into(), "taken".into())]);
    let problem = server.patch(&ada, "/auth/me", json!({"email": "bob@example.org"})).await.problem(409, "conflict");
    assert_eq!(problem["errors"][0]["field"], "email");
}

async fn rules_of_friendships(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    server.post(&ada, "/friends/request", json!({"user_id": ada.id})).await.rule("self");
    server.put(&ada, &format!("/users/{}/block", ada.id), json!({})).await.rule("self");
    server.post(&ada, "/friends/request", json!({"user_id": NOBODY})).await.problem(404, "not_found");
    let request = server.post(&ada, "/friends/request", json!({"user_id": bob.id})).await.expect(201);
    let id = text(&request["id"]);
    let again = server.post(&ada, "/friends/request", json!({"username": bob.name})).await.expect(200);
    assert_eq!((&again["id"], &again["status"]), (&request["id"], &json!("pending")));
    let path = format!("/friends/{id}/status");
    server.put(&ada, &path, json!({"status": "accepted"})).await.rule("own_request");
    server.put(&eve, &path, json!({"status": "accepted"})).await.problem(403, "forbidden");
    server.put(&bob, &path, json!({"status": "maybe"})).await.invalid(&[("status", "unknown")]);
    server.delete(&bob, &format!("/friends/{id}")).await.rule("not_friends");
    server.put(&bob, &path, json!({"status": "rejected"})).await.expect(200);
    server.put(&bob, &path, json!({"status": "rejected"})).await.expect(200);
    server.put(&bob, &path, json!({"status": "accepted"})).await.rule("not_pending");
    // Refused may be asked again by either, and the row stays the same.
    let asked = server.post(&bob, "/friends/request", json!({"user_id": ada.id})).await.expect(201);
    assert_eq!((&asked["id"], &asked["requester"]["id"]), (&json!(id), &json!(bob.id)));
    server.put(&ada, &path, json!({"status": "accepted"})).await.expect(200);
    server.post(&bob, "/friends/request", json!({"user_id": ada.id})).await.rule("already_friends");
    server.delete(&eve, &format!("/friends/{id}")).await.problem(403, "forbidden");
    server.delete(&ada, &format!("/friends/{id}")).await.expect(204);
    server.delete(&ada, &format!("/friends/{id}")).await.problem(404, "not_found");
    for _ in 0..2 {
        server.put(&bob, &format!("/users/{}/block", ada.id), json!({})).await.expect(204);
    }
    server.post(&ada, "/friends/request", json!({"user_id": bob.id})).await.problem(403, "forbidden");
    server.post(&ada, "/chat-rooms", json!({"kind": "direct", "user_id": bob.id})).await.problem(403, "forbidden");
    let blocked = server.get(&bob, "/users/blocked").await.expect(200);
    assert_eq!(blocked["items"][0]["id"], ada.id.as_str());
    for _ in 0..2 {
        server.delete(&bob, &format!("/users/{}/block", ada.id)).await.expect(204);
    }
    server.post(&ada, "/friends/request", json!({"user_id": bob.id})).await.expect(201);
}

async fn rules_of_rooms(store: Store) {
    let server = Server::with(store, |core, _| core.max_members = 3).await;
    let (ada, bob, eve, joe) =
        (server.person().await, server.person().await, server.person().await, server.person().await);
    server.post(&ada, "/chat-rooms", json!({"kind": "direct", "user_id": ada.id})).await.rule("self");
    let direct = server.direct(&ada, &bob).await;
    assert_eq!(server.direct(&bob, &ada).await, direct);
    server.patch(&ada, &format!("/chat-rooms/{direct}"), json!({"name": "x"})).await.rule("direct_room");
    server
        .post(&ada, &format!("/chat-rooms/{direct}/members"), json!({"user_ids": [eve.id]}))
        .await
        .rule("direct_room");
    server.delete(&ada, &format!("/chat-rooms/{direct}/members/{}", ada.id)).await.rule("direct_room");
    let room = server.group(&[&ada, &bob]).await;
    let members = format!("/chat-rooms/{room}/members");
    // All or nothing: one unknown keeps the other out.
    let answer = server.post(&ada, &members, json!({"user_ids": [eve.id, NOBODY, "x"]})).await;
    answer.invalid(&[("user_ids[2]", "format")]);
    server.post(&ada, &members, json!({"user_ids": [eve.id, NOBODY]})).await.invalid(&[("user_ids[1]", "unknown")]);
    server.put(&joe, &format!("/users/{}/block", ada.id), json!({})).await.expect(204);
    server.post(&ada, &members, json!({"user_ids": [joe.id]})).await.invalid(&[("user_ids[0]", "not_allowed")]);
    server.delete(&joe, &format!("/users/{}/block", ada.id)).await.expect(204);
    server.post(&ada, &members, json!({"user_ids": [eve.id, joe.id]})).await.rule("full");
    let added = server.post(&ada, &members, json!({"user_ids": [eve.id, bob.id]})).await.expect(200);
    assert_eq!(added["member_count"], 3);
    server.post(&bob, &members, json!({"user_ids": [joe.id]})).await.problem(403, "forbidden");
    server.patch(&bob, &format!("/chat-rooms/{room}"), json!({"name": "x"})).await.problem(403, "forbidden");
    server.delete(&bob, &format!("{members}/{}", eve.id)).await.problem(403, "forbidden");
    server.put(&bob, &format!("{members}/{}/role", bob.id), json!({"role": "owner"})).await.problem(403, "forbidden");
    server.put(&ada, &format!("{members}/{}/role", joe.id), json!({"role": "admin"})).await.problem(404, "not_found");
    server.delete(&ada, &format!("{members}/{}", ada.id)).await.rule("last_owner");
    server.put(&ada, &format!("{members}/{}/role", ada.id), json!({"role": "member"})).await.rule("last_owner");
    server.put(&ada, &format!("{members}/{}/role", bob.id), json!({"role": "admin"})).await.expect(200);
    server.delete(&bob, &format!("{members}/{}", ada.id)).await.problem(403, "forbidden");
    for _ in 0..2 {
        server.delete(&bob, &format!("{members}/{}", eve.id)).await.expect(204);
    }
    server.put(&ada, &format!("{members}/{}/role", bob.id), json!({"role": "owner"})).await.expect(200);
    server.delete(&ada, &format!("{members}/{}", ada.id)).await.expect(204);
    server.delete(&ada, &format!("{members}/{}", ada.id)).await.expect(204);
    server.get(&ada, &format!("/chat-rooms/{room}")).await.problem(403, "forbidden");
}

async fn friends_only_is_a_server_option(store: Store) {
    let server = Server::with(store, |core, _| core.friends_only = true).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let body = json!({"kind": "direct", "user_id": bob.id});
    server.post(&ada, "/chat-rooms", body.clone()).await.rule("not_friends");
    let request = server.post(&ada, "/friends/request", json!({"user_id": bob.id})).await.expect(201);
    server.post(&ada, "/chat-rooms", body.clone()).await.rule("not_friends");
    let path = format!("/friends/{}/status", text(&request["id"]));
    server.put(&bob, &path, json!({"status": "accepted"})).await.expect(200);
    server.post(&ada, "/chat-rooms", body.clone()).await.expect(201);
    // What was opened stays open when the friendship ends.
    server.delete(&bob, &format!("/friends/{}", text(&request["id"]))).await.expect(204);
    server.post(&ada, "/chat-rooms", body).await.expect(200);
}

/// Nor does one add to a group whom one could not write to otherwise: a group of two is a direct room.
async fn friends_only_covers_groups(store: Store) {
    let server = Server::with(store, |core, _| core.friends_only = true).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    befriend(&server, &ada, &bob).await;
    let group = |members: &[&str]| json!({"kind": "group", "name": "a group", "member_ids": members});
    server.post(&ada, "/chat-rooms", group(&[&eve.id])).await.invalid(&[("member_ids[0]", "not_allowed")]);
    let mixed = group(&[&ada.id, &bob.id, &eve.id]);
    server.post(&ada, "/chat-rooms", mixed).await.invalid(&[("member_ids[2]", "not_allowed")]);
    assert_eq!(server.get(&eve, "/chat-rooms").await.expect(200)["items"], json!([]));
    let room = text(&server.post(&ada, "/chat-rooms", group(&[&ada.id, &bob.id])).await.expect(201)["id"]);
    let members = format!("/chat-rooms/{room}/members");
    let add = |ids: &[&str]| json!({"user_ids": ids});
    server.post(&ada, &members, add(&[&bob.id, &eve.id])).await.invalid(&[("user_ids[1]", "not_allowed")]);
    // A request that waits is no friendship, and it is the caller's friends who count, not those of other members.
    let request = server.post(&ada, "/friends/request", json!({"user_id": eve.id})).await.expect(201);
    server.post(&ada, &members, add(&[&eve.id])).await.invalid(&[("user_ids[0]", "not_allowed")]);
    let admin = json!({"role": "admin"});
    server.put(&ada, &format!("{members}/{}/role", bob.id), admin).await.expect(200);
    server
        .put(&eve, &format!("/friends/{}/status", text(&request["id"])), json!({"status": "accepted"}))
        .await
        .expect(200);
    server.post(&bob, &members, add(&[&eve.id])).await.invalid(&[("user_ids[0]", "not_allowed")]);
    server.post(&ada, &members, add(&[&eve.id])).await.expect(200);
    // Who is in stays in when the friendship ends.
    server.delete(&eve, &format!("/friends/{}", text(&request["id"]))).await.expect(204);
    server.say(&eve, &room, "still here").await;
}

async fn befriend(server: &Server, one: &Person, other: &Person) {
    let request = server.post(one, "/friends/request", json!({"user_id": other.id})).await.expect(201);
    let path = format!("/friends/{}/status", text(&request["id"]));
    server.put(other, &path, json!({"status": "accepted"})).await.expect(200);
}

async fn rules_of_messages(store: Store) {
    let server = Server::with(store, |core, _| core.max_reactions = 2).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.group(&[&ada, &bob]).await;
    let seq = server.say(&bob, &room, "hi").await;
    let path = format!("/messages/{room}/{seq}");
    server.patch(&ada, &path, json!({"body": "x"})).await.problem(403, "forbidden");
    server.patch(&bob, &format!("/messages/{room}/1"), json!({"body": "x"})).await.problem(404, "not_found");
    server.patch(&bob, &format!("/messages/{room}/0"), json!({"body": "x"})).await.invalid(&[("seq", "range")]);
    for emoji in ["%F0%9F%91%8D", "%F0%9F%8E%89"] {
        for _ in 0..2 {
            server.put(&ada, &format!("{path}/reactions/{emoji}"), json!({})).await.expect(204);
        }
    }
    server.put(&ada, &format!("{path}/reactions/x"), json!({})).await.rule("too_many_reactions");
    server.put(&ada, &format!("{path}/reactions/xy"), json!({})).await.invalid(&[("emoji", "format")]);
    server.put(&ada, &format!("{path}/reactions/%20"), json!({})).await.invalid(&[("emoji", "characters")]);
    server.put(&ada, &format!("{path}/reactions/%ff"), json!({})).await.problem(400, "malformed");
    let who = server.get(&bob, &format!("{path}/reactions/%F0%9F%91%8D")).await.expect(200);
    assert_eq!(who["items"][0]["id"], ada.id.as_str());
    server.delete(&ada, &format!("{path}/reactions/x")).await.expect(204);
    // The owner of the group deletes it, its sender does not edit it any more.
    for _ in 0..2 {
        server.delete(&ada, &path).await.expect(204);
    }
    server.patch(&bob, &path, json!({"body": "x"})).await.rule("deleted");
    server.put(&bob, &format!("{path}/reactions/x"), json!({})).await.rule("deleted");
    // A tombstone may be answered.
    let reply =
        server.post(&ada, &format!("/messages/{room}"), json!({"body": "gone?", "reply_to": seq})).await.expect(201);
    assert_eq!(reply["reply_to"], seq);
    let owners = server.say(&ada, &room, "mine").await;
    server.delete(&bob, &format!("/messages/{room}/{owners}")).await.problem(403, "forbidden");
}

async fn outsiders_are_forbidden_everything(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let room = server.group(&[&ada, &bob]).await;
    let seq = server.say(&ada, &room, "secret").await;
    for path in [
        format!("/chat-rooms/{room}"),
        format!("/chat-rooms/{room}/members"),
        format!("/chat-rooms/{room}/events"),
        format!("/messages/{room}"),
        format!("/messages/{room}/{seq}"),
        format!("/messages/{room}/{seq}/reactions/x"),
        format!("/ws/rooms/{room}/status"),
    ] {
        server.get(&eve, &path).await.problem(403, "forbidden");
        server.call(Method::GET, &path, None, None).await.problem(401, "unauthenticated");
    }
    server.post(&eve, &format!("/messages/{room}"), json!({"body": "x"})).await.problem(403, "forbidden");
    server.patch(&eve, &format!("/messages/{room}/{seq}"), json!({"body": "x"})).await.problem(403, "forbidden");
    server.delete(&eve, &format!("/messages/{room}/{seq}")).await.problem(403, "forbidden");
    server.put(&eve, &format!("/messages/{room}/{seq}/reactions/x"), json!({})).await.problem(403, "forbidden");
    server.delete(&eve, &format!("/messages/{room}/{seq}/reactions/x")).await.problem(403, "forbidden");
    server.put(&eve, &format!("/chat-rooms/{room}/read"), json!({"seq": 1})).await.problem(403, "forbidden");
    server.patch(&eve, &format!("/chat-rooms/{room}"), json!({"name": "x"})).await.problem(403, "forbidden");
    server
        .post(&eve, &format!("/chat-rooms/{room}/members"), json!({"user_ids": [eve.id]}))
        .await
        .problem(403, "forbidden");
    server.delete(&eve, &format!("/chat-rooms/{room}/members/{}", bob.id)).await.problem(403, "forbidden");
    server
        .put(&eve, &format!("/chat-rooms/{room}/members/{}/role", eve.id), json!({"role": "owner"}))
        .await
        .problem(403, "forbidden");
}

async fn limits_say_when_to_come_again(store: Store) {
    let server = Server::with(store, |core, _| {
        // Half of them under each name of an account.
        core.logins_per_account = Some(RateLimit::new(6, Duration::from_secs(300)));
        core.work_per_user = Some(RateLimit::new(5, Duration::from_secs(300)));
    })
    .await;
    let ada = server.named("ada").await;
    for _ in 0..5 {
        server.get(&ada, "/auth/me").await.expect(200);
    }
    let limited = server.get(&ada, "/auth/me").await;
    limited.problem(429, "rate_limited");
    assert_eq!(limited.json()["budget"], "work");
    assert!(limited.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    // By account, whichever way it is spelled, and whether it exists or not.
    for name in ["ADA", "nobody"] {
        let login = json!({"login": name, "password": "wrong horse"});
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(server.call(Method::POST, "/auth/login", None, Some(&login)).await.status.as_u16());
        }
        assert_eq!(answers.iter().filter(|status| **status == 429).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| [401, 429].contains(status)));
    }
}

async fn unknown_fields_are_ignored(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let body = json!({"display_name": "Countess", "from_the_future": {"x": 1}});
    assert_eq!(server.patch(&ada, "/auth/me", body).await.expect(200)["display_name"], "Countess");
    server.get(&ada, "/friends?from=the&future").await.expect(200);
}

async fn cors(store: Store) {
    let list = chatcore_hyper::AllowedOrigins::List(vec!["https://app.example".into()]);
    let server = Server::with(store, |_, http| http.origins = list).await;
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization"),
    ];
    let answer = server.raw("OPTIONS", "/auth/me", &preflight, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://app.example");
    assert_eq!(answer.headers["access-control-allow-headers"], "authorization, content-type");
    assert!(answer.headers["access-control-allow-methods"].to_str().unwrap().contains("PATCH"));
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    let answer = server.raw("GET", "/healthz", &[("origin", "https://app.example")], "").await;
    assert_eq!(answer.headers["access-control-expose-headers"], "Retry-After, X-Request-Id");
    let foreign = server.raw("GET", "/healthz", &[("origin", "https://other.example")], "").await;
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
}

async fn tokens(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let refresh = async |token: &str| {
        let body = json!({"refresh_token": token});
        server.call(Method::POST, "/auth/refresh", None, Some(&body)).await
    };
    let missing = server.call(Method::GET, "/auth/me", None, None).await;
    missing.problem(401, "unauthenticated");
    assert_eq!(missing.headers["www-authenticate"], "Bearer");
    let (head, rest) = ada.token.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    // {"alg":"none","typ":"JWT","kid":"1"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIiwia2lkIjoiMSJ9";
    for bad in [
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.x"),
        "x".into(),
    ] {
        server.call(Method::GET, "/auth/me", Some(&bad), None).await.problem(401, "unauthenticated");
    }
    // Two tabs refresh with the same token: both go on.
    let one = refresh(&ada.refresh).await.expect(200);
    let two = refresh(&ada.refresh).await.expect(200);
    let (one, two) = (text(&one["refresh_token"]), text(&two["refresh_token"]));
    let three = text(&refresh(&one).await.expect(200)["refresh_token"]);
    let four = refresh(&two).await.expect(200);
    // The first is older than the one used last: whoever has it has stolen it, or was stolen from.
    refresh(&ada.refresh).await.problem(401, "unauthenticated");
    refresh(&three).await.problem(401, "unauthenticated");
    let token = text(&four["access_token"]);
    server.call(Method::GET, "/auth/me", Some(&token), None).await.problem(401, "unauthenticated");
    refresh("x").await.problem(401, "unauthenticated");
    // A password change ends the other sessions, and not one's own.
    let (bob, other) = (server.person().await, 1);
    let elsewhere = server.login(&bob.name).await;
    assert_eq!(server.get(&bob, "/auth/sessions").await.expect(200)["items"].as_array().unwrap().len(), other + 1);
    server
        .put(&bob, "/auth/password", json!({"current_password": "correct horse", "new_password": "battery staple"}))
        .await
        .expect(204);
    server.get(&elsewhere, "/auth/me").await.problem(401, "unauthenticated");
    server.get(&bob, "/auth/me").await.expect(200);
    let login = json!({"login": bob.name, "password": "correct horse"});
    server.call(Method::POST, "/auth/login", None, Some(&login)).await.problem(401, "unauthenticated");
}
