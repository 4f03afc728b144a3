//! One listener's place in one log: a state machine without I/O.
//!
//! Whatever it is offered, it lets through only the event after the last one it let through. So there is no hole and no
//! repeat, whether events come from the tail, from the store, or from both at once.

use std::sync::Arc;

use super::tail::{Logged, Tail, TailRead};
use crate::defect::defect;
use crate::id::UserId;
use crate::model::{EventKind, LeaveReason};

/// What a cursor has to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Wait to be woken.
    Wait,
    /// Offer these.
    Offer(Vec<Arc<Logged>>),
    /// Read the store after the position.
    Read,
    /// It has been stopped.
    Stopped,
}

/// Why a cursor let through no more than it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// All that was new.
    All,
    /// The last one was the listener's own leaving: nothing comes after it.
    Left(LeaveReason),
}

/// A listener's place in a log.
#[derive(Debug)]
pub(crate) struct Cursor {
    user: UserId,
    /// The last number let through.
    position: u64,
    /// The number of the `member.joined` by which the listener is in; leavings before it are history.
    joined: u64,
    /// When the store was last asked, in the tail's epochs.
    epoch: u64,
    /// Where to go on after a leaving that is still ahead, because the listener has come again since.
    again: Option<u64>,
    stopped: bool,
}

impl Cursor {
    /// Begins after `position`, for a user who is in since `joined`.
    pub(crate) fn new(user: UserId, position: u64, joined: u64, epoch: u64) -> Self {
        Self { user, position, joined, epoch, again: None, stopped: false }
    }

    /// The last number let through.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The listener has come in by this event. One who is in by it already notices nothing.
    pub(crate) fn rejoin(&mut self, joined: u64) {
        if joined <= self.joined {
            return;
        }
        if self.stopped {
            self.restart(joined);
        } else {
            self.again = Some(joined);
        }
    }

    fn restart(&mut self, joined: u64) {
        // Begins with the listener's own `member.joined`; what happened in between was not theirs to see live.
        self.position = joined - 1;
        self.joined = joined;
        self.again = None;
        self.stopped = false;
    }

    /// What to do, given the tail.
    pub(crate) fn step(&self, tail: &Tail, max_events: usize, max_bytes: usize) -> Step {
        if self.stopped {
            return Step::Stopped;
        }
        match tail.read(self.position, self.epoch, max_events, max_bytes) {
            TailRead::Nothing => Step::Wait,
            TailRead::Events(events) => Step::Offer(events),
            TailRead::Store => Step::Read,
        }
    }

    /// The store has been asked in this epoch of the tail, and had no more than was accepted since.
    pub(crate) fn caught_up(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
    }

    /// Takes from `events`, which rise, what comes next; puts it into `out`.
    pub(crate) fn accept(
        &mut self,
        events: impl IntoIterator<Item = Arc<Logged>>,
        out: &mut Vec<Arc<Logged>>,
    ) -> Accepted {
        for logged in events {
            let number = logged.event().seq.number();
            if self.stopped || defect!(TailTrimmed, false, number > self.position + 1) {
                // A hole: whoever offers has to read on from the position.
                break;
            }
            if number <= self.position {
                continue;
            }
            self.position = number;
            let left = match logged.event().kind {
                EventKind::Left { user, reason } if user == self.user && number > self.joined => Some(reason),
                _ => None,
            };
            let left = defect!(EvictionLate, None, left);
            out.push(logged);
            if let Some(reason) = left {
                self.stopped = true;
                if let Some(joined) = self.again.filter(|joined| *joined > number) {
                    self.restart(joined);
                }
                return Accepted::Left(reason);
            }
        }
        Accepted::All
    }

    /// Whether nothing comes any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::hub::tail::TailLimits;
    use crate::id::RoomId;
    use crate::model::{Body, Event, MessageKind, Posted, Role, Seq};
    use crate::time::Timestamp;

    const LIMITS: TailLimits = TailLimits { events: 4, bytes: 1 << 20 };

    fn user(n: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(n))
    }

    /// The log, the tail of the node, what has been committed but not published, and one listener.
    struct World {
        log: Vec<Event>,
        /// Which of its events another node has appended, so that they are never published here.
        elsewhere: Vec<bool>,
        tail: Tail,
        published: usize,
        cursor: Option<Cursor>,
        /// Whether the listener is a member, and by which event.
        joined: Option<u64>,
        /// What the listener got since its connection began.
        got: Vec<u64>,
        start: u64,
        /// A page read from the store that has not been offered yet, and its epoch.
        page: Option<(Vec<Event>, u64, bool)>,
    }

    #[derive(Debug, Clone)]
    enum Op {
        Post,
        PostElsewhere,
        Delete {
            back: usize,
            elsewhere: bool,
        },
        PublishNext,
        PublishLost,
        Restart,
        Poll {
            max: usize,
        },
        StoreAnswers,
        StorePageArrives {
            limit: usize,
        },
        Disconnect,
        Connect {
            behind: u64,
        },
        Remove,
        Rejoin,
        NoteHead,
        /// Reconciling has found that the log goes on, and a page of it is read for the tail.
        Fill {
            limit: usize,
        },
        DropStale,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            5 => Just(Op::Post),
            2 => Just(Op::PostElsewhere),
            3 => (0usize..5, any::<bool>()).prop_map(|(back, elsewhere)| Op::Delete { back, elsewhere }),
            4 => Just(Op::PublishNext),
            1 => Just(Op::PublishLost),
            1 => Just(Op::Restart),
            6 => (1usize..4).prop_map(|max| Op::Poll { max }),
            3 => Just(Op::StoreAnswers),
            3 => (1usize..5).prop_map(|limit| Op::StorePageArrives { limit }),
            1 => Just(Op::Disconnect),
            2 => (0u64..6).prop_map(|behind| Op::Connect { behind }),
            1 => Just(Op::Remove),
            1 => Just(Op::Rejoin),
            1 => Just(Op::NoteHead),
            2 => (1usize..5).prop_map(|limit| Op::Fill { limit }),
            1 => Just(Op::DropStale),
        ];
        prop::collection::vec(op, 1..120)
    }

    impl World {
        fn new() -> Self {
            let mut world = Self {
                log: Vec::new(),
                elsewhere: Vec::new(),
                tail: Tail::default(),
                published: 0,
                cursor: None,
                joined: None,
                got: Vec::new(),
                start: 0,
                page: None,
            };
            world.append(EventKind::Joined { user: user(1), role: Role::Member });
            world.joined = Some(1);
            world
        }

        fn append(&mut self, kind: EventKind) -> u64 {
            let number = self.log.len() as u64 + 1;
            self.log.push(Event {
                room: RoomId::from_uuid(Uuid::nil()),
                seq: Seq::new(number).unwrap(),
                at: Timestamp::from_micros(0),
                actor: None,
                kind,
            });
            self.elsewhere.push(false);
            number
        }

        fn post(&mut self) {
            let body = Some(Body::parse("something").unwrap());
            let posted = Posted { kind: MessageKind::Text, body, client_id: None, reply_to: None };
            self.append(EventKind::Posted(posted));
        }

        /// As a store does: the body goes with the deletion.
        fn delete(&mut self, back: usize) {
            let Some(index) = self.log.len().checked_sub(back + 1) else { return };
            let Some(target) = self.log[index].body_of() else { return };
            self.log[index] = self.log[index].scrubbed();
            self.append(EventKind::Deleted { target });
        }

        fn happened_elsewhere(&mut self) {
            if let Some(last) = self.elsewhere.last_mut() {
                *last = true;
            }
        }

        fn is_deleted(&self, target: Seq, up_to: u64) -> bool {
            self.log
                .iter()
                .take(usize::try_from(up_to).unwrap())
                .any(|event| matches!(event.kind, EventKind::Deleted { target: t } if t == target))
        }

        /// The node looks at a page of the log after what it has seen.
        fn fill(&mut self, limit: usize) {
            let Some(after) = self.tail.unseen() else { return };
            for event in self.log.iter().skip(after as usize).take(limit) {
                self.tail.absorb(&Arc::new(Logged::new(event.clone())), LIMITS);
            }
            let seen = self.tail.unseen().unwrap_or(self.tail.head());
            assert!(seen > after, "looking brings it on");
            for event in self.tail.held() {
                let deleted = event.body_of().filter(|target| self.is_deleted(*target, seen));
                assert_eq!(deleted, None, "a body is held whose deletion has been looked at");
            }
        }

        fn head(&self) -> u64 {
            self.log.len() as u64
        }

        fn publish(&mut self, to: usize) {
            while self.published < to {
                if !self.elsewhere[self.published] {
                    self.tail.publish(Arc::new(Logged::new(self.log[self.published].clone())), LIMITS);
                }
                self.published += 1;
            }
        }

        fn connect(&mut self, behind: u64) {
            // Registered, then the head read, then the membership checked.
            let Some(joined) = self.joined else { return };
            let head = self.head();
            let position = head.saturating_sub(behind);
            self.tail.begin(head);
            self.cursor = Some(Cursor::new(user(1), position, joined, self.tail.epoch()));
            self.start = position;
            self.got.clear();
            self.page = None;
        }

        fn take(&mut self, events: Vec<Arc<Logged>>) {
            let Some(cursor) = &mut self.cursor else { return };
            let mut out = Vec::new();
            let accepted = cursor.accept(events, &mut out);
            for logged in &out {
                let number = logged.event().seq.number();
                let last = self.got.last().copied().unwrap_or(self.start);
                let left = number > last + 1;
                if left {
                    // The only hole that there may be: from the own leaving to the own coming again.
                    assert!(
                        matches!(self.log[last as usize - 1].kind, EventKind::Left { user: u, .. } if u == user(1))
                    );
                    assert!(
                        matches!(self.log[number as usize - 1].kind, EventKind::Joined { user: u, .. } if u == user(1)),
                        "began again with {number}"
                    );
                }
                assert!(number > last, "a repeat");
                self.got.push(number);
            }
            if matches!(accepted, Accepted::Left(_)) {
                let last = *self.got.last().unwrap();
                assert!(matches!(self.log[last as usize - 1].kind, EventKind::Left { .. }), "the leaving comes last");
            }
        }

        fn poll(&mut self, max: usize) -> bool {
            let Some(cursor) = &self.cursor else { return false };
            match cursor.step(&self.tail, max, usize::MAX) {
                Step::Offer(events) => {
                    for logged in &events {
                        let deleted =
                            logged.event().body_of().filter(|target| self.is_deleted(*target, self.tail.head()));
                        assert_eq!(deleted, None, "a body is given out whose deletion the node could know of");
                    }
                    self.take(events);
                    true
                }
                Step::Read => {
                    if self.page.is_none() {
                        self.read_store(3);
                    }
                    self.offer_page();
                    true
                }
                Step::Wait | Step::Stopped => false,
            }
        }

        /// The store answers a read, from what is committed at that moment.
        fn read_store(&mut self, limit: usize) {
            let Some(cursor) = &self.cursor else { return };
            let after = cursor.position() as usize;
            let events: Vec<_> = self.log.iter().skip(after).take(limit).cloned().collect();
            let last = events.len() < limit;
            self.page = Some((events, self.tail.epoch(), last));
        }

        fn offer_page(&mut self) {
            let Some((events, epoch, last)) = self.page.take() else { return };
            let events: Vec<_> = events.into_iter().map(|event| Arc::new(Logged::new(event))).collect();
            for logged in &events {
                self.tail.absorb(logged, LIMITS);
            }
            self.take(events);
            if last && let Some(cursor) = &mut self.cursor {
                cursor.caught_up(epoch);
            }
        }

        fn run(&mut self, op: &Op) {
            match op {
                Op::Post => self.post(),
                Op::PostElsewhere => {
                    self.post();
                    self.happened_elsewhere();
                }
                Op::Delete { back, elsewhere } => {
                    let before = self.log.len();
                    self.delete(*back);
                    if *elsewhere && self.log.len() > before {
                        self.happened_elsewhere();
                    }
                }
                Op::PublishNext => self.publish((self.published + 1).min(self.log.len())),
                Op::PublishLost => {
                    // An append whose outcome was in doubt: it stands in the log, and nobody published it.
                    if self.published < self.log.len() {
                        self.published = self.log.len();
                        self.tail.suspect();
                    }
                }
                Op::Restart => {
                    self.tail = Tail::default();
                    self.published = self.log.len();
                    self.cursor = None;
                }
                Op::Poll { max } => {
                    self.poll(*max);
                }
                Op::StoreAnswers => self.offer_page(),
                Op::StorePageArrives { limit } => self.read_store(*limit),
                Op::Disconnect => self.cursor = None,
                Op::Connect { behind } => self.connect(*behind),
                Op::Remove => {
                    if self.joined.take().is_some() {
                        self.append(EventKind::Left { user: user(1), reason: LeaveReason::Removed });
                    }
                }
                Op::Rejoin => {
                    if self.joined.is_none() {
                        let seq = self.append(EventKind::Joined { user: user(1), role: Role::Member });
                        self.joined = Some(seq);
                        if let Some(cursor) = &mut self.cursor {
                            cursor.rejoin(seq);
                        }
                        self.tail.note_head(seq);
                    }
                }
                Op::NoteHead => {
                    let head = self.head();
                    self.tail.note_head(head);
                }
                Op::Fill { limit } => {
                    self.tail.note_head(self.head());
                    self.fill(*limit);
                }
                Op::DropStale => self.tail.drop_stale(),
            }
        }

        /// Everything is published and polled: the listener has all that it may have.
        fn settle(&mut self) {
            self.publish(self.log.len());
            self.tail.note_head(self.head());
            while self.poll(2) {}
        }
    }

    #[test]
    fn whatever_is_offered_a_hole_is_not_let_through() {
        let mut world = World::new();
        for _ in 0..4 {
            world.append(EventKind::Joined { user: user(2), role: Role::Member });
        }
        let offered = [1, 3].map(|index| Arc::new(Logged::new(world.log[index].clone())));
        let (mut cursor, mut out) = (Cursor::new(user(1), 1, 1, 0), Vec::new());
        assert_eq!(cursor.accept(offered, &mut out), Accepted::All);
        assert_eq!((cursor.position(), out.len()), (2, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        #[test]
        fn no_hole_no_repeat_no_leak(ops in ops()) {
            let mut world = World::new();
            for op in &ops {
                world.run(op);
            }
            world.settle();
            let Some(cursor) = &world.cursor else { return Ok(()) };
            match world.joined {
                Some(_) => {
                    prop_assert!(!cursor.is_stopped());
                    prop_assert_eq!(cursor.position(), world.head());
                }
                None => {
                    // Stopped by the last leaving, and nothing above it was let through.
                    let left = world.log.iter().rposition(|e| matches!(e.kind, EventKind::Left { .. })).unwrap() as u64 + 1;
                    prop_assert!(cursor.is_stopped());
                    prop_assert_eq!(world.got.last().copied().unwrap_or(left), left);
                }
            }
        }
    }

    #[test]
    fn old_leavings_are_history() {
        let mut world = World::new();
        world.run(&Op::Remove);
        world.run(&Op::Rejoin);
        world.run(&Op::Post);
        world.connect(4);
        world.settle();
        assert_eq!(world.got, [1, 2, 3, 4]);
    }
}
