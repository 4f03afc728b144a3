//! The driver's errors, converted once.

use chatcore::store::{StoreError, StoreResult};
use sqlx::Error;

use super::dialect;

/// What a driver's error means to the core.
pub(super) fn store_error(error: Error) -> StoreError {
    match &error {
        Error::Database(database) if dialect::is_passing(&**database) => {
            StoreError::unavailable("the database is busy, full or read-only", error)
        }
        Error::Io(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed | Error::Tls(_) => {
            StoreError::unavailable("the database does not answer", error)
        }
        Error::ColumnDecode { .. } | Error::Decode(_) | Error::ColumnNotFound(_) | Error::TypeNotFound { .. } => {
            tracing::error!(error = &error as &dyn std::error::Error, "a row could not be read");
            StoreError::corrupt("a row is not what was ever written")
        }
        _ => StoreError::failed("the database refused a statement", error),
    }
}

/// Whether an insert has put in a new row, or found its key taken.
pub(super) fn is_new<T>(done: sqlx::Result<T>) -> StoreResult<bool> {
    match done {
        Ok(_) => Ok(true),
        Err(Error::Database(database)) if database.is_unique_violation() => Ok(false),
        Err(error) => Err(store_error(error)),
    }
}
