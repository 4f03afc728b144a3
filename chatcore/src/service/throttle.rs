//! Limits on attempts, by key.

use std::hash::Hash;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::error::{Error, Result};
use super::settings::RateLimit;

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
