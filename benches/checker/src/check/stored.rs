//! What is stored: promises 1 and 3, and that states, markers and counts are what the logs say.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Checker, Op, Stored};
use crate::history::{Call, Outcome, Room, User};

/// What unread counts are counted to.
const UNREAD_CAP: u64 = 1000;
/// Refusals that what clients do may meet.
const EXPECTED: [&str; 6] = ["unauthenticated", "forbidden", "not_found", "rule", "conflict", "invalid"];

impl Checker<'_> {
    pub(super) fn logs_are_dense(&mut self) {
        for (room, log) in self.record.logs.iter().enumerate() {
            for (event, seq) in log.iter().zip(1..) {
                if event.value["seq"].as_u64() != Some(seq) {
                    let what = format!("room {room} has {} where {seq} should be", event.value["seq"]);
                    self.found("numbers without a hole", what, Vec::new(), vec![(room, seq)]);
                    break;
                }
            }
        }
    }

    /// Promise 1: what was acknowledged is there, as it was sent.
    pub(super) fn acknowledged_is_stored(&mut self) {
        let mut deleted: HashMap<Room, HashSet<u64>> = HashMap::new();
        for (room, log) in self.record.logs.iter().enumerate() {
            let gone = log.iter().filter(|event| event.is("message.deleted")).filter_map(Stored::target);
            deleted.insert(room, gone.collect());
        }
        let said = |event: &Stored, body: &str| event.body().is_null() || *event.body() == body;
        let mut missing = Vec::new();
        for (index, op) in self.ops.iter().enumerate() {
            let Some((seq, _)) = op.done() else { continue };
            let event = |room: Room| seq.and_then(|seq| self.record.event(room, seq));
            let mine = |event: &&Stored| event.actor == Some(op.user);
            let there = match op.call {
                Call::Post { room, key, body } => event(*room)
                    .filter(mine)
                    .is_some_and(|event| event.is("message.posted") && event.key() == Some(key) && said(event, body)),
                Call::Edit { room, seq: target, body } => {
                    seq.is_none()
                        || event(*room).filter(mine).is_some_and(|event| {
                            event.is("message.edited") && event.target() == Some(*target) && said(event, body)
                        })
                }
                Call::Delete { room, seq: target } => deleted[room].contains(target),
                Call::React { room, seq: target, emoji, on } => {
                    seq.is_none()
                        || event(*room).filter(mine).is_some_and(|event| {
                            let kind = if *on { "reaction.added" } else { "reaction.removed" };
                            event.is(kind) && event.target() == Some(*target) && event.emoji() == Some(emoji)
                        })
                }
                _ => true,
            };
            if !there {
                missing.push((index, seq));
            }
        }
        for (index, seq) in missing {
            let op = &self.ops[index];
            let room = match op.call {
                Call::Post { room, .. }
                | Call::Edit { room, .. }
                | Call::Delete { room, .. }
                | Call::React { room, .. } => *room,
                _ => continue,
            };
            let what = "what was acknowledged is not what is stored".to_owned();
            let (entries, events) = (op.entries(), seq.map(|seq| (room, seq)).into_iter().collect());
            self.found("acknowledged is durable", what, entries, events);
        }
    }

    /// Promise 3: a key is stored once, and nothing is stored that nobody sent.
    pub(super) fn stored_once_and_sent(&mut self) {
        let record = self.record;
        for (room, log) in record.logs.iter().enumerate() {
            let mut seen: HashMap<(Option<User>, &str), u64> = HashMap::new();
            for (event, seq) in log.iter().zip(1..) {
                let Some(key) = event.key().filter(|_| event.is("message.posted")) else { continue };
                let calls = || {
                    let same = |op: &&Op<'_>| matches!(op.call, Call::Post { key: k, .. } if k == key);
                    self.ops.iter().filter(same).flat_map(Op::entries).collect::<Vec<_>>()
                };
                if let Some(first) = seen.insert((event.actor, key), seq) {
                    let (entries, events) = (calls(), vec![(room, first), (room, seq)]);
                    self.found("retry is safe", format!("{key} is stored twice"), entries, events);
                } else if !self.keys.contains_key(&(room, key)) {
                    self.found("only what was sent", format!("nobody sent {key}"), Vec::new(), vec![(room, seq)]);
                }
            }
        }
    }

    /// A message's present state is what its log makes of it.
    pub(super) fn messages_are_what_their_logs_say(&mut self) {
        #[derive(Debug, Default, PartialEq, Eq)]
        struct State {
            body: Option<String>,
            deleted: bool,
            rev: u64,
            reactions: BTreeMap<String, BTreeSet<User>>,
        }
        let record = self.record;
        for (room, (log, messages)) in record.logs.iter().zip(&record.messages).enumerate() {
            let mut states: BTreeMap<u64, State> = BTreeMap::new();
            for (event, seq) in log.iter().zip(1..) {
                let target = if event.is("message.posted") { Some(seq) } else { event.target() };
                let Some(state) = target.map(|target| states.entry(target).or_default()) else { continue };
                match event.kind() {
                    "message.posted" | "message.edited" => state.body = event.body().as_str().map(str::to_owned),
                    "message.deleted" => *state = State { deleted: true, ..State::default() },
                    "reaction.added" | "reaction.removed" => {
                        let (Some(emoji), Some(user)) = (event.emoji(), event.actor) else { continue };
                        let users = state.reactions.entry(emoji.to_owned()).or_default();
                        if event.is("reaction.added") {
                            users.insert(user)
                        } else {
                            users.remove(&user)
                        };
                        if users.is_empty() {
                            state.reactions.remove(emoji);
                        }
                    }
                    _ => continue,
                }
                state.rev = seq;
            }
            let mut there = HashSet::new();
            for message in messages {
                let seq = message["seq"].as_u64().unwrap_or_default();
                there.insert(seq);
                let state = states.get(&seq);
                let counts = |state: &State| -> BTreeMap<String, u64> {
                    state.reactions.iter().map(|(emoji, users)| (emoji.clone(), users.len() as u64)).collect()
                };
                let told: BTreeMap<String, u64> = message["reactions"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|one| Some((one["emoji"].as_str()?.to_owned(), one["count"].as_u64()?)))
                    .collect();
                let same = state.is_some_and(|state| {
                    message["body"].as_str() == state.body.as_deref()
                        && message["deleted"] == state.deleted
                        && message["rev"] == state.rev
                        && counts(state) == told
                });
                if !same {
                    let what = format!("room {room}: the message {message} is not what its log says: {state:?}");
                    self.found("messages and logs agree", what, Vec::new(), vec![(room, seq)]);
                }
            }
            let posts = log.iter().zip(1..).filter(|(event, _)| event.is("message.posted"));
            for (_, seq) in posts.filter(|(_, seq)| !there.contains(seq)) {
                let what = format!("room {room}: there is no message {seq}");
                self.found("messages and logs agree", what, Vec::new(), vec![(room, seq)]);
            }
        }
    }

    /// Markers never move back, and unread counts are what a recount says.
    pub(super) fn markers_and_counts(&mut self) {
        let record = self.record;
        let mut least: HashMap<(User, Room), (u64, Vec<usize>)> = HashMap::new();
        for op in &self.ops {
            if let (Call::Read { room, seq }, Some(_)) = (op.call, op.done()) {
                let known = least.entry((op.user, *room)).or_default();
                if *seq > known.0 {
                    *known = (*seq, op.entries());
                }
            }
        }
        for (user, room, summary) in &record.summaries {
            let (Some(read), Some(unread)) = (summary["read"].as_u64(), summary["unread"].as_u64()) else {
                self.found("unread counts", format!("no marker in {summary}"), Vec::new(), Vec::new());
                continue;
            };
            if let Some((seq, entries)) = least.get(&(*user, *room))
                && read < *seq
            {
                let what = format!("user {user}, room {room}: the marker is at {read}, and was acknowledged at {seq}");
                self.found("markers stay", what, entries.clone(), Vec::new());
            }
            let log = record.logs.get(*room).map_or(&[][..], Vec::as_slice);
            let gone: HashSet<u64> =
                log.iter().filter(|event| event.is("message.deleted")).filter_map(Stored::target).collect();
            let posts = log.iter().zip(1u64..).filter(|(event, _)| event.is("message.posted"));
            let count = posts
                .clone()
                .filter(|(event, seq)| *seq > read && event.actor != Some(*user) && !gone.contains(seq))
                .count() as u64;
            if unread != count.min(UNREAD_CAP) {
                let what =
                    format!("user {user}, room {room}: {unread} unread after {read}, and a recount says {count}");
                self.found("unread counts", what, Vec::new(), Vec::new());
            }
            if let Some((_, own)) = posts.filter(|(event, _)| event.actor == Some(*user)).last()
                && own > read
            {
                let what = format!("user {user}, room {room}: the marker is at {read}, before the own message {own}");
                self.found("markers stay", what, Vec::new(), vec![(*room, own)]);
            }
        }
    }

    pub(super) fn no_defects_are_answered(&mut self) {
        let mut wrong = Vec::new();
        for op in &self.ops {
            if let Some(Outcome::Refused(code)) = op.outcome
                && !EXPECTED.contains(&code.as_str())
            {
                wrong.push((code.clone(), op.entries()));
            }
        }
        for (code, entries) in wrong {
            self.found("no defect is answered", format!("answered {code}"), entries, Vec::new());
        }
    }
}
