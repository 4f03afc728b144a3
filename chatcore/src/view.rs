//! What one user sees: the model put together for a viewer, ready for a transport to write down.

use std::sync::Arc;

use crate::model::{Friendship, Member, Message, PageKey, Relation, Role, Room, Seq, User};
use crate::time::Timestamp;

/// Whether somebody is there, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PresenceStatus {
    /// No connection, for a while already.
    Offline,
    /// Connected on a device that nobody uses at the moment.
    Away,
    /// Connected.
    Online,
}

/// Somebody's presence, as the viewer may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// The best of all their connections.
    pub status: PresenceStatus,
    /// When the last of their connections went; `None` while one lives, before the first, and for those whom they block.
    pub last_seen: Option<Timestamp>,
}

impl Presence {
    /// What somebody who must not know sees.
    pub const HIDDEN: Self = Self { status: PresenceStatus::Offline, last_seen: None };
}

/// A user and their presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// The user.
    pub user: Arc<User>,
    /// As the viewer may see it.
    pub presence: Presence,
}

/// A user as looked up by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The user.
    pub user: UserView,
    /// The pair's row.
    pub friendship: Option<FriendshipView>,
    /// Whether the viewer has blocked them.
    pub blocked: bool,
}

/// A friendship, seen by one of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FriendshipView {
    /// The row.
    pub friendship: Friendship,
    /// Who asked.
    pub requester: UserView,
    /// Who was asked.
    pub addressee: UserView,
    /// The other one.
    pub friend: UserView,
}

/// A room in a member's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSummary {
    /// The room.
    pub room: Room,
    /// The other one of a direct room.
    pub peer: Option<UserView>,
    /// The viewer's role.
    pub role: Role,
    /// The number of the last event.
    pub head: u64,
    /// The viewer's marker in force.
    pub read: u64,
    /// Counted up to [`crate::limits::UNREAD_CAP`].
    pub unread: u32,
    /// The latest, perhaps a tombstone.
    pub last_message: Option<Message>,
    /// The time of the last posted message, or of the creation.
    pub updated_at: Timestamp,
}

/// A room with its first members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    /// As in the list.
    pub summary: RoomSummary,
    /// Up to [`crate::limits::ROOM_VIEW_MEMBERS`] of them, oldest first.
    pub members: Vec<MemberView>,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub user: UserView,
    /// The row.
    pub member: Member,
    /// The marker in force.
    pub read: u64,
}

/// A user's read marker and what is left to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadState {
    /// The number of the room's last event.
    pub head: u64,
    /// The marker in force.
    pub read: u64,
    /// Counted up to [`crate::limits::UNREAD_CAP`].
    pub unread: u32,
}

/// What came of a change of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeReceipt {
    /// The event appended; `None` where nothing changed.
    pub seq: Option<Seq>,
}

/// A page of a list, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K = PageKey> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// The place of the last item; `None` when there are no more.
    pub next: Option<K>,
}

impl<T, K> Page<T, K> {
    /// Cuts a list of up to `limit + 1` rows to a page; the one too many shows that there are more.
    pub(crate) fn cut(mut items: Vec<T>, limit: u32, key: impl FnOnce(&T) -> K) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(key);
        Self { items, next }
    }

    /// The same page of other items.
    pub(crate) fn with<U>(self, items: impl FnOnce(Vec<T>) -> Vec<U>) -> Page<U, K> {
        Page { items: items(self.items), next: self.next }
    }
}

/// Relation and presence are looked up for one viewer; this says which way a block hides.
pub(crate) fn hides_presence(relation: &Relation) -> bool {
    relation.blocked
}
