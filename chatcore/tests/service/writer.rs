//! The one writer of a node's logs, while its store is held at a gate: what was allowed when it was queued and is not any more, rooms
//! that another node holds, batches that take long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chatcore::id::{RoomId, UserId};
use chatcore::memory::MemoryStore;
use chatcore::model::{Draft, Emoji, LogPage, LogRange, Message, MessagePage, MessageRange, Role, Seq};
use chatcore::service::{Error, Family};
use chatcore::store::{AppendOutcome, Digest, Head, MessageStore, Removal, Storage, StoreResult};
use tokio::sync::{Semaphore, mpsc};

use crate::world::{self, input};

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

/// A world whose rooms can be shut.
struct World {
    world: world::World,
    gated: Arc<Gated>,
    arrivals: mpsc::UnboundedReceiver<RoomId>,
}

impl std::ops::Deref for World {
    type Target = world::World;

    fn deref(&self) -> &Self::Target {
        &self.world
    }
}

impl World {
    fn new() -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let gated = Arc::new(Gated { logs: MemoryStore::new(), gates: Mutex::default(), arrived });
        let storage = Storage { messages: gated.clone(), ..Storage::single(Arc::new(MemoryStore::new())) };
        Self { world: world::World::with(storage, |_| ()), gated, arrivals }
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

/// What was sent first stands first, also where its author has been looked up anew in between.
#[tokio::test(start_paused = true)]
async fn a_post_that_is_authorised_again_keeps_its_place() {
    let mut world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    let gate = world.shut(room);
    let mut waiting = vec![world.chat.submit_post(&ada, room, input("first")).await.unwrap()];
    assert_eq!(world.arrivals.recv().await, Some(room));
    for n in 0..10 {
        waiting.push(world.chat.submit_post(&bob, room, input(&n.to_string())).await.unwrap());
        // Makes what bob was allowed before stale, and allows the same again.
        let chat = world.chat.clone();
        let role = if n % 2 == 0 { Role::Admin } else { Role::Member };
        tokio::spawn(async move { chat.change_role(&ada, room, bob.user, role).await });
        tokio::task::yield_now().await;
    }
    world.open(room);
    gate.add_permits(1000);
    for post in waiting {
        post.wait().await.unwrap();
    }
    let all: Vec<String> = std::iter::once("first".to_owned()).chain((0..10).map(|n| n.to_string())).collect();
    assert_eq!(world.bodies(room).await, all);
}

/// While one author is looked up, the others of the room go on.
#[tokio::test(start_paused = true)]
async fn an_authorisation_that_takes_long_holds_up_its_author_alone() {
    let mut world = World::new();
    let (ada, bob, eve) = (world.person("ada").await, world.person("bob").await, world.person("eve").await);
    let room = world.group(&ada, &[bob.user, eve.user]).await;
    world.chat.post(&eve, room, input("known")).await.unwrap();
    let gate = world.shut(room);
    let first = world.chat.submit_post(&ada, room, input("first")).await.unwrap();
    assert_eq!(world.arrivals.recv().await, Some(room));
    let late = world.chat.submit_post(&bob, room, input("late")).await.unwrap();
    let chat = world.chat.clone();
    let change = tokio::spawn(async move { chat.change_role(&ada, room, bob.user, Role::Admin).await });
    tokio::task::yield_now().await;
    world.script.wait("RoomStore::standings");
    world.open(room);
    gate.add_permits(1000);
    first.wait().await.unwrap();
    world.chat.post(&eve, room, input("second")).await.unwrap();
    assert_eq!(world.bodies(room).await, ["known", "first", "second"]);
    world.script.clear("RoomStore::standings");
    late.wait().await.unwrap();
    change.await.unwrap().unwrap();
    assert_eq!(world.bodies(room).await, ["known", "first", "second", "late"]);
}

/// Drafts that another node held up stand before what was sent after them.
#[tokio::test(start_paused = true)]
async fn a_contended_draft_keeps_its_place() {
    let mut world = World::new();
    let ada = world.person("ada").await;
    let (first, held, free) =
        (world.group(&ada, &[]).await, world.group(&ada, &[]).await, world.group(&ada, &[]).await);
    world.world.script.wait("MessageStore::append");
    let mut waiting = vec![world.chat.submit_post(&ada, first, input("x")).await.unwrap()];
    world.world.arrivals.recv().await.unwrap();
    world.shut(held);
    // These two make one batch, which takes long enough for others to go on beside it.
    waiting.push(world.chat.submit_post(&ada, held, input("0")).await.unwrap());
    waiting.push(world.chat.submit_post(&ada, free, input("0")).await.unwrap());
    world.world.arrivals.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    waiting.push(world.chat.submit_post(&ada, held, input("1")).await.unwrap());
    world.world.script.clear("MessageStore::append");
    assert_eq!(world.arrivals.recv().await, Some(held), "alone");
    world.open(held);
    for post in waiting {
        post.wait().await.unwrap();
    }
    assert_eq!(world.bodies(held).await, ["0", "1"]);
}

impl World {
    /// Another node removes a member; this one is not told.
    async fn removed_elsewhere(&self, room: RoomId, by: UserId, user: UserId) {
        let intent = chatcore::id::IntentId::from_uuid(self.chat.new_id());
        let removal = Removal { room, by, user, intent, at: self.chat.now() };
        self.storage.rooms.remove(&removal).await.unwrap();
    }
}

/// A post that has waited for longer than its author's membership is trusted is looked at again.
#[tokio::test(start_paused = true)]
async fn a_post_that_waits_long_is_authorised_again() {
    let mut world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    let gate = world.shut(room);
    let first = world.chat.submit_post(&ada, room, input("first")).await.unwrap();
    assert_eq!(world.arrivals.recv().await, Some(room));
    let late = world.chat.submit_post(&bob, room, input("late")).await.unwrap();
    world.removed_elsewhere(room, ada.user, bob.user).await;
    tokio::time::advance(world.chat.settings().trust).await;
    world.open(room);
    gate.add_permits(1000);
    first.wait().await.unwrap();
    assert!(matches!(late.wait().await, Err(Error::Forbidden(_))));
    assert_eq!(world.bodies(room).await, ["first"]);
}

/// The same before each further attempt at an append that the store has not answered. What became of the first one is not known, and the
/// author is told so.
#[tokio::test(start_paused = true)]
async fn an_append_is_not_tried_again_for_whoever_was_removed_meanwhile() {
    let mut world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    world.world.script.wait("MessageStore::append");
    let late = world.chat.submit_post(&bob, room, input("late")).await.unwrap();
    world.world.arrivals.recv().await.unwrap();
    // A further attempt would succeed.
    world.world.script.forget("MessageStore::append");
    world.removed_elsewhere(room, ada.user, bob.user).await;
    // The attempt under way ends with the store's deadline, which is longer than bob is trusted.
    let refused = late.wait().await.unwrap_err();
    assert_eq!(refused.family(), Family::Fault);
    assert!(matches!(refused, Error::Unavailable(_)));
    world.chat.post(&ada, room, input("next")).await.unwrap();
    assert_eq!(world.bodies(room).await, ["next"]);
}

/// A deletion by a moderator whose role was taken while it waited is refused.
#[tokio::test(start_paused = true)]
async fn who_is_no_moderator_any_more_does_not_delete() {
    let mut world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    let seq = world.chat.post(&ada, room, input("stays")).await.unwrap().seq;
    world.chat.change_role(&ada, room, bob.user, Role::Admin).await.unwrap();
    let gate = world.shut(room);
    let first = world.chat.submit_post(&ada, room, input("first")).await.unwrap();
    assert_eq!(world.arrivals.recv().await, Some(room));
    let chat = world.chat.clone();
    let deletion = tokio::spawn(async move { chat.delete(&bob, room, seq).await });
    while world.chat.vitals().drafts_waiting == 0 {
        tokio::task::yield_now().await;
    }
    let chat = world.chat.clone();
    let change = tokio::spawn(async move { chat.change_role(&ada, room, bob.user, Role::Member).await });
    while world.chat.vitals().drafts_waiting == 1 {
        tokio::task::yield_now().await;
    }
    world.open(room);
    gate.add_permits(1000);
    first.wait().await.unwrap();
    assert!(matches!(deletion.await.unwrap(), Err(Error::Forbidden(_))));
    change.await.unwrap().unwrap();
    assert_eq!(world.bodies(room).await, ["stays", "first"]);
}

/// Batches that take long do not take the writer away from the others for longer than until one of them is done.
#[tokio::test(start_paused = true)]
async fn one_slow_batch_too_many_waits_for_a_place_and_not_for_its_end() {
    let mut world = World::new();
    let ada = world.person("ada").await;
    let mut rooms = Vec::new();
    for _ in 0..10 {
        rooms.push(world.group(&ada, &[]).await);
    }
    let last = rooms.pop().unwrap();
    let gate = world.world.script.wait("MessageStore::append");
    let mut waiting = Vec::new();
    for room in &rooms {
        waiting.push(world.chat.submit_post(&ada, *room, input("x")).await.unwrap());
        world.world.arrivals.recv().await.unwrap();
    }
    // All nine wait; from here on appends pass, and one of the nine ends.
    world.world.script.forget("MessageStore::append");
    gate.add_permits(1);
    let post = world.chat.post(&ada, last, input("y"));
    tokio::time::timeout(Duration::from_secs(5), post).await.unwrap().unwrap();
    gate.add_permits(1000);
    for post in waiting {
        post.wait().await.unwrap();
    }
}

/// However many meet a change that was left half-way, it is settled once.
#[tokio::test(start_paused = true)]
async fn a_change_that_many_meet_is_settled_once() {
    let world = world::World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[]).await;
    // A node is stopped between the two steps of adding bob.
    let intent = chatcore::id::IntentId::from_uuid(world.chat.new_id());
    let member = chatcore::store::NewMember { user: bob.user, role: Role::Member, intent };
    world.storage.rooms.add(room, ada.user, &[member], 100, world.chat.now()).await.unwrap();
    let settled = world.script.calls("RoomStore::settle");
    let calls = (0..100).map(|_| world.chat.room(&bob, room));
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(world.script.calls("RoomStore::settle"), settled + 1);
}
