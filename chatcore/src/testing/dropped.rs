//! Calls that are dropped half-way, as a server drops those of clients who went away.

use std::task::Poll;

use crate::store::{Around, Storage, StoreResult};

#[derive(Clone, Copy)]
struct Yielding;

impl Around for Yielding {
    async fn around<T: Send>(
        &self,
        _: &'static str,
        call: impl Future<Output = StoreResult<T>> + Send,
    ) -> StoreResult<T> {
        tokio::task::yield_now().await;
        let answer = call.await;
        // What was asked for has been done, and the caller does not know it yet.
        tokio::task::yield_now().await;
        answer
    }
}

/// Makes every call of the stores wait twice: before it does anything, and after it has done everything.
pub fn yielding(storage: Storage) -> Storage {
    storage.around(Yielding)
}

/// Drops a future when it waits for the time number `waits`, counted from 0; its output when it has come to an end before.
///
/// Called with 0, 1, 2, … until there is an output, it stops the future at every place where it waits.
pub async fn dropped_after<F: Future>(future: F, waits: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = waits;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
