//! The model test: random operations against a store and against a naive model of it, every answer compared.
//!
//! The model is vectors and linear scans, written from the words of the contracts and from nothing else. It keeps
//! messages as nothing but their events, and makes every message anew from them, so it cannot share a mistake with a
//! store that keeps both. A failure is shrunk to a short sequence and shown.

mod logs;
mod ops;
mod people;
mod places;
mod play;
mod play_rooms;

use proptest::test_runner::{Config, TestError, TestRunner};

use crate::testing::Built;
use play::Players;

/// How many cases to run: the environment's `PROPTEST_CASES`, or else this default.
///
/// A case is up to 80 operations on a store of its own. 64 take a second in memory; 8 to 16 suit a database.
pub fn cases(default: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

/// Plays so many random sequences, each against an empty store that `builder` makes.
///
/// Not to be called from within a runtime: it makes its own. Other settings of proptest come from its `PROPTEST_…`
/// variables.
///
/// # Panics
/// When the store answers otherwise than the model, with the shortest sequence found.
pub fn run<B: Built>(cases: u32, builder: impl AsyncFn() -> B) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // What fails is printed whole, and depends on no file that a host's repository would have to keep.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&ops::ops(), |ops| {
        runtime.block_on(async {
            let Some((storage, guard)) = builder().await.built() else { return Ok(()) };
            let mut players = Players::new(storage);
            for (index, op) in ops.iter().enumerate() {
                players.play(format_args!("operation {index}"), op).await?;
            }
            players.compare_all().await?;
            drop(guard);
            Ok(())
        })
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, ops)) => panic!("{reason}\nthe shortest sequence found: {ops:#?}"),
        Err(error) => panic!("{error}"),
    }
}
