//! What came to sockets, and who was still heard: promises 2 and 5.

use std::collections::HashMap;

use super::{Checker, Op, Stored};
use crate::history::{Call, Content, Node, Room, User, What};

/// How soon other nodes know what one has acknowledged, in microseconds; a quarter of a second for the clocks of the check itself.
const ELSEWHERE: u64 = 5_250_000;

/// Where one socket stands in one room.
struct Line {
    began: usize,
    last: usize,
    /// The next number; `None`: at the head, whatever that was.
    next: Option<u64>,
    /// Own leavings up to here are history.
    head: u64,
    /// The own leaving after which nothing may come but the own return.
    left: Option<u64>,
}

impl Checker<'_> {
    /// Promises 2 and 5 of sockets: rising, each once, no hole, and nothing after one's own leaving.
    pub(super) fn sockets_are_in_order(&mut self) {
        let record = self.record;
        let mut lines: HashMap<(usize, Room), Line> = HashMap::new();
        for (index, entry) in record.entries.iter().enumerate() {
            match &entry.what {
                What::Began { socket, room, from, head } => {
                    let next = from.map(|from| from + 1);
                    let line = Line { began: index, last: index, next, head: *head, left: None };
                    lines.insert((*socket, *room), line);
                }
                What::Got { socket, room, seq, content, .. } => {
                    let stored = record.event(*room, *seq);
                    self.compare(index, *room, *seq, *content, stored);
                    let opened = self.sockets.get(socket).map_or(index, |info| info.opened);
                    let line = lines.entry((*socket, *room)).or_insert(Line {
                        began: opened,
                        last: index,
                        next: None,
                        head: 0,
                        left: None,
                    });
                    let about_me =
                        |kind: &str| stored.is_some_and(|event| event.is(kind) && event.subject == Some(entry.user));
                    let wrong = match (line.left, line.next) {
                        (Some(left), _) if *seq <= left || !about_me("member.joined") => {
                            Some(("out is out", format!("event {seq} after the own leaving by event {left}")))
                        }
                        (None, Some(next)) if *seq < next => {
                            Some(("no repeat, in order", format!("event {seq} after event {}", next - 1)))
                        }
                        (None, Some(next)) if *seq > next => {
                            Some(("no hole", format!("event {seq} where event {next} should come")))
                        }
                        _ => None,
                    };
                    let (witness, missing) = (vec![line.began, line.last, index], line.left.or(line.next));
                    line.left = (about_me("member.left") && *seq > line.head).then_some(*seq);
                    line.next = Some(seq + 1);
                    line.last = index;
                    if let Some((rule, what)) = wrong {
                        let events = missing.into_iter().chain([*seq]).map(|seq| (*room, seq)).collect();
                        self.found(rule, format!("socket {socket}, room {room}: {what}"), witness, events);
                    }
                }
                _ => {}
            }
        }
    }

    /// All sockets and the store agree on every event, but for bodies that a deletion has taken out.
    fn compare(&mut self, index: usize, room: Room, seq: u64, got: Content, stored: Option<&Stored>) {
        let same = stored.is_some_and(|event| {
            let stored = event.content;
            if got.body && !stored.body { got.bare == stored.bare } else { got.full == stored.full }
        });
        if !same {
            let what = format!("what came as event {seq} of room {room} is not what is stored");
            self.found("sockets and store agree", what, vec![index], vec![(room, seq)]);
        }
    }

    /// When what was done at `node` by `entry` holds at `elsewhere`.
    pub(super) fn holds(&self, entry: usize, node: Node, elsewhere: Node) -> u64 {
        self.record.at(entry) + if node == elsewhere { 0 } else { ELSEWHERE }
    }

    /// Promise 5 of members, and blocks: nothing is posted or read by one who may not, once that holds there.
    pub(super) fn outsiders_do_nothing(&mut self) {
        let mut removals: HashMap<(Room, User), Vec<usize>> = HashMap::new();
        let mut returns: HashMap<(Room, User), Vec<usize>> = HashMap::new();
        for (index, op) in self.ops.iter().enumerate() {
            match op.call {
                Call::Remove { room, user } if op.done().is_some() => {
                    removals.entry((*room, *user)).or_default().push(index);
                }
                Call::Add { room, user } if !op.refused() => returns.entry((*room, *user)).or_default().push(index),
                _ => {}
            }
        }
        // Of a direct room, a block is like the removal of both, until the one who blocked takes it back.
        let mut blocks: HashMap<Room, Vec<usize>> = HashMap::new();
        let mut unblocks: HashMap<(User, User), Vec<usize>> = HashMap::new();
        for (index, op) in self.ops.iter().enumerate() {
            match op.call {
                Call::Block { user } if op.done().is_some() => {
                    let of = |pair: &[User; 2]| pair.contains(&op.user) && pair.contains(user);
                    for (room, _) in self.record.pairs.iter().filter(|(_, pair)| of(pair)) {
                        blocks.entry(*room).or_default().push(index);
                    }
                }
                Call::Unblock { user } if !op.refused() => unblocks.entry((op.user, *user)).or_default().push(index),
                _ => {}
            }
        }
        let none = Vec::new();
        let mut wrong = Vec::new();
        for op in &self.ops {
            let Some((seq, duplicate)) = op.done() else { continue };
            // What one gave one may take back, and read, in spite of a block.
            let (room, says) = match op.call {
                Call::Post { room, .. } if !duplicate => (*room, true),
                Call::Edit { room, .. } if seq.is_some() => (*room, true),
                Call::React { room, on, .. } if seq.is_some() => (*room, *on),
                Call::Fetch { room } => (*room, false),
                _ => continue,
            };
            let undone = |out: &Op<'_>, again: &[usize]| {
                again.iter().map(|index| &self.ops[*index]).any(|again| {
                    let returned = again.returned.filter(|_| again.done().is_some()).unwrap_or(usize::MAX);
                    returned > out.called && again.called < op.returned.unwrap_or(usize::MAX)
                })
            };
            let bound = |out: &Op<'_>| {
                out.returned.is_some_and(|returned| self.record.at(op.called) > self.holds(returned, out.node, op.node))
            };
            let removed = removals.get(&(room, op.user)).unwrap_or(&none).iter().map(|index| &self.ops[*index]);
            let again = returns.get(&(room, op.user)).unwrap_or(&none);
            let removed = removed.filter(|out| bound(out)).find(|out| !undone(out, again));
            let blocked = blocks.get(&room).filter(|_| says).unwrap_or(&none).iter().map(|index| &self.ops[*index]);
            let blocked = blocked.filter(|out| bound(out)).find(|out| {
                let Call::Block { user } = out.call else { return false };
                !undone(out, unblocks.get(&(out.user, *user)).unwrap_or(&none))
            });
            if let Some(out) = removed.or(blocked) {
                wrong.push(([out.entries(), op.entries()].concat(), seq.map(|seq| (room, seq))));
            }
        }
        for (entries, event) in wrong {
            let what = "somebody acts in a room after being removed or blocked".to_owned();
            self.found("out is out", what, entries, event.into_iter().collect());
        }
    }

    /// On one node a post stands before the leaving in the log, or not at all.
    pub(super) fn logs_know_their_actors(&mut self) {
        if self.record.nodes > 1 {
            return;
        }
        let record = self.record;
        for (room, log) in record.logs.iter().enumerate() {
            let mut members: HashMap<User, u64> = HashMap::new();
            let mut left: HashMap<User, u64> = HashMap::new();
            for (event, seq) in log.iter().zip(1..) {
                match (event.kind(), event.subject, event.actor) {
                    ("member.joined", Some(user), _) => _ = members.insert(user, seq),
                    ("member.left", Some(user), _) => {
                        members.remove(&user);
                        left.insert(user, seq);
                    }
                    (kind, _, Some(actor))
                        if (kind.starts_with("message.") || kind.starts_with("reaction."))
                            && !members.contains_key(&actor) =>
                    {
                        let what = format!("user {actor} acts in room {room} without being a member");
                        let events = left.get(&actor).copied().into_iter().chain([seq]).map(|seq| (room, seq));
                        self.found("out is out", what, Vec::new(), events.collect());
                    }
                    _ => {}
                }
            }
        }
    }
}
