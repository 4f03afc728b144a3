//! What each call answers when it succeeds: every field of every object, and the pages of every list.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Person, Server, Store, on_every_store, text};

on_every_store!(
    accounts,
    people,
    friendships,
    rooms,
    messages,
    history_pages,
    the_log,
    unread_counts,
    repeatable_calls,
    every_list_pages,
    operations,
    from_registration_to_a_read_message,
);

const USER: [&str; 5] = ["id", "username", "display_name", "created_at", "presence"];
const MESSAGE: [&str; 12] = [
    "room",
    "seq",
    "rev",
    "sender",
    "type",
    "body",
    "client_id",
    "reply_to",
    "created_at",
    "edited_at",
    "deleted",
    "reactions",
];
const SUMMARY: [&str; 13] = [
    "id",
    "kind",
    "name",
    "peer",
    "member_count",
    "role",
    "head",
    "read",
    "unread",
    "last_message",
    "created_at",
    "updated_at",
    "",
];

/// The object has these fields and no others.
#[track_caller]
fn fields(object: &Value, wanted: &[&str]) {
    let found: BTreeSet<&str> =
        object.as_object().unwrap_or_else(|| panic!("{object}")).keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = wanted.iter().copied().filter(|field| !field.is_empty()).collect();
    assert_eq!(found, wanted, "{object}");
}

/// `2026-11-22T10:15:30.123Z`
#[track_caller]
fn time(value: &Value) {
    let text = text(value);
    assert!(text.len() == 24 && text.ends_with('Z') && &text[10..11] == "T" && &text[19..20] == ".", "{text}");
}

/// A UUIDv7, lower case.
#[track_caller]
fn id(value: &Value) -> String {
    let text = text(value);
    assert!(text.len() == 36 && &text[14..15] == "7" && text == text.to_lowercase(), "{text}");
    text
}

async fn accounts(store: Store) {
    let server = Server::start(store).await;
    let new =
        json!({"username": "Ada", "email": "Ada@Example.org", "password": "correct horse", "display_name": " Ada L. "});
    let made = server.call(Method::POST, "/auth/register", None, Some(&new)).await.expect(201);
    fields(&made, &[&USER[..], &["email"]].concat());
    fields(&made["presence"], &["status", "last_seen"]);
    assert_eq!(
        (&made["username"], &made["display_name"], &made["email"]),
        (&json!("ada"), &json!("Ada L."), &json!("Ada@Example.org"))
    );
    id(&made["id"]);
    time(&made["created_at"]);
    let login = json!({"login": "ADA@example.ORG", "password": "correct horse", "device": "laptop"});
    let tokens = server.call(Method::POST, "/auth/login", None, Some(&login)).await.expect(200);
    fields(&tokens, &["access_token", "refresh_token", "token_type", "expires_in", "user"]);
    fields(&tokens["user"], &USER);
    assert_eq!((&tokens["token_type"], &tokens["expires_in"]), (&json!("Bearer"), &json!(900)));
    let ada = Person {
        id: id(&made["id"]),
        name: "ada".into(),
        token: text(&tokens["access_token"]),
        refresh: text(&tokens["refresh_token"]),
    };
    assert_eq!(server.get(&ada, "/auth/me").await.expect(200), made);
    let changed = server.patch(&ada, "/auth/me", json!({"email": "new@example.org"})).await.expect(200);
    assert_eq!((&changed["email"], &changed["display_name"]), (&json!("new@example.org"), &json!("Ada L.")));
    let sessions = server.get(&ada, "/auth/sessions").await.expect(200);
    fields(&sessions, &["items", "next"]);
    fields(&sessions["items"][0], &["id", "device", "created_at", "last_used_at", "current"]);
    assert_eq!((&sessions["items"][0]["device"], &sessions["items"][0]["current"]), (&json!("laptop"), &json!(true)));
    server.delete(&ada, "/auth/sessions/01920000-0000-7000-8000-000000000001").await.problem(404, "not_found");
    let echoed = server.raw("GET", "/healthz", &[("x-request-id", "my-id-1")], "").await;
    assert_eq!(echoed.headers["x-request-id"], "my-id-1");
}

async fn people(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.named("ada").await, server.named("adam").await);
    let seen = server.get(&ada, &format!("/users/{}", bob.id)).await.expect(200);
    fields(&seen, &[&USER[..], &["friendship", "blocked"]].concat());
    assert_eq!((&seen["friendship"], &seen["blocked"]), (&Value::Null, &json!(false)));
    let path = format!("/users?ids={},{},01920000-0000-7000-8000-000000000001,{}", bob.id, ada.id, bob.id);
    let users = server.get(&ada, &path).await.expect(200);
    let ids: Vec<_> = users["items"].as_array().unwrap().iter().map(|user| text(&user["id"])).collect();
    assert_eq!(ids, [bob.id.clone(), ada.id.clone()]);
    server.patch(&bob, "/auth/me", json!({"display_name": "Zoë"})).await.expect(200);
    let names = async |q: &str| {
        let found = server.get(&ada, &format!("/users?q={q}")).await.expect(200);
        found["items"].as_array().unwrap().iter().map(|user| text(&user["username"])).collect::<Vec<_>>()
    };
    assert_eq!(names("ada").await, ["ada", "adam"]);
    assert_eq!(names("zo%C3%8B").await, ["adam"], "without regard to case, in any script");
    assert!(names("nobody").await.is_empty());
}

async fn friendships(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let asked = server.post(&ada, "/friends/request", json!({"user_id": bob.id})).await.expect(201);
    fields(&asked, &["id", "status", "requester", "addressee", "friend", "created_at", "updated_at"]);
    for user in ["requester", "addressee", "friend"] {
        fields(&asked[user], &USER);
    }
    assert_eq!((&asked["status"], &asked["friend"]["id"]), (&json!("pending"), &json!(bob.id)));
    for (who, direction, count) in
        [(&ada, "outgoing", 1), (&ada, "incoming", 0), (&bob, "incoming", 1), (&bob, "outgoing", 0)]
    {
        let list = server.get(who, &format!("/friends/requests?direction={direction}")).await.expect(200);
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{direction}");
    }
    let path = format!("/friends/{}/status", text(&asked["id"]));
    let accepted = server.put(&bob, &path, json!({"status": "accepted"})).await.expect(200);
    assert_eq!((&accepted["status"], &accepted["friend"]["id"]), (&json!("accepted"), &json!(ada.id)));
    let friends = server.get(&ada, "/friends").await.expect(200);
    assert_eq!((&friends["items"][0]["id"], &friends["next"]), (&asked["id"], &Value::Null));
    let seen = server.get(&ada, &format!("/users/{}", bob.id)).await.expect(200);
    assert_eq!(seen["friendship"]["status"], "accepted");
}

async fn rooms(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let new = json!({"kind": "group", "name": " Engines ", "member_ids": [bob.id], "client_id": "k"});
    let made = server.post(&ada, "/chat-rooms", new).await.expect(201);
    fields(&made, &[&SUMMARY[..], &["created_by", "members"]].concat());
    fields(&made["members"][0], &["user", "role", "joined_at", "read"]);
    assert_eq!((&made["name"], &made["role"], &made["member_count"]), (&json!("Engines"), &json!("owner"), &json!(2)));
    assert_eq!((&made["head"], &made["read"], &made["unread"]), (&json!(2), &json!(1), &json!(0)));
    assert_eq!(
        (&made["peer"], &made["last_message"], &made["created_by"]),
        (&Value::Null, &Value::Null, &json!(ada.id))
    );
    assert_eq!(made["created_at"], made["updated_at"]);
    let room = id(&made["id"]);
    assert_eq!(server.get(&ada, &format!("/chat-rooms/{room}")).await.expect(200), made);
    let renamed = server.patch(&ada, &format!("/chat-rooms/{room}"), json!({"name": "Looms"})).await.expect(200);
    assert_eq!((&renamed["name"], &renamed["head"]), (&json!("Looms"), &json!(3)));
    let role = server
        .put(&ada, &format!("/chat-rooms/{room}/members/{}/role", bob.id), json!({"role": "admin"}))
        .await
        .expect(200);
    let roles: Vec<_> = role["members"].as_array().unwrap().iter().map(|member| text(&member["role"])).collect();
    assert!(roles.contains(&"owner".to_owned()) && roles.contains(&"admin".to_owned()), "{roles:?}");
    let direct = server.direct(&ada, &bob).await;
    server.say(&bob, &direct, "latest").await;
    let list = server.get(&ada, "/chat-rooms").await.expect(200);
    let first = &list["items"][0];
    fields(first, &SUMMARY);
    assert_eq!((&first["id"], &first["kind"], &first["name"]), (&json!(direct), &json!("direct"), &Value::Null));
    fields(&first["peer"], &USER);
    fields(&first["last_message"], &MESSAGE);
    assert_eq!((&first["peer"]["id"], &first["unread"]), (&json!(bob.id), &json!(1)));
    assert_eq!(first["updated_at"], first["last_message"]["created_at"]);
    assert_eq!(list["items"][1]["id"], room.as_str());
    let status = server.get(&ada, &format!("/ws/rooms/{room}/status")).await.expect(200);
    fields(&status, &["room", "online_count", "online", "connections"]);
}

async fn messages(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let path = format!("/messages/{room}");
    let first = server.post(&ada, &path, json!({"body": "\nhi\r\n", "client_id": "k"})).await.expect(201);
    fields(&first, &MESSAGE);
    assert_eq!((&first["body"], &first["seq"], &first["rev"]), (&json!("hi"), &json!(3), &json!(3)));
    assert_eq!((&first["sender"], &first["type"], &first["client_id"]), (&json!(ada.id), &json!("text"), &json!("k")));
    assert_eq!(
        (&first["deleted"], &first["edited_at"], &first["reactions"]),
        (&json!(false), &Value::Null, &json!([]))
    );
    // The same key from another sender is another message.
    server.post(&bob, &path, json!({"body": "hi", "client_id": "k"})).await.expect(201);
    let edited = server.patch(&ada, &format!("{path}/3"), json!({"body": "hello"})).await.expect(200);
    assert_eq!((&edited["body"], &edited["seq"], &edited["rev"]), (&json!("hello"), &json!(3), &json!(5)));
    time(&edited["edited_at"]);
    let same = server.patch(&ada, &format!("{path}/3"), json!({"body": "hello"})).await.expect(200);
    assert_eq!(same, edited, "the same body changes nothing");
    server.put(&bob, &format!("{path}/3/reactions/%F0%9F%91%8D"), json!({})).await.expect(204);
    server.put(&ada, &format!("{path}/3/reactions/%F0%9F%91%8D"), json!({})).await.expect(204);
    server.put(&ada, &format!("{path}/3/reactions/a"), json!({})).await.expect(204);
    let seen = server.get(&bob, &format!("{path}/3")).await.expect(200);
    assert_eq!(
        seen["reactions"],
        json!([{"emoji": "👍", "count": 2, "me": true}, {"emoji": "a", "count": 1, "me": false}])
    );
    let who = server.get(&bob, &format!("{path}/3/reactions/%F0%9F%91%8D")).await.expect(200);
    let who: Vec<_> = who["items"].as_array().unwrap().iter().map(|user| text(&user["id"])).collect();
    assert_eq!(who, [bob.id.clone(), ada.id.clone()], "in the order in which they gave it");
    server.delete(&ada, &format!("{path}/3")).await.expect(204);
    let tombstone = server.get(&bob, &format!("{path}/3")).await.expect(200);
    fields(&tombstone, &MESSAGE);
    assert_eq!(
        (&tombstone["body"], &tombstone["deleted"], &tombstone["reactions"]),
        (&Value::Null, &json!(true), &json!([]))
    );
    // The same key after the deletion: the first message still, as it is now.
    let again = server.post(&ada, &path, json!({"body": "other", "client_id": "k"})).await.expect(200);
    assert_eq!(again, server.get(&ada, &format!("{path}/3")).await.expect(200));
    // A message of the host.
    let seq = server.api.chat().post_system(room.parse().unwrap(), "maintenance at noon", None).await.unwrap();
    let system = server.get(&ada, &format!("{path}/{seq}")).await.expect(200);
    assert_eq!((&system["type"], &system["sender"]), (&json!("system"), &Value::Null));
}

async fn history_pages(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    // 3, 4, 5, …, 12, and an edit in between that is no message.
    for n in 0..5 {
        server.say(&ada, &room, &n.to_string()).await;
    }
    server.patch(&ada, &format!("/messages/{room}/3"), json!({"body": "edited"})).await.expect(200);
    for n in 5..9 {
        let reply = json!({"body": n.to_string(), "reply_to": 3});
        server.post(&ada, &format!("/messages/{room}"), reply).await.expect(201);
    }
    for (query, seqs, before, after) in [
        ("", vec![3, 4, 5, 6, 7, 9, 10, 11, 12], false, false),
        ("?limit=3", vec![10, 11, 12], true, false),
        ("?limit=3&before=10", vec![6, 7, 9], true, true),
        ("?limit=3&before=8", vec![5, 6, 7], true, true),
        ("?limit=3&before=5", vec![3, 4], false, true),
        ("?limit=3&before=3", vec![], false, true),
        ("?limit=3&after=0", vec![3, 4, 5], false, true),
        ("?limit=3&after=8", vec![9, 10, 11], true, true),
        ("?limit=3&after=12", vec![], true, false),
        ("?limit=3&around=7", vec![6, 7, 9], true, true),
        ("?limit=4&around=8", vec![6, 7, 9, 10], true, true),
        ("?limit=4&around=3", vec![3, 4, 5, 6], false, true),
        ("?limit=4&around=12", vec![9, 10, 11, 12], true, false),
        ("?limit=4&around=9000", vec![9, 10, 11, 12], true, false),
    ] {
        let page = server.get(&bob, &format!("/messages/{room}{query}")).await.expect(200);
        fields(&page, &["items", "replied", "has_before", "has_after", "head"]);
        let found: Vec<u64> = page["items"].as_array().unwrap().iter().map(|m| m["seq"].as_u64().unwrap()).collect();
        assert_eq!(found, seqs, "{query}");
        assert_eq!((&page["has_before"], &page["has_after"]), (&json!(before), &json!(after)), "{query}");
        assert_eq!(page["head"], 12);
        // What a page replies to and does not hold comes with it, once.
        let replies = seqs.iter().any(|seq| *seq >= 9) && !seqs.contains(&3);
        let replied: Vec<u64> =
            page["replied"].as_array().unwrap().iter().map(|m| m["seq"].as_u64().unwrap()).collect();
        assert_eq!(replied, if replies { vec![3] } else { vec![] }, "{query}");
    }
}

async fn the_log(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    for n in 0..8 {
        server.say(&ada, &room, &n.to_string()).await;
    }
    for (query, seqs, more) in [
        ("", (1..=10).collect::<Vec<u64>>(), false),
        ("?after=0&limit=3", vec![1, 2, 3], true),
        ("?after=7&limit=3", vec![8, 9, 10], false),
        ("?after=10", vec![], false),
        ("?after=99", vec![], false),
        ("?before=11&limit=3", vec![8, 9, 10], true),
        ("?before=4&limit=3", vec![1, 2, 3], false),
        ("?before=1", vec![], false),
    ] {
        let page = server.get(&bob, &format!("/chat-rooms/{room}/events{query}")).await.expect(200);
        fields(&page, &["items", "head", "more"]);
        let found: Vec<u64> = page["items"].as_array().unwrap().iter().map(|e| e["seq"].as_u64().unwrap()).collect();
        assert_eq!((found, &page["more"], &page["head"]), (seqs, &json!(more), &json!(10)), "{query}");
        for event in page["items"].as_array().unwrap() {
            fields(event, &["room", "seq", "at", "actor", "event", "data"]);
        }
    }
}

async fn unread_counts(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let room = server.direct(&ada, &bob).await;
    let unread = async |who: &Person| {
        let seen = server.get(who, &format!("/chat-rooms/{room}")).await.expect(200);
        (seen["read"].as_u64().unwrap(), seen["unread"].as_u64().unwrap())
    };
    let first = server.say(&ada, &room, "one").await;
    let second = server.say(&ada, &room, "two").await;
    server.say(&ada, &room, "three").await;
    assert_eq!(unread(&bob).await, (2, 3));
    assert_eq!(unread(&ada).await, (5, 0), "sending moves one's own marker");
    server.delete(&ada, &format!("/messages/{room}/{second}")).await.expect(204);
    assert_eq!(unread(&bob).await, (2, 2), "a deleted one does not count");
    server.api.chat().post_system(room.parse().unwrap(), "system", None).await.unwrap();
    assert_eq!(unread(&bob).await, (2, 2), "the host's do not count");
    let path = format!("/chat-rooms/{room}/read");
    let read = server.put(&bob, &path, json!({"seq": first})).await.expect(200);
    assert_eq!(read, json!({"room": room, "read": first, "unread": 1}));
    // Written with a point, it is the same number.
    let back = server.put(&bob, &path, json!({"seq": 1.0})).await.expect(200);
    assert_eq!(back, json!({"room": room, "read": first, "unread": 1}), "never back");
    server.say(&bob, &room, "mine").await;
    assert_eq!(unread(&bob).await, (8, 0));
    let members = server.get(&ada, &format!("/chat-rooms/{room}/members")).await.expect(200);
    let bobs = members["items"].as_array().unwrap().iter().find(|m| m["user"]["id"] == bob.id.as_str()).unwrap();
    assert_eq!(bobs["read"], 8);
}

async fn repeatable_calls(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.person().await, server.person().await);
    let new = json!({"kind": "group", "name": "one", "client_id": "k"});
    let first = server.post(&ada, "/chat-rooms", new).await.expect(201);
    let other = json!({"kind": "group", "name": "two", "client_id": "k", "member_ids": [bob.id]});
    let again = server.post(&ada, "/chat-rooms", other.clone()).await.expect(200);
    assert_eq!((&again["id"], &again["name"]), (&first["id"], &json!("one")));
    let bobs =
        server.post(&bob, "/chat-rooms", json!({"kind": "group", "name": "two", "client_id": "k"})).await.expect(201);
    assert_ne!(bobs["id"], first["id"]);
    let direct = server.post(&ada, "/chat-rooms", json!({"kind": "direct", "user_id": bob.id})).await.expect(201);
    let theirs = server.post(&bob, "/chat-rooms", json!({"kind": "direct", "user_id": ada.id})).await.expect(200);
    assert_eq!(direct["id"], theirs["id"]);
    let path = format!("/messages/{}", text(&direct["id"]));
    let message = server.post(&ada, &path, json!({"body": "x", "client_id": "k"})).await.expect(201);
    assert_eq!(server.post(&ada, &path, json!({"body": "y", "client_id": "k"})).await.expect(200), message);
}

async fn every_list_pages(store: Store) {
    let server = Server::start(store).await;
    let ada = server.named("ada").await;
    let mut people = Vec::new();
    for n in 0..5 {
        people.push(server.named(&format!("page{n}")).await);
    }
    for (n, person) in people.iter().enumerate() {
        server.login("ada").await;
        server.direct(&ada, person).await;
        let request = server.post(person, "/friends/request", json!({"user_id": ada.id})).await.expect(201);
        if n < 3 {
            let path = format!("/friends/{}/status", text(&request["id"]));
            server.put(&ada, &path, json!({"status": "accepted"})).await.expect(200);
        }
    }
    let room = server.group(&[&[&ada][..], &people.iter().collect::<Vec<_>>()[..]].concat()).await;
    let seq = server.say(&ada, &room, "react").await;
    for person in &people {
        server.put(person, &format!("/messages/{room}/{seq}/reactions/x"), json!({})).await.expect(204);
    }
    let blocker = server.named("blocker").await;
    for person in &people {
        server.put(&blocker, &format!("/users/{}/block", person.id), json!({})).await.expect(204);
    }
    for (who, path, count) in [
        (&ada, "/auth/sessions".to_owned(), 6),
        (&ada, "/users?q=page".to_owned(), 5),
        (&ada, "/friends".to_owned(), 3),
        (&ada, "/friends/requests".to_owned(), 2),
        (&ada, "/chat-rooms".to_owned(), 6),
        (&ada, format!("/chat-rooms/{room}/members"), 6),
        (&ada, format!("/messages/{room}/{seq}/reactions/x"), 5),
        (&blocker, "/users/blocked".to_owned(), 5),
    ] {
        let whole = server.get(who, &path).await.expect(200);
        assert_eq!((whole["items"].as_array().unwrap().len(), &whole["next"]), (count, &Value::Null), "{path}");
        for limit in [1, 2, count] {
            let mut items = Vec::new();
            let mut cursor = String::new();
            loop {
                let join = if path.contains('?') { '&' } else { '?' };
                let page = server.get(who, &format!("{path}{join}limit={limit}{cursor}")).await.expect(200);
                let found = page["items"].as_array().unwrap();
                assert!(found.len() <= limit);
                items.extend(found.iter().cloned());
                match page["next"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(Value::from(items), whole["items"], "{path} by {limit}");
        }
    }
}

async fn operations(store: Store) {
    let server = Server::start(store).await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.call(Method::GET, path, None, None).await;
        assert_eq!(answer.expect(200), json!({"status": "ok"}));
    }
    let document = server.call(Method::GET, "/openapi.json", None, None).await.expect(200);
    assert!(text(&document["openapi"]).starts_with("3.1"));
    let docs = server.call(Method::GET, "/docs", None, None).await;
    assert_eq!(
        (docs.status.as_u16(), docs.headers["content-type"].to_str().unwrap()),
        (200, "text/html; charset=utf-8")
    );
    let page = String::from_utf8(docs.body.to_vec()).unwrap();
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "nothing from elsewhere");
    server.api.chat().drain();
    let draining = server.call(Method::GET, "/readyz", None, None).await;
    draining.problem(503, "unavailable");
    assert!(draining.headers.contains_key("retry-after"));
}

async fn from_registration_to_a_read_message(store: Store) {
    let server = Server::start(store).await;
    let (ada, bob) = (server.named("ada").await, server.named("bob").await);
    let mut bobs = server.started(&bob, json!({})).await;
    let found = server.get(&ada, "/users?q=bob").await.expect(200);
    let request = server.post(&ada, "/friends/request", json!({"user_id": found["items"][0]["id"]})).await.expect(201);
    let asked = bobs.signal("friend.requested").await;
    assert_eq!(asked["data"]["friendship"]["id"], request["id"]);
    let mut adas = server.started(&ada, json!({})).await;
    server
        .put(&bob, &format!("/friends/{}/status", text(&request["id"])), json!({"status": "accepted"}))
        .await
        .expect(200);
    adas.signal("friend.accepted").await;
    let room = server.direct(&ada, &bob).await;
    assert_eq!(bobs.signal("room.added").await["room"], room.as_str());
    adas.send(json!({"type": "message.send", "id": "1", "room": room, "body": "Hello, Bob", "client_id": "1"})).await;
    let seq = adas.ack("1").await["seq"].as_u64().unwrap();
    let heard = bobs.find("the message", |frame| frame["event"] == "message.posted").await;
    assert_eq!(heard["data"]["message"]["body"], "Hello, Bob");
    let listed = server.get(&bob, "/chat-rooms").await.expect(200);
    assert_eq!(listed["items"][0]["unread"], 1);
    bobs.send(json!({"type": "read", "id": "1", "room": room, "seq": seq})).await;
    assert_eq!(bobs.ack("1").await["unread"], 0);
    assert_eq!(adas.signal("read").await["data"]["seq"], seq);
}
