//! The proof: from what every client did and saw, and from what is stored, that each promise was kept. Pure.

mod delivery;
mod live;
mod sessions;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde_json::Value;

use crate::history::{Call, Content, Entry, Node, Outcome, Room, User, What};

/// Violations of one rule that are told.
const TOLD: usize = 5;
/// Faults that are told with one.
const FAULTS: usize = 20;

/// An event as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What it says, in short.
    pub content: Content,
    /// What it says.
    pub value: Value,
    /// Who did it.
    pub actor: Option<User>,
    /// About whom it is, of memberships.
    pub subject: Option<User>,
}

impl Stored {
    fn kind(&self) -> &str {
        self.value["event"].as_str().unwrap_or_default()
    }

    fn is(&self, kind: &str) -> bool {
        self.kind() == kind
    }

    /// The message that it is about.
    fn target(&self) -> Option<u64> {
        self.value["data"]["seq"].as_u64()
    }

    fn body(&self) -> &Value {
        match self.kind() {
            "message.posted" => &self.value["data"]["message"]["body"],
            _ => &self.value["data"]["body"],
        }
    }

    fn key(&self) -> Option<&str> {
        self.value["data"]["message"]["client_id"].as_str()
    }

    fn emoji(&self) -> Option<&str> {
        self.value["data"]["emoji"].as_str()
    }
}

/// Everything that is known after a run.
#[derive(Debug, Default)]
pub struct Record {
    /// How many servers there were.
    pub nodes: usize,
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// The two of each direct room.
    pub pairs: HashMap<Room, [User; 2]>,
    /// The stored logs, room by room, from their beginning.
    pub logs: Vec<Vec<Stored>>,
    /// The stored messages, room by room, as they are at the end.
    pub messages: Vec<Vec<Value>>,
    /// What each member is told of each room at the end.
    pub summaries: Vec<(User, Room, Value)>,
}

/// Everything, a line each: what happened in the order in which it did, then the logs.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        for (room, log) in self.logs.iter().enumerate() {
            for (event, seq) in log.iter().zip(1..) {
                let (actor, subject) = (event.actor, event.subject);
                writeln!(f, "stored, room {room}, event {seq}, by {actor:?}, about {subject:?}: {}", event.value)?;
            }
        }
        Ok(())
    }
}

/// A promise that was not kept.
#[derive(Debug)]
pub struct Violation {
    /// Which rule.
    pub rule: &'static str,
    /// What happened instead.
    pub what: String,
    /// The entries that show it, and no more.
    entries: Vec<usize>,
    /// The stored events that show it.
    events: Vec<(Room, u64)>,
}

/// A violation with its shortest history.
#[derive(Debug)]
pub struct Shown<'a>(&'a Record, &'a Violation);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(record, violation) = self;
        writeln!(f, "{}: {}", violation.rule, violation.what)?;
        let entries: BTreeSet<usize> = violation.entries.iter().copied().collect();
        // With what was done to servers meanwhile, the last of it.
        let meanwhile = entries.first().copied().unwrap_or(0)..entries.last().copied().unwrap_or(0);
        let fault = |index: &usize| matches!(record.entries[*index].what, What::Fault(_) | What::Note(_));
        let entries: BTreeSet<usize> = entries.into_iter().chain(meanwhile.rev().filter(fault).take(FAULTS)).collect();
        for entry in entries {
            writeln!(f, "  {}", record.entries[entry])?;
        }
        for (room, seq) in &violation.events {
            match record.event(*room, *seq) {
                Some(event) => writeln!(f, "  stored, room {room}: {}", event.value)?,
                None => writeln!(f, "  stored, room {room}: no event {seq}")?,
            }
        }
        Ok(())
    }
}

impl Violation {
    /// One that was met outside the history.
    pub fn met(rule: &'static str, what: String) -> Self {
        Self { rule, what, entries: Vec::new(), events: Vec::new() }
    }

    /// Shown by these entries of the history.
    #[must_use]
    pub fn shown_by(self, entries: Vec<usize>) -> Self {
        Self { entries, ..self }
    }

    /// With its shortest history.
    pub fn show<'a>(&'a self, record: &'a Record) -> Shown<'a> {
        Shown(record, self)
    }
}

/// A call and its answer.
struct Op<'a> {
    user: User,
    call: &'a Call,
    node: Node,
    session: usize,
    socket: Option<usize>,
    called: usize,
    returned: Option<usize>,
    outcome: Option<&'a Outcome>,
}

impl Op<'_> {
    fn done(&self) -> Option<(Option<u64>, bool)> {
        match self.outcome {
            Some(Outcome::Done { seq, duplicate }) => Some((*seq, *duplicate)),
            _ => None,
        }
    }

    fn refused(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Refused(_)))
    }

    fn entries(&self) -> Vec<usize> {
        std::iter::once(self.called).chain(self.returned).collect()
    }
}

struct SocketInfo {
    opened: usize,
    session: usize,
    node: Node,
    ended: Option<usize>,
}

struct Checker<'a> {
    record: &'a Record,
    ops: Vec<Op<'a>>,
    sockets: HashMap<usize, SocketInfo>,
    /// When each key was first used: room, user, key.
    keys: HashMap<(Room, &'a str), usize>,
    found: Vec<Violation>,
}

impl Record {
    fn event(&self, room: Room, seq: u64) -> Option<&Stored> {
        self.logs.get(room)?.get(usize::try_from(seq).ok()?.checked_sub(1)?)
    }

    fn at(&self, entry: usize) -> u64 {
        self.entries[entry].at
    }

    /// What is not as it was promised: at most five of each rule.
    pub fn check(&self) -> Vec<Violation> {
        let mut checker = Checker::new(self);
        checker.logs_are_dense();
        checker.acknowledged_is_stored();
        checker.stored_once_and_sent();
        checker.sockets_are_in_order();
        checker.sent_in_order_is_stored_in_order();
        checker.deleted_is_gone();
        checker.nobody_falls_silent();
        checker.ended_sessions_are_silent();
        checker.old_passwords_let_nobody_in();
        checker.outsiders_do_nothing();
        checker.logs_know_their_actors();
        checker.messages_are_what_their_logs_say();
        checker.markers_and_counts();
        checker.no_defects_are_answered();
        let mut told: HashMap<&'static str, usize> = HashMap::new();
        let mut found = checker.found;
        found.retain(|violation| {
            let told = told.entry(violation.rule).or_default();
            *told += 1;
            *told <= TOLD
        });
        found
    }
}

impl<'a> Checker<'a> {
    fn new(record: &'a Record) -> Self {
        let mut ops: Vec<Op<'a>> = Vec::new();
        let mut by_number = HashMap::new();
        let mut sockets = HashMap::new();
        let mut keys = HashMap::new();
        for (index, entry) in record.entries.iter().enumerate() {
            match &entry.what {
                What::Called { op, call, node, session, socket } => {
                    by_number.insert(*op, ops.len());
                    if let Call::Post { room, key, .. } = call {
                        keys.entry((*room, key.as_str())).or_insert(index);
                    }
                    let (user, node, session, socket) = (entry.user, *node, *session, *socket);
                    ops.push(Op { user, call, node, session, socket, called: index, returned: None, outcome: None });
                }
                What::Returned { op, outcome } => {
                    if let Some(op) = by_number.get(op).and_then(|op| ops.get_mut(*op)) {
                        op.returned = Some(index);
                        op.outcome = Some(outcome);
                    }
                }
                What::Opened { socket, session, node, .. } => {
                    let info = SocketInfo { opened: index, session: *session, node: *node, ended: None };
                    sockets.insert(*socket, info);
                }
                What::Ended { socket, .. } => {
                    if let Some(info) = sockets.get_mut(socket) {
                        info.ended = Some(index);
                    }
                }
                What::Began { .. } | What::Got { .. } | What::Fault(_) | What::Note(_) => {}
            }
        }
        Self { record, ops, sockets, keys, found: Vec::new() }
    }

    fn found(&mut self, rule: &'static str, what: String, entries: Vec<usize>, events: Vec<(Room, u64)>) {
        self.found.push(Violation { rule, what, entries, events });
    }
}
