//! SQL stores for [`chatcore`].
//!
//! - Feature `sqlite` (default): `SqliteStore`, embedded, in a file or in memory.
//! - Feature `mysql`: `MySqlStore`, for MySQL 8.4 and later and MariaDB 10.11 and later.
//!
//! ```no_run
//! # async fn open() -> Result<(), chatcore_sqlx::OpenError> {
//! let store = chatcore_sqlx::SqliteStore::connect("sqlite:chat.db").await?;
//! let storage = store.storage();
//! # drop(storage);
//! # Ok(())
//! # }
//! ```
//!
//! The statements that the databases share stand once, in `shared/`, and are compiled once a database against that
//! database's `dialect`, which holds what differs. (sqlx's types differ a database; bounds that make one function generic over them
//! are longer than the functions.)

#![cfg_attr(
    all(feature = "mysql", feature = "sqlite"),
    expect(clippy::duplicate_mod, reason = "that is how the shared statements are compiled once a database")
)]

mod error;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(all(feature = "mysql", feature = "testing"))]
pub mod testing;

pub use error::OpenError;
#[cfg(feature = "mysql")]
pub use mysql::{MySqlOptions, MySqlStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore, Synchronous};
