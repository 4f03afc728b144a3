//! The naive model of the logs: events, and messages made anew from them for every question.

use crate::id::{RoomId, UserId};
use crate::model::{
    Draft, DraftKey, Emoji, Event, EventKind, Message, MessageKind, MessagePage, MessageRange, Reaction, Seq,
};
use crate::store::{AppendOutcome, Digest, Head, Rejection};

/// One user's reaction: on what, with what, by whom, by which event.
type Given = (Seq, Emoji, UserId, Seq);

#[derive(Default)]
pub(super) struct Logs {
    events: Vec<Event>,
    keys: Vec<(RoomId, Option<UserId>, DraftKey, Seq)>,
}

impl Logs {
    pub(super) fn events(&self, room: RoomId) -> Vec<Event> {
        self.events.iter().filter(|event| event.room == room).cloned().collect()
    }

    pub(super) fn head(&self, room: RoomId) -> u64 {
        self.events(room).len() as u64
    }

    /// All reactions that stand, in the order of their events.
    fn given(&self, room: RoomId) -> Vec<Given> {
        let mut given: Vec<Given> = Vec::new();
        for event in self.events(room) {
            let by = event.actor;
            match event.kind {
                EventKind::ReactionAdded { target, emoji } => {
                    given.push((target, emoji, by.expect("a reaction has an actor"), event.seq));
                }
                EventKind::ReactionRemoved { target, emoji } => {
                    given.retain(|one| (one.0, &one.1, Some(one.2)) != (target, &emoji, by));
                }
                EventKind::Deleted { target } => given.retain(|one| one.0 != target),
                _ => {}
            }
        }
        given
    }

    pub(super) fn messages(&self, room: RoomId, viewer: UserId) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        for event in self.events(room) {
            messages.extend(event.posted_message());
            let target = match &event.kind {
                EventKind::Edited { target, .. }
                | EventKind::Deleted { target }
                | EventKind::ReactionAdded { target, .. }
                | EventKind::ReactionRemoved { target, .. } => *target,
                _ => continue,
            };
            let message = messages.iter_mut().find(|message| message.seq == target).expect("the target comes first");
            message.rev = event.seq;
            match event.kind {
                EventKind::Edited { body, .. } => {
                    message.body = body;
                    message.edited_at = Some(event.at);
                }
                EventKind::Deleted { .. } => {
                    message.body = None;
                    message.deleted = true;
                }
                _ => {}
            }
        }
        for (target, emoji, user, _) in self.given(room) {
            let message = messages.iter_mut().find(|message| message.seq == target).expect("the target comes first");
            let me = user == viewer;
            match message.reactions.iter_mut().find(|reaction| reaction.emoji == emoji) {
                Some(reaction) => {
                    reaction.count += 1;
                    reaction.me |= me;
                }
                None => message.reactions.push(Reaction { emoji, count: 1, me }),
            }
        }
        messages
    }

    pub(super) fn append(&mut self, draft: &Draft, max_reactions: u32) -> AppendOutcome {
        let key = (draft.room, draft.actor, &draft.key);
        if let Some(known) = self.keys.iter().find(|known| (known.0, known.1, &known.2) == key) {
            return AppendOutcome::Duplicate(known.3);
        }
        match self.changes(draft, max_reactions) {
            Err(rejection) => return AppendOutcome::Rejected(rejection),
            Ok(false) => return AppendOutcome::Unchanged,
            Ok(true) => {}
        }
        let seq = Seq::new(self.head(draft.room) + 1).expect("a short log");
        let event = draft.clone().into_event(seq);
        if let EventKind::Deleted { target } = event.kind {
            for old in &mut self.events {
                if old.room == event.room && old.body_of() == Some(target) {
                    *old = old.scrubbed();
                }
            }
        }
        self.events.push(event);
        self.keys.push((draft.room, draft.actor, draft.key.clone(), seq));
        AppendOutcome::Appended(seq)
    }

    fn changes(&self, draft: &Draft, max_reactions: u32) -> Result<bool, Rejection> {
        let target = match &draft.kind {
            EventKind::Posted(posted) => match posted.reply_to {
                Some(target) => target,
                None => return Ok(true),
            },
            EventKind::Edited { target, .. }
            | EventKind::Deleted { target }
            | EventKind::ReactionAdded { target, .. }
            | EventKind::ReactionRemoved { target, .. } => *target,
            _ => return Ok(true),
        };
        let viewer = draft.actor.unwrap_or(UserId::from_uuid(uuid::Uuid::nil()));
        let messages = self.messages(draft.room, viewer);
        let message = messages.iter().find(|message| message.seq == target).ok_or(Rejection::NoTarget)?;
        let mine = |emoji: &Emoji| message.reactions.iter().any(|reaction| reaction.emoji == *emoji && reaction.me);
        match &draft.kind {
            EventKind::Deleted { .. } => Ok(!message.deleted),
            EventKind::ReactionRemoved { emoji, .. } => Ok(mine(emoji)),
            EventKind::Edited { .. } | EventKind::ReactionAdded { .. } if message.deleted => Err(Rejection::Deleted),
            EventKind::Edited { body, .. } => Ok(message.body != *body),
            EventKind::ReactionAdded { emoji, .. } if mine(emoji) => Ok(false),
            EventKind::ReactionAdded { emoji, .. } => {
                let known = message.reactions.iter().any(|reaction| reaction.emoji == *emoji);
                let full = message.reactions.len() >= max_reactions as usize;
                if !known && full { Err(Rejection::TooManyReactions) } else { Ok(true) }
            }
            _ => Ok(true),
        }
    }

    pub(super) fn page(&self, viewer: UserId, room: RoomId, range: MessageRange, limit: usize) -> MessagePage {
        let all = self.messages(room, viewer);
        let up_to = |number: u64| all.iter().filter(|message| message.seq.number() <= number).count();
        let (mut from, to) = match range {
            MessageRange::Newest => (all.len().saturating_sub(limit), all.len()),
            MessageRange::Before(seq) => {
                let to = up_to(seq.number() - 1);
                (to.saturating_sub(limit), to)
            }
            MessageRange::After(number) => (up_to(number), all.len().min(up_to(number) + limit)),
            MessageRange::Around(seq) => {
                let from = up_to(seq.number()).saturating_sub(limit - limit / 2);
                (from, all.len().min(from + limit))
            }
        };
        if let MessageRange::Around(_) = range {
            from = from.min(to.saturating_sub(limit));
        }
        let (has_before, has_after) = (from > 0, to < all.len());
        MessagePage { items: all[from..to].to_vec(), has_before, has_after, head: self.head(room) }
    }

    pub(super) fn reactors(&self, room: RoomId, target: Seq, emoji: &Emoji) -> Vec<(UserId, Seq)> {
        let given = self.given(room).into_iter().filter(|one| (one.0, &one.1) == (target, emoji));
        given.map(|one| (one.2, one.3)).collect()
    }

    pub(super) fn head_of(&self, room: RoomId) -> Option<Head> {
        let seq = Seq::new(self.head(room))?;
        let mut posts = self.events(room).into_iter().rev().filter(|event| event.posted_message().is_some());
        Some(Head { room, seq, last_post: posts.next().map(|event| (event.seq, event.at)) })
    }

    pub(super) fn last_post(&self, room: RoomId, user: UserId) -> Option<Seq> {
        let events = self.events(room);
        let own = |event: &&Event| event.actor == Some(user) && event.posted_message().is_some();
        events.iter().rev().find(own).map(|event| event.seq)
    }

    pub(super) fn digest(&self, room: RoomId, viewer: UserId, marker: u64, cap: u32) -> Option<Digest> {
        let head = Seq::new(self.head(room))?;
        let messages = self.messages(room, viewer);
        let read = marker.max(self.last_post(room, viewer).map_or(0, Seq::number));
        let counts = |message: &&Message| {
            let person = message.kind == MessageKind::Text;
            message.seq.number() > read && message.sender != Some(viewer) && !message.deleted && person
        };
        let unread = u32::try_from(messages.iter().filter(counts).count()).unwrap_or(u32::MAX).min(cap);
        Some(Digest { room, head, last_message: messages.last().cloned(), read, unread })
    }
}
