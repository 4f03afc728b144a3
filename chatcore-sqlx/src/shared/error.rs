//! The driver's errors, converted once.

use chatcore::store::StoreError;
use sqlx::Error;

use super::dialect;

/// What a driver's error means to the core.
pub(super) fn store_error(error: Error) -> StoreError {
    match &error {
        Error::Database(database) if dialect::is_busy(database.code().as_deref()) => {
            StoreError::unavailable("the database is busy", error)
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
