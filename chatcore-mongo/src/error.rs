//! The driver's errors, converted once.

use chatcore::store::StoreError;
use mongodb::error::{Error, ErrorKind, WriteFailure};

/// Two wrote the same document, and this one has lost.
pub(crate) const WRITE_CONFLICT: i32 = 112;
const DUPLICATE_KEY: i32 = 11000;
const DISK_FULL: i32 = 14031;

/// The server cannot answer now: no connection, a change of primaries, a shutdown, a time limit, a snapshot that it
/// does not have yet or no longer, a lost race.
const UNAVAILABLE: &[i32] = &[
    6,   // HostUnreachable
    7,   // HostNotFound
    24,  // LockTimeout
    43,  // CursorNotFound
    46,  // LockBusy
    50,  // MaxTimeMSExpired
    64,  // WriteConcernFailed
    89,  // NetworkTimeout
    91,  // ShutdownInProgress
    100, // UnsatisfiableWriteConcern
    WRITE_CONFLICT,
    117,   // ConflictingOperationInProgress
    133,   // FailedToSatisfyReadPreference
    134,   // ReadConcernMajorityNotAvailableYet
    175,   // QueryPlanKilled
    189,   // PrimarySteppedDown
    202,   // NetworkInterfaceExceededTimeLimit
    225,   // TransactionTooOld
    239,   // SnapshotTooOld
    246,   // SnapshotUnavailable
    251,   // NoSuchTransaction
    262,   // ExceededTimeLimit
    290,   // TransactionExceededLifetimeLimitSeconds
    9001,  // SocketException
    10058, // LegacyNotPrimary
    10107, // NotWritablePrimary
    11600, // InterruptedAtShutdown
    11601, // Interrupted
    11602, // InterruptedDueToReplStateChange
    13435, // NotPrimaryNoSecondaryOk
    13436, // NotPrimaryOrSecondary
    DISK_FULL,
];

/// What the driver's error means to the core.
pub(crate) fn store_error(error: Error) -> StoreError {
    match error.kind.as_ref() {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Shutdown => StoreError::unavailable("the database does not answer", error),
        ErrorKind::BsonDeserialization(_) | ErrorKind::Bson(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a document could not be read");
            corrupt()
        }
        _ if code(&error) == Some(DISK_FULL) => StoreError::unavailable("the database's disk is full", error),
        _ if code(&error).is_some_and(|code| UNAVAILABLE.contains(&code)) || is_transient(&error) => {
            StoreError::unavailable("the database cannot answer now", error)
        }
        _ => StoreError::failed("the database refused a statement", error),
    }
}

pub(crate) fn corrupt() -> StoreError {
    StoreError::corrupt("a document holds a value that was never written")
}

/// The server's code, wherever the driver keeps it.
pub(crate) fn code(error: &Error) -> Option<i32> {
    let code = match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(failure)) => Some(failure.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(failure)) => Some(failure.code),
        ErrorKind::InsertMany(failure) => {
            let first = failure.write_errors.iter().flatten().next().map(|error| error.code);
            first.or_else(|| failure.write_concern_error.as_ref().map(|error| error.code))
        }
        _ => None,
    };
    let source = || std::error::Error::source(error)?.downcast_ref::<Error>();
    code.or_else(|| source().and_then(self::code))
}

/// A value of a unique index is taken.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    code(error) == Some(DUPLICATE_KEY)
}

/// The step has lost a race against another one, and has left nothing behind.
pub(crate) fn is_conflict(error: &Error) -> bool {
    matches!(code(error), Some(WRITE_CONFLICT | DUPLICATE_KEY))
}

/// Whether a transaction that failed so may be made again from its beginning.
pub(crate) fn is_transient(error: &Error) -> bool {
    error.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR)
}

/// Whether the same step may succeed a little later.
pub(crate) fn is_passing(error: &Error) -> bool {
    is_transient(error)
        || matches!(
            error.kind.as_ref(),
            ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. }
        )
        || code(error).is_some_and(|code| code == DUPLICATE_KEY || (code != DISK_FULL && UNAVAILABLE.contains(&code)))
}
