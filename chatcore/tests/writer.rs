//! The one writer of a node's logs, while its store is held at a gate: what was allowed when it was queued and is not any more, rooms
//! that another node holds, batches that take long.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chatcore::id::{RoomId, UserId};
use chatcore::memory::MemoryStore;
use chatcore::model::{
    AccessSecret, Draft, Emoji, EventKind, LogPage, LogRange, Message, MessagePage, MessageRange, Seq,
};
use chatcore::service::{Error, GroupInput, LoginInput, PostInput, Principal, RegisterInput};
use chatcore::store::{AppendOutcome, Digest, Head, MessageStore, Storage, StoreResult};
use chatcore::{Chat, Settings};
use tokio::sync::{Semaphore, mpsc};

/// The logs in memory. An append of a room that has a gate waits at it; in a batch with other rooms it is answered `Contended`.
struct Gated {
    logs: MemoryStore,
    gates: Mutex<HashMap<RoomId, Arc<Semaphore>>>,
    arrived: mpsc::UnboundedSender<RoomId>,
}

impl Gated {
    fn gate(&self, room: RoomId) -> Option<Arc<Semaphore>> {
        self.gates.lock().unwrap().get(&room).cloned()
    }
}

#[async_trait]
impl MessageStore for Gated {
    async fn ping(&self) -> StoreResult<()> {
        MessageStore::ping(&self.logs).await
    }

    async fn append(&self, batch: &[Draft], max_reactions: u32) -> StoreResult<Vec<AppendOutcome>> {
        let alone = batch.iter().all(|draft| draft.room == batch[0].room);
        if alone && let Some(gate) = self.gate(batch[0].room) {
            self.arrived.send(batch[0].room).unwrap();
            gate.acquire().await.unwrap().forget();
        }
        let free: Vec<Draft> = batch.iter().filter(|draft| alone || self.gate(draft.room).is_none()).cloned().collect();
        let mut outcomes = self.logs.append(&free, max_reactions).await?.into_iter();
        Ok(batch
            .iter()
            .map(|draft| {
                if alone || self.gate(draft.room).is_none() {
                    outcomes.next().unwrap()
                } else {
                    AppendOutcome::Contended
                }
            })
            .collect())
    }

    async fn events(&self, room: RoomId, range: LogRange, limit: u32) -> StoreResult<LogPage> {
        self.logs.events(room, range, limit).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> StoreResult<Vec<Head>> {
        self.logs.heads(rooms).await
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
    gated: Arc<Gated>,
    arrivals: mpsc::UnboundedReceiver<RoomId>,
}

impl World {
    fn new() -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let gated = Arc::new(Gated { logs: MemoryStore::new(), gates: Mutex::default(), arrived });
        let storage = Storage { messages: gated.clone(), ..Storage::single(Arc::new(MemoryStore::new())) };
        let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
        settings.hashing.memory_kib = 64;
        settings.hashing.iterations = 1;
        Self { chat: Chat::builder(storage, settings).start().unwrap(), gated, arrivals }
    }

    async fn person(&self, name: &str) -> Principal {
        let email = format!("{name}@example.org");
        let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
        self.chat.register(input, None).await.unwrap();
        let login = LoginInput { login: name, password: "correct horse", device: None };
        let token = self.chat.login(login, None).await.unwrap().access_token;
        self.chat.authenticate(&token).await.unwrap()
    }

    async fn group(&self, owner: &Principal, members: &[UserId]) -> RoomId {
        let input = GroupInput { name: "room", members, client_id: None };
        self.chat.create_group(owner, input).await.unwrap().room.summary.room.id
    }

    /// From now on appends of this room wait, each for a permit.
    fn shut(&self, room: RoomId) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.gated.gates.lock().unwrap().insert(room, gate.clone());
        gate
    }

    fn open(&self, room: RoomId) {
        if let Some(gate) = self.gated.gates.lock().unwrap().remove(&room) {
            gate.add_permits(1000);
        }
    }

    async fn bodies(&self, room: RoomId) -> Vec<String> {
        let page = self.gated.logs.events(room, LogRange::After(0), 1000).await.unwrap();
        let numbers: Vec<u64> = page.events.iter().map(|event| event.seq.number()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        page.events
            .into_iter()
            .filter_map(|event| match event.kind {
                EventKind::Posted(posted) => posted.body.map(|body| body.as_str().to_owned()),
                _ => None,
            })
            .collect()
    }
}

fn input(body: &str) -> PostInput<'_> {
    PostInput { body, client_id: None, reply_to: None }
}

/// A post that waits in the queue while its sender is removed is refused, though it was allowed when it was queued.
#[tokio::test(start_paused = true)]
async fn who_is_removed_while_a_post_waits_does_not_post() {
    let mut world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    let gate = world.shut(room);
    let first = world.chat.submit_post(&ada, room, input("first")).await.unwrap();
    assert_eq!(world.arrivals.recv().await, Some(room));
    let late = world.chat.submit_post(&bob, room, input("late")).await.unwrap();
    let chat = world.chat.clone();
    let removal = tokio::spawn(async move { chat.remove_member(&ada, room, bob.user).await });
    // The removal is recorded, and its event waits behind the post.
    while world.chat.submit_post(&bob, room, input("refused at once")).await.is_ok() {
        tokio::task::yield_now().await;
    }
    world.open(room);
    gate.add_permits(1000);
    first.wait().await.unwrap();
    assert!(matches!(late.wait().await, Err(Error::Forbidden(_))));
    removal.await.unwrap().unwrap();
    assert_eq!(world.bodies(room).await, ["first"]);
}

/// The same for one whose session ends.
#[tokio::test(start_paused = true)]
async fn who_logs_out_while_a_post_waits_does_not_post() {
    let mut world = World::new();
    let ada = world.person("ada").await;
    let bob = world.person("bob").await;
    let room = world.group(&ada, &[bob.user]).await;
    let gate = world.shut(room);
    let first = world.chat.submit_post(&ada, room, input("first")).await.unwrap();
    assert_eq!(world.arrivals.recv().await, Some(room));
    let late = world.chat.submit_post(&bob, room, input("late")).await.unwrap();
    world.chat.logout(&bob).await.unwrap();
    world.open(room);
    gate.add_permits(1000);
    first.wait().await.unwrap();
    assert!(matches!(late.wait().await, Err(Error::Unauthenticated(_))));
    assert_eq!(world.bodies(room).await, ["first"]);
}

/// The same for one who is blocked in a direct room.
#[tokio::test(start_paused = true)]
async fn who_is_blocked_while_a_post_waits_does_not_post() {
    let mut world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.chat.open_direct(&ada, bob.user).await.unwrap().room.summary.room.id;
    let gate = world.shut(room);
    let first = world.chat.submit_post(&ada, room, input("first")).await.unwrap();
    assert_eq!(world.arrivals.recv().await, Some(room));
    let late = world.chat.submit_post(&bob, room, input("late")).await.unwrap();
    world.chat.block(&ada, bob.user).await.unwrap();
    world.open(room);
    gate.add_permits(1000);
    first.wait().await.unwrap();
    assert!(matches!(late.wait().await, Err(Error::Forbidden(_))));
    assert_eq!(world.bodies(room).await, ["first"]);
}

/// A room that is held, alone or in a batch with others, does not hold up the others, and its own posts keep their order.
#[tokio::test(start_paused = true)]
async fn a_held_room_does_not_hold_up_the_others() {
    let mut world = World::new();
    let ada = world.person("ada").await;
    let (held, free) = (world.group(&ada, &[]).await, world.group(&ada, &[]).await);
    let gate = world.shut(held);
    let mut waiting = vec![world.chat.submit_post(&ada, held, input("0")).await.unwrap()];
    assert_eq!(world.arrivals.recv().await, Some(held));
    for n in 1..20 {
        let body = n.to_string();
        waiting.push(world.chat.submit_post(&ada, held, input(&body)).await.unwrap());
        // It is answered while the held room waits.
        let free = world.chat.post(&ada, free, input(&body));
        tokio::time::timeout(Duration::from_secs(5), free).await.unwrap().unwrap();
    }
    assert!(world.bodies(held).await.is_empty());
    world.open(held);
    gate.add_permits(1000);
    for post in waiting {
        post.wait().await.unwrap();
    }
    let all: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(world.bodies(held).await, all);
    assert_eq!(world.bodies(free).await, all[1..]);
}

/// A room that is held when it comes in a batch with others is worked off apart.
#[tokio::test(start_paused = true)]
async fn a_room_held_by_another_node_is_worked_off_apart() {
    let mut world = World::new();
    let ada = world.person("ada").await;
    let (first, held, free) =
        (world.group(&ada, &[]).await, world.group(&ada, &[]).await, world.group(&ada, &[]).await);
    // While the first room's batch is at its gate, the other two queue up into one batch.
    let gate = world.shut(first);
    let one = world.chat.submit_post(&ada, first, input("x")).await.unwrap();
    assert_eq!(world.arrivals.recv().await, Some(first));
    let held_gate = world.shut(held);
    let mut waiting = Vec::new();
    for body in ["0", "1"] {
        waiting.push(world.chat.submit_post(&ada, held, input(body)).await.unwrap());
        waiting.push(world.chat.submit_post(&ada, free, input(body)).await.unwrap());
    }
    gate.add_permits(1);
    one.wait().await.unwrap();
    assert_eq!(world.arrivals.recv().await, Some(held), "alone");
    waiting.push(world.chat.submit_post(&ada, held, input("2")).await.unwrap());
    world.open(held);
    held_gate.add_permits(1000);
    for post in waiting {
        post.wait().await.unwrap();
    }
    assert_eq!(world.bodies(held).await, ["0", "1", "2"]);
    assert_eq!(world.bodies(free).await, ["0", "1"]);
}
