//! chatcore: the chat backend that you embed.
//!
//! Users, friendships, rooms, messages, presence and live delivery, over storage traits. One idea carries it: **every
//! room is a log; live delivery is only a hint that there is more to read.** The store numbers a room's events inside the
//! write itself, and whoever listens is a cursor over that log.
//!
//! - [`model`]: the words of the domain, parsed at the edge and valid ever after.
//! - [`policy`]: the business rules, pure.
//! - [`store`]: what a database has to promise; [`memory`] is the store without a database.
//! - [`hub`]: who listens here, and the cursor.
//! - [`service`]: the use cases. [`Chat`] holds them all.

#[doc(hidden)]
pub mod defect;
pub mod hub;
pub mod id;
pub mod limits;
pub mod memory;
pub mod model;
pub mod policy;
pub mod service;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod view;

pub use service::{Chat, Error, Result, Settings};
