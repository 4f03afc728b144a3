//! The drafts that wait for the log: fair between users and between rooms, in order per user and room.
//!
//! A lane holds the drafts of one user for one room, first in, first out. A batch takes turns among the users, a bounded share of each.
//! A room is in one batch at a time, so that its drafts are appended in the order in which they were taken.

use std::collections::{HashMap, VecDeque};

use crate::id::{RoomId, UserId};

/// Who queues: a user, or the host for one of its rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Actor {
    User(UserId),
    Host(RoomId),
}

/// Something that waits.
pub(super) trait Item {
    fn actor(&self) -> Actor;
    fn room(&self) -> RoomId;
    /// In units: see `Settings::append_batch`. At least 1.
    fn cost(&self) -> usize;
}

/// How much a batch takes, in units of cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// Of all users together.
    pub(super) batch: usize,
    /// Of one user.
    pub(super) user: usize,
}

/// What a batch took.
pub(super) struct Taken<T> {
    pub(super) items: Vec<T>,
    /// Rooms of the items, which are busy until [`Queue::free`].
    pub(super) rooms: Vec<RoomId>,
    /// Lanes whose first item must not be taken. Parked until [`Queue::unpark`].
    pub(super) parked: Vec<(Actor, RoomId)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Listed among its user's ready rooms.
    Ready,
    /// Waits until its room is free.
    Blocked,
    /// Waits to be unparked.
    Parked,
}

pub(super) struct Lane<T> {
    waiting: VecDeque<T>,
    state: State,
}

pub(super) struct Room<T> {
    lanes: HashMap<Actor, Lane<T>>,
    /// The batch that it is in.
    busy: Option<u64>,
    /// Users whose lanes wait until it is free.
    pub(super) blocked: Vec<Actor>,
}

pub(super) struct Queue<T> {
    pub(super) rooms: HashMap<RoomId, Room<T>>,
    /// Ready rooms per user. An entry whose lane is gone or not ready is passed over.
    pub(super) ready: HashMap<Actor, VecDeque<RoomId>>,
    /// The users of `ready`, each once.
    pub(super) turns: VecDeque<Actor>,
    pub(super) waiting: HashMap<Actor, usize>,
    len: usize,
    batches: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            rooms: HashMap::new(),
            ready: HashMap::new(),
            turns: VecDeque::new(),
            waiting: HashMap::new(),
            len: 0,
            batches: 0,
        }
    }
}

impl<T> Room<T> {
    /// Returns the user's lane; a new one waits for the room or is ready, as `true` says.
    fn lane(&mut self, actor: Actor) -> (&mut Lane<T>, bool) {
        let mut ready = false;
        let busy = self.busy.is_some();
        let blocked = &mut self.blocked;
        let lane = self.lanes.entry(actor).or_insert_with(|| {
            if busy {
                blocked.push(actor);
            } else {
                ready = true;
            }
            Lane { waiting: VecDeque::new(), state: if busy { State::Blocked } else { State::Ready } }
        });
        (lane, ready)
    }

    /// Blocks every lane that is not parked. Lists each once, however often its room has been taken from while it was busy.
    fn block_rest(&mut self) {
        self.blocked.clear();
        for (actor, lane) in &mut self.lanes {
            if lane.state != State::Parked {
                lane.state = State::Blocked;
                self.blocked.push(*actor);
            }
        }
    }
}

impl<T: Item> Queue<T> {
    /// Returns the number of items that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of items of that user that wait.
    pub(super) fn waiting(&self, actor: Actor) -> usize {
        self.waiting.get(&actor).copied().unwrap_or(0)
    }

    /// Puts an item behind all of its user and room.
    pub(super) fn push(&mut self, item: T) {
        self.insert(item, VecDeque::push_back);
    }

    /// Puts items, which are in order, before all that wait of their users and rooms.
    pub(super) fn push_front(&mut self, items: Vec<T>) {
        for item in items.into_iter().rev() {
            self.insert(item, VecDeque::push_front);
        }
    }

    fn insert(&mut self, item: T, put: fn(&mut VecDeque<T>, T)) {
        let (actor, room) = (item.actor(), item.room());
        self.len += 1;
        *self.waiting.entry(actor).or_default() += 1;
        let entry = self.rooms.entry(room);
        let entry = entry.or_insert_with(|| Room { lanes: HashMap::new(), busy: None, blocked: Vec::new() });
        let (lane, ready) = entry.lane(actor);
        put(&mut lane.waiting, item);
        if ready {
            self.make_ready(actor, room);
        }
    }

    fn make_ready(&mut self, actor: Actor, room: RoomId) {
        let turns = &mut self.turns;
        self.ready
            .entry(actor)
            .or_insert_with(|| {
                turns.push_back(actor);
                VecDeque::new()
            })
            .push_back(room);
    }

    /// Takes the next batch: in turns among the users, of each up to its share, of each lane the oldest while `may` allows.
    pub(super) fn take(&mut self, shares: Shares, may: impl Fn(&T) -> bool) -> Taken<T> {
        self.batches += 1;
        let mut taken = Taken { items: Vec::new(), rooms: Vec::new(), parked: Vec::new() };
        let mut left = shares.batch;
        for _ in 0..self.turns.len() {
            if left == 0 {
                break;
            }
            let Some(actor) = self.turns.pop_front() else { break };
            let mut ready = self.ready.remove(&actor).unwrap_or_default();
            let mut share = shares.user.min(left);
            let (whole, before) = (share, taken.items.len());
            for _ in 0..ready.len() {
                if share == 0 {
                    break;
                }
                let Some(room) = ready.pop_front() else { break };
                if self.take_lane(actor, room, &mut share, whole, &may, &mut taken) {
                    ready.push_back(room);
                }
            }
            left = left.saturating_sub(cost(&taken.items[before..]));
            if !ready.is_empty() {
                self.ready.insert(actor, ready);
                self.turns.push_back(actor);
            }
        }
        taken
    }

    /// Takes from a ready lane. Returns whether it is still ready.
    fn take_lane(
        &mut self,
        actor: Actor,
        room: RoomId,
        share: &mut usize,
        whole: usize,
        may: &impl Fn(&T) -> bool,
        taken: &mut Taken<T>,
    ) -> bool {
        let batch = self.batches;
        let Some(entry) = self.rooms.get_mut(&room) else { return false };
        let Some(lane) = entry.lanes.get_mut(&actor).filter(|lane| lane.state == State::Ready) else { return false };
        if entry.busy.is_some_and(|other| other != batch) {
            lane.state = State::Blocked;
            entry.blocked.push(actor);
            return false;
        }
        let before = taken.items.len();
        while let Some(first) = lane.waiting.front() {
            if !may(first) {
                lane.state = State::Parked;
                taken.parked.push((actor, room));
                break;
            }
            let cost = first.cost();
            // What costs more than a whole share comes alone.
            if cost > *share && *share < whole {
                *share = 0;
                break;
            }
            *share = share.saturating_sub(cost);
            taken.items.extend(lane.waiting.pop_front());
            if *share == 0 {
                break;
            }
        }
        let count = taken.items.len() - before;
        let still = lane.state == State::Ready && !lane.waiting.is_empty();
        if lane.waiting.is_empty() && lane.state == State::Ready {
            entry.lanes.remove(&actor);
        }
        if count > 0 && entry.busy.is_none() {
            entry.busy = Some(batch);
            taken.rooms.push(room);
        }
        self.uncount(actor, count);
        self.drop_empty(room);
        still
    }

    /// Takes the next batch of one room that is busy with its own batches; of each user up to its share. Empty: nothing waits that may be
    /// taken.
    pub(super) fn take_room(&mut self, room: RoomId, shares: Shares, may: impl Fn(&T) -> bool) -> Taken<T> {
        let mut taken = Taken { items: Vec::new(), rooms: Vec::new(), parked: Vec::new() };
        self.batches += 1;
        let Some(entry) = self.rooms.get_mut(&room) else { return taken };
        entry.busy = Some(self.batches);
        let mut actors: Vec<Actor> = entry.lanes.keys().copied().collect();
        actors.sort_unstable();
        // Another one is first each time.
        let first = usize::try_from(self.batches).unwrap_or(0) % actors.len().max(1);
        actors.rotate_left(first);
        let mut left = shares.batch;
        for actor in actors {
            if left == 0 {
                break;
            }
            if let Some(lane) = self.rooms.get_mut(&room).and_then(|entry| entry.lanes.get_mut(&actor)) {
                if lane.state == State::Parked {
                    continue;
                }
                lane.state = State::Ready;
            }
            let (whole, before) = (shares.user.min(left), taken.items.len());
            let mut share = whole;
            self.take_lane(actor, room, &mut share, whole, &may, &mut taken);
            left = left.saturating_sub(cost(&taken.items[before..]));
        }
        if let Some(entry) = self.rooms.get_mut(&room) {
            entry.block_rest();
        }
        taken
    }

    /// Ends a room's batch: what waits for it may be taken.
    pub(super) fn free(&mut self, room: RoomId) {
        let Some(entry) = self.rooms.get_mut(&room) else { return };
        entry.busy = None;
        let mut ready = Vec::new();
        for actor in std::mem::take(&mut entry.blocked) {
            if let Some(lane) = entry.lanes.get_mut(&actor).filter(|lane| lane.state == State::Blocked) {
                lane.state = State::Ready;
                ready.push(actor);
            }
        }
        for actor in ready {
            self.make_ready(actor, room);
        }
        self.drop_empty(room);
    }

    /// Changes what waits in a parked lane; items for which `keep` is `false` are taken out.
    pub(super) fn retain_parked(&mut self, actor: Actor, room: RoomId, keep: impl FnMut(&mut T) -> bool) {
        let Some(lane) = self.rooms.get_mut(&room).and_then(|entry| entry.lanes.get_mut(&actor)) else { return };
        let before = lane.waiting.len();
        lane.waiting.retain_mut(keep);
        let gone = before - lane.waiting.len();
        self.uncount(actor, gone);
    }

    /// Returns what waits in a lane.
    pub(super) fn lane(&self, actor: Actor, room: RoomId) -> impl Iterator<Item = &T> {
        let lane = self.rooms.get(&room).and_then(|entry| entry.lanes.get(&actor));
        lane.into_iter().flat_map(|lane| lane.waiting.iter())
    }

    /// Puts the first item of a lane behind the others.
    #[cfg(feature = "defects")]
    pub(super) fn rotate(&mut self, actor: Actor, room: RoomId) {
        if let Some(lane) = self.rooms.get_mut(&room).and_then(|entry| entry.lanes.get_mut(&actor)) {
            lane.waiting.rotate_left(1);
        }
    }

    /// A parked lane may be taken from again.
    pub(super) fn unpark(&mut self, actor: Actor, room: RoomId) {
        let Some(entry) = self.rooms.get_mut(&room) else { return };
        let Some(lane) = entry.lanes.get_mut(&actor).filter(|lane| lane.state == State::Parked) else { return };
        if lane.waiting.is_empty() {
            entry.lanes.remove(&actor);
            self.drop_empty(room);
        } else if entry.busy.is_some() {
            lane.state = State::Blocked;
            entry.blocked.push(actor);
        } else {
            lane.state = State::Ready;
            self.make_ready(actor, room);
        }
    }

    fn uncount(&mut self, actor: Actor, count: usize) {
        self.len -= count;
        if let Some(waiting) = self.waiting.get_mut(&actor) {
            *waiting = waiting.saturating_sub(count);
            if *waiting == 0 {
                self.waiting.remove(&actor);
            }
        }
    }

    fn drop_empty(&mut self, room: RoomId) {
        if self.rooms.get(&room).is_some_and(|entry| entry.busy.is_none() && entry.lanes.is_empty()) {
            self.rooms.remove(&room);
        }
    }
}

fn cost<T: Item>(items: &[T]) -> usize {
    items.iter().map(Item::cost).sum()
}
