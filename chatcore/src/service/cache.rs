//! What the hot path trusts for a short while without asking the store.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const SHARDS: usize = 16;
/// Entries a shard; beyond it lapsed ones go, and if that does not help, all.
const SHARD_CAPACITY: usize = 8192;

struct Shard<K, V> {
    entries: HashMap<K, (V, Instant)>,
    /// Rises with every invalidation, so that a read that began before one is not kept.
    generation: u64,
}

/// Values that are trusted for a while from the start of their read on, unless they are invalidated before.
pub(crate) struct Cache<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    hasher: RandomState,
    trust: Duration,
}

/// Says later whether what was looked up then has been invalidated since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    shard: usize,
    generation: u64,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(trust: Duration) -> Self {
        let shard = || Mutex::new(Shard { entries: HashMap::new(), generation: 0 });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: RandomState::new(), trust }
    }

    fn index(&self, key: &K) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0)
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Shard<K, V>> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, from here if it is trusted, else by `read`.
    pub(crate) async fn get<E>(&self, key: &K, read: impl Future<Output = Result<V, E>>) -> Result<(V, Mark), E> {
        let index = self.index(key);
        let began = Instant::now();
        let generation = {
            let shard = self.lock(index);
            let mark = Mark { shard: index, generation: shard.generation };
            if let Some((value, until)) = shard.entries.get(key)
                && *until > began
            {
                return Ok((value.clone(), mark));
            }
            shard.generation
        };
        let value = read.await?;
        let mut shard = self.lock(index);
        if shard.generation == generation {
            if shard.entries.len() >= SHARD_CAPACITY {
                let now = Instant::now();
                shard.entries.retain(|_, (_, until)| *until > now);
                if shard.entries.len() >= SHARD_CAPACITY {
                    shard.entries.clear();
                }
            }
            shard.entries.insert(key.clone(), (value.clone(), began + self.trust));
        }
        Ok((value, Mark { shard: index, generation }))
    }

    /// From now on the store is asked again. Call it after the write, before it is acknowledged.
    pub(crate) fn invalidate(&self, key: &K) {
        let mut shard = self.lock(self.index(key));
        shard.entries.remove(key);
        shard.generation += 1;
    }

    /// Asks the store again the next time, for a change that takes nothing away from anybody: what was allowed stays allowed.
    pub(crate) fn forget(&self, key: &K) {
        self.lock(self.index(key)).entries.remove(key);
    }

    /// Whether nothing near it has been invalidated since the mark was given.
    pub(crate) fn holds(&self, mark: Mark) -> bool {
        self.lock(mark.shard).generation == mark.generation
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    async fn read(cache: &Cache<u8, u8>, value: u8) -> u8 {
        let Ok((value, _)) = cache.get(&1, async move { Ok::<_, Infallible>(value) }).await;
        value
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_trusted_for_its_time_and_no_longer() {
        let cache = Cache::new(Duration::from_secs(5));
        assert_eq!(read(&cache, 1).await, 1);
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert_eq!(read(&cache, 2).await, 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(read(&cache, 3).await, 3);
    }

    #[tokio::test]
    async fn an_invalidation_beats_a_read_under_way() {
        let cache = Cache::new(Duration::from_secs(5));
        let Ok((value, mark)) = cache
            .get(&1, async {
                cache.invalidate(&1);
                Ok::<_, Infallible>(1)
            })
            .await;
        assert_eq!(value, 1);
        assert!(!cache.holds(mark));
        assert_eq!(read(&cache, 2).await, 2, "the stale value was not kept");
    }
}
