//! Positions in sorted lists and in logs.

use uuid::Uuid;

use super::event::Event;
use super::seq::Seq;
use crate::time::Timestamp;

/// The last row of a page, in lists sorted by a time and then an id. Stores page by it (keyset), never by offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey {
    /// The time that the list is sorted by.
    pub at: Timestamp,
    /// Tells rows of the same time apart.
    pub id: Uuid,
}

/// Which part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRange {
    /// The events after this number, from the oldest; 0 is the beginning.
    After(u64),
    /// The newest events before this number.
    Before(Seq),
}

/// A part of a log, in rising order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Dense, rising.
    pub events: Vec<Event>,
    /// The number of the last event of the room; 0 for an empty log.
    pub head: u64,
}
