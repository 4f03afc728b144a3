//! Which users are connected here, and whether they count as there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Link;
use super::lock;
use crate::id::UserId;
use crate::view::PresenceStatus;

/// A user's presence is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) user: UserId,
    pub(crate) status: PresenceStatus,
    /// For how long they have been gone already.
    pub(crate) gone_for: Duration,
}

#[derive(Default)]
struct Entry {
    links: Vec<Arc<Link>>,
    /// What was last told; `None` before anything was.
    told: Option<PresenceStatus>,
    /// When the last connection went.
    gone: Option<Instant>,
}

impl Entry {
    fn best(&self) -> Option<PresenceStatus> {
        self.links.iter().map(|link| link.presence()).max()
    }
}

#[derive(Default)]
struct State {
    users: HashMap<UserId, Entry>,
    connections: usize,
    dirty: HashSet<UserId>,
    /// Who has gone, oldest first: all wait equally long.
    leaving: VecDeque<(Instant, UserId)>,
}

pub(super) struct Users {
    state: Mutex<State>,
    changed: Notify,
    offline_after: Duration,
}

impl Users {
    pub(super) fn new(offline_after: Duration) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), offline_after }
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.users.len(), state.connections)
    }

    /// Answers whether there was room for it.
    pub(super) fn add(&self, link: Arc<Link>, limit: usize) -> bool {
        let mut state = lock(&self.state);
        let user = link.user;
        let entry = state.users.entry(user).or_default();
        if entry.links.len() >= limit {
            return false;
        }
        entry.links.push(link);
        entry.gone = None;
        state.connections += 1;
        state.dirty.insert(user);
        self.changed.notify_one();
        true
    }

    pub(super) fn remove(&self, link: &Arc<Link>) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let Some(entry) = state.users.get_mut(&link.user) else { return };
        let before = entry.links.len();
        entry.links.retain(|other| other.id != link.id);
        if entry.links.len() == before {
            return;
        }
        if entry.links.is_empty() {
            entry.gone = Some(now);
            state.leaving.push_back((now + self.offline_after, link.user));
        } else {
            state.dirty.insert(link.user);
        }
        state.connections -= 1;
        self.changed.notify_one();
    }

    pub(super) fn set_presence(&self, link: &Arc<Link>, status: PresenceStatus) {
        link.set_presence(status);
        lock(&self.state).dirty.insert(link.user);
        self.changed.notify_one();
    }

    pub(super) fn links(&self, user: UserId) -> Vec<Arc<Link>> {
        lock(&self.state).users.get(&user).map(|entry| entry.links.clone()).unwrap_or_default()
    }

    pub(super) fn all_links(&self) -> Vec<Arc<Link>> {
        lock(&self.state).users.values().flat_map(|entry| entry.links.iter().cloned()).collect()
    }

    /// `None`: not there. Who has just gone still counts with what was last told.
    pub(super) fn presence(&self, user: UserId) -> Option<PresenceStatus> {
        let state = lock(&self.state);
        let entry = state.users.get(&user)?;
        entry.best().or(entry.told).or(Some(PresenceStatus::Online))
    }

    /// Waits until somebody's presence has changed.
    pub(super) async fn changes(&self) -> Vec<Change> {
        loop {
            let (changes, next) = self.take_changes(Instant::now());
            if !changes.is_empty() {
                return changes;
            }
            match next {
                Some(at) => {
                    // Whichever comes first, the state is looked at again.
                    let _ = tokio::time::timeout_at(at, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    fn take_changes(&self, now: Instant) -> (Vec<Change>, Option<Instant>) {
        let mut state = lock(&self.state);
        let mut changes = Vec::new();
        for user in std::mem::take(&mut state.dirty) {
            let Some(entry) = state.users.get_mut(&user) else { continue };
            let Some(status) = entry.best() else { continue };
            if entry.told != Some(status) {
                entry.told = Some(status);
                changes.push(Change { user, status, gone_for: Duration::ZERO });
            }
        }
        while let Some(&(deadline, user)) = state.leaving.front() {
            if deadline > now {
                break;
            }
            state.leaving.pop_front();
            let due = state
                .users
                .get(&user)
                .and_then(|entry| entry.gone)
                .is_some_and(|gone| gone + self.offline_after <= now);
            if due && let Some(entry) = state.users.remove(&user) {
                let gone_for = entry.gone.map_or(Duration::ZERO, |gone| now.duration_since(gone));
                changes.push(Change { user, status: PresenceStatus::Offline, gone_for });
            }
        }
        let next = state.leaving.front().map(|(deadline, _)| *deadline);
        (changes, next)
    }
}
