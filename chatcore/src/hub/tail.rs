//! The last events of a room's log, kept in memory while somebody listens here.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::defect::defect;
use crate::model::{Event, EventKind, Seq};

/// An event in memory, shared by all who are sent it, and encoded once for all of them.
#[derive(Debug)]
pub struct Logged {
    event: Event,
    encoded: OnceLock<Bytes>,
}

impl Logged {
    /// Wraps an event.
    pub fn new(event: Event) -> Self {
        Self { event, encoded: OnceLock::new() }
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Its encoding, made by the first who asks. All of a node's transports share one encoding.
    pub fn encoded(&self, encode: impl FnOnce(&Event) -> Bytes) -> &Bytes {
        self.encoded.get_or_init(|| encode(&self.event))
    }

    /// About how many bytes it takes, encoded twin included.
    pub(crate) fn weight(&self) -> usize {
        let text = match &self.event.kind {
            EventKind::Posted(posted) => posted.body.as_ref().map_or(0, |body| body.as_str().len()),
            EventKind::Edited { body, .. } => body.as_ref().map_or(0, |body| body.as_str().len()),
            EventKind::Renamed { name } => name.as_str().len(),
            _ => 0,
        };
        512 + 2 * text
    }
}

/// How much of a log's end is kept.
#[derive(Debug, Clone, Copy)]
pub struct TailLimits {
    /// Events a room.
    pub events: usize,
    /// Bytes a room.
    pub bytes: usize,
}

/// What a tail can give to a reader.
#[derive(Debug)]
pub(crate) enum TailRead {
    /// Nothing after its position, as far as is known here.
    Nothing,
    /// The next events, dense.
    Events(Vec<Arc<Logged>>),
    /// They are not (all) here: read the store.
    Store,
}

/// The end of one log. Its events are dense and reach up to `end`.
///
/// Anything but `end + 1` marks a gap: what was there is dropped, and readers who need it read the store. A tail that ends below the
/// known head gives nothing to anybody: what is missing may be a deletion of what it holds.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    events: VecDeque<Arc<Logged>>,
    /// The number of the last event that was taken here; 0 when nothing is known yet.
    end: u64,
    /// The last number that is known to exist; never below `end`.
    head: u64,
    /// All events up to here have been looked at on this node, or are from before anybody listened; never above `end`.
    seen: u64,
    /// Rises whenever there may be more than is known here, so that each reader asks the store once.
    epoch: u64,
    bytes: usize,
}

impl Tail {
    /// The last number known.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// The number of the last event that was taken here.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Somebody begins to listen, and has read that head since they were registered. What comes after the first one's is looked at here.
    pub(crate) fn begin(&mut self, head: u64) {
        if self.seen == 0 {
            if self.end < head {
                self.clear();
                self.end = head;
            }
            self.seen = head;
        }
        self.note_head(head);
    }

    /// Takes a committed event. An old one changes nothing, one after a gap starts the tail anew.
    pub(crate) fn publish(&mut self, logged: Arc<Logged>, limits: TailLimits) {
        let number = logged.event().seq.number();
        if number <= self.end {
            return;
        }
        if number != self.end + 1 {
            self.clear();
        }
        self.take(logged, limits);
    }

    /// Takes an event that was read from the store, in the order of the log. One after a gap does not belong here, and shows how far the
    /// log reaches.
    pub(crate) fn absorb(&mut self, logged: &Arc<Logged>, limits: TailLimits) {
        let number = logged.event().seq.number();
        if number == self.end + 1 && self.seen > 0 {
            self.take(logged.clone(), limits);
            return;
        }
        if number == self.seen + 1 && number <= self.end {
            self.seen = number;
        }
        self.scrub_if_deletion(logged);
        self.note_head(number);
    }

    fn take(&mut self, logged: Arc<Logged>, limits: TailLimits) {
        let number = logged.event().seq.number();
        self.scrub_if_deletion(&logged);
        if self.seen + 1 == number {
            self.seen = number;
        }
        self.end = number;
        self.note_head(number);
        self.bytes += logged.weight();
        self.events.push_back(logged);
        while self.events.len() > limits.events || (self.bytes > limits.bytes && self.events.len() > 1) {
            self.pop();
        }
    }

    /// The store holds this number; the event itself may still be published here.
    pub(crate) fn note_head(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    /// After which number the log has not been looked at here, though it goes on.
    pub(crate) fn unseen(&self) -> Option<u64> {
        (0 < self.seen && self.seen < self.head).then_some(self.seen)
    }

    /// Drops everything if it does not reach the known head, since what is missing may be deletions.
    pub(crate) fn drop_stale(&mut self) {
        if defect!(TailKeepsDeleted, false, self.end < self.head) {
            self.clear();
        }
    }

    /// There may be more in the store than is known here.
    pub(crate) fn suspect(&mut self) {
        self.epoch += 1;
    }

    /// Drops all but the newest events, to give memory back.
    pub(crate) fn shrink(&mut self, keep: usize) {
        while self.events.len() > keep {
            self.pop();
        }
    }

    /// What comes after `position`, for a reader who last asked the store in `epoch`.
    pub(crate) fn read(&self, position: u64, epoch: u64, max_events: usize, max_bytes: usize) -> TailRead {
        if defect!(TailKeepsDeleted, false, position < self.head && self.end < self.head) {
            return TailRead::Store;
        }
        if position < self.end {
            let base = self.end - self.events.len() as u64 + 1;
            let position = defect!(TailTrimmed, position.max(base - 1), position);
            let Some(skip) = (position + 1).checked_sub(base) else { return TailRead::Store };
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            if skip >= self.events.len() {
                return TailRead::Store;
            }
            let mut bytes = 0;
            let events = self.events.iter().skip(skip).take(max_events).take_while(|logged| {
                let first = bytes == 0;
                bytes += logged.weight();
                first || bytes <= max_bytes
            });
            return TailRead::Events(events.cloned().collect());
        }
        if position < self.head || epoch < self.epoch { TailRead::Store } else { TailRead::Nothing }
    }

    fn scrub_if_deletion(&mut self, logged: &Logged) {
        defect!(TailKeepsDeleted, return, ());
        if let EventKind::Deleted { target } = logged.event().kind {
            self.scrub(target);
        }
    }

    fn scrub(&mut self, target: Seq) {
        for logged in &mut self.events {
            if logged.event().body_of() == Some(target) {
                let scrubbed = Logged::new(logged.event().scrubbed());
                self.bytes = self.bytes - logged.weight() + scrubbed.weight();
                *logged = Arc::new(scrubbed);
            }
        }
    }

    fn pop(&mut self) {
        if let Some(logged) = self.events.pop_front() {
            self.bytes -= logged.weight();
        }
    }

    fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
    }

    /// What it holds.
    #[cfg(test)]
    pub(crate) fn held(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|logged| logged.event())
    }
}
