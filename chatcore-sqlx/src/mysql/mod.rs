//! MySQL and MariaDB: InnoDB, one code path for both.

mod dialect;
mod literal;
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

pub use open::{MySqlOptions, MySqlStore};

/// What the shared modules call the store that they are compiled for.
type Store = MySqlStore;
