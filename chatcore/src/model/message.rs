//! A message's present state, and pages of messages.

use super::event::MessageKind;
use super::seq::Seq;
use super::text::{Body, ClientId, Emoji};
use crate::id::{RoomId, UserId};
use crate::time::Timestamp;

/// A message as it is now, seen by one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its room.
    pub room: RoomId,
    /// Its number in the room's log: that of the event that posted it.
    pub seq: Seq,
    /// The number of the last event that changed it; `seq` when none has.
    pub rev: Seq,
    /// Who wrote it; `None` for the host.
    pub sender: Option<UserId>,
    /// Written by a person, or by the host.
    pub kind: MessageKind,
    /// `None` exactly when it is deleted.
    pub body: Option<Body>,
    /// The sender's key, if one was given.
    pub client_id: Option<ClientId>,
    /// The message of this room that it answers.
    pub reply_to: Option<Seq>,
    /// When it was posted.
    pub created_at: Timestamp,
    /// When its body was last changed.
    pub edited_at: Option<Timestamp>,
    /// A tombstone.
    pub deleted: bool,
    /// By the oldest reaction that is still there; empty on a tombstone.
    pub reactions: Vec<Reaction>,
}

/// One emoji on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// What.
    pub emoji: Emoji,
    /// By how many.
    pub count: u32,
    /// Whether by the one who looks.
    pub me: bool,
}

/// Which messages of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageRange {
    /// The newest.
    Newest,
    /// The newest before this position (exclusive).
    Before(Seq),
    /// The oldest after this position (exclusive; 0 is the beginning).
    After(u64),
    /// Half of them up to this position (inclusive), the others after it.
    Around(Seq),
}

/// A page of messages, rising by `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// The messages.
    pub items: Vec<Message>,
    /// Whether older ones are left.
    pub has_before: bool,
    /// Whether newer ones are left.
    pub has_after: bool,
    /// The number of the last event of the room when the page was read; every event above it is still to come.
    pub head: u64,
}
