//! What becomes of a batch of drafts: decided in memory, draft by draft, from what the logs hold; no I/O.

use std::collections::{BTreeMap, HashMap, HashSet};

use chatcore::id::RoomId;
use chatcore::model::{Draft, EventKind, Posted, Seq};
use chatcore::store::{AppendOutcome, Rejection, StoreResult};
use mongodb::bson::Binary;

use crate::documents::{ReactionDoc, id, number, seq_number};
use crate::event::{LogDoc, NowDoc, POSTED, dedup_key};
use crate::keys::{log_key, reaction_key};

/// A message: its room and its number.
pub(crate) type Place = (RoomId, Seq);

/// What the logs held before the batch, as far as it matters.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The numbers of the last events; of empty logs none.
    pub(crate) heads: HashMap<RoomId, u64>,
    /// Which of the batch's keys are taken, and by which event. `None`: not asked.
    pub(crate) keys: Option<HashMap<Vec<u8>, Seq>>,
    /// The messages that drafts refer to.
    pub(crate) targets: HashMap<Place, Target>,
    /// How many have given which emoji, of messages that drafts react to.
    pub(crate) emojis: HashMap<Place, HashMap<String, i64>>,
    /// Which of the batch's own reactions are there.
    pub(crate) reactions: HashSet<Vec<u8>>,
}

/// A message as the drafts before have made it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// The body as posted.
    pub(crate) body: Option<String>,
    pub(crate) now: NowDoc,
    /// Where it stands in this batch, if it is new.
    pub(crate) fresh: Option<usize>,
    /// This batch has changed it.
    pub(crate) changed: bool,
}

impl Target {
    fn present_body(&self) -> Option<&str> {
        self.now.body.as_deref().or(self.body.as_deref())
    }

    /// A tombstone is a message without a body.
    pub(crate) fn is_deleted(&self) -> bool {
        self.present_body().is_none()
    }
}

/// Where a room's log ends after the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadWrite {
    pub(crate) before: u64,
    pub(crate) after: u64,
    /// The last post of this batch, if there is one, and its time.
    pub(crate) post: Option<(Seq, i64)>,
}

/// What has to be written.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) outcomes: Vec<AppendOutcome>,
    pub(crate) log: Vec<LogDoc>,
    pub(crate) heads: BTreeMap<RoomId, HeadWrite>,
    /// Messages from before the batch that it changes.
    pub(crate) changed: Vec<(Place, Target)>,
    /// Messages from before the batch that it deletes.
    pub(crate) deleted: Vec<Binary>,
    /// Reactions that are there afterwards, or are not.
    pub(crate) reactions: BTreeMap<Vec<u8>, Option<ReactionDoc>>,
    /// Not every draft is appended. That holds only where the keys were asked for: a duplicate comes before anything else.
    pub(crate) refuses: bool,
}

/// Decides a whole batch.
pub(crate) fn decide(drafts: &[Draft], stored: Stored, max_reactions: u32) -> StoreResult<Plan> {
    let mut batch = Batch {
        max_reactions: max_reactions as usize,
        heads: stored.heads,
        keys: stored.keys.unwrap_or_default(),
        targets: stored.targets,
        emojis: stored.emojis,
        there: stored.reactions,
        plan: Plan::default(),
    };
    for draft in drafts {
        let outcome = batch.append(draft)?;
        batch.plan.refuses |= matches!(outcome, AppendOutcome::Unchanged | AppendOutcome::Rejected(_));
        batch.plan.outcomes.push(outcome);
    }
    Ok(batch.finish())
}

/// The message that a draft refers to.
pub(crate) fn target(kind: &EventKind) -> Option<Seq> {
    match kind {
        EventKind::Posted(Posted { reply_to, .. }) => *reply_to,
        EventKind::Edited { target, .. }
        | EventKind::Deleted { target }
        | EventKind::ReactionAdded { target, .. }
        | EventKind::ReactionRemoved { target, .. } => Some(*target),
        _ => None,
    }
}

struct Batch {
    max_reactions: usize,
    heads: HashMap<RoomId, u64>,
    keys: HashMap<Vec<u8>, Seq>,
    targets: HashMap<Place, Target>,
    emojis: HashMap<Place, HashMap<String, i64>>,
    there: HashSet<Vec<u8>>,
    plan: Plan,
}

impl Batch {
    fn append(&mut self, draft: &Draft) -> StoreResult<AppendOutcome> {
        let key = dedup_key(draft);
        if let Some(first) = self.keys.get(&key.bytes) {
            return Ok(AppendOutcome::Duplicate(*first));
        }
        let head = self.heads.get(&draft.room).copied().unwrap_or(0);
        let Some(next) = Seq::new(head + 1) else { return Ok(AppendOutcome::Rejected(Rejection::Full)) };
        match self.apply(draft, next) {
            Ok(true) => {}
            Ok(false) => return Ok(AppendOutcome::Unchanged),
            Err(rejection) => return Ok(AppendOutcome::Rejected(rejection)),
        }
        self.heads.insert(draft.room, next.number());
        let write = self.plan.heads.entry(draft.room).or_insert(HeadWrite { before: head, after: head, post: None });
        write.after = next.number();
        let document = LogDoc::new(draft, key.clone(), next)?;
        if document.what.kind == POSTED {
            write.post = Some((next, document.at));
            let now = NowDoc { rev: seq_number(next), ..NowDoc::default() };
            let fresh = Some(self.plan.log.len());
            let target = Target { body: document.what.body.clone(), now, fresh, changed: false };
            self.targets.insert((draft.room, next), target);
        }
        self.plan.log.push(document);
        self.keys.insert(key.bytes, next);
        Ok(AppendOutcome::Appended(next))
    }

    /// Makes the message what the draft wants it to be. Answers whether there is something to append.
    fn apply(&mut self, draft: &Draft, next: Seq) -> Result<bool, Rejection> {
        let Some(seq) = target(&draft.kind) else { return Ok(true) };
        let place = (draft.room, seq);
        let Some(message) = self.targets.get_mut(&place) else { return Err(Rejection::NoTarget) };
        let deleted = message.is_deleted();
        match &draft.kind {
            EventKind::Edited { .. } | EventKind::ReactionAdded { .. } if deleted => return Err(Rejection::Deleted),
            EventKind::Deleted { .. } | EventKind::ReactionRemoved { .. } if deleted => return Ok(false),
            EventKind::Edited { body, .. } => {
                let body = body.as_ref().map(|body| body.as_str());
                if message.present_body() == body {
                    return Ok(false);
                }
                message.now.body = body.map(str::to_owned);
                message.now.edited_at = Some(draft.at.micros());
            }
            EventKind::Deleted { .. } => self.delete(place),
            EventKind::ReactionAdded { emoji, .. } => {
                if !self.react(draft, place, emoji.as_str(), next)? {
                    return Ok(false);
                }
            }
            EventKind::ReactionRemoved { emoji, .. } => {
                if !self.take_back(draft, place, emoji.as_str()) {
                    return Ok(false);
                }
            }
            // An answer leaves the message as it is.
            _ => return Ok(true),
        }
        if let Some(message) = self.targets.get_mut(&place) {
            message.now.rev = seq_number(next);
            message.changed = true;
        }
        Ok(true)
    }

    /// A tombstone: the bodies go out of the message, its event and its edits; the reactions go.
    fn delete(&mut self, place: Place) {
        let key = log_key(place.0, place.1.number());
        if let Some(message) = self.targets.get_mut(&place) {
            message.body = None;
            message.now.body = None;
            if message.fresh.is_none() {
                self.plan.deleted.push(key.clone());
            }
        }
        for edit in self.plan.log.iter_mut().filter(|event| event.edits.as_ref() == Some(&key)) {
            edit.what.body = None;
        }
        self.emojis.remove(&place);
        self.there.retain(|reaction| !reaction.starts_with(&key.bytes));
        self.plan.reactions.retain(|reaction, _| !reaction.starts_with(&key.bytes));
    }

    fn react(&mut self, draft: &Draft, place: Place, emoji: &str, given: Seq) -> Result<bool, Rejection> {
        // Only a person reacts.
        let Some(user) = draft.actor else { return Ok(false) };
        let of = log_key(place.0, place.1.number());
        let key = reaction_key(&of, user, emoji);
        if self.there.contains(&key.bytes) {
            return Ok(false);
        }
        let emojis = self.emojis.entry(place).or_default();
        if !emojis.contains_key(emoji) && emojis.len() >= self.max_reactions {
            return Err(Rejection::TooManyReactions);
        }
        *emojis.entry(emoji.to_owned()).or_insert(0) += 1;
        self.there.insert(key.bytes.clone());
        let reaction = ReactionDoc {
            _id: key.clone(),
            of,
            emoji: emoji.to_owned(),
            user: id(user.uuid()),
            given: number(given.number()),
        };
        self.plan.reactions.insert(key.bytes, Some(reaction));
        Ok(true)
    }

    fn take_back(&mut self, draft: &Draft, place: Place, emoji: &str) -> bool {
        let Some(user) = draft.actor else { return false };
        let key = reaction_key(&log_key(place.0, place.1.number()), user, emoji);
        if !self.there.remove(&key.bytes) {
            return false;
        }
        if let Some(emojis) = self.emojis.get_mut(&place)
            && let Some(count) = emojis.get_mut(emoji)
        {
            *count -= 1;
            if *count <= 0 {
                emojis.remove(emoji);
            }
        }
        self.plan.reactions.insert(key.bytes, None);
        true
    }

    /// Puts what became of new messages into their events; those from before are to be updated.
    fn finish(mut self) -> Plan {
        for (place, target) in self.targets {
            if !target.changed {
                continue;
            }
            match target.fresh.and_then(|index| self.plan.log.get_mut(index)) {
                None => self.plan.changed.push((place, target)),
                Some(event) => {
                    if target.is_deleted() {
                        event.what.body = None;
                        event.post.open = Some(0);
                    }
                    event.post.now = Some(target.now);
                }
            }
        }
        self.plan
    }
}

#[cfg(test)]
mod tests {
    use chatcore::id::UserId;
    use chatcore::model::{Body, ClientId, DraftKey, Emoji, MessageKind};
    use chatcore::time::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn room() -> RoomId {
        RoomId::from_uuid(Uuid::from_u128(1))
    }

    fn seq(number: u64) -> Seq {
        Seq::new(number).unwrap()
    }

    fn draft(key: &str, kind: EventKind) -> Draft {
        Draft {
            room: room(),
            key: DraftKey::from_client(&ClientId::from_stored(key.to_owned())),
            actor: Some(UserId::from_uuid(Uuid::from_u128(2))),
            at: Timestamp::from_micros(3),
            kind,
        }
    }

    fn post(key: &str) -> Draft {
        let body = Some(Body::from_stored("hi".into()));
        draft(key, EventKind::Posted(Posted { kind: MessageKind::Text, body, client_id: None, reply_to: None }))
    }

    fn edit(key: &str, target: u64, text: &str) -> Draft {
        let body = Some(Body::from_stored(text.into()));
        draft(key, EventKind::Edited { target: seq(target), body })
    }

    fn react(key: &str, target: u64) -> Draft {
        draft(key, EventKind::ReactionAdded { target: seq(target), emoji: Emoji::from_stored("👍".into()) })
    }

    fn delete(key: &str, target: u64) -> Draft {
        draft(key, EventKind::Deleted { target: seq(target) })
    }

    #[test]
    fn what_happens_within_a_batch_is_written_once() {
        let drafts = [post("1"), edit("2", 1, "ho"), react("3", 1), delete("4", 1), post("5"), post("1")];
        let plan = decide(&drafts, Stored::default(), 5).unwrap();
        assert_eq!(plan.outcomes[5], AppendOutcome::Duplicate(seq(1)));
        assert_eq!(plan.log.len(), 5);
        assert!(plan.log[..4].iter().all(|event| event.what.body.is_none() || event.what.kind == 4), "no body is left");
        assert_eq!((plan.log[0].post.open, plan.log[4].post.open), (Some(0), Some(1)));
        assert_eq!(plan.log[0].post.now.as_ref().map(|now| (now.rev, now.edited_at)), Some((4, Some(3))));
        assert!(plan.reactions.is_empty() && plan.changed.is_empty() && plan.deleted.is_empty() && !plan.refuses);
        let head = plan.heads[&room()];
        assert_eq!((head.before, head.after, head.post), (0, 5, Some((seq(5), 3))));
    }

    #[test]
    fn a_message_from_before_is_changed() {
        let stored = || Stored {
            heads: HashMap::from([(room(), 9)]),
            targets: HashMap::from([((room(), seq(4)), Target { body: Some("hi".into()), ..Target::default() })]),
            ..Stored::default()
        };
        let plan = decide(&[edit("1", 4, "ho"), react("2", 4), edit("3", 4, "ho")], stored(), 5).unwrap();
        assert_eq!(plan.outcomes[2], AppendOutcome::Unchanged);
        assert!(plan.refuses);
        let (place, target) = &plan.changed[0];
        assert_eq!((*place, target.now.rev, target.now.body.as_deref()), ((room(), seq(4)), 11, Some("ho")));
        assert_eq!(plan.reactions.len(), 1);
        let plan = decide(&[react("1", 4), delete("2", 4), react("3", 4)], stored(), 5).unwrap();
        assert_eq!(plan.outcomes[2], AppendOutcome::Rejected(Rejection::Deleted));
        assert_eq!(plan.deleted.len(), 1);
        assert!(plan.reactions.is_empty());
        let plan = decide(&[react("1", 4)], stored(), 0).unwrap();
        assert_eq!(plan.outcomes, [AppendOutcome::Rejected(Rejection::TooManyReactions)]);
    }

    #[test]
    fn a_full_log_takes_nothing() {
        let stored = Stored { heads: HashMap::from([(room(), Seq::MAX - 1)]), ..Stored::default() };
        let plan = decide(&[post("1"), post("2")], stored, 5).unwrap();
        assert_eq!(plan.outcomes[1], AppendOutcome::Rejected(Rejection::Full));
        assert_eq!(plan.outcomes[0], AppendOutcome::Appended(seq(Seq::MAX)));
    }
}
