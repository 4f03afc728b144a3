//! Appending a batch: attempts, publication, replies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Asker, Committed, Reply, Submission, Writer};
use crate::id::RoomId;
use crate::model::{Draft, Event};
use crate::service::error::Error;
use crate::service::guard::Ticket;
use crate::store::{AppendOutcome, StoreError, StoreResult};

#[derive(Debug, thiserror::Error)]
#[error("the log of room {0} is held by somebody else")]
struct Held(RoomId);

/// Pauses between the attempts at a batch when the store says that trying again can help.
const RETRIES: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];

/// Drafts by room that another node held up.
type Contended = HashMap<RoomId, Vec<Submission>>;

/// Drafts that are appended together, each with the one who waits for it.
struct Work {
    drafts: Vec<Draft>,
    askers: Vec<Asker>,
}

impl Work {
    fn one(draft: Draft, asker: Asker) -> Self {
        Self { drafts: vec![draft], askers: vec![asker] }
    }

    fn rooms(&self) -> Vec<RoomId> {
        let mut rooms: Vec<RoomId> = self.drafts.iter().map(|draft| draft.room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }
}

impl Writer {
    /// Appends, publishes, and answers everybody but those whose rooms another node held.
    pub(super) async fn append_all(&self, submissions: Vec<Submission>) -> Contended {
        let (drafts, askers) = submissions.into_iter().map(|one| (one.draft, one.asker)).unzip();
        let mut work = Work { drafts, askers };
        #[cfg(feature = "defects")]
        self.foretell(&work.drafts, &mut work.askers).await;
        let error = match self.append(&mut work).await {
            Ok(outcomes) => return self.conclude(work, &outcomes),
            Err(error) => error,
        };
        let (retryable, error) = (error.retryable(), Arc::new(error));
        if retryable || work.drafts.len() <= 1 {
            self.fail(work, &error);
            return Contended::new();
        }
        // Something in the batch cannot be stored. It must not take the others with it.
        let mut contended = Contended::new();
        for (draft, asker) in work.drafts.into_iter().zip(work.askers) {
            let mut one = Work::one(draft, asker);
            self.authorise_again(&mut one, &error).await;
            if one.drafts.is_empty() {
                continue;
            }
            match self.append(&mut one).await {
                Ok(outcomes) => contended.extend(self.conclude(one, &outcomes)),
                Err(error) => self.fail(one, &Arc::new(error)),
            }
        }
        contended
    }

    /// Two defects: what is likely to be stored is told before it is.
    #[cfg(feature = "defects")]
    async fn foretell(&self, drafts: &[Draft], askers: &mut [Asker]) {
        use crate::defect::{Defect, has};
        use crate::model::Seq;

        if !has(Defect::PublishBeforeCommit) && !has(Defect::AckBeforeCommit) {
            return;
        }
        let rooms: Vec<RoomId> = drafts.iter().map(|draft| draft.room).collect();
        let Ok(heads) = self.store.heads(&rooms).await else { return };
        let mut heads: HashMap<RoomId, Seq> = heads.into_iter().map(|head| (head.room, head.seq)).collect();
        let mut events = Vec::new();
        for (draft, asker) in drafts.iter().zip(askers) {
            let Some(seq) = heads.get(&draft.room).and_then(|head| Seq::new(head.number() + 1)) else { continue };
            heads.insert(draft.room, seq);
            if has(Defect::AckBeforeCommit) {
                send(std::mem::replace(&mut asker.reply, oneshot::channel().0), Ok(Committed::Appended(seq)));
            } else {
                events.push(draft.clone().into_event(seq));
            }
        }
        events.sort_by_key(|event| (event.room, event.seq));
        self.hub.publish(events);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Appends, in several attempts where that can help. Whoever may not any more at a later attempt is answered and left out.
    async fn append(&self, work: &mut Work) -> StoreResult<Vec<AppendOutcome>> {
        let mut pauses = RETRIES.iter();
        loop {
            let drafts = &work.drafts;
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
                    self.suspect(work);
                    let Some(pause) = pause else { return Err(error) };
                    tokio::time::sleep(*pause).await;
                    let error = Arc::new(error);
                    self.authorise_again(work, &error).await;
                    work.askers.iter_mut().for_each(|asker| asker.doubt = Some(error.clone()));
                    if work.drafts.is_empty() {
                        return Ok(Vec::new());
                    }
                }
            }
        }
    }

    /// Takes out of a batch whoever may not write any more since the last attempt. Whether that attempt stored their draft is not known, so
    /// they are answered with its error, and not with a refusal.
    async fn authorise_again(&self, work: &mut Work, error: &Arc<StoreError>) {
        let stale = |ticket: &Ticket| !self.guard.holds(ticket);
        if !work.askers.iter().any(|asker| asker.ticket.as_ref().is_some_and(stale)) {
            return;
        }
        let askers = std::mem::take(&mut work.askers).into_iter().map(async |mut asker| {
            let Some(ticket) = asker.ticket.filter(stale) else { return Ok(asker) };
            match self.guard.authorise_again(ticket.claim()).await {
                Ok(ticket) => {
                    asker.ticket = Some(ticket);
                    Ok(asker)
                }
                Err(_) => Err(asker),
            }
        });
        let askers = futures::future::join_all(askers).await;
        let drafts = std::mem::take(&mut work.drafts);
        for (draft, asker) in drafts.into_iter().zip(askers) {
            match asker {
                Ok(asker) => {
                    work.drafts.push(draft);
                    work.askers.push(asker);
                }
                Err(asker) => send(asker.reply, Err(Error::from_shared(error.clone()))),
            }
        }
    }

    fn conclude(&self, work: Work, outcomes: &[AppendOutcome]) -> Contended {
        let mut events: Vec<Event> = Vec::with_capacity(work.drafts.len());
        let mut replies = Vec::with_capacity(work.drafts.len());
        let mut contended = Contended::new();
        let mut known = Vec::new();
        for ((draft, asker), outcome) in work.drafts.into_iter().zip(work.askers).zip(outcomes) {
            let committed = match *outcome {
                AppendOutcome::Appended(seq) => {
                    events.push(draft.into_event(seq));
                    Committed::Appended(seq)
                }
                AppendOutcome::Duplicate(seq) => {
                    known.push((draft.room, seq));
                    Committed::Duplicate(seq)
                }
                AppendOutcome::Unchanged => Committed::Unchanged,
                AppendOutcome::Rejected(rejection) => Committed::Rejected(rejection),
                AppendOutcome::Contended => {
                    contended.entry(draft.room).or_default().push(Submission { draft, asker });
                    continue;
                }
            };
            replies.push((asker.reply, committed));
        }
        // By room, so that each is woken once; within a room numbers rise.
        events.sort_by_key(|event| (event.room, event.seq));
        self.hub.publish(events);
        for (room, seq) in known {
            // Perhaps appended by an attempt whose answer was lost, which published nothing.
            self.hub.note_unpublished(room, seq.number());
        }
        for (reply, committed) in replies {
            send(reply, Ok(committed));
        }
        contended
    }

    fn fail(&self, work: Work, error: &Arc<StoreError>) {
        self.suspect(&work);
        for asker in work.askers {
            send(asker.reply, Err(Error::from_shared(error.clone())));
        }
    }

    fn suspect(&self, work: &Work) {
        for room in work.rooms() {
            self.hub.suspect(room);
        }
    }
}

fn held(room: RoomId) -> StoreError {
    StoreError::unavailable("the room is too busy", Held(room))
}

/// Checks that a store answered what a store may answer.
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

pub(super) fn send(reply: oneshot::Sender<Reply>, answer: Reply) {
    if reply.send(answer).is_err() {
        tracing::debug!("a sender did not wait for its commit");
    }
}
