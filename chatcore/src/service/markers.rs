//! Read markers: what queues while one write is under way becomes the next one.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::error::{Error, Result};
use super::supervise::Panics;
use crate::store::{MarkerWrite, RoomStore, StoreError};

type Reply = oneshot::Sender<std::result::Result<(), Arc<StoreError>>>;

#[derive(Clone)]
pub(crate) struct Markers {
    queue: mpsc::Sender<(MarkerWrite, Reply)>,
}

#[derive(Debug, thiserror::Error)]
#[error("the writer of read markers has dropped a marker")]
struct Stopped;

fn stopped() -> Error {
    StoreError::unavailable("the writer of read markers has failed", Stopped).into()
}

impl Markers {
    pub(crate) fn spawn(store: Arc<dyn RoomStore>, panics: &Panics, queue: usize, batch: usize) -> Self {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        // What waits is kept when the task is begun again after a panic.
        let receiver = Arc::new(Mutex::new(receiver));
        panics.keep("writer of read markers", move || run(store.clone(), receiver.clone(), batch.max(1)));
        Self { queue: sender }
    }

    /// Moves a marker; answers when it is durable.
    pub(crate) async fn mark(&self, marker: MarkerWrite) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.queue.send((marker, reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?.map_err(Error::from_shared)
    }
}

async fn run(store: Arc<dyn RoomStore>, queue: Arc<Mutex<mpsc::Receiver<(MarkerWrite, Reply)>>>, limit: usize) {
    let mut queue = queue.lock().await;
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, limit).await > 0 {
        let (markers, replies): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let answer = store.mark_read(&markers).await.map_err(Arc::new);
        for reply in replies {
            if reply.send(answer.clone()).is_err() {
                tracing::debug!("a reader did not wait for its marker");
            }
        }
    }
}
