//! Two hundred people at once, who post, edit, react, delete, drop their connections and come back: each sees every event of each
//! of their rooms once and in order, and what they saw is what the store holds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chatcore::id::RoomId;
use chatcore::model::{EventKind, LogRange, Posted};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::harness::{Got, PATIENCE, Person, Server, Socket, Store, on_every_store, text};

on_every_store!(everybody_sees_everything_once_and_in_order);

const PEOPLE: usize = 200;
const ROOMS: usize = 20;
const SESSIONS: usize = 4;
const ACTIONS: usize = 6;

/// A small generator, so that a run can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64 (Marsaglia 2003)
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Somebody, and what they have seen.
struct Reader {
    me: Person,
    rooms: Vec<String>,
    seen: BTreeMap<String, Vec<Value>>,
    /// Posts that were sent and not acknowledged: room, key.
    open: HashMap<String, String>,
    acked: HashSet<(String, String)>,
    random: Random,
    posts: usize,
}

impl Reader {
    fn positions(&self) -> Value {
        self.seen
            .iter()
            .map(|(room, events)| (room.clone(), json!(events.len() as u64)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn take(&mut self, frame: Value) {
        match frame["type"].as_str().unwrap() {
            "event" => {
                let room = text(&frame["room"]);
                let seen = self.seen.get_mut(&room).unwrap();
                assert_eq!(frame["seq"], seen.len() as u64 + 1, "a hole or a repeat in {room}");
                seen.push(frame);
            }
            "ack" => {
                if let Some(room) = frame["id"].as_str().and_then(|id| self.open.remove(id)) {
                    self.acked.insert((room, text(&frame["id"])));
                }
            }
            "error" => {
                assert!(["rule", "not_found", "forbidden"].contains(&frame["code"].as_str().unwrap()), "{frame}")
            }
            _ => {}
        }
    }

    async fn begin(&mut self, server: &Server) -> Socket {
        let mut socket = server.socket(&self.me, "/ws").await;
        socket.send(json!({"type": "resume", "id": "resume", "rooms": self.positions()})).await;
        let ack = socket.ack("resume").await;
        for room in &self.rooms {
            assert_eq!(ack["rooms"][room]["resumed"], true, "{ack}");
        }
        // What was not acknowledged before the connection went is sent again under the same key.
        for (key, room) in self.open.clone() {
            self.post(&mut socket, &room, &key).await;
        }
        socket
    }

    async fn post(&mut self, socket: &mut Socket, room: &str, key: &str) {
        self.open.insert(key.to_owned(), room.to_owned());
        socket.send(json!({"type": "message.send", "id": key, "room": room, "body": format!("{key} says"), "client_id": key})).await;
    }

    async fn act(&mut self, socket: &mut Socket) {
        let room = self.rooms[self.random.below(self.rooms.len())].clone();
        let posted = |mine: bool, me: &str, event: &&Value| {
            event["event"] == "message.posted" && (!mine || event["actor"] == me)
        };
        let choice = self.random.below(10);
        let candidates: Vec<u64> = self.seen[&room]
            .iter()
            .filter(|event| posted(choice < 8, &self.me.id, event))
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        if choice < 5 || candidates.is_empty() {
            self.posts += 1;
            let key = format!("{}-{}", self.me.name, self.posts);
            self.post(socket, &room, &key).await;
            return;
        }
        let seq = candidates[self.random.below(candidates.len())];
        let frame = match choice {
            5 | 6 => {
                json!({"type": "message.edit", "room": room, "seq": seq, "body": format!("edit {}", self.random.below(99))})
            }
            7 => json!({"type": "message.delete", "room": room, "seq": seq}),
            8 => {
                let emoji = ["👍", "🎉", "🙈"][self.random.below(3)];
                json!({"type": "reaction.add", "room": room, "seq": seq, "emoji": emoji})
            }
            _ => json!({"type": "reaction.remove", "room": room, "seq": seq, "emoji": "👍"}),
        };
        socket.send(frame).await;
    }

    async fn live(mut self, server: Arc<Server>, barrier: Arc<Barrier>) -> Self {
        for _ in 0..SESSIONS {
            let mut socket = self.begin(&server).await;
            for _ in 0..ACTIONS {
                self.act(&mut socket).await;
                for _ in 0..self.random.below(12) {
                    match tokio::time::timeout(std::time::Duration::from_millis(20), socket.read_patiently()).await {
                        Ok(Got::Frame(frame)) => self.take(frame),
                        Ok(end) => panic!("{end:?}"),
                        Err(_) => break,
                    }
                }
            }
            // Dropped as it is, perhaps with frames under way in both directions.
        }
        // Once more, until nothing is open; then, when everybody has come so far, to the end of every log.
        let mut socket = self.begin(&server).await;
        self.read_until(&mut socket, |me| me.open.is_empty()).await;
        barrier.wait().await;
        let ids: Vec<RoomId> = self.rooms.iter().map(|room| room.parse().unwrap()).collect();
        let heads = server.storage.messages.heads(&ids).await.unwrap();
        let heads: HashMap<String, usize> =
            heads.iter().map(|head| (head.room.to_string(), usize::try_from(head.seq.number()).unwrap())).collect();
        self.read_until(&mut socket, |me| me.seen.iter().all(|(room, seen)| seen.len() >= heads[room])).await;
        self
    }

    async fn read_until(&mut self, socket: &mut Socket, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                match socket.read_patiently().await {
                    Got::Frame(frame) => self.take(frame),
                    end => panic!("{end:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE * 3, wait).await.expect("not everything came");
    }
}

async fn everybody_sees_everything_once_and_in_order(store: Store) {
    let server = Arc::new(Server::start(store).await);
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        people.push(server.person().await);
    }
    // Everybody is in two rooms; no two rooms have the same people.
    let mut rooms: Vec<(String, Vec<usize>)> = Vec::new();
    for number in 0..ROOMS {
        let members: Vec<usize> =
            (0..PEOPLE).filter(|p| p % ROOMS == number || (p / ROOMS + p) % ROOMS == number).collect();
        let who: Vec<&Person> = members.iter().map(|index| &people[*index]).collect();
        rooms.push((server.group(&who).await, members));
    }
    let barrier = Arc::new(Barrier::new(PEOPLE));
    let mut tasks = Vec::new();
    for (index, me) in people.into_iter().enumerate() {
        let mine: Vec<String> =
            rooms.iter().filter(|(_, members)| members.contains(&index)).map(|(room, _)| room.clone()).collect();
        let reader = Reader {
            me,
            seen: mine.iter().map(|room| (room.clone(), Vec::new())).collect(),
            rooms: mine,
            open: HashMap::new(),
            acked: HashSet::new(),
            random: Random(0x9E37_79B9_7F4A_7C15 ^ (index as u64 + 1)),
            posts: 0,
        };
        tasks.push(tokio::spawn(reader.live(server.clone(), barrier.clone())));
    }
    let readers: Vec<Reader> =
        futures::future::join_all(tasks).await.into_iter().map(|reader| reader.unwrap()).collect();
    for (room, _) in &rooms {
        check_room(&server, room, &readers).await;
    }
}

async fn check_room(server: &Server, room: &str, readers: &[Reader]) {
    let id: RoomId = room.parse().unwrap();
    let log = server.storage.messages.events(id, LogRange::After(0), 100_000).await.unwrap().events;
    let mut keys: HashMap<String, usize> = HashMap::new();
    for (index, event) in log.iter().enumerate() {
        assert_eq!(event.seq.number(), index as u64 + 1);
        if let EventKind::Posted(Posted { client_id: Some(key), .. }) = &event.kind {
            *keys.entry(key.to_string()).or_default() += 1;
        }
    }
    for reader in readers {
        // Acknowledged is there, once.
        for (_, key) in reader.acked.iter().filter(|(acked, _)| acked == room) {
            assert_eq!(keys.get(key), Some(&1), "{key}");
        }
        let Some(seen) = reader.seen.get(room) else { continue };
        assert_eq!(seen.len(), log.len());
        for (frame, event) in seen.iter().zip(&log) {
            assert_eq!(frame["actor"].as_str().map(str::to_owned), event.actor.map(|actor| actor.to_string()));
            match &event.kind {
                EventKind::Posted(posted) => {
                    assert_eq!(frame["event"], "message.posted");
                    let body = frame["data"]["message"]["body"].as_str();
                    // A deletion takes bodies out afterwards; apart from that everybody saw the same.
                    if let (Some(stored), Some(shown)) = (&posted.body, body) {
                        assert_eq!(stored.as_str(), shown);
                    }
                }
                EventKind::Edited { target, body } => {
                    assert_eq!(
                        (&frame["event"], &frame["data"]["seq"]),
                        (&json!("message.edited"), &json!(target.number()))
                    );
                    if let (Some(stored), Some(shown)) = (body, frame["data"]["body"].as_str()) {
                        assert_eq!(stored.as_str(), shown);
                    }
                }
                EventKind::Deleted { target } => {
                    assert_eq!(frame["data"], json!({"seq": target.number()}));
                }
                EventKind::ReactionAdded { target, emoji } | EventKind::ReactionRemoved { target, emoji } => {
                    assert_eq!(frame["data"], json!({"seq": target.number(), "emoji": emoji.as_str()}));
                }
                EventKind::Joined { user, .. } => assert_eq!(frame["data"]["user"], user.to_string()),
                other => panic!("nobody did {other:?}"),
            }
        }
    }
}
