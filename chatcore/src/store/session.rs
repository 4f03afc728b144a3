//! Logins. Implemented by adapters, called by [`crate::service`].

use std::time::Duration;

use async_trait::async_trait;

use super::error::StoreResult;
use crate::id::{SessionId, UserId};
use crate::model::{PageKey, Session, TokenHash};
use crate::time::Timestamp;

/// One use of a refresh token.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// The session that the token names.
    pub session: SessionId,
    /// The token that was presented.
    pub presented: TokenHash,
    /// The token that takes its place.
    pub next: TokenHash,
    /// Now.
    pub at: Timestamp,
    /// The session's new end.
    pub expires_at: Timestamp,
    /// How long after its first use the token used last may be repeated.
    pub grace: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The next token is live.
    Fresh(Session),
    /// No such session, or it had expired.
    Unknown,
    /// A token that was neither live nor the one used last within its grace: the session, which was this user's, has
    /// been ended.
    Reused(UserId),
}

/// Keeps sessions and the hashes of their refresh tokens.
///
/// # Contract
/// - A session holds up to [`LIVE_TOKENS`](crate::limits::LIVE_TOKENS) live token hashes, and the one used last with the time of its first
///   use. Several are live because a repeated refresh gives a further one: two tabs of one browser both go on.
/// - A session that was ended, or whose `expires_at` is not after the `at` given, is treated as absent by every method
///   that takes an `at`.
/// - [`SessionStore::end_others`] that is called after [`SessionStore::create`] has answered ends that session, on every node: what a change of
///   the password rests on, see [`UserStore`](super::UserStore).
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Whether the store answers.
    async fn ping(&self) -> StoreResult<()>;

    /// Keeps a new session with its first live token. Called again with the same id: changes nothing.
    async fn create(&self, session: &Session, token: &TokenHash) -> StoreResult<()>;

    /// Uses a refresh token. In one atomic step:
    /// - `presented` is live: it is taken out and becomes the one used last, at `at`; `next` becomes live; answers `Fresh`;
    /// - `presented` is the one used last, and `at` is at most `grace` after its first use: `next` becomes live too (the
    ///   oldest one goes when there are more than [`LIVE_TOKENS`](crate::limits::LIVE_TOKENS)); answers `Fresh`;
    /// - otherwise the session is ended: `Reused`.
    ///
    /// `Fresh` also sets `last_used_at` and `expires_at`. A `next` that is live already (the same call made again) is not
    /// counted twice.
    async fn rotate(&self, rotation: &Rotation) -> StoreResult<Rotated>;

    /// Those of the given sessions that have not ended, in no order.
    async fn alive(&self, ids: &[SessionId], at: Timestamp) -> StoreResult<Vec<Session>>;

    /// A user's sessions, newest first by (`created_at`, `id`), after `after`.
    async fn list(&self, user: UserId, at: Timestamp, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Session>>;

    /// Ends one session of that user; answers whether it was there.
    async fn end(&self, user: UserId, id: SessionId) -> StoreResult<bool>;

    /// Ends all sessions of that user but one; answers those that it ended, every one of them.
    async fn end_others(&self, user: UserId, keep: SessionId) -> StoreResult<Vec<SessionId>>;

    /// Removes up to `limit` sessions whose `expires_at` is before `at`; answers how many.
    async fn purge(&self, at: Timestamp, limit: u32) -> StoreResult<u64>;
}
