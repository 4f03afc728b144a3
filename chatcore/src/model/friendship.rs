//! Friendships and blocks.

use crate::id::{FriendshipId, UserId};
use crate::time::Timestamp;

/// How far a friendship has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FriendshipStatus {
    /// Asked, not answered.
    Pending,
    /// Friends.
    Accepted,
    /// Refused; either may ask again.
    Rejected,
}

/// The one row of a pair of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Friendship {
    /// Stays the same when a rejected request is asked again; a new one after an unfriending.
    pub id: FriendshipId,
    /// How far it has come.
    pub status: FriendshipStatus,
    /// Who asked last.
    pub requester: UserId,
    /// Who was asked.
    pub addressee: UserId,
    /// The first request.
    pub created_at: Timestamp,
    /// The latest change of status.
    pub updated_at: Timestamp,
}

impl Friendship {
    /// The other one, seen from `user`; `None` when it is not theirs.
    pub fn other(&self, user: UserId) -> Option<UserId> {
        if self.requester == user {
            Some(self.addressee)
        } else if self.addressee == user {
            Some(self.requester)
        } else {
            None
        }
    }
}

/// All that stands between one user and another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relation {
    /// Their row, if there is one.
    pub friendship: Option<Friendship>,
    /// The first has blocked the second.
    pub blocks: bool,
    /// The second has blocked the first.
    pub blocked: bool,
}

impl Relation {
    /// Whether either has blocked the other.
    pub fn any_block(&self) -> bool {
        self.blocks || self.blocked
    }

    /// Whether they are friends now.
    pub fn are_friends(&self) -> bool {
        self.friendship.as_ref().is_some_and(|f| f.status == FriendshipStatus::Accepted)
    }
}
