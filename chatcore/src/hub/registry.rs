//! The topics that somebody listens to, in shards.
//!
//! Entering and leaving happen under the lock of the key's shard, so that nobody registers with a topic that has just been given
//! up. Locks are always taken in this order: shard, then topic.
//!
//! Names its locks through `super::sync`: `tests/registry.rs` compiles this very file against those of a scheduler that
//! explores interleavings.

use std::collections::HashMap;
use std::hash::Hash;

use super::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Shard<K, T> = Mutex<HashMap<K, Arc<T>>>;

pub(super) struct Registry<K, T> {
    shards: Vec<Shard<K, T>>,
    /// A number that keys are spread by.
    spread: fn(&K) -> usize,
}

impl<K: Hash + Eq + Copy, T> Registry<K, T> {
    pub(super) fn new(shards: usize, spread: fn(&K) -> usize) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| Mutex::new(HashMap::new())).collect(), spread }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, Arc<T>>> {
        let shard = (self.spread)(key) % self.shards.len();
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic of that key, if somebody listens to it.
    pub(super) fn get(&self, key: &K) -> Option<Arc<T>> {
        self.shard(key).get(key).cloned()
    }

    /// Registers with the topic of that key, which is made where there is none.
    pub(super) fn enter(&self, key: K, make: impl FnOnce() -> T, register: impl FnOnce(&Arc<T>)) -> Arc<T> {
        let mut shard = self.shard(&key);
        let topic = shard.entry(key).or_insert_with(|| Arc::new(make())).clone();
        register(&topic);
        topic
    }

    /// Takes a registration back. A topic of which `unregister` says that nobody is left is given up.
    pub(super) fn leave(&self, key: &K, unregister: impl FnOnce(&T) -> bool) {
        let mut shard = self.shard(key);
        if shard.get(key).is_some_and(|topic| unregister(topic)) {
            shard.remove(key);
        }
    }

    /// How many topics there are.
    pub(super) fn len(&self) -> usize {
        self.each_shard(|shard| shard.len()).sum()
    }

    /// All topics, one shard after the other.
    pub(super) fn all(&self) -> Vec<(K, Arc<T>)> {
        self.each_shard(|shard| shard.iter().map(|(key, topic)| (*key, topic.clone())).collect::<Vec<_>>())
            .flatten()
            .collect()
    }

    fn each_shard<R>(&self, look: impl Fn(&HashMap<K, Arc<T>>) -> R) -> impl Iterator<Item = R> {
        self.shards.iter().map(move |shard| look(&shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
