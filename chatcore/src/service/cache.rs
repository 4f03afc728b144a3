//! A cache of what the hot path trusts for a short while without asking the store.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::sync::{Mutex, MutexGuard, PoisonError};

pub(super) const SHARDS: usize = 16;
/// Keys per shard. Beyond it the lapsed ones go; if that does not help, all go.
pub(super) const SHARD_CAPACITY: usize = 8192;

/// A key's value, and its last invalidation.
struct Slot<V> {
    /// The value, and until when it is trusted.
    value: Option<(V, Instant)>,
    /// The shard's clock at the last invalidation, and its time.
    invalidated: Option<(u64, Instant)>,
}

struct Shard<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// Rises with every invalidation.
    clock: u64,
    /// No mark below holds: invalidations up to here may have been forgotten.
    floor: u64,
}

/// Values that are trusted for a while from the start of their read on, unless they are invalidated before.
pub(crate) struct Cache<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    hasher: RandomState,
    trust: Duration,
}

/// The moment of a lookup: tells later whether that key has been invalidated since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

/// A value from the cache or, a moment ago, from the store.
#[derive(Debug, Clone)]
pub(crate) struct Seen<V> {
    pub(crate) value: V,
    pub(crate) mark: Mark,
    /// The end of the trust: counted from the start of the read that found the value.
    pub(crate) until: Instant,
}

impl<V> Slot<V> {
    fn new() -> Self {
        Self { value: None, invalidated: None }
    }

    /// Returns whether it says anything that may still matter.
    ///
    /// An invalidation matters as long as something may be trusted that was read before it.
    fn matters(&self, now: Instant, trust: Duration) -> bool {
        self.value.as_ref().is_some_and(|(_, until)| *until > now)
            || self.invalidated.is_some_and(|(_, at)| at + trust > now)
    }
}

impl<K: Hash + Eq + Clone, V> Shard<K, V> {
    fn slot(&mut self, key: &K, trust: Duration) -> &mut Slot<V> {
        if self.slots.len() >= SHARD_CAPACITY && !self.slots.contains_key(key) {
            let now = Instant::now();
            self.slots.retain(|_, slot| slot.matters(now, trust));
            if self.slots.len() >= SHARD_CAPACITY {
                self.slots.clear();
                self.clock += 1;
                self.floor = self.clock;
            }
        }
        self.slots.entry(key.clone()).or_insert_with(Slot::new)
    }

    fn holds(&self, key: &K, mark: Mark) -> bool {
        let invalidated = self.slots.get(key).and_then(|slot| slot.invalidated);
        self.floor <= mark.0 && invalidated.is_none_or(|(clock, _)| clock <= mark.0)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(trust: Duration) -> Self {
        let shard = || Mutex::new(Shard { slots: HashMap::new(), clock: 0, floor: 0 });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new(), trust }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the value, from here if it is trusted, else by `read`.
    pub(crate) async fn get<E>(&self, key: &K, read: impl Future<Output = Result<V, E>>) -> Result<Seen<V>, E> {
        let began = Instant::now();
        let mark = {
            let shard = self.shard(key);
            let mark = Mark(shard.clock);
            if let Some((value, until)) = shard.slots.get(key).and_then(|slot| slot.value.as_ref())
                && *until > began
            {
                return Ok(Seen { value: value.clone(), mark, until: *until });
            }
            mark
        };
        let value = read.await?;
        let until = began + self.trust;
        let mut shard = self.shard(key);
        // A read that began before an invalidation is answered, and not kept.
        if shard.holds(key, mark) {
            shard.slot(key, self.trust).value = Some((value.clone(), until));
        }
        Ok(Seen { value, mark, until })
    }

    /// Asks the store again from now on, and makes the marks of this key stale. Call it after the write, before it is acknowledged.
    pub(crate) fn invalidate(&self, key: &K) {
        let mut shard = self.shard(key);
        shard.clock += 1;
        let invalidated = Some((shard.clock, Instant::now()));
        *shard.slot(key, self.trust) = Slot { value: None, invalidated };
    }

    /// Asks the store again the next time, for a change that takes nothing away from anybody: what was allowed stays allowed.
    pub(crate) fn forget(&self, key: &K) {
        if let Some(slot) = self.shard(key).slots.get_mut(key) {
            slot.value = None;
        }
    }

    /// Returns whether that key has not been invalidated since the mark was given.
    pub(crate) fn holds(&self, key: &K, mark: Mark) -> bool {
        self.shard(key).holds(key, mark)
    }

    /// Drops what no longer matters to anybody.
    pub(crate) fn forget_lapsed(&self) {
        let now = Instant::now();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.slots.retain(|_, slot| slot.matters(now, self.trust));
        }
    }

    /// Returns the number of keys held.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).slots.len()).sum()
    }
}
