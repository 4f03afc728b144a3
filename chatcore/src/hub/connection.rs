//! A live socket's end of the hub: what is ready for it, and its cursors.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Hub;
use super::cursor::{Accepted, Cursor, Step};
use super::signal::{Signal, SignalKind};
use super::tail::Logged;
use super::topic::{CatchUp, Topic};
use crate::defect::defect;
use crate::id::{ConnectionId, RoomId, SessionId, UserId};
use crate::view::PresenceStatus;

/// What a connection listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All rooms of the user, and what concerns the user.
    All,
    /// One room.
    Room(RoomId),
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The server stops; come again.
    Restart,
    /// The session has ended.
    Revoked,
    /// No longer a member of the one room.
    Removed,
}

#[derive(Debug)]
struct LinkState {
    /// Rooms to look at: each at most once, see [`Topic::step`].
    ready: VecDeque<RoomId>,
    signals: VecDeque<Arc<Signal>>,
    /// Rooms to begin, and by which event the user has come into them.
    joined: HashMap<RoomId, u64>,
    closed: Option<CloseReason>,
    waker: Option<Waker>,
    /// Until when the session and the memberships are trusted without asking the store.
    trusted_until: Instant,
    /// Whether room events flow.
    started: bool,
    presence: PresenceStatus,
    /// Whether the transport has stopped delivering.
    finished: bool,
}

/// The part of a connection that others reach.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) scope: Scope,
    state: Mutex<LinkState>,
    finished: Notify,
}

impl Link {
    pub(super) fn new(
        id: ConnectionId,
        user: UserId,
        session: SessionId,
        scope: Scope,
        trusted_until: Instant,
    ) -> Self {
        let state = LinkState {
            ready: VecDeque::new(),
            signals: VecDeque::new(),
            joined: HashMap::new(),
            closed: None,
            waker: None,
            trusted_until,
            started: false,
            presence: PresenceStatus::Online,
            finished: false,
        };
        Self { id, user, session, scope, state: Mutex::new(state), finished: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut LinkState)) {
        let waker = {
            let mut state = self.lock();
            change(&mut state);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// There is something new in that room.
    pub(super) fn ready(&self, room: RoomId) {
        self.change(|state| state.ready.push_back(room));
    }

    /// Queues a signal; the oldest one goes when there are too many. Answers whether one went.
    pub(super) fn signal(&self, signal: Arc<Signal>, limit: usize) -> bool {
        let mut dropped = false;
        self.change(|state| {
            if state.closed.is_some() {
                return;
            }
            while state.signals.len() >= limit {
                state.signals.pop_front();
                dropped = true;
            }
            state.signals.push_back(signal);
        });
        dropped
    }

    /// The user has come into that room by that event. Beyond the limit it is left to reconciling, which asks again.
    pub(super) fn joined(&self, room: RoomId, seq: u64, limit: usize) {
        self.change(|state| {
            let known = state.joined.contains_key(&room);
            if state.started && state.closed.is_none() && (known || state.joined.len() < limit) {
                let joined = state.joined.entry(room).or_insert(seq);
                *joined = seq.max(*joined);
            }
        });
    }

    /// Whether room events flow, but those of this room do not, and are not about to.
    pub(super) fn misses(&self, room: RoomId) -> bool {
        let state = self.lock();
        state.started && !state.joined.contains_key(&room)
    }

    pub(super) fn is_started(&self) -> bool {
        self.lock().started
    }

    pub(crate) fn close(&self, reason: CloseReason) {
        self.change(|state| {
            state.closed.get_or_insert(reason);
            state.signals.clear();
            state.ready.clear();
            state.joined.clear();
        });
    }

    /// The store has just confirmed session and memberships.
    pub(crate) fn trust(&self, until: Instant) {
        let mut state = self.lock();
        let lapsed = state.trusted_until <= Instant::now();
        state.trusted_until = state.trusted_until.max(until);
        // Nobody else needs to be woken, which keeps thousands of idle connections asleep.
        if lapsed && let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn presence(&self) -> PresenceStatus {
        self.lock().presence
    }

    pub(super) fn set_presence(&self, status: PresenceStatus) {
        self.lock().presence = status;
    }

    fn finish(&self) {
        self.lock().finished = true;
        self.finished.notify_waiters();
    }

    /// Waits until the transport has stopped delivering.
    pub(super) async fn wait_finished(&self) {
        loop {
            let notified = self.finished.notified();
            if self.lock().finished {
                return;
            }
            notified.await;
        }
    }
}

/// What a connection is handed.
#[derive(Debug)]
pub enum Delivery {
    /// All that was new, in order room by room.
    News {
        /// Signals, oldest first.
        signals: Vec<Arc<Signal>>,
        /// Events: of each room in rising order, each once, without a hole.
        events: Vec<Arc<Logged>>,
    },
    /// Nothing comes any more.
    Closed(CloseReason),
}

/// A room that a connection begins to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    pub(crate) room: RoomId,
    /// Events after this number are delivered.
    pub(crate) position: u64,
    /// The number of the user's `member.joined`.
    pub(crate) joined: u64,
    /// The log's head, read after [`Connection::listen`].
    pub(crate) head: u64,
}

/// A room that the connection is registered with.
struct Listening {
    topic: Arc<Topic>,
    /// Where it reads; `None` before [`Connection::begin`].
    cursor: Option<Cursor>,
}

/// A live socket, held by the transport. Dropping it ends it.
///
/// The transport asks [`Connection::next`] for more only when what it was handed has been written out: a socket that
/// does not read costs a fixed amount of memory, and its events wait in the log.
pub struct Connection {
    hub: Hub,
    link: Arc<Link>,
    /// Every room that it is registered with, so that each registration is taken back however the connection ends.
    rooms: HashMap<RoomId, Listening>,
    /// Rooms whose next events have to be read from the store.
    behind: VecDeque<RoomId>,
    reading: Option<(RoomId, u64, CatchUp)>,
}

impl Connection {
    pub(super) fn new(hub: Hub, link: Arc<Link>) -> Self {
        Self { hub, link, rooms: HashMap::new(), behind: VecDeque::new(), reading: None }
    }

    /// Its id.
    pub fn id(&self) -> ConnectionId {
        self.link.id
    }

    /// Whose it is.
    pub fn user(&self) -> UserId {
        self.link.user
    }

    /// What it listens to.
    pub fn scope(&self) -> Scope {
        self.link.scope
    }

    /// Trusts session and memberships until then.
    pub(crate) fn trust(&self, until: Instant) {
        self.link.trust(until);
    }

    /// Whether room events flow.
    pub fn is_started(&self) -> bool {
        self.link.is_started()
    }

    /// Registers for a room before its head is read, so that nothing falls between.
    pub(crate) fn listen(&mut self, room: RoomId) {
        self.listening(room);
    }

    fn listening(&mut self, room: RoomId) -> &mut Listening {
        let (hub, link) = (&self.hub, &self.link);
        self.rooms.entry(room).or_insert_with(|| Listening { topic: hub.listen(room, link), cursor: None })
    }

    /// Takes a registration back that no [`Connection::begin`] follows.
    pub(crate) fn unlisten(&mut self, room: RoomId) {
        if !self.reads(room) {
            self.leave(room);
        }
    }

    /// Begins to deliver a room. One that is being delivered already goes on as it is.
    pub(crate) fn begin(&mut self, begin: Begin) {
        let Begin { room, position, joined, head } = begin;
        let (id, user) = (self.link.id, self.link.user);
        let listening = self.listening(room);
        let epoch = listening.topic.begin(id, joined, head);
        listening.cursor.get_or_insert_with(|| Cursor::new(user, position, joined, epoch));
    }

    /// From here on events flow, and rooms that the user comes into begin by themselves.
    pub(crate) fn start(&self) {
        self.link.change(|state| state.started = true);
    }

    /// Takes back all that was registered or begun.
    pub(crate) fn reset(&mut self) {
        self.leave_all();
        self.behind.clear();
        self.reading = None;
        self.link.change(|state| {
            state.started = false;
            state.ready.clear();
            state.joined.clear();
        });
    }

    /// Whether that room has begun.
    pub(crate) fn reads(&self, room: RoomId) -> bool {
        self.rooms.get(&room).is_some_and(|listening| listening.cursor.is_some())
    }

    /// Waits for news, or for the end. Cancel-safe: what it has not answered is not lost.
    pub async fn next(&mut self) -> Delivery {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// See [`Connection::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        let (quota_events, quota_bytes) = self.quotas();
        let (mut ready, signals, joined) = {
            let mut state = self.link.lock();
            if let Some(reason) = state.closed {
                return Poll::Ready(Delivery::Closed(reason));
            }
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
            // Not revalidated in time, and perhaps revoked: nothing goes out until the store has answered.
            if state.trusted_until <= Instant::now() {
                return Poll::Pending;
            }
            let ready = if state.started { std::mem::take(&mut state.ready) } else { VecDeque::new() };
            (ready, std::mem::take(&mut state.signals), std::mem::take(&mut state.joined))
        };
        let mut signals = Vec::from(signals);
        let mut events = Vec::new();
        for (room, seq) in joined {
            self.rejoin(room, seq);
        }
        let mut bytes = 0;
        while let Some(room) = ready.pop_front() {
            if events.len() >= quota_events || bytes >= quota_bytes {
                ready.push_front(room);
                break;
            }
            let from = events.len();
            self.take_tail(room, &mut events, &mut signals, &mut ready);
            bytes += events[from..].iter().map(|logged| logged.weight()).sum::<usize>();
        }
        if events.len() < quota_events && bytes < quota_bytes {
            self.poll_reading(cx, &mut events, &mut signals, &mut ready);
        }
        if !ready.is_empty() {
            let mut state = self.link.lock();
            ready.append(&mut state.ready);
            state.ready = ready;
            if events.is_empty() && signals.is_empty() {
                // Only reads came to an end, and their rooms have more: go round again.
                cx.waker().wake_by_ref();
            }
        }
        if events.is_empty() && signals.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Delivery::News { signals, events })
    }

    fn quotas(&self) -> (usize, usize) {
        let settings = self.hub.settings();
        (settings.quota_events, settings.quota_bytes)
    }

    fn rejoin(&mut self, room: RoomId, joined: u64) {
        match self.rooms.get_mut(&room) {
            Some(Listening { topic, cursor: Some(cursor) }) => {
                cursor.rejoin(joined);
                topic.came(self.link.id, joined);
            }
            _ => self.begin(Begin { room, position: joined - 1, joined, head: joined }),
        }
    }

    /// Takes what the room's tail has for this connection.
    fn take_tail(
        &mut self,
        room: RoomId,
        events: &mut Vec<Arc<Logged>>,
        signals: &mut Vec<Arc<Signal>>,
        ready: &mut VecDeque<RoomId>,
    ) {
        let (quota_events, quota_bytes) = self.quotas();
        let Some(Listening { topic, cursor: Some(cursor) }) = self.rooms.get_mut(&room) else { return };
        let step = topic.step(self.link.id, cursor, quota_events, quota_bytes);
        match step {
            Step::Wait => {}
            Step::Stopped => self.leave(room),
            Step::Read => self.behind.push_back(room),
            Step::Offer(offered) => {
                let accepted = cursor.accept(offered, events);
                self.after_accept(room, accepted, signals, ready);
            }
        }
    }

    /// Goes on with the store read under way, or begins the next one.
    fn poll_reading(
        &mut self,
        cx: &mut Context<'_>,
        events: &mut Vec<Arc<Logged>>,
        signals: &mut Vec<Arc<Signal>>,
        ready: &mut VecDeque<RoomId>,
    ) {
        let (quota_events, _) = self.quotas();
        loop {
            if self.reading.is_none() {
                let Some(room) = self.behind.pop_front() else { return };
                let Some(Listening { topic, cursor: Some(cursor) }) = self.rooms.get(&room) else { continue };
                if cursor.is_stopped() {
                    continue;
                }
                let (read, epoch) = self.hub.catch_up(topic, cursor.position());
                self.reading = Some((room, epoch, read));
            }
            let Some((room, epoch, read)) = &mut self.reading else { return };
            let Poll::Ready(page) = read.poll_unpin(cx) else { return };
            let (room, epoch) = (*room, *epoch);
            self.reading = None;
            if let Some(Listening { topic, cursor: Some(cursor) }) = self.rooms.get_mut(&room) {
                self.hub.absorb(topic, &page.events);
                let accepted = cursor.accept(page.events.iter().cloned(), events);
                if page.last {
                    cursor.caught_up(epoch);
                }
                self.after_accept(room, accepted, signals, ready);
            }
            if events.len() >= quota_events {
                return;
            }
        }
    }

    /// Goes on with a room, which is looked at again in its next turn: there may be more than was accepted.
    fn after_accept(
        &mut self,
        room: RoomId,
        accepted: Accepted,
        signals: &mut Vec<Arc<Signal>>,
        ready: &mut VecDeque<RoomId>,
    ) {
        if let Accepted::Left(reason) = accepted {
            match self.link.scope {
                Scope::All => {
                    let kind = SignalKind::RoomRemoved(reason);
                    signals.push(Arc::new(Signal::new(Some(room), Some(self.link.user), kind)));
                }
                // What was accepted goes out first; the next poll finds the end.
                Scope::Room(_) => self.link.close(CloseReason::Removed),
            }
        }
        let cursor = self.rooms.get(&room).and_then(|listening| listening.cursor.as_ref());
        if cursor.is_some_and(Cursor::is_stopped) {
            self.leave(room);
        } else {
            ready.push_back(room);
        }
    }

    fn leave(&mut self, room: RoomId) {
        if self.rooms.remove(&room).is_some() {
            self.hub.unlisten(room, self.link.id);
        }
    }

    fn leave_all(&mut self) {
        for (room, listening) in self.rooms.drain() {
            defect!(
                RegistrationLeaks,
                if listening.cursor.is_none() {
                    continue;
                },
                drop(listening)
            );
            self.hub.unlisten(room, self.link.id);
        }
    }

    /// Why nothing comes any more, if so; else registers to be woken when that changes.
    ///
    /// For a transport whose write-out is stuck, which therefore does not ask for news.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let mut state = self.link.lock();
        match state.closed {
            Some(reason) => Poll::Ready(reason),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Says whether somebody uses the device at the moment.
    pub fn set_presence(&self, status: PresenceStatus) {
        self.hub.set_presence(&self.link, status);
    }

    /// The transport delivers nothing any more; whoever ended the session waits for this.
    pub fn finish(&self) {
        self.link.finish();
    }
}

/// What tests look at.
#[cfg(test)]
impl Connection {
    /// Rooms that it is going to look at.
    pub(super) fn waiting(&self) -> usize {
        self.link.lock().ready.len() + self.behind.len() + usize::from(self.reading.is_some())
    }

    /// Rooms that it is going to begin.
    pub(super) fn joins(&self) -> usize {
        self.link.lock().joined.len()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave_all();
        self.hub.disconnect(&self.link);
        self.link.finish();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.link.id)
            .field("rooms", &self.rooms.len())
            .finish_non_exhaustive()
    }
}
