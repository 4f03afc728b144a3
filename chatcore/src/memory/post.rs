//! The present state of one message.

use std::collections::BTreeMap;

use crate::id::UserId;
use crate::model::{Body, Emoji, Event, Message, MessageKind, Reaction, Seq};
use crate::store::Rejection;
use crate::time::Timestamp;

/// A message beside the log: what its events have made of it.
#[derive(Debug)]
pub(super) struct Post {
    /// As it is now, without reactions.
    message: Message,
    /// The events that edited it, which a deletion has to scrub.
    pub(super) edits: Vec<Seq>,
    reactions: BTreeMap<Emoji, Reactors>,
}

/// Who has one emoji on one message, by the number of the event that said so.
type Reactors = BTreeMap<Seq, UserId>;

impl Post {
    /// The message that this event posts, if it posts one.
    pub(super) fn of(event: &Event) -> Option<Self> {
        Some(Self { message: event.posted_message()?, edits: Vec::new(), reactions: BTreeMap::new() })
    }

    pub(super) fn at(&self) -> Timestamp {
        self.message.created_at
    }

    /// The message as `viewer` sees it.
    pub(super) fn seen_by(&self, viewer: UserId) -> Message {
        // A message has few emojis, and each one's first reaction is the first of its map.
        let mut reactions: Vec<_> = self.reactions.iter().collect();
        reactions.sort_by_key(|(_, reactors)| reactors.first_key_value().map(|(seq, _)| *seq));
        let shown = |(emoji, reactors): (&Emoji, &Reactors)| Reaction {
            emoji: emoji.clone(),
            count: u32::try_from(reactors.len()).unwrap_or(u32::MAX),
            me: reactors.values().any(|user| *user == viewer),
        };
        Message { reactions: reactions.into_iter().map(shown).collect(), ..self.message.clone() }
    }

    /// Whether it may be unread for `viewer`.
    pub(super) fn counts_for(&self, viewer: UserId) -> bool {
        let by_host = self.message.kind == MessageKind::System;
        !self.message.deleted && !by_host && self.message.sender != Some(viewer)
    }

    pub(super) fn reactors(&self, emoji: &Emoji) -> Option<&Reactors> {
        self.reactions.get(emoji)
    }

    /// Whether the edit changes anything.
    pub(super) fn may_edit(&self, body: Option<&Body>) -> Result<bool, Rejection> {
        if self.message.deleted { Err(Rejection::Deleted) } else { Ok(self.message.body.as_ref() != body) }
    }

    pub(super) fn edit(&mut self, body: Option<&Body>, seq: Seq, at: Timestamp) {
        self.message.body = body.cloned();
        self.message.edited_at = Some(at);
        self.message.rev = seq;
        self.edits.push(seq);
    }

    /// Whether the deletion changes anything.
    pub(super) fn may_delete(&self) -> bool {
        !self.message.deleted
    }

    pub(super) fn delete(&mut self, seq: Seq) {
        self.message.body = None;
        self.message.deleted = true;
        self.message.rev = seq;
        self.reactions.clear();
    }

    /// Whether the reaction changes anything.
    pub(super) fn may_react(&self, user: UserId, emoji: &Emoji, max: u32) -> Result<bool, Rejection> {
        if self.message.deleted {
            return Err(Rejection::Deleted);
        }
        match self.reactions.get(emoji) {
            Some(reactors) => Ok(!reactors.values().any(|reactor| *reactor == user)),
            None if self.reactions.len() >= max as usize => Err(Rejection::TooManyReactions),
            None => Ok(true),
        }
    }

    pub(super) fn react(&mut self, user: UserId, emoji: &Emoji, seq: Seq) {
        self.reactions.entry(emoji.clone()).or_default().insert(seq, user);
        self.message.rev = seq;
    }

    /// Whether there is such a reaction to take back.
    pub(super) fn may_unreact(&self, user: UserId, emoji: &Emoji) -> bool {
        self.reactions.get(emoji).is_some_and(|reactors| reactors.values().any(|reactor| *reactor == user))
    }

    pub(super) fn unreact(&mut self, user: UserId, emoji: &Emoji, seq: Seq) {
        if let Some(reactors) = self.reactions.get_mut(emoji) {
            reactors.retain(|_, reactor| *reactor != user);
            if reactors.is_empty() {
                self.reactions.remove(emoji);
            }
        }
        self.message.rev = seq;
    }
}
