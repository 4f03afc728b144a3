//! Who may ask, answer and end.

use crate::id::UserId;
use crate::model::{Friendship, FriendshipStatus, Relation};

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Either has blocked the other.
    Blocked,
    /// They are friends.
    AlreadyFriends,
    /// The asker cannot answer.
    OwnRequest,
    /// The row is not this user's.
    NotParty,
    /// It has been answered otherwise.
    NotPending,
    /// There is nothing of theirs to end.
    NotFriends,
}

/// What a request has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Make the pair's row, pending.
    Create,
    /// Turn the rejected row into a pending one of this asker.
    Reopen,
    /// The other asked first: accept.
    Accept,
    /// It is pending already.
    Keep,
}

/// What `from` asking the other means, where `relation` is seen from `from`.
///
/// # Errors
/// `Blocked`, `AlreadyFriends`.
pub fn request(relation: &Relation, from: UserId) -> Result<Request, Refusal> {
    if relation.any_block() {
        return Err(Refusal::Blocked);
    }
    match &relation.friendship {
        None => Ok(Request::Create),
        Some(f) => match f.status {
            FriendshipStatus::Accepted => Err(Refusal::AlreadyFriends),
            FriendshipStatus::Rejected => Ok(Request::Reopen),
            FriendshipStatus::Pending if f.requester == from => Ok(Request::Keep),
            FriendshipStatus::Pending => Ok(Request::Accept),
        },
    }
}

/// What an answer has to do: `true` to write it, `false` when it stands so already.
///
/// # Errors
/// `NotParty`, `OwnRequest`, `NotPending`.
pub fn answer(friendship: &Friendship, by: UserId, accept: bool) -> Result<bool, Refusal> {
    if friendship.other(by).is_none() {
        return Err(Refusal::NotParty);
    }
    if friendship.requester == by {
        return Err(Refusal::OwnRequest);
    }
    match (friendship.status, accept) {
        (FriendshipStatus::Pending, _) => Ok(true),
        (FriendshipStatus::Accepted, true) | (FriendshipStatus::Rejected, false) => Ok(false),
        _ => Err(Refusal::NotPending),
    }
}

/// Whether `by` may remove this row: either of two friends, or the asker while it is pending.
///
/// # Errors
/// `NotParty`, `NotFriends`.
pub fn end(friendship: &Friendship, by: UserId) -> Result<(), Refusal> {
    if friendship.other(by).is_none() {
        return Err(Refusal::NotParty);
    }
    match friendship.status {
        FriendshipStatus::Accepted => Ok(()),
        FriendshipStatus::Pending if friendship.requester == by => Ok(()),
        _ => Err(Refusal::NotFriends),
    }
}
