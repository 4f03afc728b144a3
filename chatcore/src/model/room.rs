//! Rooms and who is in them.

use super::event::{Draft, DraftKey, RoomChange};
use super::names::RoomName;
use super::seq::Seq;
use crate::id::{IntentId, RoomId, UserId};
use crate::time::Timestamp;

/// The two kinds of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoomKind {
    /// Two members for ever, one room a pair.
    Direct,
    /// A name, roles, members that come and go.
    Group,
}

/// What a member may do; rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads and writes. Both members of a direct room.
    Member,
    /// Also renames, adds, and removes members.
    Admin,
    /// Also removes anybody and gives roles.
    Owner,
}

/// A room without regard to who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Never changes.
    pub id: RoomId,
    /// Never changes.
    pub kind: RoomKind,
    /// Of a group; `None` for a direct room.
    pub name: Option<RoomName>,
    /// Who made it.
    pub created_by: UserId,
    /// When.
    pub created_at: Timestamp,
    /// How many are in it now.
    pub member_count: u32,
}

/// One member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// When they were added, the last time.
    pub joined_at: Timestamp,
    /// The number of their `member.joined`; `None` while the log does not hold it yet.
    pub joined_seq: Option<Seq>,
    /// The read marker as stored. The one in force is the largest of it, `joined_seq` and their own last post.
    pub read: Option<Seq>,
}

/// A room together with one user's part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The room.
    pub room: Room,
    /// The user's row.
    pub member: Member,
    /// The other one of a direct room.
    pub peer: Option<UserId>,
}

impl Membership {
    /// The read marker as far as the room store knows it; 0 while the join is not in the log yet.
    pub fn marker(&self) -> u64 {
        let joined = self.member.joined_seq.map_or(0, Seq::number);
        self.member.read.map_or(0, Seq::number).max(joined)
    }
}

/// Where a user stands towards a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no such room.
    NoRoom,
    /// The room is there, the user is not in it.
    Outsider,
    /// In it.
    Member(Membership),
}

/// A change of a room that is recorded in the room store and still has to be appended to its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The key under which its event is appended, so that appending it again changes nothing.
    pub id: IntentId,
    /// The room.
    pub room: RoomId,
    /// Who did it; `None` for the host.
    pub actor: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// What.
    pub change: RoomChange,
}

impl Intent {
    /// The draft of its event.
    pub fn draft(&self) -> Draft {
        Draft {
            room: self.room,
            key: DraftKey::from_uuid(self.id.uuid()),
            actor: self.actor,
            at: self.at,
            kind: self.change.clone().into(),
        }
    }
}
