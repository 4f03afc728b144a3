//! Signals: news that is not stored and may be lost.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::id::{RoomId, UserId};
use crate::model::LeaveReason;
use crate::view::{FriendshipView, Presence, RoomSummary, UserView};

/// News that is not stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SignalKind {
    /// Somebody types, or has stopped.
    Typing {
        /// Whether they do.
        on: bool,
    },
    /// Somebody has read up to here.
    Read {
        /// The marker.
        seq: u64,
        /// What is left, told to the reader's own sockets alone.
        unread: Option<u32>,
    },
    /// Somebody came or went.
    Presence(Presence),
    /// The listener is in a further room.
    RoomAdded(Box<RoomSummary>),
    /// The listener is out of a room.
    RoomRemoved(LeaveReason),
    /// A profile changed.
    UserUpdated(Box<UserView>),
    /// A request was made.
    FriendRequested(Box<FriendshipView>),
    /// A request was accepted.
    FriendAccepted(Box<FriendshipView>),
    /// A request was refused or taken back, or a friendship ended.
    FriendRemoved(Box<FriendshipView>),
}

/// A signal: what, and about which room or person.
#[derive(Debug)]
pub struct Signal {
    /// The room that it is about.
    pub room: Option<RoomId>,
    /// The person that it is about.
    pub user: Option<UserId>,
    /// What.
    pub kind: SignalKind,
    encoded: OnceLock<Bytes>,
}

impl Signal {
    /// A signal about a room, a person or both.
    pub fn new(room: Option<RoomId>, user: Option<UserId>, kind: SignalKind) -> Self {
        Self { room, user, kind, encoded: OnceLock::new() }
    }

    /// Its encoding, made by the first who asks.
    pub fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.encoded.get_or_init(|| encode(self))
    }
}
