//! The order of what one socket sends, what a deletion takes away, and how long anybody waits: promises 1, 2 and 6.

use std::collections::HashMap;

use super::{Checker, Stored};
use crate::history::{Call, Node, Room, What};

/// How long after its acknowledgement an event may come to a socket that is open all the while, in microseconds: servers and databases are
/// stopped for up to 4 s, clients do not read for up to 4 s, nodes compare every 2 s, and all of that one after the other.
const SILENCE: u64 = 20_000_000;

/// How long a socket waited at the longest, what shows it, and for which event.
type Late = (u64, Vec<usize>, (Room, u64));

impl Checker<'_> {
    /// Frames of one socket take effect in the order in which they were sent.
    pub(super) fn sent_in_order_is_stored_in_order(&mut self) {
        // The last one of each socket and room: which call, and its number.
        let mut last: HashMap<(usize, Room), (usize, u64)> = HashMap::new();
        let mut wrong = Vec::new();
        for (index, op) in self.ops.iter().enumerate() {
            let (Some(socket), Some((Some(seq), false))) = (op.socket, op.done()) else { continue };
            let room = match op.call {
                Call::Post { room, .. }
                | Call::Edit { room, .. }
                | Call::Delete { room, .. }
                | Call::React { room, .. } => *room,
                _ => continue,
            };
            if let Some((before, number)) = last.insert((socket, room), (index, seq))
                && number > seq
            {
                wrong.push((before, index, room, [number, seq]));
            }
        }
        for (before, index, room, numbers) in wrong {
            let what = format!("event {} was sent before event {}", numbers[0], numbers[1]);
            let entries = [self.ops[before].entries(), self.ops[index].entries()].concat();
            self.found("in the order sent", what, entries, numbers.map(|seq| (room, seq)).into());
        }
    }

    /// A socket that was opened after a deletion had been acknowledged gets no body of that message.
    pub(super) fn deleted_is_gone(&mut self) {
        let record = self.record;
        let mut deleted: HashMap<(Room, u64), (usize, Node)> = HashMap::new();
        for op in &self.ops {
            if let Call::Delete { room, seq } = op.call
                && let Some(returned) = op.returned.filter(|_| op.done().is_some())
            {
                deleted.entry((*room, *seq)).or_insert((returned, op.node));
            }
        }
        for (index, entry) in record.entries.iter().enumerate() {
            let What::Got { socket, room, seq, content, .. } = &entry.what else { continue };
            if !content.body {
                continue;
            }
            let edited = record.event(*room, *seq).filter(|event| event.is("message.edited"));
            let message = edited.and_then(Stored::target).unwrap_or(*seq);
            let Some((returned, node)) = deleted.get(&(*room, message)).copied() else { continue };
            let Some(info) = self.sockets.get(socket) else { continue };
            if record.at(info.opened) > self.holds(returned, node, info.node) {
                let what = format!("socket {socket} gets the body of message {message}, which was deleted before");
                self.found("deleted is gone", what, vec![returned, info.opened, index], vec![(*room, *seq)]);
            }
        }
    }

    /// Whoever listens gets what is acknowledged before long.
    pub(super) fn nobody_falls_silent(&mut self) {
        let record = self.record;
        // When each acknowledged post was.
        let mut acknowledged: HashMap<(Room, u64), usize> = HashMap::new();
        for op in &self.ops {
            if let (Call::Post { room, .. }, Some((Some(seq), false)), Some(returned)) =
                (op.call, op.done(), op.returned)
            {
                acknowledged.insert((*room, seq), returned);
            }
        }
        let mut late: HashMap<usize, Late> = HashMap::new();
        for (index, entry) in record.entries.iter().enumerate() {
            let What::Got { socket, room, seq, .. } = &entry.what else { continue };
            let Some(returned) = acknowledged.get(&(*room, *seq)).copied() else { continue };
            let Some(info) = self.sockets.get(socket).filter(|info| info.opened < returned) else { continue };
            let waited = entry.at.saturating_sub(record.at(returned));
            if waited > SILENCE && late.get(socket).is_none_or(|(longest, ..)| *longest < waited) {
                late.insert(*socket, (waited, vec![info.opened, returned, index], (*room, *seq)));
            }
        }
        for (socket, (waited, entries, event)) in late {
            let what = format!("socket {socket} waited {:.1} s for an event", waited as f64 / 1e6);
            self.found("nobody falls silent", what, entries, vec![event]);
        }
    }
}
