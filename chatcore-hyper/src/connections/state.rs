//! One connection: the requests that are under way on it, and the answers that its client has not taken yet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use chatcore::id::UserId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Inner;

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// Another connection takes its place.
    #[error("it was idle, and gave way to another connection")]
    GaveWay,
    /// Its client did not take an answer within `write_timeout`.
    #[error("its client did not take an answer in time")]
    NotTaken,
    /// It had no request for `idle_timeout`.
    #[error("it was idle for too long")]
    Idle,
}

/// What is shared by a connection's stream, its requests and its answers.
pub(crate) struct State {
    pub(super) id: u64,
    pub(super) connections: Weak<Inner>,
    pub(super) write_timeout: Duration,
    idle_timeout: Duration,
    /// Set when HTTP is over and another protocol goes on.
    upgraded: AtomicBool,
    work: Mutex<Work>,
    end: Notify,
}

struct Work {
    /// Requests, and answers or pieces of them that are not taken.
    open: usize,
    /// When the last of them ended.
    idle_since: Instant,
    /// Until when what is not taken has to be.
    deadlines: BTreeMap<u64, Instant>,
    tickets: u64,
    gave_way: bool,
    user: Option<UserId>,
}

impl State {
    pub(super) fn new(id: u64, connections: Weak<Inner>, write_timeout: Duration, idle_timeout: Duration) -> Self {
        let work = Work {
            open: 0,
            idle_since: Instant::now(),
            deadlines: BTreeMap::new(),
            tickets: 0,
            gave_way: false,
            user: None,
        };
        Self {
            id,
            connections,
            write_timeout,
            idle_timeout,
            upgraded: AtomicBool::new(false),
            work: Mutex::new(work),
            end: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request, or something that has to be taken within `write_timeout`.
    pub(super) fn ticket(self: &Arc<Self>, has_to_be_taken: bool) -> Ticket {
        let mut work = self.lock();
        work.open += 1;
        work.tickets += 1;
        let id = work.tickets;
        if has_to_be_taken {
            work.deadlines.insert(id, Instant::now() + self.write_timeout);
        }
        drop(work);
        Ticket { state: self.clone(), id }
    }

    /// Since when there is nothing to do on the connection, if so.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let work = self.lock();
        (work.open == 0).then_some(work.idle_since)
    }

    /// Ends the connection if it has been idle since then.
    pub(super) fn give_way(&self, since: Instant) -> bool {
        let mut work = self.lock();
        let idle = work.open == 0 && work.idle_since == since;
        work.gave_way |= idle;
        drop(work);
        if idle {
            self.end.notify_one();
        }
        idle
    }

    /// The user that the connection counts for.
    pub(super) fn user(&self) -> Option<UserId> {
        self.lock().user
    }

    pub(super) fn set_user(&self, user: UserId) {
        self.lock().user = Some(user);
    }

    /// The answer that is sent now is the end of HTTP on this connection: it is never idle from here on.
    pub(super) fn upgrade(self: &Arc<Self>) {
        // Given back by nobody. The deadline is that of the answer, and is lifted by `is_upgraded`.
        let mut work = self.lock();
        work.open += 1;
        work.deadlines.insert(0, Instant::now() + self.write_timeout);
    }

    /// HTTP is over. If the stream lives on, another protocol has it, with time limits of its own.
    ///
    /// It is not idle then, whoever upgraded it: nobody here could end it to make room.
    pub(super) fn finished(&self) {
        self.lock().open += 1;
        self.upgraded.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// Ready when the server has a reason to end the connection.
    pub(super) async fn overdue(&self) -> ConnectionEnd {
        // What begins after a look ends no sooner than this, so no look comes late.
        let look_every = self.write_timeout.min(self.idle_timeout);
        loop {
            let now = Instant::now();
            let next = {
                let work = self.lock();
                if work.gave_way {
                    return ConnectionEnd::GaveWay;
                }
                let taken = work.deadlines.values().min().copied();
                if taken.is_some_and(|deadline| deadline <= now) {
                    return ConnectionEnd::NotTaken;
                }
                let idle = (work.open == 0).then(|| work.idle_since + self.idle_timeout);
                if idle.is_some_and(|deadline| deadline <= now) {
                    return ConnectionEnd::Idle;
                }
                [taken, idle].into_iter().flatten().fold(now + look_every, Instant::min)
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.end.notified() => {}
            }
        }
    }
}

/// A request that is under way, or an answer that is not taken, until this is dropped.
pub(super) struct Ticket {
    state: Arc<State>,
    id: u64,
}

impl Ticket {
    /// Puts a ticket of its own into a piece of an answer, which has to be taken in time.
    pub(super) fn piece(&self, bytes: Bytes) -> Bytes {
        let ticket = self.state.ticket(true);
        Bytes::from_owner(Piece { bytes, _ticket: ticket })
    }

    /// From here on it is the client who is waited for.
    pub(super) fn renew(&self) {
        let deadline = Instant::now() + self.state.write_timeout;
        self.state.lock().deadlines.insert(self.id, deadline);
    }

    /// From here on it is the answer's source that is waited for, and no client is late.
    pub(super) fn suspend(&self) {
        self.state.lock().deadlines.remove(&self.id);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut work = self.state.lock();
        work.deadlines.remove(&self.id);
        work.open -= 1;
        if work.open == 0 {
            work.idle_since = Instant::now();
        }
    }
}

struct Piece {
    bytes: Bytes,
    _ticket: Ticket,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Duration = Duration::from_secs(60);
    const IDLE: Duration = Duration::from_secs(100);

    fn state() -> Arc<State> {
        Arc::new(State::new(1, Weak::new(), WRITE, IDLE))
    }

    /// How long until the connection is ended, and why.
    async fn end(state: &State) -> (Duration, ConnectionEnd) {
        let begun = Instant::now();
        let reason = state.overdue().await;
        (begun.elapsed(), reason)
    }

    async fn lives(state: &State, time: Duration) {
        assert!(tokio::time::timeout(time, state.overdue()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_ones_end() {
        let state = state();
        lives(&state, IDLE / 2).await;
        let request = state.ticket(false);
        lives(&state, IDLE * 5).await;
        drop(request);
        assert_eq!(end(&state).await, (IDLE, ConnectionEnd::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_ends_it_however_much_else_is() {
        let state = state();
        let request = state.ticket(false);
        let kept = request.piece(Bytes::from_static(b"kept")).slice(1..2);
        let lasts = tokio::spawn({
            let state = state.clone();
            async move { end(&state).await }
        });
        for _ in 0..5 {
            tokio::time::sleep(WRITE / 6).await;
            drop(request.piece(Bytes::from_static(b"taken")));
        }
        assert_eq!(lasts.await.unwrap(), (WRITE, ConnectionEnd::NotTaken));
        drop(kept);
        lives(&state, WRITE * 5).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_takes_its_time_is_not_the_clients_fault() {
        let state = state();
        let answer = state.ticket(true);
        answer.suspend();
        lives(&state, WRITE * 5).await;
        answer.renew();
        assert_eq!(end(&state).await, (WRITE, ConnectionEnd::NotTaken));
    }

    /// Also by an upgrade of the host's own, of which nobody has told.
    #[tokio::test(start_paused = true)]
    async fn what_goes_on_after_http_is_not_idle() {
        let state = state();
        state.finished();
        assert_eq!(state.idle_since(), None);
        lives(&state, IDLE * 5).await;
    }

    #[tokio::test(start_paused = true)]
    async fn idle_ones_give_way_and_upgraded_ones_do_not() {
        let state = state();
        let since = state.idle_since().unwrap();
        let request = state.ticket(false);
        assert!(!state.give_way(since));
        state.upgrade();
        drop(request);
        assert_eq!(state.idle_since(), None);
        assert_eq!(end(&state).await, (WRITE, ConnectionEnd::NotTaken), "an upgrade that never comes about");

        let state = self::state();
        assert!(state.give_way(state.idle_since().unwrap()));
        assert_eq!(end(&state).await, (Duration::ZERO, ConnectionEnd::GaveWay));
    }
}
