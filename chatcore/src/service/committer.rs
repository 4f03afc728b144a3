//! The one writer of this node's logs: group commit, then publication in commit order.
//!
//! What queues up while a batch is being committed becomes the next batch, so many senders share a transaction and one
//! sender waits for nobody. The task publishes, not the request, which may be cancelled at any point.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::error::{Error, Result};
use super::guard::{Caches, Ticket};
use crate::hub::Hub;
use crate::id::RoomId;
use crate::model::{Draft, Event};
use crate::store::{AppendOutcome, MessageStore, StoreError, StoreResult};

struct Submission {
    draft: Draft,
    ticket: Ticket,
    reply: oneshot::Sender<Reply>,
}

type Reply = std::result::Result<Committed, Arc<StoreError>>;

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// The store's answer.
    Outcome(AppendOutcome),
    /// What it was allowed by has been invalidated since: ask again whether it is.
    Stale,
}

/// A submission that waits in the queue or for its commit.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Reply>);

impl Pending {
    pub(crate) async fn wait(self) -> Result<Committed> {
        match self.0.await {
            Ok(reply) => reply.map_err(Error::from_shared),
            Err(_) => Err(Error::internal(Stopped)),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the log's writer has stopped")]
struct Stopped;

/// Hands drafts to the writer.
#[derive(Clone)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Submission>,
}

pub(crate) struct Options {
    pub(crate) queue: usize,
    pub(crate) batch: usize,
    pub(crate) max_reactions: u32,
}

impl Committer {
    pub(crate) fn spawn(store: Arc<dyn MessageStore>, hub: Hub, caches: Arc<Caches>, options: &Options) -> Self {
        let (sender, receiver) = mpsc::channel(options.queue.max(1));
        let writer = Writer { store, hub, caches, max_reactions: options.max_reactions };
        tokio::spawn(writer.run(receiver, options.batch.max(1)));
        Self { queue: sender }
    }

    /// Queues a draft; drafts queued by one task are committed in that order.
    pub(crate) async fn submit(&self, draft: Draft, ticket: Ticket) -> Result<Pending> {
        let (reply, pending) = oneshot::channel();
        let submission = Submission { draft, ticket, reply };
        self.queue.send(submission).await.map_err(|_| Error::internal(Stopped))?;
        Ok(Pending(pending))
    }
}

struct Writer {
    store: Arc<dyn MessageStore>,
    hub: Hub,
    caches: Arc<Caches>,
    max_reactions: u32,
}

/// Pauses between the attempts at a batch when the store says that trying again can help.
const RETRIES: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];

impl Writer {
    async fn run(self, mut queue: mpsc::Receiver<Submission>, limit: usize) {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, limit).await > 0 {
            self.commit(batch.drain(..)).await;
        }
    }

    async fn commit(&self, batch: impl Iterator<Item = Submission>) {
        let mut drafts = Vec::new();
        let mut replies = Vec::new();
        for Submission { draft, ticket, reply } in batch {
            // A removal is invalidated before its event is queued behind it here: whoever passes this check stands
            // before that event in the log.
            if self.caches.hold(&ticket) {
                drafts.push(draft);
                replies.push(reply);
            } else {
                send(reply, Ok(Committed::Stale));
            }
        }
        if drafts.is_empty() {
            return;
        }
        match self.append(&drafts).await {
            Ok(outcomes) => self.conclude(drafts, replies, &outcomes),
            Err(error) if error.retryable() || drafts.len() == 1 => self.fail(&drafts, replies, &Arc::new(error)),
            // Something in the batch cannot be stored. It must not take the others with it.
            Err(_) => {
                for (draft, reply) in drafts.into_iter().zip(replies) {
                    let one = [draft];
                    match self.append(&one).await {
                        Ok(outcomes) => self.conclude(one.into(), vec![reply], &outcomes),
                        Err(error) => self.fail(&one, vec![reply], &Arc::new(error)),
                    }
                }
            }
        }
    }

    async fn append(&self, drafts: &[Draft]) -> StoreResult<Vec<AppendOutcome>> {
        let mut pauses = RETRIES.iter();
        loop {
            match self.store.append(drafts, self.max_reactions).await {
                Ok(outcomes) if outcomes.len() == drafts.len() => return Ok(outcomes),
                Ok(_) => return Err(StoreError::corrupt("an append answered another number of drafts")),
                Err(error) => {
                    let pause = pauses.next().filter(|_| error.retryable());
                    tracing::warn!(
                        drafts = drafts.len(),
                        retry = pause.is_some(),
                        error = &error as &dyn std::error::Error,
                        "append failed"
                    );
                    // It may have happened all the same, so whoever listens has to look.
                    self.suspect(drafts);
                    let Some(pause) = pause else { return Err(error) };
                    tokio::time::sleep(*pause).await;
                }
            }
        }
    }

    fn conclude(&self, drafts: Vec<Draft>, replies: Vec<oneshot::Sender<Reply>>, outcomes: &[AppendOutcome]) {
        let events = drafts.into_iter().zip(outcomes).filter_map(|(draft, outcome)| match outcome {
            AppendOutcome::Appended(seq) => Some(draft.into_event(*seq)),
            _ => None,
        });
        let mut events: Vec<Event> = events.collect();
        // By room, so that each is woken once; within a room numbers rise.
        events.sort_by_key(|event| (event.room, event.seq));
        self.hub.publish(events);
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            send(reply, Ok(Committed::Outcome(*outcome)));
        }
    }

    fn fail(&self, drafts: &[Draft], replies: Vec<oneshot::Sender<Reply>>, error: &Arc<StoreError>) {
        self.suspect(drafts);
        for reply in replies {
            send(reply, Err(error.clone()));
        }
    }

    fn suspect(&self, drafts: &[Draft]) {
        let mut rooms: Vec<RoomId> = drafts.iter().map(|draft| draft.room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        for room in rooms {
            self.hub.suspect(room);
        }
    }
}

fn send(reply: oneshot::Sender<Reply>, answer: Reply) {
    if reply.send(answer).is_err() {
        tracing::debug!("a sender did not wait for its commit");
    }
}
