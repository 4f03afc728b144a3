//! Sockets that are given up while they open, or meet a store that fails: nothing of them stays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chatcore::hub::Scope;
use chatcore::id::{RoomId, UserId};
use chatcore::memory::MemoryStore;
use chatcore::model::{AccessSecret, Draft, Emoji, LogPage, LogRange, Message, MessagePage, MessageRange, Seq};
use chatcore::service::{Error, GroupInput, LoginInput, Principal, RateLimit, RegisterInput, ResumeAnswer};
use chatcore::store::{AppendOutcome, Digest, Head, MessageStore, Storage, StoreError, StoreResult};
use chatcore::{Chat, Settings};
use tokio::sync::mpsc;

/// What becomes of the reading of heads, which follows the registration.
#[derive(Clone, Copy)]
enum Heads {
    Pass,
    Wait,
    Fail,
}

/// The logs in memory.
struct Logs {
    logs: MemoryStore,
    heads: Mutex<Heads>,
    arrived: mpsc::UnboundedSender<()>,
}

#[async_trait]
impl MessageStore for Logs {
    async fn ping(&self) -> StoreResult<()> {
        MessageStore::ping(&self.logs).await
    }

    async fn append(&self, batch: &[Draft], max_reactions: u32) -> StoreResult<Vec<AppendOutcome>> {
        self.logs.append(batch, max_reactions).await
    }

    async fn events(&self, room: RoomId, range: LogRange, limit: u32) -> StoreResult<LogPage> {
        self.logs.events(room, range, limit).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> StoreResult<Vec<Head>> {
        let heads = *self.heads.lock().unwrap();
        match heads {
            Heads::Pass => self.logs.heads(rooms).await,
            Heads::Wait => {
                self.arrived.send(()).unwrap();
                std::future::pending().await
            }
            Heads::Fail => Err(StoreError::unavailable("gone", std::io::Error::other("gone"))),
        }
    }

    async fn messages(
        &self,
        viewer: UserId,
        room: RoomId,
        range: MessageRange,
        limit: u32,
    ) -> StoreResult<MessagePage> {
        self.logs.messages(viewer, room, range, limit).await
    }

    async fn messages_at(&self, viewer: UserId, room: RoomId, seqs: &[Seq]) -> StoreResult<Vec<Message>> {
        self.logs.messages_at(viewer, room, seqs).await
    }

    async fn reactors(
        &self,
        room: RoomId,
        seq: Seq,
        emoji: &Emoji,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<(UserId, Seq)>> {
        self.logs.reactors(room, seq, emoji, after, limit).await
    }

    async fn digests(&self, viewer: UserId, rooms: &[(RoomId, u64)], cap: u32) -> StoreResult<Vec<Digest>> {
        self.logs.digests(viewer, rooms, cap).await
    }

    async fn last_posts(&self, room: RoomId, users: &[UserId]) -> StoreResult<Vec<(UserId, Seq)>> {
        self.logs.last_posts(room, users).await
    }
}

struct World {
    chat: Chat,
    logs: Arc<Logs>,
    arrivals: mpsc::UnboundedReceiver<()>,
}

impl World {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let logs = Arc::new(Logs { logs: MemoryStore::new(), heads: Mutex::new(Heads::Pass), arrived });
        let storage = Storage { messages: logs.clone(), ..Storage::single(Arc::new(MemoryStore::new())) };
        let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
        settings.hashing.memory_kib = 64;
        settings.hashing.iterations = 1;
        change(&mut settings);
        Self { chat: Chat::builder(storage, settings).start().unwrap(), logs, arrivals }
    }

    async fn person(&self, name: &str) -> Principal {
        let email = format!("{name}@example.org");
        let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
        self.chat.register(input, None).await.unwrap();
        let login = LoginInput { login: name, password: "correct horse", device: None };
        let token = self.chat.login(login, None).await.unwrap().access_token;
        self.chat.authenticate(&token).await.unwrap()
    }

    async fn group(&self, owner: &Principal) -> RoomId {
        let input = GroupInput { name: "room", members: &[], client_id: None };
        self.chat.create_group(owner, input).await.unwrap().room.summary.room.id
    }

    fn heads(&self, heads: Heads) {
        *self.logs.heads.lock().unwrap() = heads;
    }
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_are_given_up_leave_nothing() {
    let mut world = World::new(|_| ());
    let ada = world.person("ada").await;
    let room = world.group(&ada).await;
    let chat = world.chat.clone();
    for _ in 0..10 {
        world.heads(Heads::Wait);
        tokio::select! {
            _ = chat.connect(&ada, Scope::Room(room), None) => panic!("its heads are held back"),
            arrived = world.arrivals.recv() => arrived.unwrap(),
        }
        assert_eq!((chat.stats().rooms, chat.stats().connections), (0, 0));
        world.heads(Heads::Fail);
        chat.connect(&ada, Scope::Room(room), None).await.unwrap_err();
        assert_eq!((chat.stats().rooms, chat.stats().connections), (0, 0));
    }
    // The same with a socket for all rooms, which can begin again afterwards.
    world.heads(Heads::Pass);
    let (mut connection, _) = chat.connect(&ada, Scope::All, None).await.unwrap();
    let rooms = [(room, 0)];
    for more in [true, false] {
        world.heads(Heads::Wait);
        tokio::select! {
            _ = chat.resume(&mut connection, &rooms, more) => panic!("its heads are held back"),
            arrived = world.arrivals.recv() => arrived.unwrap(),
        }
        assert_eq!((chat.stats().rooms, connection.is_started()), (0, false), "{more}");
        world.heads(Heads::Fail);
        chat.resume(&mut connection, &rooms, more).await.unwrap_err();
        assert_eq!((chat.stats().rooms, connection.is_started()), (0, false), "{more}");
    }
    world.heads(Heads::Pass);
    chat.resume(&mut connection, &rooms, false).await.unwrap();
    assert_eq!((chat.stats().rooms, connection.is_started()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn rooms_of_others_are_not_registered_for() {
    let world = World::new(|_| ());
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada).await;
    let unknown = |n: u128| RoomId::from_uuid(uuid::Uuid::from_u128(n));
    // The registration would be followed by the reading of heads, which waits for ever.
    world.heads(Heads::Wait);
    let chat = &world.chat;
    let refused = chat.connect(&bob, Scope::Room(room), None).await.unwrap_err();
    assert!(matches!(refused, Error::Forbidden(_)), "{refused}");
    let refused = chat.connect(&bob, Scope::Room(unknown(1)), None).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound(_)), "{refused}");
    let (mut connection, _) = chat.connect(&bob, Scope::All, None).await.unwrap();
    let mut rooms: Vec<_> = (1..1000).map(|n| (unknown(n), 0)).collect();
    rooms.push((room, 0));
    let answers = chat.resume(&mut connection, &rooms, true).await.unwrap();
    assert_eq!(answers.len(), 1000);
    assert!(answers.values().all(|answer| matches!(answer, ResumeAnswer::Refused(_))));
    assert_eq!(chat.stats().rooms, 0);
}

#[tokio::test]
async fn handshakes_are_counted_by_user() {
    let world = World::new(|settings| settings.connects_per_user = Some(RateLimit::new(3, Duration::from_secs(600))));
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    for _ in 0..3 {
        world.chat.connect(&ada, Scope::All, None).await.unwrap();
    }
    let refused = world.chat.connect(&ada, Scope::All, None).await.unwrap_err();
    assert!(matches!(refused, Error::RateLimited(_, wait) if wait > Duration::from_secs(100)), "{refused}");
    world.chat.connect(&bob, Scope::All, None).await.unwrap();
}
