//! Accounts. Implemented by adapters, called by [`crate::service`].

use async_trait::async_trait;

use super::error::StoreResult;
use crate::id::UserId;
use crate::model::{Account, DisplayName, Email, PasswordHash, SearchKey, User, Username};
use crate::time::Timestamp;

/// An account that is to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Made by the service.
    pub id: UserId,
    /// Unique.
    pub username: Username,
    /// Unique under [`Email::key`].
    pub email: Email,
    /// Shown on screen; searched by its [`DisplayName::search_key`].
    pub display_name: DisplayName,
    /// PHC string.
    pub password: PasswordHash,
    /// Now.
    pub created_at: Timestamp,
}

/// Which unique values somebody else already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// The username.
    pub username: bool,
    /// The e-mail address.
    pub email: bool,
}

/// What a login needs.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The account.
    pub account: Account,
    /// What the password is checked against.
    pub password: PasswordHash,
}

/// The fields of a profile that change; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    /// The new name.
    pub display_name: Option<DisplayName>,
    /// The new address.
    pub email: Option<Email>,
}

/// The last row of a page of search results, see [`UserStore::search`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchPosition {
    /// Within those whose username matches.
    Username(Username),
    /// Within those of whom only the display name matches.
    DisplayName(SearchKey, UserId),
}

/// Keeps accounts. Users are never removed.
///
/// # Contract
/// - Usernames are unique, and so are [`Email::key`]s, under any number of racing writers.
/// - [`UserStore::credentials`] that is called after [`UserStore::replace_password`] has answered sees the new hash, on every node. A login that
///   overlaps a change of the password rests on this sentence, as does every later kind of it (a deactivation): it makes its session first and
///   reads the hash again then. Users and sessions may be in two databases; the sentence is about this one alone.
/// - A hash is kept byte for byte. It carries a random salt, so it serves as the revision of the credentials: the same hash is the same password.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// Whether the store answers.
    async fn ping(&self) -> StoreResult<()>;

    /// Makes an account.
    ///
    /// Answers `Err(Taken)` inside the `Ok`, naming every value that is taken, and then has changed nothing. Called
    /// again with the same `id`, it answers as it did the first time.
    async fn create(&self, user: &NewUser) -> StoreResult<Result<(), Taken>>;

    /// The users of that ids that exist, in no order; unknown ids are left out, a repeated one comes once.
    async fn users(&self, ids: &[UserId]) -> StoreResult<Vec<User>>;

    /// The account of that id.
    async fn account(&self, id: UserId) -> StoreResult<Option<Account>>;

    /// The user of that name.
    async fn by_username(&self, username: &Username) -> StoreResult<Option<User>>;

    /// The account that logs in under that name.
    async fn credentials_by_username(&self, username: &Username) -> StoreResult<Option<Credentials>>;

    /// The account that logs in under that address, compared by [`Email::key`].
    async fn credentials_by_email(&self, email: &Email) -> StoreResult<Option<Credentials>>;

    /// The account of that id with its password, never from a replica that may be behind.
    async fn credentials(&self, id: UserId) -> StoreResult<Option<Credentials>>;

    /// Changes a profile; both fields or, when the address is taken by another, neither. `None`: no such user,
    /// whatever the change.
    async fn update_profile(&self, id: UserId, change: &ProfileChange) -> StoreResult<Option<Result<Account, Taken>>>;

    /// Replaces the password if it is still `expected`; answers whether it did. Called again after it did: `true`.
    async fn replace_password(&self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> StoreResult<bool>;

    /// Notes when users were last seen. A time earlier than the one kept changes nothing; unknown users are left out.
    async fn touch_seen(&self, seen: &[(UserId, Timestamp)]) -> StoreResult<()>;

    /// Users whose username or display name's [`SearchKey`] starts with `prefix`: first those whose username does, by
    /// username; then those of whom only the display name does, by its search key and then id. At most `limit`, after
    /// `after`. Costs a range of two indices, not a walk over all users.
    async fn search(&self, prefix: &SearchKey, after: Option<&SearchPosition>, limit: u32) -> StoreResult<Vec<User>>;
}
