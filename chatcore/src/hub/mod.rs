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

use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(crate) use connection::{Begin, Link};
pub use connection::{CloseReason, Connection, Delivery, Scope};
pub use signal::{Signal, SignalKind};
pub use tail::{Logged, TailLimits};

use crate::id::{ConnectionId, RoomId, SessionId, UserId};
use crate::model::{Event, LogRange};
use crate::store::MessageStore;
use crate::view::{Presence, PresenceStatus};
use presence::Users;
use registry::Registry;
use topic::{CatchUp, Fill, Topic};

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
    /// Rooms that wait for a connection to begin them, because the user has come into them while its client did not read; further ones are
    /// offered again by reconciling. Default: 1024.
    pub joins: usize,
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
            joins: 1024,
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
        self.inner.topics.enter(room, || Topic::new(room), |topic| topic.add(link))
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
            let grown = topic.publish(run, self.inner.settings.tail, self.over_budget());
            self.inner.tail_bytes.fetch_add(grown, Ordering::Relaxed);
        }
    }

    /// Whether all tails together take more than they may.
    fn over_budget(&self) -> bool {
        self.inner.tail_bytes.load(Ordering::Relaxed) > self.inner.settings.tail_budget.cast_signed()
    }

    /// Shows a topic what was read of its log.
    fn absorb(&self, topic: &Topic, events: &[Arc<Logged>]) {
        let grown = topic.absorb(events, self.inner.settings.tail, self.over_budget());
        self.inner.tail_bytes.fetch_add(grown, Ordering::Relaxed);
    }

    /// An append ended in doubt: whoever listens to these rooms looks into the store.
    pub(crate) fn suspect(&self, room: RoomId) {
        if let Some(topic) = self.existing_topic(room) {
            topic.suspect();
        }
    }

    /// The store holds events of these rooms up to there. What of them has not been looked at here, because another node has appended it or
    /// its notice was lost, is read in a task of its own.
    pub(crate) fn note_heads(&self, heads: impl IntoIterator<Item = (RoomId, u64)>) {
        let note = |(room, head): (RoomId, u64)| self.existing_topic(room)?.note_head(head);
        let fills: Vec<Fill> = heads.into_iter().filter_map(note).collect();
        if !fills.is_empty() {
            tokio::spawn(self.clone().fill_all(fills));
        }
    }

    /// The store holds an event that this node will not publish. What its tail held is given to nobody any more.
    pub(crate) fn note_unpublished(&self, room: RoomId, seq: u64) {
        self.note_heads([(room, seq)]);
        if let Some(topic) = self.existing_topic(room) {
            self.inner.tail_bytes.fetch_add(topic.drop_stale(), Ordering::Relaxed);
        }
    }

    async fn fill_all(self, fills: Vec<Fill>) {
        let at_once = self.inner.settings.catch_up_reads.max(1);
        futures::stream::iter(fills).for_each_concurrent(at_once, |fill| self.fill(fill)).await;
    }

    /// Looks at the log of a room to its end, so that deletions reach the tail and removals the listeners, even if no listener reads.
    async fn fill(&self, fill: Fill) {
        let topic = fill.topic();
        let mut last = None;
        while let Some(after) = fill.next().filter(|after| last.replace(*after) != Some(*after)) {
            // Never closed.
            let Ok(permit) = self.inner.catch_up.acquire().await else { return };
            let range = LogRange::After(after);
            let page = self.inner.messages.events(topic.room, range, self.inner.settings.catch_up_page).await;
            drop(permit);
            match page {
                Ok(page) if !page.events.is_empty() => {
                    let events: Vec<_> = page.events.into_iter().map(|event| Arc::new(Logged::new(event))).collect();
                    self.absorb(topic, &events);
                }
                Ok(_) => return,
                Err(error) => {
                    // The next reconciling tries again.
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(room = %topic.room, after, error, "the log of a room was not looked at");
                    self.inner.tail_bytes.fetch_add(topic.drop_stale(), Ordering::Relaxed);
                    return;
                }
            }
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

    /// How many connections of these users, who are sorted, listen to a room.
    pub(crate) fn listener_count(&self, room: RoomId, users: &[UserId]) -> usize {
        self.members_listening(room).iter().filter(|user| users.binary_search(user).is_ok()).count()
    }

    /// The members whose connections listen to a room, each as often as they have some.
    pub(crate) fn members_listening(&self, room: RoomId) -> Vec<UserId> {
        let mut users = Vec::new();
        if let Some(topic) = self.existing_topic(room) {
            topic.each_member(|link| users.push(link.user));
        }
        users
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

    /// Sends a signal to those of these users, who are sorted, that listen to a room.
    pub(crate) fn signal_room(&self, room: RoomId, to: &[UserId], signal: &Arc<Signal>) {
        let Some(topic) = self.existing_topic(room) else { return };
        topic.each_member(|link| {
            if to.binary_search(&link.user).is_ok() {
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
        topic.each_member(|link| {
            if link.scope == Scope::Room(room) && !hidden_from.contains(&link.user) {
                self.push(link, signal);
            }
        });
    }

    /// The users whose sockets listen to this one room alone.
    pub(crate) fn room_socket_users(&self, room: RoomId) -> Vec<UserId> {
        let mut users = Vec::new();
        if let Some(topic) = self.existing_topic(room) {
            topic.each_member(|link| {
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
                link.joined(room, seq, self.inner.settings.joins);
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
            let listens = |link: &Link| topic.as_ref().is_some_and(|topic| topic.listens(link.id));
            started.iter().any(|link| !listens(link) && link.misses(*room))
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
