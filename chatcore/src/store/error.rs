//! What a store says when it cannot answer.

use std::error::Error as StdError;
use std::fmt;

/// What a store's method answers.
pub type StoreResult<T> = Result<T, StoreError>;

type Source = Box<dyn StdError + Send + Sync>;

/// A store could not do its work: what kind of failure, whether a retry can help, and the driver's own error.
///
/// `Display` speaks of this level only; the cause is [`source`](StdError::source).
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: &'static str,
    source: Option<Source>,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The database is away, too busy or cut off. Trying again can help; the outcome may be unknown.
    Unavailable,
    /// What was read is not what was ever written: a defect, or somebody else's hand.
    Corrupt,
    /// The database refused for a reason that trying again does not mend: a defect, a full disk, missing rights.
    Failed,
}

impl StoreError {
    /// The database is away or too busy.
    pub fn unavailable(message: &'static str, source: impl Into<Source>) -> Self {
        Self { kind: StoreErrorKind::Unavailable, message, source: Some(source.into()) }
    }

    /// A row that cannot be understood.
    pub fn corrupt(message: &'static str) -> Self {
        Self { kind: StoreErrorKind::Corrupt, message, source: None }
    }

    /// A failure that stays.
    pub fn failed(message: &'static str, source: impl Into<Source>) -> Self {
        Self { kind: StoreErrorKind::Failed, message, source: Some(source.into()) }
    }

    /// What kind of failure.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether making the same call again can help.
    pub fn retryable(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
