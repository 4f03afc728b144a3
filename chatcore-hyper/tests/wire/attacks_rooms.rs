//! Doing to a room, or to somebody, what one may not: every call and every frame that there is, and every role.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Person, Server, Store, on_every_store, text};

on_every_store!(
    every_call_that_takes_a_room_asks_who_calls,
    every_frame_that_takes_a_room_asks_who_sends,
    nobody_takes_a_role_or_what_goes_with_it,
    what_is_between_others_is_theirs,
);

const NOWHERE: &str = "01920000-0000-7000-8000-000000000001";

/// A call of the API document, with the path's parameters filled in.
struct Listed {
    method: Method,
    path: String,
    body: Option<Value>,
}

/// Every call of the server's own API document whose path has that parameter; a call that is added later is among them.
async fn calls(server: &Server, parameter: &str, fill: &[(&str, &str)]) -> Vec<Listed> {
    let document = server.call(Method::GET, "/openapi.json", None, None).await.expect(200);
    let mut calls = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        if !template.contains(&format!("{{{parameter}}}")) {
            continue;
        }
        let path =
            fill.iter().fold(template.clone(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        for name in template.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            assert!(fill.iter().any(|(known, _)| *known == name), "teach this test the parameters of {template}");
        }
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let body = schema.as_str().map(|pointer| body(document.pointer(&pointer[1..]).unwrap()));
            calls.push(Listed { method, path: path.clone(), body });
        }
    }
    calls
}

/// A good body of that schema: what it requires.
fn body(schema: &Value) -> Value {
    let required = schema["required"].as_array().into_iter().flatten();
    let fields = required.map(|name| {
        let name = name.as_str().unwrap();
        let value = match name {
            "body" | "name" => json!("pwned"),
            "seq" => json!(1),
            "role" => json!("admin"),
            "status" => json!("accepted"),
            "user_ids" => json!([NOWHERE]),
            _ => panic!("teach this test what goes into {name}"),
        };
        (name.to_owned(), value)
    });
    Value::Object(fields.collect())
}

/// A call, or the handshake that stands there. Answers the status and the code of the problem.
async fn ask(server: &Server, who: Option<&Person>, call: &Listed) -> (u16, String) {
    let token = who.map(|who| format!("Bearer {}", who.token));
    let answer = if call.path.starts_with("/ws/chat") {
        let headers: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        match server.handshake(&call.path, &headers).await {
            Err(answer) => answer,
            Ok(_) => return (101, String::new()),
        }
    } else {
        server.call(call.method.clone(), &call.path, who.map(|who| who.token.as_str()), call.body.as_ref()).await
    };
    let code =
        serde_json::from_slice::<Value>(&answer.body).ok().and_then(|body| body["code"].as_str().map(str::to_owned));
    (answer.status.as_u16(), code.unwrap_or_default())
}

/// A room as its owner sees it, less what reading changes.
async fn look(server: &Server, owner: &Person, room: &str) -> (Value, Value) {
    let events = server.get(owner, &format!("/chat-rooms/{room}/events?limit=100")).await.expect(200);
    (events, server.get(owner, &format!("/chat-rooms/{room}")).await.expect(200))
}

async fn every_call_that_takes_a_room_asks_who_calls(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let (eve, rob) = (server.person().await, server.person().await);
    let group = server.group(&[&ada, &bob, &rob]).await;
    server.delete(&ada, &format!("/chat-rooms/{group}/members/{}", rob.id)).await.expect(204);
    let direct = server.direct(&ada, &bob).await;
    for room in [&group, &direct] {
        let seq = server.say(&ada, room, "secret").await.to_string();
        let before = look(&server, &ada, room).await;
        let fill = [("room_id", room.as_str()), ("seq", &seq), ("user_id", &bob.id), ("emoji", "x")];
        let listed = calls(&server, "room_id", &fill).await;
        assert!(listed.len() >= 17, "they are read from the document: {}", listed.len());
        for call in &listed {
            let what = format!("{} {}", call.method, call.path);
            for who in [&eve, &rob] {
                assert_eq!(ask(&server, Some(who), call).await, (403, "forbidden".into()), "{what}");
            }
            assert_eq!(ask(&server, None, call).await, (401, "unauthenticated".into()), "{what}");
        }
        assert_eq!(look(&server, &ada, room).await, before, "nothing has changed");
    }
    let fill = [("room_id", NOWHERE), ("seq", "1"), ("user_id", &bob.id), ("emoji", "x")];
    for call in calls(&server, "room_id", &fill).await {
        assert_eq!(ask(&server, Some(&eve), &call).await, (404, "not_found".into()), "{} {}", call.method, call.path);
    }
}

/// The frames that name a room, from the protocol's own table; a frame that is added later is among them.
fn frames(room: &str, seq: u64) -> Vec<Value> {
    let protocol = include_str!("../../../docs/protocol.md");
    let frames = protocol.lines().filter_map(|line| line.strip_prefix("| `{\"type\":\""));
    let frames = frames.filter(|rest| rest.contains("\"room\"") || rest.contains("\"rooms\""));
    let frames = frames.map(|rest| match rest.split('"').next().unwrap() {
        kind @ "message.send" => json!({"type": kind, "room": room, "body": "pwned"}),
        kind @ "message.edit" => json!({"type": kind, "room": room, "seq": seq, "body": "pwned"}),
        kind @ ("message.delete" | "read") => json!({"type": kind, "room": room, "seq": seq}),
        kind @ ("reaction.add" | "reaction.remove") => json!({"type": kind, "room": room, "seq": seq, "emoji": "x"}),
        kind @ "typing" => json!({"type": kind, "room": room, "on": true}),
        kind @ "resume" => json!({"type": kind, "rooms": {room: 0}}),
        kind => panic!("teach this test the frame {kind}"),
    });
    frames.collect()
}

async fn every_frame_that_takes_a_room_asks_who_sends(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let (eve, rob) = (server.person().await, server.person().await);
    let room = server.group(&[&ada, &bob, &rob]).await;
    server.delete(&ada, &format!("/chat-rooms/{room}/members/{}", rob.id)).await.expect(204);
    let own = server.group(&[&eve, &rob]).await;
    let seq = server.say(&ada, &room, "secret").await;
    let before = look(&server, &ada, &room).await;
    let mut listener = server.started(&ada, json!({})).await;
    let known = frames(&room, seq);
    assert!(known.len() >= 8, "they are read from the protocol: {}", known.len());
    for (mut frame, n) in known.into_iter().zip(0..) {
        frame["id"] = n.to_string().into();
        for who in [&eve, &rob] {
            let mut socket = server.socket(who, "/ws").await;
            socket.send(frame.clone()).await;
            if frame["type"] == "resume" {
                assert_eq!(socket.ack(&n.to_string()).await["rooms"][&room], json!({"code": "forbidden"}));
                server.say(&ada, &room, "not for them").await;
            } else {
                socket.error(&n.to_string(), "forbidden").await;
                // A socket of another room does not reach this one either.
                let mut beside = server.socket(who, &format!("/ws/chat/{own}")).await;
                beside.send(frame.clone()).await;
                assert_eq!(beside.error(&n.to_string(), "invalid").await["errors"][0]["code"], "not_allowed");
            }
            assert!(!socket.has(|frame| frame["room"] == room.as_str() && frame["type"] != "error").await);
        }
    }
    assert!(!listener.has(|frame| frame["signal"] == "typing" || frame["signal"] == "read").await);
    let (events, _) = look(&server, &ada, &room).await;
    let (before, said) = (before.0["items"].as_array().unwrap().len(), events["items"].as_array().unwrap());
    assert!(said[before..].iter().all(|event| event["actor"] == ada.id.as_str()), "{said:?}");
}

async fn nobody_takes_a_role_or_what_goes_with_it(store: Store) {
    let server = Server::start(store).await;
    let mut people = Vec::new();
    for _ in 0..8 {
        people.push(server.person().await);
    }
    let [owner, admin, member, removed, outsider, other_admin, other, new] = &people[..] else { panic!() };
    for (actor, allowed) in [(owner, 3), (admin, 2), (member, 1), (removed, 0), (outsider, 0)] {
        let room = server.group(&[owner, admin, member, removed, other_admin, other]).await;
        let path = format!("/chat-rooms/{room}");
        let member_path = |who: &Person| format!("{path}/members/{}", who.id);
        for who in [admin, other_admin] {
            server.put(owner, &format!("{}/role", member_path(who)), json!({"role": "admin"})).await.expect(200);
        }
        server.delete(owner, &member_path(removed)).await.expect(204);
        let seq = server.say(owner, &room, "the owner's").await;
        let message = format!("/messages/{room}/{seq}");
        let before = look(&server, owner, &room).await;
        let role = |who: &Person| format!("{}/role", member_path(who));
        // From whom on: 3 an owner, 2 an admin, 1 a member, 4 the sender (who is the owner here).
        let attempts = [
            (3, Method::PUT, role(actor), json!({"role": "owner"})),
            (3, Method::PUT, role(outsider), json!({"role": "owner"})),
            (3, Method::PUT, role(other), json!({"role": "admin"})),
            (3, Method::PUT, role(other_admin), json!({"role": "member"})),
            (3, Method::PUT, role(owner), json!({"role": "member"})),
            (2, Method::PATCH, path.clone(), json!({"name": "renamed"})),
            (2, Method::POST, format!("{path}/members"), json!({"user_ids": [new.id]})),
            (3, Method::DELETE, member_path(owner), json!({})),
            (3, Method::DELETE, member_path(other_admin), json!({})),
            (2, Method::DELETE, member_path(other), json!({})),
            (3, Method::PATCH, message.clone(), json!({"body": "pwned"})),
            (2, Method::DELETE, message.clone(), json!({})),
        ];
        for (least, method, path, body) in attempts {
            // Once an owner has made an admin of them, only an owner removes them: another group each time.
            let answer = server.call(method.clone(), &path, Some(&actor.token), Some(&body)).await;
            let status = answer.status.as_u16();
            if allowed < least {
                assert_eq!(status, 403, "{} {method} {path} {body}", actor.name);
                answer.problem(403, "forbidden");
            } else {
                // What an owner may not do either is a rule: to leave the room without one.
                assert!([200, 204, 404, 409].contains(&status), "{} {method} {path} {body}: {answer:?}", actor.name);
            }
        }
        if allowed < 2 {
            assert_eq!(look(&server, owner, &room).await, before, "{}: nothing has changed", actor.name);
        }
        let members = server.get(owner, &format!("{path}/members")).await.expect(200);
        let owners = members["items"].as_array().unwrap().iter().filter(|member| member["role"] == "owner");
        assert!(owners.map(|member| text(&member["user"]["id"])).eq([owner.id.clone()]), "{}", actor.name);
        // Nobody makes themselves a member either, or somebody who left an owner.
        let add = json!({"user_ids": [outsider.id]});
        server.post(outsider, &format!("{path}/members"), add).await.problem(403, "forbidden");
    }
}

async fn what_is_between_others_is_theirs(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let sessions = server.get(&ada, "/auth/sessions").await.expect(200);
    let session = text(&sessions["items"][0]["id"]);
    server.delete(&eve, &format!("/auth/sessions/{session}")).await.problem(404, "not_found");
    let eves = server.get(&eve, "/auth/sessions").await.expect(200);
    assert!(!eves.to_string().contains(&session));
    server.get(&ada, "/auth/me").await.expect(200);
    let request = server.post(&ada, "/friends/request", json!({"user_id": bob.id})).await.expect(201);
    let friendship = format!("/friends/{}", text(&request["id"]));
    for status in ["accepted", "rejected"] {
        let answer = server.put(&eve, &format!("{friendship}/status"), json!({"status": status})).await;
        answer.problem(403, "forbidden");
    }
    server.delete(&eve, &friendship).await.problem(403, "forbidden");
    server.put(&bob, &format!("{friendship}/status"), json!({"status": "accepted"})).await.expect(200);
    server.delete(&eve, &friendship).await.problem(403, "forbidden");
    for list in ["/friends", "/friends/requests", "/friends/requests?direction=outgoing", "/users/blocked"] {
        assert_eq!(server.get(&eve, list).await.expect(200)["items"], json!([]), "{list}");
    }
    // Somebody else's cursor names a place in a list, not whose list it is.
    server.login(&ada.name).await;
    let page = server.get(&ada, "/auth/sessions?limit=1").await.expect(200);
    let cursor = text(&page["next"]);
    let eves = server.get(&eve, &format!("/auth/sessions?cursor={cursor}")).await.expect(200);
    assert!(!eves.to_string().contains(&session), "{eves}");
    assert_eq!(server.get(&ada, "/friends").await.expect(200)["items"][0]["id"], request["id"]);
}

/// An id that names something of another kind names nothing; one that is not spelled as ids are is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_another_kind_and_other_spellings() {
    let server = Server::start(Store::Memory).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let session = text(&server.get(&ada, "/auth/sessions").await.expect(200)["items"][0]["id"]);
    let request = server.post(&ada, "/friends/request", json!({"user_id": bob.id})).await.expect(201);
    let friendship = text(&request["id"]);
    let token = format!("Bearer {}", ada.token);
    let kinds = [("room_id", &room), ("friendship_id", &friendship), ("id", &session)];
    for (parameter, right) in kinds {
        for wrong in [&ada.id, &bob.id, &room, &session, &friendship] {
            // A user's id stands in `/users/{id}`, a session's in `/auth/sessions/{id}`.
            let fill = [(parameter, wrong.as_str()), ("seq", "3"), ("user_id", &bob.id), ("emoji", "x")];
            for call in calls(&server, parameter, &fill).await {
                let right =
                    if call.path.starts_with("/users") { [&ada.id, &bob.id].contains(&wrong) } else { wrong == right };
                if !right {
                    let answer = ask(&server, Some(&ada), &call).await;
                    assert_eq!(answer, (404, "not_found".into()), "{} {}", call.method, call.path);
                }
            }
        }
    }
    let upper = "0192ABCD-0000-7000-8000-000000000001";
    for wrong in [
        upper,
        "{01920000-0000-7000-8000-000000000001}",
        "%7B01920000-0000-7000-8000-000000000001%7D",
        "urn:uuid:01920000-0000-7000-8000-000000000001",
        "01920000000070008000000000000001",
        "01920000-0000-7000-8000-00000000000",
        "01920000-0000-7000-8000-0000000000011",
        "67e55044-10b1-426f-9247-bb680e5fe0c8",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "01920000-0000-7000-8000-000000000001%20",
        "01920000-0000-7000-8000-000000000001%0a",
        "01920000-0000-7000-8000-000000000001%00",
        "01920000-0000-7000-8000-00000000000%D9%A1",
        "1",
        "-1",
        "null",
        "%27%20OR%201=1",
    ] {
        for parameter in ["room_id", "friendship_id", "id", "user_id"] {
            let fill =
                [("seq", "3"), ("emoji", "x"), (parameter, wrong), ("room_id", room.as_str()), ("user_id", &bob.id)];
            for call in calls(&server, parameter, &fill).await {
                let uri: http::Uri = match call.path.parse() {
                    Ok(uri) => uri,
                    // A client library sends no such path; raw ones are in `attacks_input`.
                    Err(_) => continue,
                };
                let answer = ask(&server, Some(&ada), &call).await;
                assert_eq!(answer, (400, "malformed".into()), "{} {uri}", call.method);
            }
        }
        let wrong = percent_encoding::percent_decode_str(wrong).decode_utf8().unwrap().into_owned();
        let add = json!({"kind": "group", "name": "x", "member_ids": [bob.id, wrong]});
        server.post(&ada, "/chat-rooms", add).await.invalid(&[("member_ids[1]", "format")]);
        let open = json!({"kind": "direct", "user_id": wrong});
        server.post(&ada, "/chat-rooms", open).await.invalid(&[("user_id", "format")]);
        server.post(&ada, "/friends/request", json!({"user_id": wrong})).await.invalid(&[("user_id", "format")]);
        let mut socket = server.handshake("/ws", &[("authorization", &token)]).await.ok().unwrap();
        socket.send(json!({"type": "typing", "id": "1", "room": wrong, "on": true})).await;
        assert_eq!(socket.error("1", "invalid").await["errors"][0]["field"], "room");
        socket.send(json!({"type": "resume", "id": "2", "rooms": {wrong: 0}})).await;
        assert_eq!(socket.error("2", "invalid").await["errors"][0]["field"], "rooms");
    }
}
