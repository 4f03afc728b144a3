//! One listener's place in one log: a state machine without I/O.
//!
//! Whatever it is offered, it lets through only the event after the last one it let through. So there is no hole and no
//! repeat, whether events come from the tail, from the store, or from both at once.

use std::sync::Arc;

use super::tail::{Logged, Tail, TailRead};
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
            if self.stopped || number > self.position + 1 {
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
