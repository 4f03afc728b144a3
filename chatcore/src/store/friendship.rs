//! Friendships and blocks. Implemented by adapters, called by [`crate::service`].

use async_trait::async_trait;

use super::error::StoreResult;
use crate::id::{FriendshipId, UserId};
use crate::model::{Friendship, PageKey, Relation};
use crate::policy::friendship::Refusal;
use crate::time::Timestamp;

/// A request that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewRequest {
    /// The id of the row, should one have to be made.
    pub id: FriendshipId,
    /// Who asks.
    pub from: UserId,
    /// Who is asked; another one.
    pub to: UserId,
    /// Now.
    pub at: Timestamp,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// Asked now, for the first time or again after a refusal.
    Created(Friendship),
    /// Had been asked before and is still pending: nothing changed.
    Pending(Friendship),
    /// The other had asked already: both are friends now.
    Accepted(Friendship),
    /// Nothing changed.
    Refused(Refusal),
}

/// What came of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// Answered now.
    Changed(Friendship),
    /// Had been answered so before.
    Same(Friendship),
    /// Nothing changed.
    Refused(Refusal),
}

/// What came of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The row as it was; it is gone.
    Gone(Friendship),
    /// Nothing changed.
    Refused(Refusal),
}

/// A block that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Whether it is new.
    pub changed: bool,
    /// The row of the pair that the block ended, unless that had been rejected already.
    pub ended: Option<Friendship>,
}

/// Which of a user's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FriendshipList {
    /// Accepted ones.
    Friends,
    /// Pending ones that the user was asked.
    Incoming,
    /// Pending ones that the user asks.
    Outgoing,
}

/// Keeps one row a pair of users, and who has blocked whom.
///
/// # Contract
/// - At most one row a pair, whoever asks, whatever the order or the race.
/// - What may happen is decided by [`crate::policy::friendship`], called inside the step with what the step itself
///   read; the store never decides.
#[async_trait]
pub trait FriendshipStore: Send + Sync {
    /// Whether the store answers.
    async fn ping(&self) -> StoreResult<()>;

    /// Asks, by [`policy::friendship::request`](crate::policy::friendship::request). A row that is asked again keeps its id
    /// and `created_at`; every change of status sets `updated_at`.
    async fn request(&self, request: &NewRequest) -> StoreResult<Requested>;

    /// Answers a request, by [`policy::friendship::answer`](crate::policy::friendship::answer). `None`: no such row.
    async fn answer(&self, id: FriendshipId, by: UserId, accept: bool, at: Timestamp) -> StoreResult<Option<Answered>>;

    /// Ends a friendship or takes a request back, by [`policy::friendship::end`](crate::policy::friendship::end).
    /// `None`: no such row.
    async fn end(&self, id: FriendshipId, by: UserId) -> StoreResult<Option<Ended>>;

    /// One of the user's lists, newest first by (`updated_at`, `id`), after `after`. Costs a range of an index.
    async fn list(
        &self,
        user: UserId,
        list: FriendshipList,
        after: Option<PageKey>,
        limit: u32,
    ) -> StoreResult<Vec<Friendship>>;

    /// All friends of a user, in no order.
    async fn friend_ids(&self, user: UserId) -> StoreResult<Vec<UserId>>;

    /// What stands between `user` and `other`; the default where nothing does.
    async fn relation(&self, user: UserId, other: UserId) -> StoreResult<Relation>;

    /// Blocks, and removes the pair's row, whatever its status. `by` and `user` differ. Blocking again keeps the time of
    /// the block.
    async fn block(&self, by: UserId, user: UserId, at: Timestamp) -> StoreResult<Blocked>;

    /// Takes a block back; answers whether there was one.
    async fn unblock(&self, by: UserId, user: UserId) -> StoreResult<bool>;

    /// Whom the user has blocked, newest first by (time of the block, blocked user's id), after `after`.
    async fn blocked(&self, by: UserId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<(UserId, Timestamp)>>;

    /// Those of `users` who have blocked `user`, in no order.
    async fn blockers_among(&self, user: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>>;

    /// Those of `users` whom `by` has blocked, in no order.
    async fn blocked_among(&self, by: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>>;
}
