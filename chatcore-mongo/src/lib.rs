//! MongoDB stores for [`chatcore`]: [`MongoStore`] keeps all five families in one database of a replica set.
//!
//! - MongoDB 6.0 or later, as a replica set; one node will do. A standalone server has no transactions and is refused.
//! - Writes are acknowledged by a majority of the nodes, from their journals. Reads go to the primary and see what a
//!   majority holds, so that nothing that was read is taken back by a failover. (A primary that was elected just now may
//!   take a moment to know what a majority holds. A read in that moment may miss the last writes before the election; no
//!   decision rests on it, for steps are transactions, or guarded by what they have read.)
//! - Any number of processes may use one database at once.
//! - TLS, with `tls=true` in the URL, is that of rustls. Feature `srv` (default): URLs of the form `mongodb+srv://`.
//!
//! ```no_run
//! # async fn open() -> Result<(), chatcore_mongo::OpenError> {
//! let store = chatcore_mongo::MongoStore::connect("mongodb://localhost:27017/chat?replicaSet=rs0").await?;
//! let storage = store.storage();
//! # drop(storage);
//! # Ok(())
//! # }
//! ```

mod abandoned;
mod append;
mod changes;
mod decide;
mod digests;
mod documents;
mod error;
mod event;
mod friendships;
mod indexes;
mod keys;
mod lists;
mod messages;
mod open;
mod retry;
mod rooms;
mod sessions;
#[cfg(feature = "testing")]
pub mod testing;
mod users;

pub use open::{MongoOptions, MongoStore, OpenError};
