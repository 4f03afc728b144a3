//! Limits on attempts, by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::error::{Error, Result};
use super::settings::RateLimit;
use crate::id::UserId;
use crate::time::Timestamp;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// Counts attempts by key. Without a limit it lets everything through.
pub struct Throttle<K: Hash + Eq + Clone> {
    limiter: Option<Limiter<K>>,
    clock: DefaultClock,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    /// Attempts by these limits; `None` counts nothing.
    pub fn new(limit: Option<RateLimit>) -> Self {
        let clock = DefaultClock::default();
        let limiter = limit.and_then(|limit| {
            let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::with_period(limit.per / burst.get())?.allow_burst(burst);
            Some(RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()))
        });
        Self { limiter, clock }
    }

    /// Counts an attempt under that key.
    ///
    /// # Errors
    /// `RateLimited`, with the time until the next one is let through.
    pub fn check(&self, key: &K) -> Result<()> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        limiter.check_key(key).map_err(|until| Error::RateLimited(until.wait_time_from(self.clock.now())))
    }

    /// Forgets keys that have all their attempts back.
    pub fn forget_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for Throttle<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").field("limited", &self.limiter.is_some()).finish_non_exhaustive()
    }
}

/// Whom an address is counted as: itself, and of IPv6 the network of 64 bits, since whoever has one address of it has all of them
/// (RFC 4291 §2.5.4).
pub fn network(address: IpAddr) -> IpAddr {
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

    /// Forgets those that have not been seen for so long.
    pub(crate) fn forget(&self, now: Timestamp, after: Duration) {
        self.lock().retain(|_, seen| seen.plus(after) > now);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_ipv6_network_is_one_client() {
        let network = |text: &str| super::network(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2::1"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2:ffff:ffff:ffff:ffff"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:3::1"), "2001:db8:1:3::");
    }
}
