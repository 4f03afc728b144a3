use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use proptest::prelude::*;
use uuid::Uuid;

use super::queue::{Actor, Item, Queue, Shares, Taken};
use crate::id::{RoomId, UserId};

const SHARES: Shares = Shares { batch: 12, user: 4 };

#[derive(Debug, Clone)]
struct Draft {
    actor: Actor,
    room: RoomId,
    cost: usize,
    number: usize,
    stale: Rc<Cell<bool>>,
}

impl Item for Draft {
    fn actor(&self) -> Actor {
        self.actor
    }

    fn room(&self) -> RoomId {
        self.room
    }

    fn cost(&self) -> usize {
        self.cost
    }
}

fn user(n: u8) -> Actor {
    Actor::User(UserId::from_uuid(Uuid::from_u128(n.into())))
}

fn room(n: u8) -> RoomId {
    RoomId::from_uuid(Uuid::from_u128(n.into()))
}

#[derive(Debug, Clone)]
enum Op {
    Push {
        user: u8,
        room: u8,
        cost: usize,
        stale: bool,
    },
    Take,
    /// The batch ends; all its rooms are free.
    Finish(usize),
    /// Another node holds the first room of the batch: its drafts go back, and the room is worked off apart.
    Contend(usize),
    /// The next batch of a room that is worked off apart; an empty one ends that.
    Apart(usize),
    Unpark(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        10 => (0u8..4, 0u8..4, 1usize..6, prop::bool::weighted(0.1))
            .prop_map(|(user, room, cost, stale)| Op::Push { user, room, cost, stale }),
        5 => Just(Op::Take),
        4 => any::<usize>().prop_map(Op::Finish),
        1 => any::<usize>().prop_map(Op::Contend),
        2 => any::<usize>().prop_map(Op::Apart),
        2 => any::<usize>().prop_map(Op::Unpark),
    ];
    prop::collection::vec(op, 1..200)
}

#[derive(Default)]
struct World {
    queue: Queue<Draft>,
    /// What has been pushed and not been taken for good, per lane.
    lanes: HashMap<(Actor, RoomId), VecDeque<Draft>>,
    batches: Vec<(Vec<Draft>, Vec<RoomId>)>,
    apart: Vec<RoomId>,
    parked: Vec<(Actor, RoomId)>,
    pushed: usize,
    taken: usize,
}

impl World {
    fn push(&mut self, actor: Actor, room: RoomId, cost: usize, stale: bool) {
        let draft = Draft { actor, room, cost, number: self.pushed, stale: Rc::new(Cell::new(stale)) };
        self.pushed += 1;
        self.lanes.entry((actor, room)).or_default().push_back(draft.clone());
        self.queue.push(draft);
    }

    /// Checks what was taken against the lanes, and takes it out of them.
    fn note(&mut self, taken: &Taken<Draft>) {
        let mut costs: HashMap<Actor, (usize, usize)> = HashMap::new();
        for draft in &taken.items {
            let lane = self.lanes.get_mut(&(draft.actor, draft.room)).unwrap();
            assert_eq!(lane.pop_front().unwrap().number, draft.number, "in the order of its lane");
            assert!(!draft.stale.get());
            let (cost, count) = costs.entry(draft.actor).or_default();
            *cost += draft.cost;
            *count += 1;
        }
        for (cost, count) in costs.into_values() {
            assert!(cost <= SHARES.user || count == 1, "a user has a share: {cost} in {count}");
        }
        let all: usize = taken.items.iter().map(|draft| draft.cost).sum();
        assert!(all <= SHARES.batch + 5);
        for lane in &taken.parked {
            assert!(!self.parked.contains(lane));
        }
        self.parked.extend(&taken.parked);
        self.taken += taken.items.len();
    }

    fn take(&mut self) -> bool {
        let taken = self.queue.take(SHARES, |draft| !draft.stale.get());
        let busy: HashSet<RoomId> =
            self.batches.iter().flat_map(|(_, rooms)| rooms).chain(&self.apart).copied().collect();
        assert!(taken.items.iter().all(|draft| !busy.contains(&draft.room)), "a room is in one batch at a time");
        assert!(taken.items.iter().all(|draft| taken.rooms.contains(&draft.room)));
        self.note(&taken);
        let some = !taken.items.is_empty();
        if some {
            self.batches.push((taken.items, taken.rooms));
        }
        some
    }

    fn finish(&mut self, index: usize) {
        let (_, rooms) = self.batches.swap_remove(index);
        rooms.into_iter().for_each(|room| self.queue.free(room));
    }

    fn contend(&mut self, index: usize) {
        let (items, rooms) = &mut self.batches[index];
        if rooms.is_empty() {
            return;
        }
        let room = rooms.swap_remove(0);
        let back: Vec<Draft> = items.iter().filter(|draft| draft.room == room).cloned().collect();
        items.retain(|draft| draft.room != room);
        for draft in back.iter().rev() {
            self.lanes.get_mut(&(draft.actor, draft.room)).unwrap().push_front(draft.clone());
        }
        self.taken -= back.len();
        self.queue.push_front(back);
        self.apart.push(room);
    }

    fn apart(&mut self, index: usize) {
        let room = self.apart[index];
        let taken = self.queue.take_room(room, SHARES, |draft| !draft.stale.get());
        assert!(taken.items.iter().all(|draft| draft.room == room));
        self.note(&taken);
        if taken.items.is_empty() {
            self.apart.swap_remove(index);
            self.queue.free(room);
        }
    }

    fn unpark(&mut self, index: usize) {
        let (actor, room) = self.parked.swap_remove(index);
        self.lanes[&(actor, room)].iter().for_each(|draft| draft.stale.set(false));
        self.queue.unpark(actor, room);
    }

    fn play(&mut self, op: &Op) {
        match *op {
            Op::Push { user: u, room: r, cost, stale } => self.push(user(u), room(r), cost, stale),
            Op::Take => drop(self.take()),
            Op::Finish(n) if !self.batches.is_empty() => self.finish(n % self.batches.len()),
            Op::Contend(n) if !self.batches.is_empty() => self.contend(n % self.batches.len()),
            Op::Apart(n) if !self.apart.is_empty() => self.apart(n % self.apart.len()),
            Op::Unpark(n) if !self.parked.is_empty() => self.unpark(n % self.parked.len()),
            _ => {}
        }
        let waiting: usize = self.lanes.values().map(VecDeque::len).sum();
        assert_eq!(self.queue.len(), waiting);
    }

    fn drain(&mut self) {
        loop {
            while !self.parked.is_empty() {
                self.unpark(0);
            }
            while !self.batches.is_empty() {
                self.finish(0);
            }
            while !self.apart.is_empty() {
                self.apart(0);
            }
            if !self.take() && self.parked.is_empty() {
                break;
            }
        }
    }
}

proptest! {
    #[test]
    fn every_draft_is_taken_once_in_the_order_of_its_lane(ops in ops()) {
        let mut world = World::default();
        for op in &ops {
            world.play(op);
        }
        world.drain();
        prop_assert_eq!(world.taken, world.pushed);
        prop_assert_eq!(world.queue.len(), 0);
        prop_assert!(world.queue.rooms.is_empty(), "nothing is kept of rooms for which nothing waits");
        prop_assert!(world.queue.waiting.is_empty());
        prop_assert!(world.queue.ready.is_empty() && world.queue.turns.is_empty());
    }
}

#[test]
fn a_user_who_floods_has_a_share() {
    let mut world = World::default();
    for n in 0..1000 {
        world.push(user(1), room(n as u8 % 4), 1, false);
    }
    world.push(user(2), room(0), 1, false);
    world.take();
    let (items, _) = &world.batches[0];
    assert_eq!(items.iter().filter(|draft| draft.actor == user(1)).count(), SHARES.user);
    assert_eq!(items.iter().filter(|draft| draft.actor == user(2)).count(), 1, "the other one is in the first batch");
}

#[test]
fn a_room_that_is_worked_off_apart_for_long_keeps_no_more_for_it() {
    let mut queue = Queue::default();
    let draft = |number| Draft { actor: user(1), room: room(1), cost: 1, number, stale: Rc::default() };
    queue.push(draft(0));
    assert_eq!(queue.take(SHARES, |_| true).items.len(), 1);
    for number in 1..1000 {
        queue.push(draft(number));
        queue.push(draft(number));
        queue.take_room(room(1), SHARES, |_| true);
    }
    assert!(queue.rooms[&room(1)].blocked.len() <= 2);
}
