//! Events: what a room's log holds, and the drafts that become events.

use std::fmt;

use uuid::Uuid;

use super::message::Message;
use super::names::RoomName;
use super::room::Role;
use super::seq::Seq;
use super::text::{Body, ClientId, Emoji};
use crate::id::{RoomId, UserId};
use crate::time::Timestamp;

/// One entry of a room's log. Immutable, but for the bodies that a deletion takes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The room.
    pub room: RoomId,
    /// Its number in the room.
    pub seq: Seq,
    /// When it was made, by the clock of the node that made it. Order is by `seq` alone.
    pub at: Timestamp,
    /// Who made it; `None` for the host.
    pub actor: Option<UserId>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A message was posted.
    Posted(Posted),
    /// A message got another body.
    Edited {
        /// The message.
        target: Seq,
        /// The new body; `None` once the message was deleted.
        body: Option<Body>,
    },
    /// A message became a tombstone.
    Deleted {
        /// The message.
        target: Seq,
    },
    /// The actor reacted.
    ReactionAdded {
        /// The message.
        target: Seq,
        /// With what.
        emoji: Emoji,
    },
    /// The actor took a reaction back.
    ReactionRemoved {
        /// The message.
        target: Seq,
        /// Which.
        emoji: Emoji,
    },
    /// Somebody came in.
    Joined {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// Somebody went, or was removed.
    Left {
        /// Who.
        user: UserId,
        /// How.
        reason: LeaveReason,
    },
    /// Somebody got another role.
    RoleChanged {
        /// Who.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// The room got another name.
    Renamed {
        /// The new name.
        name: RoomName,
    },
}

/// A message as it was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// By a person or by the host.
    pub kind: MessageKind,
    /// The first body; `None` once the message was deleted.
    pub body: Option<Body>,
    /// The sender's key, if one was given.
    pub client_id: Option<ClientId>,
    /// The message that it answers.
    pub reply_to: Option<Seq>,
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A person.
    Text,
    /// The host, through the library; does not count as unread.
    System,
}

/// How somebody left a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// Went.
    Left,
    /// Was removed.
    Removed,
}

/// The changes that the room store records first (see [`crate::store::RoomStore`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomChange {
    /// Somebody came in.
    Joined {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// Somebody went, or was removed.
    Left {
        /// Who.
        user: UserId,
        /// How.
        reason: LeaveReason,
    },
    /// Somebody got another role.
    RoleChanged {
        /// Who.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// The room got another name.
    Renamed {
        /// The new name.
        name: RoomName,
    },
}

impl From<RoomChange> for EventKind {
    fn from(change: RoomChange) -> Self {
        match change {
            RoomChange::Joined { user, role } => Self::Joined { user, role },
            RoomChange::Left { user, reason } => Self::Left { user, reason },
            RoomChange::RoleChanged { user, role } => Self::RoleChanged { user, role },
            RoomChange::Renamed { name } => Self::Renamed { name },
        }
    }
}

/// What makes a draft repeatable: unique per room and actor, for ever.
///
/// Either the client's own key or a UUID that the service made before the first attempt. The two kinds never meet: a
/// key is stored as `c:` and the client's text, or as `k:` and the UUID.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DraftKey(String);

impl DraftKey {
    /// From the key that the client gave.
    pub fn from_client(id: &ClientId) -> Self {
        Self(format!("c:{id}"))
    }

    /// From a UUID that the service made.
    pub fn from_uuid(id: Uuid) -> Self {
        Self(format!("k:{}", id.as_hyphenated()))
    }

    /// As it is stored: 1 to 66 printable ASCII characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DraftKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The room whose log it goes to.
    pub room: RoomId,
    /// What makes it repeatable.
    pub key: DraftKey,
    /// Who; `None` for the host.
    pub actor: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

impl Draft {
    /// The event that this draft became under that number.
    pub fn into_event(self, seq: Seq) -> Event {
        Event { room: self.room, seq, at: self.at, actor: self.actor, kind: self.kind }
    }
}

impl Event {
    /// The message that this event posted, as the event shows it: its first body, no reactions.
    pub fn posted_message(&self) -> Option<Message> {
        let EventKind::Posted(posted) = &self.kind else { return None };
        Some(Message {
            room: self.room,
            seq: self.seq,
            rev: self.seq,
            sender: self.actor,
            kind: posted.kind,
            body: posted.body.clone(),
            client_id: posted.client_id.clone(),
            reply_to: posted.reply_to,
            created_at: self.at,
            edited_at: None,
            deleted: posted.body.is_none(),
            reactions: Vec::new(),
        })
    }

    /// The message whose body this event carries, if it carries one.
    pub fn body_of(&self) -> Option<Seq> {
        match &self.kind {
            EventKind::Posted(Posted { body: Some(_), .. }) => Some(self.seq),
            EventKind::Edited { target, body: Some(_) } => Some(*target),
            _ => None,
        }
    }

    /// The same event without the body that a deletion takes out.
    #[must_use]
    pub fn scrubbed(&self) -> Self {
        let mut event = self.clone();
        match &mut event.kind {
            EventKind::Posted(posted) => posted.body = None,
            EventKind::Edited { body, .. } => *body = None,
            _ => {}
        }
        event
    }
}
