//! SQLite: one writer, several readers over a write-ahead log.

mod dialect;
mod migrate;
mod open;

#[path = "../shared/append.rs"]
mod append;
#[path = "../shared/codec.rs"]
mod codec;
#[path = "../shared/error.rs"]
mod error;
#[path = "../shared/friendships.rs"]
mod friendships;
#[path = "../shared/messages.rs"]
mod messages;
#[path = "../shared/retry.rs"]
mod retry;
#[path = "../shared/rooms.rs"]
mod rooms;
#[path = "../shared/script.rs"]
mod script;
#[path = "../shared/sessions.rs"]
mod sessions;
#[path = "../shared/sql.rs"]
mod sql;
#[path = "../shared/transaction.rs"]
mod transaction;
#[path = "../shared/users.rs"]
mod users;

pub use open::{SqliteOptions, SqliteStore, Synchronous};

/// What the shared modules call the store that they are compiled for.
type Store = SqliteStore;
