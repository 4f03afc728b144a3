//! What reaches whom: resuming, membership, signals, presence.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, Store, on_every_store, text};

on_every_store!(
    nothing_flows_before_the_first_resume,
    resuming_rooms,
    a_room_that_one_is_added_to_begins_with_ones_own_joining,
    a_removed_member_gets_nothing_after_the_leaving,
    leaving_and_coming_again,
    a_deletion_takes_the_bodies_out_of_the_tail,
    typing_and_read_signals,
    presence_of_friends,
    a_block_hides_presence_and_stops_posts,
    friend_signals_reach_both,
    profile_signals,
    room_status,
    slow_readers_get_everything,
);

async fn nothing_flows_before_the_first_resume(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let mut socket = server.socket(&bob, "/ws").await;
    socket.frame("hello").await;
    let seq = server.say(&ada, &room, "before").await;
    assert!(!socket.has(|frame| frame["type"] == "event").await);
    // `more` does not begin either; the last one does, with the room named before.
    socket.send(json!({"type": "resume", "id": "1", "rooms": {room.as_str(): seq - 1}, "more": true})).await;
    let ack = socket.ack("1").await;
    assert_eq!(ack["rooms"][&room]["from"], seq - 1);
    assert!(!socket.has(|frame| frame["type"] == "event").await);
    socket.send(json!({"type": "resume", "id": "2", "rooms": {}})).await;
    socket.ack("2").await;
    assert_eq!(socket.event().await["seq"], seq);
    socket.send(json!({"type": "resume", "id": "3", "rooms": {}})).await;
    socket.error("3", "invalid").await;
}

async fn resuming_rooms(store: Store) {
    let server = Server::with(store, |core, _| core.resume_events = 10).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let named = server.direct(&ada, &bob).await;
    let at_head = server.group(&[&ada, &bob]).await;
    let far = server.group(&[&ada, &bob]).await;
    let foreign = server.direct(&ada, &eve).await;
    for n in 0..5 {
        server.say(&ada, &named, &format!("{n}")).await;
        server.say(&ada, &at_head, &format!("{n}")).await;
    }
    for n in 0..15 {
        server.say(&ada, &far, &format!("{n}")).await;
    }
    let nowhere = "01920000-0000-7000-8000-000000000001";
    let mut socket = server.socket(&bob, "/ws").await;
    let rooms = json!({named.as_str(): 4, far.as_str(): 0, foreign.as_str(): 1, nowhere: 1});
    socket.send(json!({"type": "resume", "id": "1", "rooms": rooms, "more": false})).await;
    let rooms = socket.ack("1").await["rooms"].clone();
    assert_eq!(rooms[&named], json!({"from": 4, "head": 7, "resumed": true, "read": 2, "unread": 5}));
    assert_eq!(rooms[&far], json!({"from": 17, "head": 17, "resumed": false, "read": 2, "unread": 15}));
    assert_eq!(rooms[&foreign], json!({"code": "forbidden"}));
    assert_eq!(rooms[nowhere], json!({"code": "not_found"}));
    assert_eq!(rooms.as_object().unwrap().len(), 4);
    for seq in 5..=7 {
        let event = socket.event().await;
        assert_eq!((&event["room"], &event["seq"]), (&json!(named), &json!(seq)));
    }
    // The others begin at their head.
    for room in [&at_head, &far] {
        let seq = server.say(&ada, room, "live").await;
        let event = socket.event().await;
        assert_eq!((&event["room"], &event["seq"]), (&json!(room), &json!(seq)));
    }
    server.say(&ada, &foreign, "not for bob").await;
    assert!(!socket.has(|frame| frame["type"] == "event").await);
}

async fn a_room_that_one_is_added_to_begins_with_ones_own_joining(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let mut socket = server.started(&bob, json!({})).await;
    let room = server.group(&[&ada, &eve]).await;
    server.say(&ada, &room, "before").await;
    server.post(&ada, &format!("/chat-rooms/{room}/members"), json!({"user_ids": [bob.id]})).await.expect(200);
    server.say(&ada, &room, "after").await;
    let joined = socket.event().await;
    assert_eq!((&joined["seq"], &joined["event"]), (&json!(4), &json!("member.joined")));
    assert_eq!(joined["data"], json!({"user": bob.id, "role": "member"}));
    assert_eq!(socket.event().await["seq"], 5);
    let added = socket.signal("room.added").await;
    assert_eq!(added["room"], room.as_str());
    assert_eq!(added["data"]["summary"]["id"], room.as_str());
    assert_eq!(added["data"]["summary"]["read"], 4);
    // A new direct room begins with both joinings; one's own is among them.
    let direct = server.direct(&eve, &bob).await;
    let event = socket.find("own joining", |f| f["type"] == "event" && f["room"] == direct.as_str()).await;
    assert_eq!((&event["seq"], &event["data"]["user"]), (&json!(2), &json!(bob.id)));
}

async fn a_removed_member_gets_nothing_after_the_leaving(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let room = server.group(&[&ada, &bob, &eve]).await;
    let mut all = server.started(&bob, json!({})).await;
    let mut one = server.socket(&bob, &format!("/ws/chat/{room}")).await;
    server.say(&ada, &room, "before").await;
    server.delete(&ada, &format!("/chat-rooms/{room}/members/{}", bob.id)).await.expect(204);
    server.post(&bob, &format!("/messages/{room}"), json!({"body": "x"})).await.problem(403, "forbidden");
    server.get(&bob, &format!("/chat-rooms/{room}/events")).await.problem(403, "forbidden");
    let after = server.say(&ada, &room, "after").await;
    for socket in [&mut all, &mut one] {
        assert_eq!(socket.event().await["seq"], 4);
        let left = socket.event().await;
        assert_eq!((&left["seq"], &left["event"]), (&json!(after - 1), &json!("member.left")));
        assert_eq!(left["data"], json!({"user": bob.id, "reason": "removed"}));
    }
    one.bye("removed", 4403).await;
    let removed = all.signal("room.removed").await;
    assert_eq!((&removed["room"], &removed["data"]["reason"]), (&json!(room), &json!("removed")));
    assert!(!all.has(|frame| frame["type"] == "event").await);
}

async fn leaving_and_coming_again(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.group(&[&ada, &bob]).await;
    let mut socket = server.started(&bob, json!({})).await;
    server.delete(&bob, &format!("/chat-rooms/{room}/members/{}", bob.id)).await.expect(204);
    server.say(&ada, &room, "while away").await;
    server.post(&ada, &format!("/chat-rooms/{room}/members"), json!({"user_ids": [bob.id]})).await.expect(200);
    server.say(&ada, &room, "again").await;
    let seqs = [socket.event().await, socket.event().await, socket.event().await].map(|e| e["seq"].as_u64().unwrap());
    // The own leaving, then the own coming, and from there on without a hole.
    assert_eq!(seqs, [3, 5, 6]);
    assert_eq!(socket.signal("room.removed").await["data"]["reason"], "left");
    // One who resumes from before reads the whole log, the leaving included.
    let mut resumed = server.started(&bob, json!({room.as_str(): 2})).await;
    for seq in 3..=6 {
        assert_eq!(resumed.event().await["seq"], seq);
    }
    let marker = server.get(&bob, &format!("/chat-rooms/{room}")).await.expect(200);
    assert_eq!((&marker["read"], &marker["unread"]), (&json!(5), &json!(1)));
}

async fn a_deletion_takes_the_bodies_out_of_the_tail(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    // Somebody listens, so that the tail holds the events.
    let mut listener = server.started(&bob, json!({})).await;
    let seq = server.say(&ada, &room, "secret one").await;
    let path = format!("/messages/{room}/{seq}");
    server.patch(&ada, &path, json!({"body": "secret two"})).await.expect(200);
    server.delete(&ada, &path).await.expect(204);
    for _ in 0..3 {
        listener.event().await;
    }
    let mut late = server.socket(&bob, &format!("/ws/chat/{room}?after={}", seq - 1)).await;
    let (posted, edited, deleted) = (late.event().await, late.event().await, late.event().await);
    assert_eq!(
        (&posted["data"]["message"]["body"], &posted["data"]["message"]["deleted"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!((&edited["event"], &edited["data"]["body"]), (&json!("message.edited"), &Value::Null));
    assert_eq!(deleted["data"], json!({"seq": seq}));
    let log = server.get(&bob, &format!("/chat-rooms/{room}/events")).await;
    assert!(!String::from_utf8_lossy(&log.body).contains("secret"));
    let tombstone = server.get(&bob, &path).await.expect(200);
    assert_eq!(
        (&tombstone["body"], &tombstone["deleted"], &tombstone["rev"]),
        (&Value::Null, &json!(true), &json!(seq + 2))
    );
}

async fn typing_and_read_signals(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let seq = server.say(&ada, &room, "hi").await;
    let mut adas = server.started(&ada, json!({})).await;
    let mut bobs = server.started(&bob, json!({})).await;
    let mut bobs_other = server.socket(&bob, &format!("/ws/chat/{room}")).await;
    bobs.send(json!({"type": "typing", "room": room, "on": true})).await;
    let typing = adas.signal("typing").await;
    assert_eq!(
        typing,
        json!({"type": "signal", "signal": "typing", "room": room, "user": bob.id, "data": {"on": true}})
    );
    bobs.send(json!({"type": "read", "id": "1", "room": room, "seq": seq})).await;
    bobs.ack("1").await;
    let read = adas.signal("read").await;
    assert_eq!(read, json!({"type": "signal", "signal": "read", "room": room, "user": bob.id, "data": {"seq": seq}}));
    for own in [&mut bobs, &mut bobs_other] {
        let read = own.signal("read").await;
        assert_eq!(read["data"], json!({"seq": seq, "unread": 0}));
    }
    // Not told twice, and not to the one who types.
    bobs.send(json!({"type": "read", "id": "2", "room": room, "seq": seq})).await;
    bobs.ack("2").await;
    assert!(!adas.has(|frame| frame["signal"] == "read").await);
    assert!(!bobs.has(|frame| frame["signal"] == "typing").await);
}

async fn befriend(server: &Server, one: &crate::harness::Person, other: &crate::harness::Person) -> String {
    server.post(one, "/friends/request", json!({"user_id": other.id})).await.expect(201);
    let accepted = server.post(other, "/friends/request", json!({"user_id": one.id})).await.expect(200);
    assert_eq!(accepted["status"], "accepted");
    text(&accepted["id"])
}

async fn presence_of_friends(store: Store) {
    let server = Server::with(store, |core, _| core.hub.offline_after = Duration::from_millis(50)).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    befriend(&server, &ada, &bob).await;
    let mut adas = server.socket(&ada, "/ws").await;
    let mut eves = server.socket(&eve, "/ws").await;
    adas.frame("hello").await;
    let first = server.socket(&bob, "/ws").await;
    let online = adas.find("bob online", |f| f["signal"] == "presence" && f["user"] == bob.id.as_str()).await;
    assert_eq!(online["data"], json!({"status": "online", "last_seen": null}));
    let mut second = server.socket(&bob, "/ws").await;
    // The best of all: one away changes nothing, both do.
    second.send(json!({"type": "presence", "id": "1", "status": "away"})).await;
    second.ack("1").await;
    let seen = server.get(&ada, &format!("/users/{}", bob.id)).await.expect(200);
    assert_eq!(seen["presence"]["status"], "online");
    drop(first);
    let away = adas.find("bob away", |f| f["signal"] == "presence" && f["user"] == bob.id.as_str()).await;
    assert_eq!(away["data"]["status"], "away");
    drop(second);
    let offline = adas.find("bob offline", |f| f["signal"] == "presence" && f["user"] == bob.id.as_str()).await;
    assert_eq!(offline["data"]["status"], "offline");
    assert!(offline["data"]["last_seen"].is_string());
    let gone = server.get(&ada, &format!("/users/{}", bob.id)).await.expect(200);
    assert_eq!(gone["presence"], offline["data"]);
    assert!(!eves.has(|f| f["signal"] == "presence" && f["user"] == bob.id.as_str()).await, "a stranger");
}

async fn a_block_hides_presence_and_stops_posts(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    befriend(&server, &ada, &bob).await;
    let eve = server.person().await;
    let room = server.direct(&ada, &bob).await;
    let group = server.group(&[&ada, &bob, &eve]).await;
    let head = server.say(&bob, &room, "hello").await;
    let mut adas = server.started(&ada, json!({})).await;
    let mut bobs = server.started(&bob, json!({})).await;
    let mut eves = server.started(&eve, json!({})).await;
    server.put(&ada, &format!("/users/{}/block", bob.id), json!({})).await.expect(204);
    assert_eq!(bobs.signal("friend.removed").await["data"]["friendship"]["friend"]["id"], ada.id.as_str());
    adas.signal("friend.removed").await;
    let hidden = bobs.find("ada hidden", |f| f["signal"] == "presence" && f["data"]["status"] == "offline").await;
    assert_eq!((&hidden["user"], &hidden["data"]["last_seen"]), (&json!(ada.id), &Value::Null));
    let seen = server.get(&bob, &format!("/users/{}", ada.id)).await.expect(200);
    assert_eq!(seen["presence"], json!({"status": "offline", "last_seen": null}));
    for socket in [&mut adas, &mut bobs] {
        socket.send(json!({"type": "message.send", "id": "1", "room": room, "body": "x"})).await;
        socket.error("1", "forbidden").await;
    }
    server.get(&bob, &format!("/messages/{room}")).await.expect(200);
    // Neither what is read tells that somebody is there, nor the number of sockets: one's own are counted, and those who hide from nobody.
    adas.send(json!({"type": "read", "id": "2", "room": room, "seq": head})).await;
    adas.ack("2").await;
    assert!(!bobs.has(|f| f["signal"] == "read").await);
    let status = server.get(&bob, &format!("/ws/rooms/{room}/status")).await.expect(200);
    assert_eq!((&status["online"], &status["connections"]), (&json!([bob.id]), &json!(1)));
    let status = server.get(&ada, &format!("/ws/rooms/{room}/status")).await.expect(200);
    assert_eq!((&status["online_count"], &status["connections"]), (&json!(2), &json!(2)));
    // In a group too, where both go on writing.
    for command in ["typing", "read"] {
        adas.send(json!({"type": command, "id": "3", "room": group, "on": true, "seq": 3})).await;
        adas.ack("3").await;
        let signal = eves.signal(command).await;
        assert_eq!((&signal["room"], &signal["user"]), (&json!(group), &json!(ada.id)));
        assert!(!bobs.has(|f| f["signal"] == command).await, "{command}");
    }
    server.delete(&ada, &format!("/users/{}/block", bob.id)).await.expect(204);
    let back = bobs.find("ada back", |f| f["signal"] == "presence" && f["data"]["status"] == "online").await;
    assert_eq!(back["user"], ada.id.as_str());
    server.say(&bob, &room, "again").await;
}

async fn friend_signals_reach_both(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let mut adas = server.socket(&ada, "/ws").await;
    let mut bobs = server.socket(&bob, "/ws").await;
    let request = server.post(&ada, "/friends/request", json!({"username": bob.name})).await.expect(201);
    let id = text(&request["id"]);
    let told = bobs.signal("friend.requested").await;
    assert_eq!((&told["user"], &told["data"]["friendship"]["friend"]["id"]), (&json!(ada.id), &json!(ada.id)));
    assert_eq!(adas.signal("friend.requested").await["data"]["friendship"]["friend"]["id"], bob.id.as_str());
    server.put(&bob, &format!("/friends/{id}/status"), json!({"status": "accepted"})).await.expect(200);
    for socket in [&mut adas, &mut bobs] {
        assert_eq!(socket.signal("friend.accepted").await["data"]["friendship"]["status"], "accepted");
    }
    server.delete(&ada, &format!("/friends/{id}")).await.expect(204);
    for socket in [&mut adas, &mut bobs] {
        assert_eq!(socket.signal("friend.removed").await["data"]["friendship"]["id"], id.as_str());
    }
}

async fn profile_signals(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    server.direct(&ada, &bob).await;
    let mut bobs = server.socket(&bob, "/ws").await;
    bobs.frame("hello").await;
    server.patch(&ada, "/auth/me", json!({"display_name": "Countess"})).await.expect(200);
    let updated = bobs.signal("user.updated").await;
    assert_eq!((&updated["user"], &updated["data"]["user"]["display_name"]), (&json!(ada.id), &json!("Countess")));
}

async fn room_status(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob, eve) = (server.person().await, server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let path = format!("/ws/rooms/{room}/status");
    let _all = server.started(&ada, json!({})).await;
    let _one = server.socket(&ada, &format!("/ws/chat/{room}")).await;
    let status = server.get(&bob, &path).await.expect(200);
    assert_eq!(status, json!({"room": room, "online_count": 1, "online": [ada.id], "connections": 2}));
    server.get(&eve, &path).await.problem(403, "forbidden");
}

async fn slow_readers_get_everything(store: Store) {
    // Far more than the tail, the signals and the buffers of the socket hold.
    let server = Server::with(store, |core, _| {
        core.hub.tail.events = 16;
        core.hub.catch_up_page = 32;
    })
    .await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let mut slow = server.started(&bob, json!({})).await;
    let mut sender = server.socket(&ada, &format!("/ws/chat/{room}")).await;
    let body = "x".repeat(3_000);
    let count = 3_000u64;
    for n in 0..count {
        sender.send(json!({"type": "message.send", "id": n.to_string(), "body": body})).await;
        // The sender reads; the other one does not.
        if n % 64 == 63 {
            sender.ack(&n.to_string()).await;
        }
    }
    sender.ack(&(count - 1).to_string()).await;
    for seq in 3..3 + count {
        assert_eq!(slow.event().await["seq"], seq);
    }
}
