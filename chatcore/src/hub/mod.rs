//! Who listens on this node, and what reaches them.
//!
//! A room with a listener has a *topic*: the end of its log in memory and the connections that read it. Publishing puts an
//! event there and wakes; nothing is copied for each listener. Every connection reads each of its rooms through a
//! *cursor*: from the tail when it is near the head, from the store when it is not.

mod connection;
mod cursor;
mod presence;
mod registry;
mod signal;
mod tail;
#[cfg(test)]
mod tests;
mod topic;

use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(crate) use connection::{Begin, Link};
pub use connection::{CloseReason, Connection, Delivery, Scope};
pub use signal::{Signal, SignalKind};
pub use tail::{Logged, TailLimits};

use crate::id::{ConnectionId, RoomId, SessionId, UserId};
use crate::model::Event;
use crate::store::MessageStore;
use crate::view::{Presence, PresenceStatus};
use presence::Users;
use registry::Registry;
use topic::{CatchUp, Topic};

/// What the hub may use. All of them have defaults.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// How much of each log's end is kept in memory. Default: 256 events, 256 KiB.
    pub tail: TailLimits,
    /// What all tails of this node may take together, in bytes. Default: 64 MiB.
    pub tail_budget: usize,
    /// Events handed to a connection in one go. Default: 128.
    pub quota_events: usize,
    /// Bytes handed to a connection in one go, about. Default: 128 KiB.
    pub quota_bytes: usize,
    /// Signals that wait for a connection; the oldest one goes when there are more. Default: 64.
    pub signals: usize,
    /// Catch-up reads of the store at once. Default: 8.
    pub catch_up_reads: usize,
    /// Events a catch-up read. Default: 200.
    pub catch_up_page: u32,
    /// Connections a user. Default: 32.
    pub connections_per_user: usize,
    /// How long a user counts as there after the last connection went. Default: 10 s.
    pub offline_after: Duration,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            tail: TailLimits { events: 256, bytes: 256 * 1024 },
            tail_budget: 64 * 1024 * 1024,
            quota_events: 128,
            quota_bytes: 128 * 1024,
            signals: 64,
            catch_up_reads: 8,
            catch_up_page: 200,
            connections_per_user: 32,
            offline_after: Duration::from_secs(10),
        }
    }
}

/// What the hub holds at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubStats {
    /// Live connections.
    pub connections: usize,
    /// Users with a connection, or without one for less than `offline_after`.
    pub users: usize,
    /// Rooms with a listener.
    pub rooms: usize,
    /// Bytes that all tails take, about.
    pub tail_bytes: usize,
    /// Signals dropped since the start, because a connection did not take them in time.
    pub signals_dropped: u64,
}

const SHARDS: usize = 32;

/// The locks of the registry, which its model replaces.
mod sync {
    pub(super) use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
}

struct Inner {
    settings: HubSettings,
    messages: Arc<dyn MessageStore>,
    topics: Registry<RoomId, Topic>,
    users: Users,
    catch_up: Arc<Semaphore>,
    tail_bytes: AtomicIsize,
    signals_dropped: AtomicU64,
}

/// The listeners of one node. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(settings: HubSettings, messages: Arc<dyn MessageStore>) -> Self {
        let catch_up = Arc::new(Semaphore::new(settings.catch_up_reads.max(1)));
        let users = Users::new(settings.offline_after);
        // The last bytes of a UUIDv7 are random.
        let topics = Registry::new(SHARDS, |room: &RoomId| usize::from(room.uuid().into_bytes()[15]));
        let inner = Inner {
            settings,
            messages,
            topics,
            users,
            catch_up,
            tail_bytes: AtomicIsize::new(0),
            signals_dropped: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn settings(&self) -> &HubSettings {
        &self.inner.settings
    }

    /// What it holds at the moment.
    pub fn stats(&self) -> HubStats {
        let (users, connections) = self.inner.users.counts();
        HubStats {
            connections,
            users,
            rooms: self.inner.topics.len(),
            tail_bytes: usize::try_from(self.inner.tail_bytes.load(Ordering::Relaxed)).unwrap_or(0),
            signals_dropped: self.inner.signals_dropped.load(Ordering::Relaxed),
        }
    }

    fn existing_topic(&self, room: RoomId) -> Option<Arc<Topic>> {
        self.inner.topics.get(&room)
    }

    /// Registers a connection as a listener of a room: from here on what is published there wakes it.
    fn listen(&self, room: RoomId, link: &Arc<Link>) -> Arc<Topic> {
        self.inner.topics.enter(room, || Topic::new(room), |topic| topic.add(link.clone()))
    }

    /// Takes a registration back.
    fn unlisten(&self, room: RoomId, id: ConnectionId) {
        self.inner.topics.leave(&room, |topic| {
            let Some(bytes) = topic.remove(id) else { return false };
            self.inner.tail_bytes.fetch_sub(bytes.cast_signed(), Ordering::Relaxed);
            true
        });
    }

    fn catch_up(&self, topic: &Topic, after: u64) -> (CatchUp, u64) {
        topic.catch_up(after, &self.inner.messages, &self.inner.catch_up, self.inner.settings.catch_up_page)
    }

    /// Hands committed events to those who listen, in the order of their commit.
    pub(crate) fn publish(&self, events: Vec<Event>) {
        let mut events = events.into_iter().peekable();
        while let Some(first) = events.next() {
            let room = first.room;
            let mut run = vec![first];
            while let Some(event) = events.next_if(|event| event.room == room) {
                run.push(event);
            }
            let Some(topic) = self.existing_topic(room) else { continue };
            let used = self.inner.tail_bytes.load(Ordering::Relaxed);
            let over = used > self.inner.settings.tail_budget.cast_signed();
            let grown = topic.publish(run, self.inner.settings.tail, over);
            self.inner.tail_bytes.fetch_add(grown, Ordering::Relaxed);
        }
    }

    /// An append ended in doubt: whoever listens to these rooms looks into the store.
    pub(crate) fn suspect(&self, room: RoomId) {
        if let Some(topic) = self.existing_topic(room) {
            topic.suspect();
        }
    }

    /// The store holds events of that room up to here.
    pub(crate) fn note_head(&self, room: RoomId, head: u64) {
        if let Some(topic) = self.existing_topic(room) {
            topic.note_head(head, true);
        }
    }

    /// Rooms with a listener.
    pub(crate) fn rooms(&self) -> Vec<RoomId> {
        self.inner.topics.all().into_iter().map(|(room, _)| room).collect()
    }

    /// The last number known of a room that somebody listens to; 0 if none is.
    pub(crate) fn known_head(&self, room: RoomId) -> u64 {
        self.existing_topic(room).map_or(0, |topic| topic.tail_head())
    }

    /// How many connections listen to a room.
    pub(crate) fn listener_count(&self, room: RoomId) -> usize {
        self.existing_topic(room).map_or(0, |topic| topic.listener_count())
    }

    /// Registers a connection; `None` when the user has too many.
    pub(crate) fn connect(
        &self,
        id: ConnectionId,
        user: UserId,
        session: SessionId,
        scope: Scope,
        trusted_until: Instant,
    ) -> Option<Connection> {
        let link = Arc::new(Link::new(id, user, session, scope, trusted_until));
        if !self.inner.users.add(link.clone(), self.inner.settings.connections_per_user) {
            return None;
        }
        Some(Connection::new(self.clone(), link))
    }

    fn disconnect(&self, link: &Arc<Link>) {
        self.inner.users.remove(link);
    }

    fn set_presence(&self, link: &Arc<Link>, status: PresenceStatus) {
        self.inner.users.set_presence(link, status);
    }

    /// Sends a signal to all sockets of a user that listen to everything.
    pub(crate) fn signal_user(&self, user: UserId, signal: &Arc<Signal>) {
        for link in self.inner.users.links(user) {
            if link.scope == Scope::All {
                self.push(&link, signal);
            }
        }
    }

    /// Sends a signal to all who listen to a room, but for the sockets of one user.
    pub(crate) fn signal_room(&self, room: RoomId, except: UserId, signal: &Arc<Signal>) {
        let Some(topic) = self.existing_topic(room) else { return };
        topic.each_listener(|link| {
            if link.user != except {
                self.push(link, signal);
            }
        });
    }

    /// Sends a signal to those sockets of a user that listen to that room.
    pub(crate) fn signal_user_in(&self, room: RoomId, user: UserId, signal: &Arc<Signal>) {
        for link in self.inner.users.links(user) {
            if link.scope == Scope::All || link.scope == Scope::Room(room) {
                self.push(&link, signal);
            }
        }
    }

    /// Sends a signal to the sockets that listen to this one room alone.
    pub(crate) fn signal_room_sockets(&self, room: RoomId, hidden_from: &[UserId], signal: &Arc<Signal>) {
        let Some(topic) = self.existing_topic(room) else { return };
        topic.each_listener(|link| {
            if link.scope == Scope::Room(room) && !hidden_from.contains(&link.user) {
                self.push(link, signal);
            }
        });
    }

    /// The users whose sockets listen to this one room alone.
    pub(crate) fn room_socket_users(&self, room: RoomId) -> Vec<UserId> {
        let mut users = Vec::new();
        if let Some(topic) = self.existing_topic(room) {
            topic.each_listener(|link| {
                if link.scope == Scope::Room(room) {
                    users.push(link.user);
                }
            });
        }
        users
    }

    fn push(&self, link: &Link, signal: &Arc<Signal>) {
        if link.signal(signal.clone(), self.inner.settings.signals) {
            self.inner.signals_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A user has come into a room by that event: their sockets begin with it.
    pub(crate) fn joined(&self, user: UserId, room: RoomId, seq: u64) {
        for link in self.inner.users.links(user) {
            if link.scope == Scope::All {
                link.joined(room, seq);
            }
        }
    }

    /// A user has gone from a room. Sockets that read it find that in its log; the others are told.
    pub(crate) fn left(&self, user: UserId, room: RoomId, signal: &Arc<Signal>) {
        let topic = self.existing_topic(room);
        for link in self.inner.users.links(user) {
            let reads = topic.as_ref().is_some_and(|topic| topic.listens(link.id));
            if link.scope == Scope::All && !reads {
                self.push(&link, signal);
            }
        }
    }

    /// Rooms that a started socket of this user should read and does not.
    pub(crate) fn missing(&self, user: UserId, rooms: &[RoomId]) -> Vec<RoomId> {
        let links = self.inner.users.links(user);
        let started: Vec<_> = links.iter().filter(|l| l.scope == Scope::All && l.is_started()).collect();
        let missing = |room: &RoomId| {
            let topic = self.existing_topic(*room);
            started.iter().any(|link| !topic.as_ref().is_some_and(|topic| topic.listens(link.id)))
        };
        rooms.iter().copied().filter(missing).collect()
    }

    /// Ends connections, and waits, at most so long, until their transports have stopped delivering.
    pub(crate) async fn close(&self, links: Vec<Arc<Link>>, reason: CloseReason, patience: Duration) {
        for link in &links {
            link.close(reason);
        }
        let all = futures::future::join_all(links.iter().map(|link| link.wait_finished()));
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!(?reason, "a transport did not stop delivering in time");
        }
    }

    /// The connections of one session.
    pub(crate) fn of_session(&self, user: UserId, session: SessionId) -> Vec<Arc<Link>> {
        self.inner.users.links(user).into_iter().filter(|link| link.session == session).collect()
    }

    /// All connections.
    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.inner.users.all_links()
    }

    /// Somebody's presence as far as this node knows, without regard to blocks; `None`: no connection.
    pub(crate) fn presence(&self, user: UserId) -> Option<PresenceStatus> {
        self.inner.users.presence(user)
    }

    /// Users whose presence has changed since it was last asked, with what it is now.
    pub(crate) async fn presence_changes(&self) -> Vec<presence::Change> {
        self.inner.users.changes().await
    }
}

impl Hub {
    /// The presence to show for a user who was last seen then.
    pub(crate) fn presence_view(&self, user: UserId, last_seen: Option<crate::time::Timestamp>) -> Presence {
        match self.presence(user) {
            Some(status) => Presence { status, last_seen: None },
            None => Presence { status: PresenceStatus::Offline, last_seen },
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
