//! The one writer of this node's logs: group commit, then publication in commit order.
//!
//! What queues up while a batch is being committed becomes the next batch, so many senders share a transaction and one
//! sender waits for nobody. The task publishes, not the request, which may be cancelled at any point.
//!
//! A batch that takes long goes on beside the others, and a room whose log another node holds is worked off apart: other rooms do not wait
//! for them. A draft whose authorisation has become stale is authorised again where it stands in its lane; only what its author sent to
//! that room waits for it.

mod commit;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::error::{Budget, Error, Result};
use super::guard::{Claim, Guard, Ticket};
use super::supervise::Panics;
use crate::defect::defect;
#[cfg(feature = "defects")]
use crate::defect::once_in;
use crate::hub::Hub;
use crate::id::RoomId;
use crate::model::{Draft, EventKind, Seq};
use crate::store::{MessageStore, Rejection, StoreError};
use queue::{Actor, Item, Queue, Shares, Taken};

struct Submission {
    draft: Draft,
    asker: Asker,
}

/// The one who waits for a draft.
struct Asker {
    /// `None` for the host, who needs no permission.
    ticket: Option<Ticket>,
    /// The error of an attempt after which nobody knows whether the draft is stored.
    doubt: Option<Arc<StoreError>>,
    reply: oneshot::Sender<Reply>,
    /// Bounds how many drafts wait.
    _place: OwnedSemaphorePermit,
}

type Reply = Result<Committed>;

/// The outcome of a submission.
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
}

/// A submission that waits in the queue or for its commit.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Reply>);

impl Pending {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// Those of the author's authorisation; `Unavailable` when the outcome is not known.
    pub(crate) async fn wait(self) -> Result<Committed> {
        self.0.await.unwrap_or_else(|_| Err(stopped()))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the writer of the logs has dropped a draft")]
struct Stopped;

fn stopped() -> Error {
    StoreError::unavailable("the writer of the logs has failed", Stopped).into()
}

pub(crate) struct Options {
    pub(crate) queue: usize,
    pub(crate) queue_per_user: usize,
    pub(crate) batch: usize,
    pub(crate) share: usize,
    pub(crate) max_reactions: u32,
}

/// Hands drafts to the writer, which ends when this is dropped and all that waits is done.
pub(crate) struct Committer {
    writer: Arc<Writer>,
}

struct Writer {
    store: Arc<dyn MessageStore>,
    hub: Hub,
    guard: Arc<Guard>,
    panics: Panics,
    max_reactions: u32,
    shares: Shares,
    queue_per_user: usize,
    places: Arc<Semaphore>,
    state: Mutex<State>,
    /// Something may be taken, or somebody asks whether the writer is there.
    wake: Notify,
    /// Batches that may go on beside the others.
    detached: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    queue: Queue<Submission>,
    probes: Vec<oneshot::Sender<()>>,
    closed: bool,
}

/// How long other rooms wait for a batch.
const PATIENCE: Duration = Duration::from_millis(100);

/// Batches that may go on in the background at once.
const DETACHED: usize = 8;

impl Item for Submission {
    fn actor(&self) -> Actor {
        self.draft.actor.map_or(Actor::Host(self.draft.room), Actor::User)
    }

    fn room(&self) -> RoomId {
        self.draft.room
    }

    fn cost(&self) -> usize {
        cost(&self.draft)
    }
}

/// Returns what a draft costs: one unit for its row, and one for each whole KiB of text.
fn cost(draft: &Draft) -> usize {
    let text = match &draft.kind {
        EventKind::Posted(posted) => posted.body.as_ref(),
        EventKind::Edited { body, .. } => body.as_ref(),
        _ => None,
    };
    1 + text.map_or(0, |body| body.as_str().len()) / 1024
}

impl Committer {
    pub(crate) fn spawn(
        store: Arc<dyn MessageStore>,
        hub: Hub,
        guard: Arc<Guard>,
        panics: &Panics,
        options: &Options,
    ) -> Self {
        let writer = Arc::new(Writer {
            store,
            hub,
            guard,
            panics: panics.clone(),
            max_reactions: options.max_reactions,
            shares: Shares { batch: options.batch.max(1), user: options.share.max(1) },
            queue_per_user: options.queue_per_user.max(1),
            places: Arc::new(Semaphore::new(options.queue.max(1))),
            state: Mutex::default(),
            wake: Notify::new(),
            detached: Arc::new(Semaphore::new(DETACHED)),
        });
        let kept = writer.clone();
        panics.keep("log writer", move || kept.clone().run());
        Self { writer }
    }

    /// Queues a draft. Drafts of one user for one room are committed in the order in which they were queued.
    ///
    /// # Errors
    /// `RateLimited` when too many drafts of that user wait.
    pub(crate) async fn submit(&self, draft: Draft, ticket: Option<Ticket>) -> Result<Pending> {
        // Before a place is waited for, so that a user who has many does not take those of others.
        if let Some(user) = draft.actor
            && self.writer.lock().queue.waiting(Actor::User(user)) >= self.writer.queue_per_user
        {
            return Err(Error::RateLimited(Budget::Drafts, Duration::from_secs(1)));
        }
        let place = self.writer.places.clone().acquire_owned().await.map_err(Error::internal)?;
        let (reply, pending) = oneshot::channel();
        let asker = Asker { ticket, doubt: None, reply, _place: place };
        self.writer.lock().queue.push(Submission { draft, asker });
        self.writer.wake.notify_one();
        Ok(Pending(pending))
    }

    /// Returns once the writer has begun another turn: that it is there, and not held up.
    ///
    /// # Errors
    /// `Unavailable` when it is not within that time.
    pub(crate) async fn probe(&self, within: Duration) -> Result<()> {
        let (probe, answer) = oneshot::channel();
        self.writer.lock().probes.push(probe);
        self.writer.wake.notify_one();
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(stopped()),
        }
    }

    /// Returns the number of drafts that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.writer.lock().queue.len()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.writer.lock().closed = true;
        self.writer.wake.notify_one();
    }
}

impl Writer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>) {
        while let Some((submissions, hold)) = self.next().await {
            let mut commit = Box::pin(self.clone().commit(submissions, hold));
            if tokio::time::timeout(PATIENCE, &mut commit).await.is_ok() {
                continue;
            }
            // Goes on beside the others, as soon as there is room for one more.
            tokio::select! {
                () = &mut commit => {}
                permit = self.detached.clone().acquire_owned() => {
                    self.panics.spawn("log writer's slow batch", async move {
                        commit.await;
                        drop(permit);
                    });
                }
            }
        }
    }

    /// Waits for the next batch; `None` when there will be none.
    async fn next(self: &Arc<Self>) -> Option<(Vec<Submission>, Hold)> {
        loop {
            let taken = {
                let mut state = self.lock();
                // Whoever asks may be gone already.
                state.probes.drain(..).for_each(|probe| _ = probe.send(()));
                let taken = state.queue.take(self.shares, |submission| self.may(submission));
                if state.closed && state.queue.len() == 0 && taken.items.is_empty() {
                    return None;
                }
                taken
            };
            let Taken { items, rooms, parked } = taken;
            self.see_to(parked);
            if !items.is_empty() {
                return Some((items, Hold { writer: self.clone(), rooms, finished: false }));
            }
            self.wake.notified().await;
        }
    }

    /// Returns whether a submission may be appended without asking again.
    ///
    /// A removal is invalidated before its event is queued: a draft that passes this stands before that event in the log.
    fn may(&self, submission: &Submission) -> bool {
        defect!(
            StaleOvertaken,
            if submission.asker.ticket.is_some() && once_in(4) {
                return false;
            },
            ()
        );
        submission.asker.ticket.as_ref().is_none_or(|ticket| self.guard.holds(ticket))
    }

    fn see_to(self: &Arc<Self>, parked: Vec<(Actor, RoomId)>) {
        for (actor, room) in parked {
            let parked = Parked { writer: self.clone(), actor, room, answered: false };
            self.panics.spawn("log writer's authorisation", parked.authorise_again());
        }
    }

    /// Appends what was taken, in the rooms that are held for it.
    async fn commit(self: Arc<Self>, submissions: Vec<Submission>, mut hold: Hold) {
        for (room, contended) in self.append_all(submissions).await {
            self.put_back(contended);
            self.panics.spawn("log writer's room apart", self.clone().alone(hold.part(room)));
        }
        hold.finish();
    }

    /// Puts drafts that another node held up where they were: before what their authors have sent since.
    fn put_back(&self, contended: Vec<Submission>) {
        self.lock().queue.push_front(contended);
    }

    /// Works off a room in batches of its own, until nothing waits for it that may be taken.
    async fn alone(self: Arc<Self>, hold: Hold) {
        for room in hold.rooms.clone() {
            loop {
                let taken = self.lock().queue.take_room(room, self.shares, |submission| self.may(submission));
                self.see_to(taken.parked);
                if taken.items.is_empty() {
                    break;
                }
                for (_, contended) in self.append_all(taken.items).await {
                    self.put_back(contended);
                }
            }
        }
        hold.finish();
    }
}

/// Rooms that no other batch may take from. Dropped unfinished, as by a panic, it has those who listen look into the store, since what
/// became of the drafts is not known.
struct Hold {
    writer: Arc<Writer>,
    rooms: Vec<RoomId>,
    finished: bool,
}

impl Hold {
    /// Takes a room out, to be held on.
    fn part(&mut self, room: RoomId) -> Self {
        self.rooms.retain(|other| *other != room);
        Self { writer: self.writer.clone(), rooms: vec![room], finished: false }
    }

    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        {
            let mut state = self.writer.lock();
            for room in &self.rooms {
                state.queue.free(*room);
            }
        }
        if !self.finished {
            self.rooms.iter().for_each(|room| self.writer.hub.suspect(*room));
        }
        self.writer.wake.notify_one();
    }
}

/// A lane whose first draft has to be authorised again. Dropped without that, it gives up what waits in the lane.
struct Parked {
    writer: Arc<Writer>,
    actor: Actor,
    room: RoomId,
    answered: bool,
}

impl Parked {
    /// Authorises what waits in the lane and is stale, each claim once, and lets the lane go on.
    async fn authorise_again(mut self) {
        let claims: Vec<Claim> = {
            let state = self.writer.lock();
            let mut claims = Vec::new();
            for submission in state.queue.lane(self.actor, self.room) {
                if let Some(ticket) = submission.asker.ticket.filter(|ticket| !self.writer.guard.holds(ticket))
                    && !claims.contains(&ticket.claim())
                {
                    claims.push(ticket.claim());
                }
            }
            claims
        };
        let answers = claims.iter().map(|claim| self.writer.guard.authorise_again(*claim));
        let answers = futures::future::join_all(answers).await;
        let answers: HashMap<Claim, Result<Ticket>> = claims.into_iter().zip(answers).collect();
        let mut refused = Vec::new();
        {
            let mut state = self.writer.lock();
            state.queue.retain_parked(self.actor, self.room, |submission| {
                // One that came meanwhile may be good by itself, whatever became of the others.
                let stale = submission.asker.ticket.filter(|ticket| !self.writer.guard.holds(ticket));
                let answer = stale.and_then(|ticket| answers.get(&ticket.claim()));
                match answer {
                    Some(Ok(ticket)) => submission.asker.ticket = Some(*ticket),
                    Some(Err(error)) => {
                        let reply = std::mem::replace(&mut submission.asker.reply, oneshot::channel().0);
                        // A refusal says that nothing is stored, which is not known of one in doubt.
                        let error = submission.asker.doubt.take().map_or(error.clone(), Error::from_shared);
                        refused.push((reply, error));
                        return false;
                    }
                    // It came meanwhile.
                    None => {}
                }
                true
            });
            defect!(StaleOvertaken, state.queue.rotate(self.actor, self.room), ());
        }
        for (reply, error) in refused {
            commit::send(reply, Err(error));
        }
        self.answered = true;
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        {
            let mut state = self.writer.lock();
            if !self.answered {
                // Its authorisation panicked, and would again: the replies are dropped, which tells those who wait.
                state.queue.retain_parked(self.actor, self.room, |_| false);
            }
            state.queue.unpark(self.actor, self.room);
        }
        self.writer.wake.notify_one();
    }
}
