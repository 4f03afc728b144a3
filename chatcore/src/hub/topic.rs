//! A room with listeners on this node: its tail, who listens, and the store reads under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection::Link;
use super::cursor::{Cursor, Step};
use super::tail::{Logged, Tail, TailLimits};
use crate::id::{ConnectionId, RoomId, UserId};
use crate::model::{Event, EventKind, LogRange};
use crate::store::MessageStore;

/// A page of the stored log, read once for all who want the same.
pub(super) type CatchUp = Shared<Reading>;

type Reading = BoxFuture<'static, Arc<CatchUpPage>>;
/// What a read is of: after which number, in which epoch of the tail.
type ReadKey = (u64, u64);

/// What a catch-up read found.
pub(super) struct CatchUpPage {
    pub(super) events: Vec<Arc<Logged>>,
    /// Whether there was no more when it was read.
    pub(super) last: bool,
}

struct Listener {
    link: Arc<Link>,
    /// Whether the room is among those that the connection is going to look at: once, from the notice until it has found nothing new.
    queued: bool,
    /// The number of the last event by which the user came or went, as far as it was looked at here.
    membership: u64,
    /// Whether the user is in the room by that event. One who is not gets no signals of it, however far behind the cursor is.
    member: bool,
}

#[derive(Default)]
struct State {
    tail: Tail,
    listeners: HashMap<ConnectionId, Listener>,
    reads: Vec<(ReadKey, WeakShared<Reading>)>,
    /// Set when the last listener has gone: whoever still holds the topic puts nothing into it any more.
    given_up: bool,
    /// Whether somebody reads from the store what was not looked at here.
    filling: bool,
}

pub(super) struct Topic {
    pub(super) room: RoomId,
    state: Mutex<State>,
}

impl Topic {
    pub(super) fn new(room: RoomId) -> Self {
        Self { room, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a listener, who gets no signals before [`Topic::begin`].
    pub(super) fn add(&self, link: &Arc<Link>) {
        let listener = || Listener { link: link.clone(), queued: false, membership: 0, member: false };
        self.lock().listeners.entry(link.id).or_insert_with(listener);
    }

    /// The listener is a member since the event `joined`, and has read that head since it was registered. Answers the tail's epoch.
    pub(super) fn begin(&self, id: ConnectionId, joined: u64, head: u64) -> u64 {
        let mut state = self.lock();
        state.tail.begin(head);
        if let Some(listener) = state.listeners.get_mut(&id) {
            listener.came(joined);
            listener.queue(self.room);
        }
        state.tail.epoch()
    }

    /// Removes a listener. With the last one the topic is given up, and this answers how many bytes its tail took.
    pub(super) fn remove(&self, id: ConnectionId) -> Option<usize> {
        let mut state = self.lock();
        state.listeners.remove(&id);
        if !state.listeners.is_empty() {
            return None;
        }
        state.given_up = true;
        Some(state.tail.bytes())
    }

    pub(super) fn listens(&self, id: ConnectionId) -> bool {
        self.lock().listeners.contains_key(&id)
    }

    pub(super) fn tail_head(&self) -> u64 {
        self.lock().tail.head()
    }

    /// Takes committed events of this room, and wakes. Answers by how much the tail grew, in bytes.
    pub(super) fn publish(&self, events: Vec<Event>, limits: TailLimits, shrink: bool) -> isize {
        self.grow(|state| {
            for event in events {
                let logged = Arc::new(Logged::new(event));
                state.notice(logged.event());
                state.tail.publish(logged, limits);
            }
            if shrink {
                state.tail.shrink(1);
            }
            true
        })
    }

    /// Looks at events that were read from the store, dense and rising: what another node has done is found here. Answers by how much the
    /// tail grew, in bytes.
    pub(super) fn absorb(&self, events: &[Arc<Logged>], limits: TailLimits, shrink: bool) -> isize {
        let Some(last) = events.last().map(|logged| logged.event().seq.number()) else { return 0 };
        self.grow(|state| {
            if state.tail.unseen().is_none() && last <= state.tail.head() {
                return false;
            }
            let before = (state.tail.end(), state.tail.head());
            for logged in events {
                state.notice(logged.event());
                state.tail.absorb(logged, limits);
            }
            if shrink {
                state.tail.shrink(1);
            }
            before != (state.tail.end(), state.tail.head())
        })
    }

    /// Changes the tail, and wakes if the change says so.
    fn grow(&self, change: impl FnOnce(&mut State) -> bool) -> isize {
        let mut state = self.lock();
        if state.given_up {
            return 0;
        }
        let before = state.tail.bytes();
        if change(&mut state) {
            state.wake_all(self.room);
        }
        state.tail.bytes().cast_signed() - before.cast_signed()
    }

    /// The store holds events up to here. Answers whether some of them have yet to be looked at by somebody: the caller, then.
    pub(super) fn note_head(self: &Arc<Self>, head: u64) -> Option<Fill> {
        let mut state = self.lock();
        state.tail.note_head(head);
        if state.given_up || state.filling || state.tail.unseen().is_none() {
            return None;
        }
        state.filling = true;
        drop(state);
        Some(Fill(self.clone()))
    }

    /// Drops the tail if it does not reach the known head. Answers by how much it shrank, as a negative number of bytes.
    pub(super) fn drop_stale(&self) -> isize {
        self.grow(|state| {
            state.tail.drop_stale();
            false
        })
    }

    /// After which number the log has yet to be looked at.
    fn unseen(&self) -> Option<u64> {
        let state = self.lock();
        if state.given_up { None } else { state.tail.unseen() }
    }

    /// The store may hold more than is known here: everybody looks.
    pub(super) fn suspect(&self) {
        let mut state = self.lock();
        state.tail.suspect();
        state.wake_all(self.room);
    }

    /// The listener has come into the room again, by that event.
    pub(super) fn came(&self, id: ConnectionId, joined: u64) {
        if let Some(listener) = self.lock().listeners.get_mut(&id) {
            listener.came(joined);
            listener.queue(self.room);
        }
    }

    /// Calls for each listener that is a member, under the lock: do little.
    pub(super) fn each_member(&self, mut call: impl FnMut(&Arc<Link>)) {
        for listener in self.lock().listeners.values().filter(|listener| listener.member) {
            call(&listener.link);
        }
    }

    /// What the cursor of that connection has to do next. Only when that is to wait does news queue the room with it again: until then the
    /// connection keeps the room, once, and comes back to it.
    pub(super) fn step(&self, id: ConnectionId, cursor: &Cursor, max_events: usize, max_bytes: usize) -> Step {
        let mut state = self.lock();
        let step = cursor.step(&state.tail, max_events, max_bytes);
        if let Step::Wait | Step::Stopped = step
            && let Some(listener) = state.listeners.get_mut(&id)
        {
            listener.queued = false;
        }
        step
    }

    /// The page of the stored log after that position, and the epoch from which it was read.
    pub(super) fn catch_up(
        &self,
        after: u64,
        store: &Arc<dyn MessageStore>,
        permits: &Arc<Semaphore>,
        page: u32,
    ) -> (CatchUp, u64) {
        let mut state = self.lock();
        let epoch = state.tail.epoch();
        state.reads.retain(|(_, read)| read.upgrade().is_some_and(|read| read.peek().is_none()));
        if let Some(read) = state.reads.iter().find(|(key, _)| *key == (after, epoch)).and_then(|(_, r)| r.upgrade()) {
            return (read, epoch);
        }
        // In a task of its own: a connection whose client does not read is not polled, and would keep one of the permits. The task ends with
        // the last connection that wants its page.
        let mut task = JoinSet::new();
        task.spawn(read_log(self.room, after, store.clone(), permits.clone(), page));
        let read = async move {
            match task.join_next().await {
                Some(Ok(page)) => page,
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Aborted, because the runtime stops.
                _ => std::future::pending().await,
            }
        };
        let read = read.boxed().shared();
        if let Some(weak) = read.downgrade() {
            state.reads.push(((after, epoch), weak));
        }
        (read, epoch)
    }
}

/// What tests look at.
#[cfg(test)]
impl Topic {
    pub(super) fn head_seen(&self) -> (u64, u64) {
        let state = self.lock();
        (state.tail.head(), state.tail.unseen().unwrap_or(state.tail.head()))
    }

    pub(super) fn bodies(&self) -> Vec<u64> {
        self.lock().tail.held().filter_map(|event| event.body_of()).map(crate::model::Seq::number).collect()
    }

    pub(super) fn tail_bytes(&self) -> usize {
        self.lock().tail.bytes()
    }
}

impl State {
    fn wake_all(&mut self, room: RoomId) {
        // One who has not begun looks at the room then.
        for listener in self.listeners.values_mut().filter(|listener| listener.membership > 0) {
            listener.queue(room);
        }
    }

    /// Looks at an event of the log for what it changes here beside the tail.
    fn notice(&mut self, event: &Event) {
        match event.kind {
            EventKind::Left { user, .. } => self.membership(user, event.seq.number(), false),
            EventKind::Joined { user, .. } => self.membership(user, event.seq.number(), true),
            // Reads that began before may hold the body, and are not shared with anybody who comes now.
            EventKind::Deleted { .. } => self.reads.clear(),
            _ => {}
        }
    }

    fn membership(&mut self, user: UserId, number: u64, member: bool) {
        for listener in self.listeners.values_mut().filter(|listener| listener.link.user == user) {
            // Of one who has not begun nothing is known yet.
            if listener.membership > 0 && number > listener.membership {
                listener.membership = number;
                listener.member = member;
            }
        }
    }
}

impl Listener {
    fn queue(&mut self, room: RoomId) {
        if !self.queued {
            self.queued = true;
            self.link.ready(room);
        }
    }

    fn came(&mut self, joined: u64) {
        if joined >= self.membership {
            self.membership = joined.max(1);
            self.member = true;
        }
    }
}

/// The task of looking at what was appended to a room elsewhere, which one at a time has.
pub(super) struct Fill(Arc<Topic>);

impl Fill {
    pub(super) fn topic(&self) -> &Topic {
        &self.0
    }

    /// After which number there is more to look at.
    pub(super) fn next(&self) -> Option<u64> {
        self.0.unseen()
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.0.lock().filling = false;
    }
}

/// Reads until it succeeds: the events are in the log, and whoever waits here has nowhere else to get them.
async fn read_log(
    room: RoomId,
    after: u64,
    store: Arc<dyn MessageStore>,
    permits: Arc<Semaphore>,
    limit: u32,
) -> Arc<CatchUpPage> {
    let mut pause = Duration::from_millis(50);
    loop {
        let permit = permits.acquire().await;
        let read = store.events(room, LogRange::After(after), limit).await;
        drop(permit);
        match read {
            Ok(page) => {
                let last = page.events.len() < limit as usize;
                let events = page.events.into_iter().map(|event| Arc::new(Logged::new(event))).collect();
                return Arc::new(CatchUpPage { events, last });
            }
            Err(error) => {
                tracing::warn!(%room, after, error = &error as &dyn std::error::Error, "catch-up read failed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        }
    }
}
