//! Tasks that have to go on: one that panics is logged, counted, and begun again.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;

/// The pause before a task that panicked is begun again, so that one which panics at once does not take a core.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts the panics of the tasks of one service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panics(Arc<AtomicU64>);

impl Panics {
    /// Returns the number of panics since the start.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self, task: &'static str, panic: &(dyn Any + Send)) {
        self.0.fetch_add(1, Ordering::Relaxed);
        tracing::error!(task, panic = text(panic), "a task panicked");
    }

    /// Spawns a task that is made anew by `make` whenever it panics, until it ends by itself.
    pub(crate) fn keep<F>(&self, task: &'static str, mut make: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let panics = self.clone();
        tokio::spawn(async move {
            while let Err(panic) = AssertUnwindSafe(make()).catch_unwind().await {
                panics.note(task, panic.as_ref());
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Spawns a task that ends one way or the other; a panic of it is logged and counted.
    pub(crate) fn spawn(&self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let panics = self.clone();
        tokio::spawn(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                panics.note(task, panic.as_ref());
            }
        });
    }
}

/// Returns what a panic said.
fn text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_begun_again_until_it_ends() {
        let panics = Panics::default();
        let (ended, end) = tokio::sync::oneshot::channel();
        let mut ended = Some(ended);
        let mut rounds = 0;
        panics.keep("test", move || {
            rounds += 1;
            let ended = (rounds == 3).then(|| ended.take()).flatten();
            async move { ended.unwrap_or_else(|| panic!("round")).send(()).unwrap() }
        });
        end.await.unwrap();
        assert_eq!(panics.count(), 2);
    }
}
