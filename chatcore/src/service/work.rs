//! The costs of use cases: one budget per user, shared by REST calls and all sockets.
//!
//! A unit is about what it takes to write a row, to read ten, or to write a KiB of text. A use case is paid for before it begins, so that nothing
//! is half done for want of units.

use super::Chat;
use super::error::Result;
use super::guard::Principal;
use crate::id::UserId;

/// The cost of a use case, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost(u32);

impl Cost {
    /// A call that reads a row or two.
    pub(crate) const READ: Self = Self(1);
    /// A call that writes a row or two.
    pub(crate) const WRITE: Self = Self(2);
    /// A change that others are told of: a row, its event, and the people whom it concerns.
    pub(crate) const CHANGE: Self = Self(4);
    /// A call that hashes a password.
    pub(crate) const HASH: Self = Self(20);

    /// A call that reads so many rows.
    pub(crate) fn rows(count: usize) -> Self {
        Self(1 + units(count / 10))
    }

    /// A call that reads so many rooms of one user, each with its head, last message and unread count.
    pub(crate) fn rooms(count: usize) -> Self {
        Self(1 + units(count / 5))
    }

    /// The heads of so many rooms of one user.
    pub(crate) fn list(count: usize) -> Self {
        Self(units(count / 50))
    }

    /// A change of so many members: of each a row, an intent, and an event.
    pub(crate) fn members(count: usize) -> Self {
        Self(4 + units(count.saturating_mul(2)))
    }

    /// A post or an edit of so many bytes.
    pub(crate) fn text(bytes: usize) -> Self {
        Self(2 + units(bytes / 1024))
    }
}

fn units(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX - 8)
}

impl Chat {
    /// Takes a use case's cost from the caller's budget.
    ///
    /// # Errors
    /// `RateLimited`, and nothing is taken.
    pub(crate) fn spend(&self, caller: &Principal, cost: Cost) -> Result<()> {
        self.spend_for(caller.user, cost)
    }

    /// The same for a user whose socket it is.
    pub(crate) fn spend_for(&self, user: UserId, cost: Cost) -> Result<()> {
        self.inner.work.spend(&user, cost.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_more_costs_more() {
        assert_eq!(Cost::text(0), Cost::WRITE);
        assert!(Cost::text(16_000).0 > Cost::text(1_000).0);
        assert!(Cost::members(1_000).0 > 500 * Cost::members(0).0);
        assert!(Cost::rows(100).0 > Cost::rows(1).0);
        assert!(Cost::rows(usize::MAX).0 > Cost::rooms(1_000).0);
    }
}
