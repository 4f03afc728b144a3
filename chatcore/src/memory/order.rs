//! Sorted lists that many owners share: one map, a range of it for each owner.

use std::collections::BTreeMap;
use std::ops::Bound;

use uuid::Uuid;

use crate::id::UserId;
use crate::model::PageKey;
use crate::time::Timestamp;

/// Each user's list of `V`, sorted by [`PageKey`].
#[derive(Debug)]
pub(super) struct Lists<V> {
    rows: BTreeMap<(UserId, PageKey), V>,
}

const FIRST: PageKey = PageKey { at: Timestamp::from_micros(i64::MIN), id: Uuid::nil() };
const LAST: PageKey = PageKey { at: Timestamp::from_micros(i64::MAX), id: Uuid::max() };

impl<V> Default for Lists<V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<V: Copy> Lists<V> {
    pub(super) fn insert(&mut self, owner: UserId, key: PageKey, value: V) {
        self.rows.insert((owner, key), value);
    }

    pub(super) fn remove(&mut self, owner: UserId, key: PageKey) {
        self.rows.remove(&(owner, key));
    }

    /// The owner's list, newest first, after that row.
    pub(super) fn newest(&self, owner: UserId, after: Option<PageKey>) -> impl Iterator<Item = (PageKey, V)> {
        let end = after.map_or(Bound::Included((owner, LAST)), |key| Bound::Excluded((owner, key)));
        self.rows.range((Bound::Included((owner, FIRST)), end)).rev().map(|((_, key), value)| (*key, *value))
    }
}
