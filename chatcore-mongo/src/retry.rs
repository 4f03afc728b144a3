//! Steps that are made again until they are through or their time is up.

use std::time::Duration;

use chatcore::store::{StoreError, StoreResult};
use mongodb::ClientSession;
use mongodb::bson::Document;
use mongodb::error::{Error, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use tokio::time::Instant;

use crate::abandoned::SUSPICIOUS;
use crate::error::{corrupt, is_conflict, is_passing, store_error};
use crate::open::MongoStore;

/// The first pause before a step is made again; each further one may be twice as long.
const PAUSE: Duration = Duration::from_millis(2);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What came of one attempt.
pub(crate) type Attempt<T> = Result<T, Fault>;

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The driver's own error.
    Driver(Error),
    /// An answer that another attempt does not change.
    Store(StoreError),
    /// Another one was faster; nothing was written.
    Raced,
}

impl Fault {
    /// Whether another writer was in the way.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Driver(error) => is_conflict(error),
            Self::Raced => true,
            Self::Store(_) => false,
        }
    }

    fn is_passing(&self) -> bool {
        match self {
            Self::Driver(error) => is_passing(error),
            Self::Raced => true,
            Self::Store(_) => false,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Driver(error) => store_error(error),
            Fault::Store(error) => error,
            Fault::Raced => StoreError::unavailable("the database is too busy", TooBusy),
        }
    }
}

/// Others were faster at every attempt.
#[derive(Debug, thiserror::Error)]
#[error("lost every race until the deadline")]
struct TooBusy;

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer until the deadline")]
struct TimedOut;

/// The attempts of one step, and when they have to end.
pub(crate) struct Retry {
    store: MongoStore,
    deadline: Instant,
    pause: Duration,
    /// When somebody may be in the way who does not go on.
    suspicious: Instant,
}

impl Retry {
    /// Waits for an attempt, but not longer than there is time.
    pub(crate) async fn within<T>(&self, attempt: impl Future<Output = Attempt<T>>) -> Attempt<T> {
        let mut attempt = std::pin::pin!(tokio::time::timeout_at(self.deadline, attempt));
        loop {
            // A statement outside of a transaction waits in the server for the transaction that holds its document.
            let look = self.suspicious.max(Instant::now() + SUSPICIOUS);
            let answer = match tokio::time::timeout_at(look, attempt.as_mut()).await {
                Ok(answer) => answer,
                Err(_) => {
                    self.store.look_for_abandoned();
                    continue;
                }
            };
            return answer
                .unwrap_or_else(|_| Err(StoreError::unavailable("the database does not answer", TimedOut).into()));
        }
    }

    /// Pauses, if another attempt can help and there is time for one; otherwise what to answer.
    pub(crate) async fn again(&mut self, fault: Fault) -> StoreResult<()> {
        if !fault.is_passing() {
            return Err(fault.into());
        }
        let pause = jitter(self.pause);
        if Instant::now() + pause >= self.deadline {
            return Err(unavailable(fault));
        }
        if fault.is_conflict() && Instant::now() >= self.suspicious {
            self.store.look_for_abandoned();
        }
        tokio::time::sleep(pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// A passing fault that has lasted until the deadline. A unique index that refused till then is a race lost as often.
fn unavailable(fault: Fault) -> StoreError {
    match fault {
        Fault::Driver(error) if is_conflict(&error) => StoreError::unavailable("the database is too busy", error),
        fault => fault.into(),
    }
}

/// Between half of it and the whole, so that those who have met do not meet again.
fn jitter(pause: Duration) -> Duration {
    // Without randomness they may meet again: a pause longer, no harm.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

impl MongoStore {
    /// Attempts until then.
    pub(crate) fn retry(&self, deadline: Instant) -> Retry {
        Retry { store: self.clone(), deadline, pause: PAUSE, suspicious: Instant::now() + SUSPICIOUS }
    }

    /// Makes a step, again and again until it is through or the deadline is there.
    ///
    /// It has a task of its own, so that it ends even where the caller does not wait for the end: a transaction that is
    /// cut off in the middle would hold its documents until the server gives it up.
    pub(crate) async fn step<T, F>(&self, attempt: impl Fn() -> F + Send + 'static) -> StoreResult<T>
    where
        T: Send + 'static,
        F: Future<Output = Attempt<T>> + Send + 'static,
    {
        let retry = self.retry(Instant::now() + self.deadline());
        self.detached(repeat(retry, attempt)).await
    }

    /// Runs something to its end in a task of its own.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> StoreResult<T> {
        match tokio::spawn(work).await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(StoreError::unavailable("the runtime is shutting down", error)),
            },
        }
    }

    /// Reads, again and again until it is through or the deadline is there. What it writes has to be one statement.
    pub(crate) async fn ask<T, F>(&self, attempt: impl Fn() -> F + Send) -> StoreResult<T>
    where
        F: Future<Output = Attempt<T>> + Send,
    {
        repeat(self.retry(Instant::now() + self.deadline()), attempt).await
    }

    /// A single statement that writes. The driver makes it again once, under the same number, so that the server knows it
    /// again; a further attempt could not tell its own work from that of others.
    pub(crate) async fn write<T>(&self, statement: impl Future<Output = Result<T, Error>>) -> Attempt<T> {
        self.retry(Instant::now() + self.deadline()).within(async { Ok(statement.await?) }).await
    }

    /// A session in which a transaction has begun.
    pub(crate) async fn begin(&self) -> Attempt<ClientSession> {
        let mut session = self.client().start_session().await?;
        session.start_transaction().await?;
        Ok(session)
    }

    /// A session in which all reads are of one moment: that of its first.
    pub(crate) async fn snapshot(&self) -> Attempt<ClientSession> {
        Ok(self.client().start_session().snapshot(true).await?)
    }

    /// Runs an `update` or `delete` command of several statements in a transaction; how many documents matched.
    pub(crate) async fn run_many(&self, session: &mut ClientSession, command: Document) -> Attempt<i64> {
        let answer = self.database().run_command(command).session(session).await?;
        if let Ok(errors) = answer.get_array("writeErrors") {
            let code = errors.first().and_then(|error| error.as_document()?.get_i32("code").ok());
            return match code {
                // The statement has found a document that the transaction does not see.
                Some(11000 | crate::error::WRITE_CONFLICT) => Err(Fault::Raced),
                _ => Err(StoreError::failed("the database refused a statement", format!("{errors:?}")).into()),
            };
        }
        answer.get_i32("n").map(i64::from).or_else(|_| answer.get_i64("n")).map_err(|_| corrupt().into())
    }
}

/// Commits. One that only read commits too: it waits until a majority holds what was read.
///
/// A commit of unknown outcome is asked again until it is known; the caller's deadline ends that.
pub(crate) async fn commit(session: &mut ClientSession) -> Attempt<()> {
    loop {
        match session.commit_transaction().await {
            Ok(()) => return Ok(()),
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                tokio::time::sleep(jitter(PAUSE_MAX)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn repeat<T, F: Future<Output = Attempt<T>>>(mut retry: Retry, attempt: impl Fn() -> F) -> StoreResult<T> {
    loop {
        match retry.within(attempt()).await {
            Ok(answer) => return Ok(answer),
            Err(fault) => retry.again(fault).await?,
        }
    }
}
