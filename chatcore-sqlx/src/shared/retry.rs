//! Steps that lost a race against another transaction are made again.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use chatcore::store::{StoreError, StoreResult};
use sqlx::error::DatabaseError;

use super::dialect::{self, Conflict};

/// Attempts at a step that loses races. Each time somebody else has won, so this many in a row take a crowd.
const ATTEMPTS: u32 = 24;
/// Attempts at a step that waited for a lock in vain: each has taken the whole lock time-out.
const WAITS: u32 = 2;
/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_millis(50);

/// Makes a step, each attempt in a transaction of its own, until it does not lose a race. What comes back is the last attempt's answer.
pub(super) async fn retry<T, F: Future<Output = StoreResult<T>>>(mut step: impl FnMut() -> F) -> StoreResult<T> {
    let (mut lost, mut waited) = (0, 0);
    loop {
        let error = match step().await {
            Err(error) => error,
            done => return done,
        };
        match conflict(&error) {
            Some(Conflict::LostRace) if lost + 1 < ATTEMPTS => lost += 1,
            Some(Conflict::LockTimeout) if waited + 1 < WAITS => waited += 1,
            _ => return Err(error),
        }
        tracing::debug!(lost, waited, error = &error as &dyn std::error::Error, "a step is made again");
        tokio::time::sleep(pause(lost)).await;
    }
}

/// Whether a step has failed because of what another one wrote in the meantime, or because a key that it took for new was there.
pub(super) fn lost_race(error: &StoreError) -> bool {
    database(error).is_some_and(|error| error.is_unique_violation() || dialect::conflict(error).is_some())
}

fn conflict(error: &StoreError) -> Option<Conflict> {
    dialect::conflict(database(error)?)
}

fn database(error: &StoreError) -> Option<&dyn DatabaseError> {
    match std::error::Error::source(error)?.downcast_ref::<sqlx::Error>()? {
        sqlx::Error::Database(database) => Some(&**database),
        _ => None,
    }
}

/// A random part of a span that doubles, so that those who collided do not meet again.
fn pause(lost: u32) -> Duration {
    let span = Duration::from_millis(1 << lost.min(10)).min(LONGEST);
    // A hasher with keys of its own is a source of randomness that needs no crate.
    let random = RandomState::new().hash_one(lost) % 1024;
    span.mul_f64(random as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_bounded() {
        for lost in 0..100 {
            assert!(pause(lost) <= LONGEST);
        }
    }

    #[tokio::test]
    async fn what_is_no_lost_race_is_not_tried_again() {
        let mut calls = 0;
        let step = || {
            calls += 1;
            std::future::ready(Err::<(), _>(StoreError::failed("no", sqlx::Error::RowNotFound)))
        };
        assert!(retry(step).await.is_err());
        assert_eq!(calls, 1);
    }
}
