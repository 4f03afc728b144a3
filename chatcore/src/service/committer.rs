//! The one writer of this node's logs: group commit, then publication in commit order.
//!
//! What queues up while a batch is being committed becomes the next batch, so many senders share a transaction and one
//! sender waits for nobody. The task publishes, not the request, which may be cancelled at any point.
//!
//! A room whose log another node holds gets a lane of its own until it is free, and so do the rooms of a batch that takes long: the others
//! do not wait for them, and their own drafts stay in order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::error::{Error, Result};
use super::guard::{Caches, Ticket};
use crate::hub::Hub;
use crate::id::RoomId;
use crate::model::{Draft, Event, Seq};
use crate::store::{AppendOutcome, MessageStore, Rejection, StoreError, StoreResult};

struct Submission {
    draft: Draft,
    ticket: Ticket,
    reply: oneshot::Sender<Reply>,
}

type Reply = std::result::Result<Committed, Arc<StoreError>>;

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It stands in the log under this number.
    Appended(Seq),
    /// Its key stood there already, under this number.
    Duplicate(Seq),
    /// There was nothing to change.
    Unchanged,
    /// The log does not take it.
    Rejected(Rejection),
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

#[derive(Debug, thiserror::Error)]
#[error("the log of room {0} is held by somebody else")]
struct Held(RoomId);

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
        let writer = Writer {
            store,
            hub,
            caches,
            max_reactions: options.max_reactions,
            queue: options.queue.max(1),
            batch: options.batch.max(1),
            lanes: Mutex::default(),
        };
        tokio::spawn(Arc::new(writer).run(receiver));
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
    queue: usize,
    batch: usize,
    /// What waits for rooms that somebody else holds. A room with an entry has a task that works it off.
    lanes: Mutex<HashMap<RoomId, Vec<Submission>>>,
}

/// Pauses between the attempts at a batch when the store says that trying again can help.
const RETRIES: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];

/// How long other rooms wait for a batch.
const PATIENCE: Duration = Duration::from_millis(100);

/// Batches that may go on in the background at once.
const DETACHED: usize = 8;

impl Writer {
    async fn run(self: Arc<Self>, mut queue: mpsc::Receiver<Submission>) {
        let mut batch = Vec::new();
        let detached = Arc::new(Semaphore::new(DETACHED));
        while queue.recv_many(&mut batch, self.batch).await > 0 {
            let free = self.without_lanes(std::mem::take(&mut batch));
            let mut rooms: Vec<RoomId> = free.iter().map(|submission| submission.draft.room).collect();
            let mut commit = Box::pin(self.clone().commit(free));
            if tokio::time::timeout(PATIENCE, &mut commit).await.is_ok() {
                continue;
            }
            let Ok(permit) = detached.clone().try_acquire_owned() else {
                commit.await;
                continue;
            };
            rooms.sort_unstable();
            rooms.dedup();
            self.reserve(&rooms);
            let writer = self.clone();
            tokio::spawn(async move {
                commit.await;
                drop(permit);
                for room in rooms {
                    tokio::spawn(writer.clone().work_off(room));
                }
            });
        }
    }

    /// Gives rooms lanes that whoever reserves them works off.
    fn reserve(&self, rooms: &[RoomId]) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for room in rooms {
            lanes.entry(*room).or_default();
        }
    }

    /// Takes out what has to wait in a lane, behind what waits there already.
    fn without_lanes(&self, batch: Vec<Submission>) -> Vec<Submission> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.is_empty() {
            return batch;
        }
        let mut free = Vec::with_capacity(batch.len());
        for submission in batch {
            match lanes.get_mut(&submission.draft.room) {
                None => free.push(submission),
                Some(lane) if lane.len() < self.queue => lane.push(submission),
                Some(_) => send(submission.reply, Err(Arc::new(held(submission.draft.room)))),
            }
        }
        free
    }

    /// Gives a room a lane with these in it.
    fn open_lane(self: &Arc<Self>, room: RoomId, held: Vec<Submission>) {
        match self.lanes.lock().unwrap_or_else(PoisonError::into_inner).entry(room) {
            Entry::Occupied(mut lane) => lane.get_mut().extend(held),
            Entry::Vacant(lane) => {
                lane.insert(held);
                tokio::spawn(self.clone().work_off(room));
            }
        }
    }

    async fn work_off(self: Arc<Self>, room: RoomId) {
        loop {
            let batch: Vec<Submission> = {
                let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
                let Entry::Occupied(mut lane) = lanes.entry(room) else { return };
                if lane.get().is_empty() {
                    lane.remove();
                    return;
                }
                let many = lane.get().len().min(self.batch);
                lane.get_mut().drain(..many).collect()
            };
            self.clone().commit(batch).await;
        }
    }

    async fn commit(self: Arc<Self>, batch: Vec<Submission>) {
        let mut drafts = Vec::with_capacity(batch.len());
        let mut senders = Vec::with_capacity(batch.len());
        for Submission { draft, ticket, reply } in batch {
            // A removal is invalidated before its event is queued behind it here: whoever passes this check stands
            // before that event in the log.
            if self.caches.hold(&ticket) {
                drafts.push(draft);
                senders.push((ticket, reply));
            } else {
                send(reply, Ok(Committed::Stale));
            }
        }
        if drafts.is_empty() {
            return;
        }
        #[cfg(feature = "defects")]
        self.foretell(&drafts, &mut senders).await;
        match self.append(&drafts).await {
            Ok(outcomes) => self.conclude(drafts, senders, &outcomes),
            Err(error) if error.retryable() || drafts.len() == 1 => self.fail(&drafts, senders, &Arc::new(error)),
            // Something in the batch cannot be stored. It must not take the others with it.
            Err(_) => {
                for (draft, sender) in drafts.into_iter().zip(senders) {
                    let one = [draft];
                    match self.append(&one).await {
                        Ok(outcomes) => self.conclude(one.into(), vec![sender], &outcomes),
                        Err(error) => self.fail(&one, vec![sender], &Arc::new(error)),
                    }
                }
            }
        }
    }

    /// Two defects: what is likely to be stored is told before it is.
    #[cfg(feature = "defects")]
    async fn foretell(&self, drafts: &[Draft], senders: &mut [Sender]) {
        use crate::defect::{Defect, has};

        if !has(Defect::PublishBeforeCommit) && !has(Defect::AckBeforeCommit) {
            return;
        }
        let rooms: Vec<RoomId> = drafts.iter().map(|draft| draft.room).collect();
        let Ok(heads) = self.store.heads(&rooms).await else { return };
        let mut heads: HashMap<RoomId, Seq> = heads.into_iter().map(|head| (head.room, head.seq)).collect();
        let mut events = Vec::new();
        for (draft, (_, reply)) in drafts.iter().zip(senders) {
            let Some(seq) = heads.get(&draft.room).and_then(|head| Seq::new(head.number() + 1)) else { continue };
            heads.insert(draft.room, seq);
            if has(Defect::AckBeforeCommit) {
                send(std::mem::replace(reply, oneshot::channel().0), Ok(Committed::Appended(seq)));
            } else {
                events.push(draft.clone().into_event(seq));
            }
        }
        events.sort_by_key(|event| (event.room, event.seq));
        self.hub.publish(events);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    async fn append(&self, drafts: &[Draft]) -> StoreResult<Vec<AppendOutcome>> {
        let mut pauses = RETRIES.iter();
        loop {
            match self.store.append(drafts, self.max_reactions).await.and_then(|outcomes| checked(drafts, outcomes)) {
                Ok(outcomes) => return Ok(outcomes),
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

    fn conclude(self: &Arc<Self>, drafts: Vec<Draft>, senders: Vec<Sender>, outcomes: &[AppendOutcome]) {
        let mut events: Vec<Event> = Vec::with_capacity(drafts.len());
        let mut replies = Vec::with_capacity(drafts.len());
        let mut contended: HashMap<RoomId, Vec<Submission>> = HashMap::new();
        for ((draft, (ticket, reply)), outcome) in drafts.into_iter().zip(senders).zip(outcomes) {
            let committed = match *outcome {
                AppendOutcome::Appended(seq) => {
                    events.push(draft.into_event(seq));
                    Committed::Appended(seq)
                }
                AppendOutcome::Duplicate(seq) => Committed::Duplicate(seq),
                AppendOutcome::Unchanged => Committed::Unchanged,
                AppendOutcome::Rejected(rejection) => Committed::Rejected(rejection),
                AppendOutcome::Contended => {
                    contended.entry(draft.room).or_default().push(Submission { draft, ticket, reply });
                    continue;
                }
            };
            replies.push((reply, committed));
        }
        // By room, so that each is woken once; within a room numbers rise.
        events.sort_by_key(|event| (event.room, event.seq));
        self.hub.publish(events);
        for (reply, committed) in replies {
            send(reply, Ok(committed));
        }
        for (room, held) in contended {
            self.open_lane(room, held);
        }
    }

    fn fail(&self, drafts: &[Draft], senders: Vec<Sender>, error: &Arc<StoreError>) {
        self.suspect(drafts);
        for (_, reply) in senders {
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

/// Who waits for a draft, and what it was allowed by.
type Sender = (Ticket, oneshot::Sender<Reply>);

fn held(room: RoomId) -> StoreError {
    StoreError::unavailable("the room is too busy", Held(room))
}

/// What a store answered, if it is what a store may answer.
fn checked(drafts: &[Draft], outcomes: Vec<AppendOutcome>) -> StoreResult<Vec<AppendOutcome>> {
    if outcomes.len() != drafts.len() {
        return Err(StoreError::corrupt("an append answered another number of drafts"));
    }
    // Alone, a room is waited for.
    match drafts.first() {
        Some(first)
            if outcomes.contains(&AppendOutcome::Contended) && drafts.iter().all(|draft| draft.room == first.room) =>
        {
            Err(held(first.room))
        }
        _ => Ok(outcomes),
    }
}

fn send(reply: oneshot::Sender<Reply>, answer: Reply) {
    if reply.send(answer).is_err() {
        tracing::debug!("a sender did not wait for its commit");
    }
}
