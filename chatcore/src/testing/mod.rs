//! The conformance suite: what [`crate::store`] promises, as tests that any store can run.
//!
//! An adapter's test file is a way to make an empty store, and two lines:
//!
//! ```
//! use std::sync::Arc;
//! use chatcore::memory::MemoryStore;
//! use chatcore::store::Storage;
//!
//! // What the second one is lives as long as the test: a temporary folder, a database to drop.
//! async fn store() -> (Storage, ()) {
//!     (Storage::single(Arc::new(MemoryStore::new())), ())
//! }
//!
//! mod conformance {
//!     use super::*;
//!     chatcore::testing::conformance!(store);
//! }
//!
//! #[test]
//! fn model() {
//!     chatcore::testing::model::run(chatcore::testing::model::cases(8), store);
//! }
//! # chatcore::testing::model::run(1, store);
//! ```
//!
//! - Every contract is a function here, in a module for each family, named for what it says.
//! - [`model`] plays random operations against a store and a naive model of it, and compares every answer.
//! - [`faults`] puts a load on a store during which something happens to it.
//! - [`yielding`] and [`dropped_after`] stop a call at each place where it waits.
//! - [`fixtures`] and [`ManualClock`] serve other tests too.
//!
//! Contracts go through [`Storage`](crate::store::Storage), so a mix of stores can be tested as well as one. They never
//! make users for rooms or friendships: the families may live in different databases, so none may refer to another.

#![expect(clippy::test_attr_in_doctest, reason = "an adapter's test file looks like that")]

pub mod append;
pub mod blocks;
mod clock;
pub mod concurrency;
pub mod digests;
mod dropped;
pub mod faults;
pub mod fixtures;
pub mod friendships;
pub mod intents;
pub mod members;
pub mod model;
pub mod pages;
pub mod rooms;
pub mod search;
pub mod sessions;
pub mod states;
mod suite;
mod tools;
pub mod users;

pub use clock::ManualClock;
pub use dropped::{dropped_after, yielding};
pub use suite::{Built, check, conformance};
