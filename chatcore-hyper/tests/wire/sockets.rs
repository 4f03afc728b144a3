//! Handshakes, frames, close codes.

use std::time::Duration;

use fastwebsockets::{Frame, OpCode, Payload};
use serde_json::{Value, json};

use crate::harness::{Got, PATIENCE, Server, Store, on_every_store, text};

on_every_store!(
    handshake_with_a_header_token,
    handshake_with_a_subprotocol_token,
    refused_handshakes_answer_over_http,
    refused_handshakes_of_browsers_answer_on_the_socket,
    origins,
    hello_of_a_room,
    sending_and_its_acks,
    changes_and_their_acks,
    errors_name_the_frame,
    frames_take_effect_in_the_order_sent,
    malformed_frames,
    wrong_frames_close,
    a_close_is_answered,
    too_many_frames_close,
    pings_and_heartbeat,
    expiry_and_auth,
    logout_closes_the_sockets_of_the_session,
    too_many_sockets,
    draining,
);

async fn handshake_with_a_header_token(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let mut socket = server.socket(&ada, "/ws").await;
    assert!(!socket.headers.contains_key("sec-websocket-protocol"));
    let Got::Frame(hello) = socket.read().await else { panic!("no hello") };
    assert_eq!(hello["type"], "hello");
    assert_eq!(hello["protocol"], 1);
    assert_eq!(hello["user"]["id"], ada.id.as_str());
    for null in ["room", "from", "head", "resumed", "read", "unread"] {
        assert_eq!(hello.get(null), Some(&Value::Null), "{null}");
    }
    assert_eq!(hello["heartbeat_ms"], 30_000);
    assert_eq!(hello["limits"]["frame_bytes"], 65_536);
    assert_eq!(hello["limits"]["resume_events"], 1_000);
    assert!(text(&hello["now"]) < text(&hello["expires_at"]));
}

async fn handshake_with_a_subprotocol_token(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let protocols = format!("chatcore.v1, bearer.{}", ada.token);
    let mut socket = server.handshake("/ws", &[("sec-websocket-protocol", &protocols)]).await.ok().unwrap();
    assert_eq!(socket.headers["sec-websocket-protocol"], "chatcore.v1");
    socket.frame("hello").await;
}

async fn refused_handshakes_answer_over_http(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let path = format!("/ws/chat/{room}");
    let refused = async |path: &str, headers: &[(&str, &str)]| server.handshake(path, headers).await.err().unwrap();
    let eves = format!("Bearer {}", eve.token);
    let adas = format!("Bearer {}", ada.token);
    refused("/ws", &[]).await.problem(401, "unauthenticated");
    refused("/ws", &[("authorization", "Bearer x")]).await.problem(401, "unauthenticated");
    refused(&path, &[("authorization", &eves)]).await.problem(403, "forbidden");
    refused("/ws/chat/01920000-0000-7000-8000-000000000001", &[("authorization", &adas)])
        .await
        .problem(404, "not_found");
    refused("/ws/chat/x", &[("authorization", &adas)]).await.problem(400, "malformed");
    refused(&format!("{path}?after=x"), &[("authorization", &adas)]).await.problem(400, "malformed");
    refused("/ws", &[("authorization", &adas), ("origin", "http://evil.example")]).await.problem(403, "forbidden");
    server.get(&ada, "/ws").await.problem(400, "malformed");
    // Given a second time beside the good one.
    let key = fastwebsockets::handshake::generate_key();
    refused("/ws", &[("authorization", &adas), ("sec-websocket-key", &key)]).await.problem(400, "malformed");
    let answer = refused("/ws", &[("authorization", &adas), ("sec-websocket-version", "8")]).await;
    answer.problem(426, "upgrade_required");
    assert_eq!(answer.headers["sec-websocket-version"], "13");
    assert_eq!(answer.headers["upgrade"], "websocket");
}

async fn refused_handshakes_of_browsers_answer_on_the_socket(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let nowhere = "/ws/chat/01920000-0000-7000-8000-000000000001".to_owned();
    for (path, token, code, close) in [
        ("/ws".to_owned(), "x", "revoked", 4401),
        (format!("/ws/chat/{room}"), eve.token.as_str(), "removed", 4403),
        (nowhere, ada.token.as_str(), "not_found", 4404),
    ] {
        let protocols = format!("chatcore.v1, bearer.{token}");
        let mut socket = server.handshake(&path, &[("sec-websocket-protocol", &protocols)]).await.ok().unwrap();
        let bye = socket.bye(code, close).await;
        assert_eq!(bye["reconnect"], false);
    }
    let only_token = format!("bearer.{}", ada.token);
    let refused = server.handshake("/ws", &[("sec-websocket-protocol", &only_token)]).await.err().unwrap();
    refused.problem(400, "malformed");
}

async fn origins(store: Store) {
    let list = chatcore_hyper::AllowedOrigins::List(vec!["https://app.example".into()]);
    let server = Server::with(store, |_, http| http.origins = list).await;
    let ada = server.person().await;
    let token = format!("Bearer {}", ada.token);
    let own = format!("http://{}", server.address);
    for (origin, good) in [("https://app.example", true), (own.as_str(), true), ("https://other.example", false)] {
        let answer = server.handshake("/ws", &[("authorization", &token), ("origin", origin)]).await;
        assert_eq!(answer.is_ok(), good, "{origin}");
    }
}

async fn hello_of_a_room(store: Store) {
    let server = Server::with(store, |core, _| core.resume_events = 5).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    for n in 0..4 {
        server.say(&ada, &room, &format!("m{n}")).await;
    }
    let hello = async |after: &str| server.socket(&bob, &format!("/ws/chat/{room}{after}")).await.frame("hello").await;
    let at_head = hello("").await;
    assert_eq!(at_head["room"], room.as_str());
    assert_eq!((&at_head["from"], &at_head["head"], &at_head["resumed"]), (&json!(6), &json!(6), &Value::Null));
    assert_eq!((&at_head["read"], &at_head["unread"]), (&json!(2), &json!(4)));
    let resumed = hello("?after=3").await;
    assert_eq!((&resumed["from"], &resumed["head"], &resumed["resumed"]), (&json!(3), &json!(6), &json!(true)));
    let too_far = hello("?after=0").await;
    assert_eq!((&too_far["from"], &too_far["resumed"]), (&json!(6), &json!(false)));
    let beyond = hello("?after=7").await;
    assert_eq!((&beyond["from"], &beyond["resumed"]), (&json!(6), &json!(false)));
    // What was asked for comes, and then what is new.
    let mut socket = server.socket(&bob, &format!("/ws/chat/{room}?after=3")).await;
    for seq in 4..=6 {
        assert_eq!(socket.event().await["seq"], seq);
    }
    server.say(&ada, &room, "new").await;
    let event = socket.event().await;
    assert_eq!((&event["seq"], &event["event"]), (&json!(7), &json!("message.posted")));
    assert_eq!(event["data"]["message"]["body"], "new");
    assert_eq!(event["actor"], ada.id.as_str());
}

async fn sending_and_its_acks(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let mut socket = server.socket(&ada, &format!("/ws/chat/{room}")).await;
    let mut other = server.started(&bob, json!({})).await;
    socket.send(json!({"type": "message.send", "id": "1", "body": "hi", "client_id": "c", "reply_to": null})).await;
    let ack = socket.ack("1").await;
    assert_eq!((&ack["room"], &ack["seq"], &ack["duplicate"]), (&json!(room), &json!(3), &json!(false)));
    socket.send(json!({"type": "message.send", "id": "2", "room": room, "body": "other", "client_id": "c"})).await;
    let again = socket.ack("2").await;
    assert_eq!((&again["seq"], &again["duplicate"]), (&json!(3), &json!(true)));
    // Without an id there is no ack, and the event comes all the same.
    socket.send(json!({"type": "message.send", "body": "quiet", "reply_to": 3})).await;
    for reader in [&mut socket, &mut other] {
        let first = reader.event().await;
        assert_eq!((&first["seq"], &first["data"]["message"]["client_id"]), (&json!(3), &json!("c")));
        let second = reader.event().await;
        assert_eq!((&second["seq"], &second["data"]["message"]["reply_to"]), (&json!(4), &json!(3)));
    }
    assert!(!socket.has(|frame| frame["type"] == "ack").await);
}

async fn changes_and_their_acks(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let seq = server.say(&ada, &room, "first").await;
    let mut socket = server.socket(&ada, &format!("/ws/chat/{room}")).await;
    let mut ask = async |frame: Value| {
        socket.send(frame.clone()).await;
        let ack = socket.ack(frame["id"].as_str().unwrap()).await;
        (ack["seq"].clone(), ack["duplicate"].clone())
    };
    let nothing = (Value::Null, json!(true));
    let edit = json!({"type": "message.edit", "id": "e", "seq": seq, "body": "second"});
    assert_eq!(ask(edit.clone()).await, (json!(4), json!(false)));
    assert_eq!(ask(edit).await, nothing);
    let react = json!({"type": "reaction.add", "id": "r", "seq": seq, "emoji": "👍"});
    assert_eq!(ask(react.clone()).await, (json!(5), json!(false)));
    assert_eq!(ask(react).await, nothing);
    let back = json!({"type": "reaction.remove", "id": "b", "seq": seq, "emoji": "👍"});
    assert_eq!(ask(back.clone()).await, (json!(6), json!(false)));
    assert_eq!(ask(back).await, nothing);
    let delete = json!({"type": "message.delete", "id": "d", "seq": seq});
    assert_eq!(ask(delete.clone()).await, (json!(7), json!(false)));
    assert_eq!(ask(delete).await, nothing);
    let mut data = Vec::new();
    for _ in 4..=7 {
        let event = socket.event().await;
        data.push((text(&event["event"]), event["data"].clone()));
    }
    assert_eq!(data[0].0, "message.edited");
    assert_eq!((&data[0].1["seq"], &data[0].1["body"]), (&json!(3), &json!("second")));
    assert!(data[0].1["edited_at"].is_string());
    assert_eq!(data[1], ("reaction.added".to_owned(), json!({"seq": 3, "emoji": "👍"})));
    assert_eq!(data[2], ("reaction.removed".to_owned(), json!({"seq": 3, "emoji": "👍"})));
    assert_eq!(data[3], ("message.deleted".to_owned(), json!({"seq": 3})));
    // A read, an auth, a ping.
    let mut bobs = server.started(&bob, json!({})).await;
    server.say(&ada, &room, "unread").await;
    bobs.send(json!({"type": "read", "id": "1", "room": room, "seq": 7})).await;
    let read = bobs.ack("1").await;
    assert_eq!((&read["room"], &read["read"], &read["unread"]), (&json!(room), &json!(7), &json!(1)));
    bobs.send(json!({"type": "ping", "id": "2"})).await;
    assert!(bobs.ack("2").await["now"].is_string());
}

async fn errors_name_the_frame(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let other = server.direct(&ada, &eve).await;
    let mut socket = server.socket(&ada, &format!("/ws/chat/{room}")).await;
    socket.send(json!({"type": "message.send", "id": "1", "body": "", "client_id": "é"})).await;
    let error = socket.error("1", "invalid").await;
    let fields: Vec<_> = error["errors"].as_array().unwrap().iter().map(|e| text(&e["field"])).collect();
    assert_eq!(fields, ["body", "client_id"]);
    socket.send(json!({"type": "message.send", "id": "2", "body": "x", "reply_to": 1})).await;
    assert_eq!(socket.error("2", "invalid").await["errors"][0]["field"], "reply_to");
    socket.send(json!({"type": "message.send", "id": "3", "room": other, "body": "x"})).await;
    assert_eq!(socket.error("3", "invalid").await["errors"][0]["code"], "not_allowed");
    socket.send(json!({"type": "message.edit", "id": "4", "seq": 1, "body": "x"})).await;
    socket.error("4", "not_found").await;
    socket.send(json!({"type": "read", "id": "5", "seq": 99})).await;
    assert_eq!(socket.error("5", "invalid").await["errors"][0]["code"], "range");
    socket.send(json!({"type": "resume", "id": "6", "rooms": {}})).await;
    assert_eq!(socket.error("6", "invalid").await["errors"][0]["code"], "not_allowed");
    let mut eves = server.started(&eve, json!({})).await;
    eves.send(json!({"type": "message.send", "id": "1", "room": room, "body": "x"})).await;
    eves.error("1", "forbidden").await;
    eves.send(json!({"type": "typing", "id": "2", "room": room, "on": true})).await;
    eves.error("2", "forbidden").await;
    eves.send(json!({"type": "message.send", "id": "3", "body": "x"})).await;
    eves.error("3", "malformed").await;
    let seq = server.say(&ada, &room, "x").await;
    server.delete(&ada, &format!("/messages/{room}/{seq}")).await.expect(204);
    socket.send(json!({"type": "message.edit", "id": "7", "seq": seq, "body": "y"})).await;
    assert_eq!(socket.error("7", "rule").await["rule"], "deleted");
}

async fn frames_take_effect_in_the_order_sent(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let mut socket = server.socket(&ada, &format!("/ws/chat/{room}")).await;
    // 200 posts at once, and between them edits of messages that those before have made.
    for n in 0..200u64 {
        socket.send(json!({"type": "message.send", "id": format!("s{n}"), "body": format!("m{n}")})).await;
        if n % 50 == 49 {
            let target = 3 + n / 50 * 51;
            socket.send(json!({"type": "message.edit", "id": format!("e{n}"), "seq": target, "body": "edited"})).await;
        }
    }
    let mut expected = 3;
    for n in 0..200u64 {
        assert_eq!(socket.ack(&format!("s{n}")).await["seq"], expected);
        expected += 1;
        if n % 50 == 49 {
            assert_eq!(socket.ack(&format!("e{n}")).await["seq"], expected);
            expected += 1;
        }
    }
    for seq in 3..expected {
        assert_eq!(socket.event().await["seq"], seq);
    }
}

async fn malformed_frames(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let mut socket = server.socket(&ada, "/ws").await;
    socket.frame("hello").await;
    for _ in 0..2 {
        socket.send_text("{").await;
        assert_eq!(socket.frame("error").await["code"], "malformed");
    }
    // A good frame, also one of an unknown type, ends the row.
    socket.send(json!({"type": "ping", "id": "1"})).await;
    socket.ack("1").await;
    for n in 0..4 {
        socket.send(json!({"type": "no.such", "id": format!("u{n}")})).await;
        socket.error(&format!("u{n}"), "invalid").await;
    }
    for _ in 0..3 {
        socket.send_text("[]").await;
    }
    let bye = socket.bye("protocol", 4400).await;
    assert_eq!(bye["reconnect"], false);
}

async fn wrong_frames_close(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let cases: [(Frame<'_>, u16); 3] = [
        (Frame::binary(Payload::Owned(b"x".to_vec())), 1003),
        (Frame::new(true, OpCode::Text, None, Payload::Owned(vec![0xff, 0xfe])), 1007),
        (Frame::text(Payload::Owned(vec![b' '; 65_537])), 1009),
    ];
    for (frame, close) in cases {
        let mut socket = server.socket(&ada, "/ws").await;
        socket.frame("hello").await;
        socket.write(frame).await;
        socket.bye("protocol", close).await;
        socket.end().await;
    }
    // The largest legal frame is one.
    let mut socket = server.socket(&ada, "/ws").await;
    let mut largest = json!({"type": "ping", "id": "1"}).to_string();
    largest.push_str(&" ".repeat(65_536 - largest.len()));
    socket.send_text(&largest).await;
    socket.ack("1").await;
}

async fn a_close_is_answered(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    for (code, answer) in [(1000, 1000), (4000, 4000), (1005, 1002)] {
        let mut socket = server.socket(&ada, "/ws").await;
        socket.frame("hello").await;
        socket.write(Frame::close(code, b"")).await;
        // What comes behind the close is not looked at.
        socket.write(Frame::new(true, OpCode::Ping, None, Payload::Owned(b"x".to_vec()))).await;
        assert_eq!(socket.read().await, Got::Close(answer));
        socket.end().await;
    }
}

async fn too_many_frames_close(store: Store) {
    let server = Server::with(store, |_, http| http.frames_per_second = 20).await;
    let ada = server.person().await;
    let mut socket = server.socket(&ada, "/ws").await;
    // Those of two seconds may come at once.
    for n in 0..300 {
        socket.send(json!({"type": "ping", "id": n.to_string()})).await;
    }
    let bye = socket.bye("rate", 4429).await;
    assert!(bye["retry_after_ms"].is_u64());
}

async fn pings_and_heartbeat(store: Store) {
    let server = Server::with(store, |_, http| http.heartbeat = Duration::from_millis(100)).await;
    let ada = server.person().await;
    let token = format!("Bearer {}", ada.token);
    // One that answers pings lives on, one that does not is closed after two intervals.
    let mut alive = server.handshake_as("/ws", &[("authorization", &token)], true).await.ok().unwrap();
    let mut silent = server.handshake_as("/ws", &[("authorization", &token)], false).await.ok().unwrap();
    alive.frame("hello").await;
    silent.frame("hello").await;
    let begun = tokio::time::Instant::now();
    while server.api.stats().sockets == 2 {
        assert!(begun.elapsed() < PATIENCE, "the silent one lives");
        alive.send(json!({"type": "ping", "id": "1"})).await;
        alive.ack("1").await;
    }
    silent.bye("heartbeat", 4408).await;
    alive.send(json!({"type": "ping", "id": "2"})).await;
    alive.ack("2").await;
}

async fn expiry_and_auth(store: Store) {
    let server = Server::with(store, |core, _| core.tokens.access_ttl = Duration::from_secs(2)).await;
    let ada = server.person().await;
    let other = server.person().await;
    let mut renewing = server.socket(&ada, "/ws").await;
    let mut lapsing = server.socket(&ada, "/ws").await;
    let first = text(&renewing.frame("hello").await["expires_at"]);
    renewing.send(json!({"type": "auth", "id": "0", "token": other.token})).await;
    renewing.error("0", "unauthenticated").await;
    renewing.send(json!({"type": "auth", "id": "1", "token": "x"})).await;
    renewing.error("1", "unauthenticated").await;
    lapsing.frame("hello").await;
    lapsing.bye("expired", 4401).await;
    // The other one was closed as well, had it not been for a fresh token of the same session; that needs a token
    // that ends later, so it is made in the meantime.
    let mut renewing = {
        renewing.bye("expired", 4401).await;
        let tokens = server
            .raw(
                "POST",
                "/auth/refresh",
                &[("content-type", "application/json")],
                json!({"refresh_token": ada.refresh}).to_string(),
            )
            .await
            .expect(200);
        let token = format!("Bearer {}", text(&tokens["access_token"]));
        server.handshake("/ws", &[("authorization", &token)]).await.ok().unwrap()
    };
    let second = text(&renewing.frame("hello").await["expires_at"]);
    assert!(first < second);
    let refresh = json!({"refresh_token": ada.refresh}).to_string();
    let tokens =
        server.raw("POST", "/auth/refresh", &[("content-type", "application/json")], refresh).await.expect(200);
    renewing.send(json!({"type": "auth", "id": "2", "token": tokens["access_token"]})).await;
    let renewed = text(&renewing.ack("2").await["expires_at"]);
    assert!(second <= renewed);
}

async fn logout_closes_the_sockets_of_the_session(store: Store) {
    let server = Server::start(store).await;
    let ada = server.person().await;
    let elsewhere = server.login(&ada.name).await;
    let bob = server.person().await;
    let room = server.direct(&ada, &bob).await;
    let mut one = server.socket(&ada, "/ws").await;
    let mut two = server.socket(&ada, &format!("/ws/chat/{room}")).await;
    let mut kept = server.socket(&elsewhere, &format!("/ws/chat/{room}")).await;
    one.frame("hello").await;
    two.frame("hello").await;
    server.post(&ada, "/auth/logout", json!({})).await.expect(204);
    server.say(&bob, &room, "after the logout").await;
    for socket in [&mut one, &mut two] {
        let bye = socket.bye("revoked", 4401).await;
        assert_eq!(bye["reconnect"], false);
    }
    assert_eq!(kept.event().await["data"]["message"]["body"], "after the logout");
    server.get(&ada, "/auth/me").await.problem(401, "unauthenticated");
    // The other session is ended from here, as from another device.
    let sessions = server.get(&elsewhere, "/auth/sessions").await.expect(200);
    let id = text(&sessions["items"][0]["id"]);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1);
    server.delete(&elsewhere, &format!("/auth/sessions/{id}")).await.expect(204);
    kept.bye("revoked", 4401).await;
}

async fn too_many_sockets(store: Store) {
    let server = Server::with(store, |core, _| core.hub.connections_per_user = 2).await;
    let ada = server.person().await;
    let token = format!("Bearer {}", ada.token);
    let _one = server.socket(&ada, "/ws").await;
    let _two = server.socket(&ada, "/ws").await;
    let refused = server.handshake("/ws", &[("authorization", &token)]).await.err().unwrap();
    refused.problem(429, "rate_limited");
    assert!(refused.headers.contains_key("retry-after"));
    let protocols = format!("chatcore.v1, bearer.{}", ada.token);
    let mut told = server.handshake("/ws", &[("sec-websocket-protocol", &protocols)]).await.ok().unwrap();
    told.bye("rate", 4429).await;
}

async fn draining(store: Store) {
    let mut server = Server::start(store).await;
    let ada = server.person().await;
    let mut socket = server.socket(&ada, "/ws").await;
    socket.frame("hello").await;
    server.get(&ada, "/readyz").await.expect(200);
    let done = server.stop();
    let bye = socket.bye("restart", 1012).await;
    assert_eq!(bye["reconnect"], true);
    assert!(bye["retry_after_ms"].is_u64());
    tokio::time::timeout(PATIENCE, done).await.expect("it stops").unwrap();
}
