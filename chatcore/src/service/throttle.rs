//! Limits on attempts, by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Budget, Error, Result};
use super::settings::RateLimit;
use crate::id::UserId;
use crate::time::Timestamp;

/// Fewer keys than this are not worth a search for those that may be dropped.
const PRUNE_FROM: usize = 1024;
/// Time between two such searches at least, so that their cost is shared by many attempts.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// Counts attempts by key. Without a limit it lets everything through.
///
/// The number of keys is bounded, whoever chooses them: keys that have all their attempts back are dropped, once a second, while others are
/// checked. When there is no room for a new key even so, its attempts are counted together with those of all other keys that found no room.
pub struct Throttle<K> {
    budget: Budget,
    pace: Option<Pace>,
    capacity: usize,
    keys: Mutex<Keys<K>>,
}

/// A limit in the terms of the generic cell rate algorithm.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Time after which one attempt has come back.
    interval: Duration,
    /// Time after which all have.
    per: Duration,
}

struct Keys<K> {
    /// When all attempts under that key will have come back.
    free_at: HashMap<K, Instant>,
    /// The same for all keys that found no room.
    overflow: Instant,
    pruned: Instant,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    /// Keys kept unless another number is given.
    pub const CAPACITY: usize = 100_000;

    /// Attempts by these limits; `None` counts nothing. Keeps [`Throttle::CAPACITY`] keys.
    pub fn new(budget: Budget, limit: Option<RateLimit>) -> Self {
        Self::with_capacity(budget, limit, Self::CAPACITY)
    }

    /// The same with another number of keys.
    pub fn with_capacity(budget: Budget, limit: Option<RateLimit>, capacity: usize) -> Self {
        let pace = limit.and_then(|limit| {
            let burst = limit.burst.max(1);
            let interval = limit.per / burst;
            (!interval.is_zero()).then(|| Pace { interval, per: interval * burst })
        });
        let now = Instant::now();
        Self { budget, pace, capacity, keys: Mutex::new(Keys { free_at: HashMap::new(), overflow: now, pruned: now }) }
    }

    /// Counts an attempt under that key.
    ///
    /// # Errors
    /// `RateLimited`, with the time until the next one is let through.
    pub fn check(&self, key: &K) -> Result<()> {
        self.spend(key, 1)
    }

    /// Counts so many attempts at once. More than there can ever be count as all of them.
    ///
    /// # Errors
    /// `RateLimited`, with the time until as many are let through. None has been counted then.
    pub fn spend(&self, key: &K, attempts: u32) -> Result<()> {
        let Some(pace) = self.pace else { return Ok(()) };
        let now = Instant::now();
        let mut keys = self.lock();
        let Keys { free_at, overflow, pruned } = &mut *keys;
        if free_at.len() >= PRUNE_FROM.min(self.capacity) && now >= *pruned + PRUNE_EVERY {
            drop_idle(free_at, now);
            *pruned = now;
        }
        let room = free_at.len() < self.capacity;
        let free_at = match free_at.get_mut(key) {
            Some(free_at) => free_at,
            None if room => free_at.entry(key.clone()).or_insert(now),
            None => overflow,
        };
        let next = now.max(*free_at) + pace.interval.saturating_mul(attempts).min(pace.per);
        match next.checked_duration_since(now + pace.per) {
            Some(wait) if !wait.is_zero() => Err(Error::RateLimited(self.budget, wait)),
            _ => {
                *free_at = next;
                Ok(())
            }
        }
    }

    /// Takes an attempt back that turned out to be none of those that are limited.
    pub(crate) fn give_back(&self, key: &K) {
        let Some(pace) = self.pace else { return };
        if let Some(free_at) = self.lock().free_at.get_mut(key)
            && let Some(earlier) = free_at.checked_sub(pace.interval)
        {
            *free_at = earlier;
        }
    }

    /// Drops keys that have all their attempts back, however few there are.
    pub fn forget_idle(&self) {
        drop_idle(&mut self.lock().free_at, Instant::now());
    }

    /// Keys that are kept at the moment.
    pub fn len(&self) -> usize {
        self.lock().free_at.len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Keys<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_idle<K: Hash + Eq>(free_at: &mut HashMap<K, Instant>, now: Instant) {
    free_at.retain(|_, free_at| *free_at > now);
    if free_at.capacity() / 4 > free_at.len() {
        free_at.shrink_to_fit();
    }
}

impl<K> std::fmt::Debug for Throttle<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle")
            .field("budget", &self.budget)
            .field("pace", &self.pace)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// The client that an attempt is counted against.
///
/// An attempt always counts against somebody: all those whose address is not known share one key, so that hiding an address, or a host that
/// does not tell any, lifts no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKey {
    /// An IPv4 address, or the network of 64 bits that an IPv6 address belongs to.
    Network(IpAddr),
    /// All clients whose address is not known, together.
    Unknown,
}

impl From<Option<IpAddr>> for ClientKey {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Unknown, |address| Self::Network(network(address)))
    }
}

/// The address that an address is counted as: itself, and of IPv6 the network of 64 bits, since whoever has one address of it has all of them
/// (RFC 4291 §2.5.4).
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

/// Pairs at most; beyond it all are forgotten, and learnt again by the next refreshes.
const FAMILIAR_CAPACITY: usize = 100_000;

/// From where which users have been let in, so that strangers who guess at an account do not use up its owner's attempts.
#[derive(Default)]
pub(crate) struct Familiar {
    seen: Mutex<HashMap<(UserId, IpAddr), Timestamp>>,
}

impl Familiar {
    fn lock(&self) -> MutexGuard<'_, HashMap<(UserId, IpAddr), Timestamp>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user has shown a good password or refresh token from there.
    pub(crate) fn note(&self, user: UserId, address: Option<IpAddr>, now: Timestamp) {
        let Some(address) = address else { return };
        let mut seen = self.lock();
        if seen.len() >= FAMILIAR_CAPACITY {
            seen.clear();
        }
        seen.insert((user, network(address)), now);
    }

    pub(crate) fn knows(&self, user: UserId, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.lock().contains_key(&(user, network(address))))
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Forgets those that have not been seen for so long.
    pub(crate) fn forget(&self, now: Timestamp, after: Duration) {
        self.lock().retain(|_, seen| seen.plus(after) > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn wait(throttle: &Throttle<u32>, key: u32) -> Option<Duration> {
        match throttle.check(&key) {
            Ok(()) => None,
            Err(Error::RateLimited(_, wait)) => Some(wait),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_may_be_tried_again() {
        let throttle = Throttle::new(Budget::Logins, Some(RateLimit::new(3, MINUTE)));
        for _ in 0..50 {
            throttle.check(&1).unwrap();
            throttle.give_back(&1);
        }
        for _ in 0..3 {
            throttle.check(&1).unwrap();
        }
        assert!(throttle.check(&1).is_err(), "and no more than that");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_come_back_evenly() {
        let throttle = Throttle::new(Budget::Logins, Some(RateLimit::new(3, MINUTE)));
        assert_eq!([1, 1, 1].map(|key| wait(&throttle, key)), [None; 3]);
        assert_eq!(wait(&throttle, 1), Some(MINUTE / 3));
        assert_eq!(wait(&throttle, 2), None, "another key");
        tokio::time::advance(MINUTE / 3).await;
        assert_eq!(wait(&throttle, 1), None);
        assert_eq!(wait(&throttle, 1), Some(MINUTE / 3));
        tokio::time::advance(MINUTE * 10).await;
        assert_eq!([1, 1, 1].map(|key| wait(&throttle, key)), [None; 3], "no more than the burst is saved up");
        assert!(wait(&throttle, 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_is_counted_or_kept() {
        let throttle = Throttle::new(Budget::Logins, None);
        for key in 0..10_000 {
            assert_eq!(wait(&throttle, key), None);
        }
        assert!(throttle.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_dropped_while_others_are_checked() {
        let throttle = Throttle::new(Budget::Logins, Some(RateLimit::new(1, MINUTE)));
        for key in 0..50_000 {
            assert_eq!(wait(&throttle, key), None);
        }
        assert_eq!(throttle.len(), 50_000);
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(wait(&throttle, 50_000), None);
        assert_eq!(throttle.len(), 50_001, "all of them may be stopped yet");
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(wait(&throttle, 50_001), None);
        assert_eq!(throttle.len(), 2);
        assert!(throttle.lock().free_at.capacity() < 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_without_room_share_one_budget() {
        let throttle = Throttle::with_capacity(Budget::Logins, Some(RateLimit::new(2, MINUTE)), 3);
        for key in 0..1000 {
            // Three have a place of their own, and two more attempts are let through for all others together.
            assert_eq!(wait(&throttle, key).is_none(), key < 5, "{key}");
        }
        assert_eq!(throttle.len(), 3);
        assert_eq!([0, 0].map(|key| wait(&throttle, key).is_none()), [true, false], "a key with a place keeps it");
        tokio::time::advance(MINUTE).await;
        assert_eq!([7, 7, 7].map(|key| wait(&throttle, key).is_none()), [true, true, false]);
        assert_eq!(throttle.len(), 1, "there is room again");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let network = |text: &str| match ClientKey::from(Some(text.parse().unwrap())) {
            ClientKey::Network(address) => address.to_string(),
            ClientKey::Unknown => panic!("{text} is known"),
        };
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2::1"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2:ffff:ffff:ffff:ffff"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:3::1"), "2001:db8:1:3::");
        assert_eq!(ClientKey::from(None), ClientKey::Unknown);
    }
}
