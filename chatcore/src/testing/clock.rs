//! A clock that stands still until somebody moves it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::time::{Clock, Timestamp};

/// A [`Clock`] set by hand, for tests of whatever depends on time.
///
/// ```
/// use std::time::Duration;
/// use chatcore::testing::{ManualClock, fixtures};
/// use chatcore::time::Clock;
/// let clock = ManualClock::new(fixtures::at(0));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now(), fixtures::at(5));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    micros: AtomicI64,
}

impl ManualClock {
    /// A clock that shows this time.
    pub fn new(at: Timestamp) -> Self {
        Self { micros: AtomicI64::new(at.micros()) }
    }

    /// Sets it, forward or back.
    pub fn set(&self, at: Timestamp) {
        self.micros.store(at.micros(), Ordering::SeqCst);
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.micros.fetch_add(by, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// A clock that shows the fixtures' time 0.
    fn default() -> Self {
        Self::new(super::fixtures::at(0))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }
}
