//! SQL stores for [`chatcore`].
//!
//! - Feature `sqlite` (default): [`SqliteStore`], embedded, in a file or in memory.
//!
//! The statements that two databases share stand once, in `shared/`, and are compiled once a database against that
//! database's `dialect`, which holds what differs. (sqlx's types differ a database; bounds that make one function generic over them
//! are longer than the functions.)

#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::{OpenError, SqliteOptions, SqliteStore, Synchronous};
