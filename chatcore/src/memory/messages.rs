//! The logs, and the messages' present state beside them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeBounds;

use super::post::Post;
use crate::id::{RoomId, UserId};
use crate::model::{
    Draft, DraftKey, Emoji, Event, EventKind, LogPage, LogRange, Message, MessagePage, MessageRange, Seq,
};
use crate::store::{AppendOutcome, Digest, Head, Rejection};

#[derive(Debug, Default)]
pub(super) struct Logs {
    rooms: HashMap<RoomId, Log>,
}

/// One room's log.
#[derive(Debug, Default)]
struct Log {
    /// Number n stands at n - 1.
    events: Vec<Event>,
    posts: BTreeMap<u64, Post>,
    keys: HashMap<(Option<UserId>, DraftKey), Seq>,
    last_posts: HashMap<UserId, Seq>,
}

/// Why a draft is not appended; the rejection, or nothing to do.
enum Not {
    Needed,
    Allowed(Rejection),
}

impl From<Rejection> for Not {
    fn from(rejection: Rejection) -> Self {
        Self::Allowed(rejection)
    }
}

/// `Ok` when something changes.
fn needed(changes: bool) -> Result<(), Not> {
    if changes { Ok(()) } else { Err(Not::Needed) }
}

impl Logs {
    pub(super) fn append(&mut self, batch: &[Draft], max_reactions: u32) -> Vec<AppendOutcome> {
        // Each in turn, with its key kept at once: that finds a duplicate within the batch as it finds an older one.
        batch.iter().map(|draft| self.rooms.entry(draft.room).or_default().append(draft, max_reactions)).collect()
    }

    pub(super) fn events(&self, room: RoomId, range: LogRange, limit: usize) -> LogPage {
        let Some(log) = self.rooms.get(&room) else { return LogPage { events: Vec::new(), head: 0 } };
        let events = match range {
            LogRange::After(number) => {
                let start = index(number).min(log.events.len());
                &log.events[start..start.saturating_add(limit).min(log.events.len())]
            }
            LogRange::Before(seq) => {
                let end = index(seq.number() - 1).min(log.events.len());
                &log.events[end.saturating_sub(limit)..end]
            }
        };
        LogPage { events: events.to_vec(), head: log.head() }
    }

    pub(super) fn heads(&self, rooms: &[RoomId]) -> Vec<Head> {
        let rooms: HashSet<_> = rooms.iter().collect();
        let head = |room: &RoomId| {
            let log = self.rooms.get(room)?;
            let seq = Seq::new(log.head())?;
            let last_post = log.posts.last_key_value();
            let last_post = last_post.and_then(|(number, post)| Some((Seq::new(*number)?, post.at())));
            Some(Head { room: *room, seq, last_post })
        };
        rooms.into_iter().filter_map(head).collect()
    }

    pub(super) fn messages(&self, viewer: UserId, room: RoomId, range: MessageRange, limit: usize) -> MessagePage {
        match self.rooms.get(&room) {
            Some(log) => log.page(viewer, range, limit),
            None => MessagePage { items: Vec::new(), has_before: false, has_after: false, head: 0 },
        }
    }

    pub(super) fn messages_at(&self, viewer: UserId, room: RoomId, seqs: &[Seq]) -> Vec<Message> {
        let Some(log) = self.rooms.get(&room) else { return Vec::new() };
        let mut numbers: Vec<_> = seqs.iter().map(|seq| seq.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.iter().filter_map(|number| log.posts.get(number)).map(|post| post.seen_by(viewer)).collect()
    }

    pub(super) fn reactors(
        &self,
        room: RoomId,
        seq: Seq,
        emoji: &Emoji,
        after: u64,
        limit: usize,
    ) -> Vec<(UserId, Seq)> {
        let post = self.rooms.get(&room).and_then(|log| log.posts.get(&seq.number()));
        let reactors = post.and_then(|post| post.reactors(emoji)).into_iter().flatten();
        let rest = reactors.skip_while(|(seq, _)| seq.number() <= after);
        rest.take(limit).map(|(seq, user)| (*user, *seq)).collect()
    }

    pub(super) fn digests(&self, viewer: UserId, rooms: &[(RoomId, u64)], cap: usize) -> Vec<Digest> {
        let digest = |(room, marker): &(RoomId, u64)| {
            let log = self.rooms.get(room)?;
            let head = Seq::new(log.head())?;
            let own = log.last_posts.get(&viewer).map_or(0, |seq| seq.number());
            let read = own.max(*marker);
            let after = log.posts.range(read.saturating_add(1)..).filter(|(_, post)| post.counts_for(viewer));
            let unread = u32::try_from(after.take(cap).count()).unwrap_or(u32::MAX);
            let last_message = log.posts.last_key_value().map(|(_, post)| post.seen_by(viewer));
            Some(Digest { room: *room, head, last_message, read, unread })
        };
        rooms.iter().filter_map(digest).collect()
    }

    pub(super) fn last_posts(&self, room: RoomId, users: &[UserId]) -> Vec<(UserId, Seq)> {
        let Some(log) = self.rooms.get(&room) else { return Vec::new() };
        let users: HashSet<_> = users.iter().copied().collect();
        users.into_iter().filter_map(|user| Some((user, *log.last_posts.get(&user)?))).collect()
    }
}

/// A number as an index; beyond every log where it does not fit.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Log {
    fn head(&self) -> u64 {
        self.events.len() as u64
    }

    fn append(&mut self, draft: &Draft, max_reactions: u32) -> AppendOutcome {
        let key = (draft.actor, draft.key.clone());
        if let Some(seq) = self.keys.get(&key) {
            return AppendOutcome::Duplicate(*seq);
        }
        let Some(seq) = Seq::new(self.head() + 1) else { return AppendOutcome::Rejected(Rejection::Full) };
        match self.check(draft, max_reactions) {
            Err(Not::Needed) => return AppendOutcome::Unchanged,
            Err(Not::Allowed(rejection)) => return AppendOutcome::Rejected(rejection),
            Ok(()) => {}
        }
        let event = draft.clone().into_event(seq);
        self.apply(&event);
        self.events.push(event);
        self.keys.insert(key, seq);
        AppendOutcome::Appended(seq)
    }

    /// Whether the draft may be appended, and changes anything.
    fn check(&self, draft: &Draft, max_reactions: u32) -> Result<(), Not> {
        match &draft.kind {
            EventKind::Posted(posted) => match posted.reply_to {
                Some(target) => self.post(target).map(drop),
                None => Ok(()),
            },
            EventKind::Edited { target, body } => needed(self.post(*target)?.may_edit(body.as_ref())?),
            EventKind::Deleted { target } => needed(self.post(*target)?.may_delete()),
            EventKind::ReactionAdded { target, emoji } => {
                let user = draft.actor.ok_or(Rejection::NoTarget)?;
                needed(self.post(*target)?.may_react(user, emoji, max_reactions)?)
            }
            EventKind::ReactionRemoved { target, emoji } => {
                let post = self.post(*target)?;
                needed(draft.actor.is_some_and(|user| post.may_unreact(user, emoji)))
            }
            _ => Ok(()),
        }
    }

    fn post(&self, seq: Seq) -> Result<&Post, Not> {
        self.posts.get(&seq.number()).ok_or(Rejection::NoTarget.into())
    }

    /// Changes the messages as a checked event says.
    fn apply(&mut self, event: &Event) {
        if let Some(post) = Post::of(event) {
            if let Some(sender) = event.actor {
                self.last_posts.insert(sender, event.seq);
            }
            self.posts.insert(event.seq.number(), post);
            return;
        }
        let (EventKind::Edited { target, .. }
        | EventKind::Deleted { target }
        | EventKind::ReactionAdded { target, .. }
        | EventKind::ReactionRemoved { target, .. }) = &event.kind
        else {
            return;
        };
        let Some(post) = self.posts.get_mut(&target.number()) else { return };
        match (&event.kind, event.actor) {
            (EventKind::Edited { body, .. }, _) => post.edit(body.as_ref(), event.seq, event.at),
            (EventKind::Deleted { .. }, _) => {
                post.delete(event.seq);
                for seq in std::iter::once(*target).chain(std::mem::take(&mut post.edits)) {
                    if let Some(event) = self.events.get_mut(index(seq.number() - 1)) {
                        *event = event.scrubbed();
                    }
                }
            }
            (EventKind::ReactionAdded { emoji, .. }, Some(user)) => post.react(user, emoji, event.seq),
            (EventKind::ReactionRemoved { emoji, .. }, Some(user)) => post.unreact(user, emoji, event.seq),
            _ => {}
        }
    }

    /// The numbers of the newest posts of the range, rising.
    fn newest(&self, range: impl RangeBounds<u64>, limit: usize) -> Vec<u64> {
        let mut numbers: Vec<_> = self.posts.range(range).rev().take(limit).map(|(number, _)| *number).collect();
        numbers.reverse();
        numbers
    }

    /// The numbers of the oldest posts of the range, rising.
    fn oldest(&self, range: impl RangeBounds<u64>, limit: usize) -> Vec<u64> {
        self.posts.range(range).take(limit).map(|(number, _)| *number).collect()
    }

    fn page(&self, viewer: UserId, range: MessageRange, limit: usize) -> MessagePage {
        // Where an empty page lies: between `low` and `high`, both exclusive.
        let (numbers, low, high) = match range {
            MessageRange::Newest => (self.newest(.., limit), 0, u64::MAX),
            MessageRange::Before(seq) => (self.newest(..seq.number(), limit), 0, seq.number() - 1),
            MessageRange::After(number) => {
                let start = number.saturating_add(1);
                (self.oldest(start.., limit), start, u64::MAX)
            }
            MessageRange::Around(seq) => (self.around(seq.number(), limit), 0, u64::MAX),
        };
        let first = numbers.first().copied().unwrap_or(low);
        let last = numbers.last().copied().unwrap_or(high);
        let posts = numbers.iter().filter_map(|number| self.posts.get(number));
        MessagePage {
            items: posts.map(|post| post.seen_by(viewer)).collect(),
            has_before: self.posts.range(..first).next().is_some(),
            has_after: self.posts.range(last.saturating_add(1)..).next().is_some(),
            head: self.head(),
        }
    }

    fn around(&self, position: u64, limit: usize) -> Vec<u64> {
        let before = self.newest(..=position, limit.div_ceil(2));
        let after = self.oldest(position.saturating_add(1).., limit - before.len());
        let mut numbers = self.newest(..=position, limit - after.len());
        numbers.extend(after);
        numbers
    }
}
