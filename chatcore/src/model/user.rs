//! Users.

use super::names::{DisplayName, Email, Username};
use crate::id::UserId;
use crate::time::Timestamp;

/// A user as others may see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// Unique; never changes.
    pub username: Username,
    /// Shown on screen.
    pub display_name: DisplayName,
    /// The registration.
    pub created_at: Timestamp,
    /// When the last of their connections went; `None` before the first one has.
    pub last_seen: Option<Timestamp>,
}

/// A user as they see themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What everybody may see.
    pub user: User,
    /// Unique under [`Email::key`].
    pub email: Email,
}
