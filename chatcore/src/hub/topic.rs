//! A room with listeners on this node: its tail, who listens, and the store reads under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use tokio::sync::Semaphore;

use super::connection::Link;
use super::cursor::{Cursor, Step};
use super::tail::{Logged, Tail, TailLimits};
use crate::id::{ConnectionId, RoomId};
use crate::model::{Event, LogRange};
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
    /// Whether the connection knows already that there is something to take.
    queued: bool,
}

#[derive(Default)]
struct State {
    tail: Tail,
    listeners: HashMap<ConnectionId, Listener>,
    reads: Vec<(ReadKey, WeakShared<Reading>)>,
    /// Set when the last listener has gone: whoever still holds the topic puts nothing into it any more.
    given_up: bool,
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

    pub(super) fn add(&self, link: Arc<Link>) {
        self.lock().listeners.entry(link.id).or_insert(Listener { link, queued: false });
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

    pub(super) fn listener_count(&self) -> usize {
        self.lock().listeners.len()
    }

    pub(super) fn tail_head(&self) -> u64 {
        self.lock().tail.head()
    }

    /// Takes committed events of this room, and wakes. Answers by how much the tail grew, in bytes.
    pub(super) fn publish(&self, events: impl IntoIterator<Item = Event>, limits: TailLimits, shrink: bool) -> isize {
        let mut state = self.lock();
        if state.given_up {
            return 0;
        }
        let before = state.tail.bytes();
        for event in events {
            state.tail.publish(event, limits);
        }
        if shrink {
            state.tail.shrink(1);
        }
        let grown = state.tail.bytes().cast_signed() - before.cast_signed();
        state.wake_all(self.room);
        grown
    }

    /// The store holds events up to here.
    pub(super) fn note_head(&self, head: u64, wake: bool) {
        let mut state = self.lock();
        if state.tail.note_head(head) && wake {
            state.wake_all(self.room);
        }
    }

    /// The store may hold more than is known here: everybody looks.
    pub(super) fn suspect(&self) {
        let mut state = self.lock();
        state.tail.suspect();
        state.wake_all(self.room);
    }

    pub(super) fn epoch(&self) -> u64 {
        self.lock().tail.epoch()
    }

    /// Calls for each listener, under the lock: do little.
    pub(super) fn each_listener(&self, mut call: impl FnMut(&Arc<Link>)) {
        for listener in self.lock().listeners.values() {
            call(&listener.link);
        }
    }

    /// What the cursor of that connection has to do next. From now on news queues the connection again.
    pub(super) fn step(&self, id: ConnectionId, cursor: &Cursor, max_events: usize, max_bytes: usize) -> Step {
        let mut state = self.lock();
        if let Some(listener) = state.listeners.get_mut(&id) {
            listener.queued = false;
        }
        cursor.step(&state.tail, max_events, max_bytes)
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
        let read = read_log(self.room, after, store.clone(), permits.clone(), page).boxed().shared();
        if let Some(weak) = read.downgrade() {
            state.reads.push(((after, epoch), weak));
        }
        (read, epoch)
    }
}

impl State {
    fn wake_all(&mut self, room: RoomId) {
        for listener in self.listeners.values_mut() {
            if !listener.queued {
                listener.queued = true;
                listener.link.ready(room);
            }
        }
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
