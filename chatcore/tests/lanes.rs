//! A model of the writer's queue and of the caches under a scheduler that explores interleavings (shuttle): their very sources, with the
//! scheduler's locks.
//!
//! What it proves is what a removal rests on: it is written, then invalidated, then its event is queued; so a post stands before the leaving in the
//! log, or it does not stand at all.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::time::Duration;

use cache::{Cache, Mark};
use queue::{Actor, Item, Queue, Shares};
use shuttle::sync::Arc;
use shuttle::thread;
use sync::Mutex;

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
}

mod id {
    pub(crate) use chatcore::id::{RoomId, UserId};
}

#[path = "../src/service/cache.rs"]
#[expect(dead_code, reason = "the model uses a part of it")]
mod cache;
#[path = "../src/service/committer/queue.rs"]
#[expect(dead_code, reason = "the model uses a part of it")]
mod queue;

const SHARES: Shares = Shares { batch: 8, user: 4 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Posted(u8),
    Left,
}

struct Draft {
    what: What,
    /// The post's authorisation; an event of the host has none.
    mark: Option<Mark>,
}

fn room() -> id::RoomId {
    id::RoomId::from_uuid(uuid::Uuid::from_u128(1))
}

impl Item for Draft {
    fn actor(&self) -> Actor {
        match self.what {
            What::Posted(_) => Actor::User(id::UserId::from_uuid(uuid::Uuid::from_u128(2))),
            What::Left => Actor::Host(room()),
        }
    }

    fn room(&self) -> id::RoomId {
        room()
    }

    fn cost(&self) -> usize {
        1
    }
}

struct World {
    /// What the room store says of the one member.
    member: Mutex<bool>,
    cache: Cache<u8, bool>,
    queue: Mutex<Queue<Draft>>,
}

const MEMBER: u8 = 7;

impl World {
    /// Authorises and queues a post; `false`: refused.
    fn post(&self, number: u8) -> bool {
        let read = async { Ok::<_, Infallible>(*self.member.lock().unwrap()) };
        let Ok(seen) = shuttle::future::block_on(self.cache.get(&MEMBER, read));
        if seen.value {
            self.queue.lock().unwrap().push(Draft { what: What::Posted(number), mark: Some(seen.mark) });
        }
        seen.value
    }

    fn remove(&self) {
        *self.member.lock().unwrap() = false;
        self.cache.invalidate(&MEMBER);
        self.queue.lock().unwrap().push(Draft { what: What::Left, mark: None });
    }

    /// Appends the next batch; what must be authorised again is refused, if the store says so.
    fn commit(&self, log: &mut Vec<What>) {
        let taken = self
            .queue
            .lock()
            .unwrap()
            .take(SHARES, |draft| draft.mark.is_none_or(|mark| self.cache.holds(&MEMBER, mark)));
        // The append takes its time.
        thread::yield_now();
        log.extend(taken.items.iter().map(|draft| draft.what));
        for (actor, room) in taken.parked {
            let read = async { Ok::<_, Infallible>(*self.member.lock().unwrap()) };
            let Ok(seen) = shuttle::future::block_on(self.cache.get(&MEMBER, read));
            let mut queue = self.queue.lock().unwrap();
            queue.retain_parked(actor, room, |draft| {
                draft.mark = Some(seen.mark);
                seen.value
            });
            queue.unpark(actor, room);
        }
        let mut queue = self.queue.lock().unwrap();
        taken.rooms.into_iter().for_each(|room| queue.free(room));
    }
}

fn a_removal_between_posts() {
    let world = Arc::new(World {
        member: Mutex::new(true),
        cache: Cache::new(Duration::from_secs(3600)),
        queue: Mutex::new(Queue::default()),
    });
    let posts = {
        let world = world.clone();
        thread::spawn(move || [world.post(1), world.post(2)])
    };
    let removal = {
        let world = world.clone();
        thread::spawn(move || world.remove())
    };
    let writer = {
        let world = world.clone();
        thread::spawn(move || {
            let mut log = Vec::new();
            for _ in 0..3 {
                world.commit(&mut log);
            }
            log
        })
    };
    posts.join().unwrap();
    removal.join().unwrap();
    let mut log = writer.join().unwrap();
    while world.queue.lock().unwrap().len() > 0 {
        world.commit(&mut log);
    }
    assert_eq!(log.last(), Some(&What::Left), "{log:?}");
    let posts: Vec<_> = log.iter().filter(|what| **what != What::Left).collect();
    assert!(posts.is_sorted_by_key(|what| format!("{what:?}")), "{log:?}");
}

#[test]
fn a_post_stands_before_the_leaving_or_not_at_all() {
    shuttle::check_random(a_removal_between_posts, 5_000);
}
