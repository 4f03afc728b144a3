//! What goes on beside the requests: reconciling with the store, presence, sweeps.
//!
//! The tasks hold the service weakly: they end when the last [`Chat`] is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::error::Result;
use super::{Chat, Inner, Settings};
use crate::hub::{Link, Scope};
use crate::id::{RoomId, SessionId, UserId};
use crate::model::{Seq, Standing};

/// Ids in one query of the store.
const CHUNK: usize = 500;
/// Unfinished changes that are this young are still being made by whoever began them.
const UNSETTLED_AFTER: Duration = Duration::from_secs(10);
const SWEEP_LIMIT: u32 = 200;

pub(crate) fn spawn(chat: &Chat) {
    let Settings { reconcile_every, sweep_every, .. } = chat.inner.settings;
    let panics = &chat.inner.panics;
    let inner = Arc::downgrade(&chat.inner);
    let hub = chat.inner.hub.clone();
    panics.keep("reconciling", {
        let inner = inner.clone();
        move || every(inner.clone(), reconcile_every, async |chat| chat.reconcile_in_time().await)
    });
    panics.keep("sweep", {
        let inner = inner.clone();
        move || every(inner.clone(), sweep_every, async |chat| chat.sweep().await)
    });
    panics.keep("presence", move || presence(inner.clone(), hub.clone()));
}

/// What reconciling has taken.
#[derive(Debug, Default)]
pub(super) struct Reconciling {
    rounds: AtomicU64,
    late: AtomicU64,
    last_micros: AtomicU64,
}

impl Reconciling {
    pub(super) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    pub(super) fn last(&self) -> Duration {
        Duration::from_micros(self.last_micros.load(Ordering::Relaxed))
    }
}

async fn every(inner: Weak<Inner>, period: Duration, work: impl AsyncFn(&Chat) -> Result<()>) {
    let mut ticks = tokio::time::interval(period.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = work(&Chat { inner }).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "upkeep failed and will be tried again");
        }
    }
}

async fn presence(inner: Weak<Inner>, hub: crate::hub::Hub) {
    // Holds the hub alone while it waits, and looks now and then whether the service is still there.
    const LOOK: Duration = Duration::from_secs(30);
    loop {
        let changes = tokio::time::timeout(LOOK, hub.presence_changes()).await.unwrap_or_default();
        let Some(inner) = inner.upgrade() else { return };
        let chat = Chat { inner };
        for change in changes {
            chat.presence_changed(change.user, change.status, change.gone_for).await;
        }
    }
}

impl Chat {
    /// Compares with the store what connected users rely on: that their sessions live, that they read all their rooms, and where the logs of those
    /// rooms end. What another node has done, or a notice that was lost, is found here. Notes how long that took.
    ///
    /// A part that takes too long is given up; the next round begins elsewhere, so that every session and room is reached some time.
    async fn reconcile_in_time(&self) -> Result<()> {
        let began = Instant::now();
        let trust = self.inner.settings.trust;
        let links = self.inner.hub.all();
        let sessions = tokio::time::timeout(trust, self.reconcile_sessions(&links)).await;
        let in_time = tokio::join!(
            tokio::time::timeout(trust / 2, self.reconcile_memberships(&links)),
            tokio::time::timeout(trust / 2, self.reconcile_heads()),
        );
        // Half the time, so that the sessions are looked at again before they are no longer trusted. Each goes on
        // where another fails or takes long: they may be in databases of their own.
        let outcomes = [("sessions", sessions), ("memberships", in_time.0), ("heads", in_time.1)];
        let took = began.elapsed();
        let reconciling = &self.inner.reconciling;
        reconciling.rounds.fetch_add(1, Ordering::Relaxed);
        reconciling.last_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if outcomes.iter().any(|(_, outcome)| outcome.is_err()) {
            reconciling.late.fetch_add(1, Ordering::Relaxed);
        }
        for (what, outcome) in outcomes {
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(what, error, "reconciling failed and will be tried again");
                }
                Err(_) => tracing::error!(what, ?took, "reconciling took longer than sessions are trusted for"),
            }
        }
        Ok(())
    }

    /// Begins each round with what comes a chunk later.
    fn begin_elsewhere<T>(&self, all: &mut [T]) {
        let round = usize::try_from(self.inner.reconciling.rounds()).unwrap_or(0);
        let first = round.saturating_mul(CHUNK).checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(first);
    }

    async fn reconcile_sessions(&self, links: &[Arc<Link>]) -> Result<()> {
        let mut by_session: HashMap<SessionId, (UserId, Vec<&Arc<Link>>)> = HashMap::new();
        for link in links {
            by_session.entry(link.session).or_insert_with(|| (link.user, Vec::new())).1.push(link);
        }
        let ids: Vec<SessionId> = by_session.keys().copied().collect();
        let mut ended = Vec::new();
        for chunk in ids.chunks(CHUNK) {
            let began = Instant::now();
            let alive = self.inner.storage.sessions.alive(chunk, self.now()).await?;
            let alive: std::collections::HashSet<SessionId> = alive.into_iter().map(|session| session.id).collect();
            for id in chunk {
                let Some((user, links)) = by_session.get(id) else { continue };
                if alive.contains(id) {
                    links.iter().for_each(|link| link.trust(began + self.inner.settings.trust));
                } else {
                    ended.push((*user, *id));
                }
            }
            // Closed together, and not waited for: whoever ends a session waits for its sockets, the other sessions must not.
            self.close_sessions(&ended);
            ended.clear();
        }
        Ok(())
    }

    async fn reconcile_memberships(&self, links: &[Arc<Link>]) -> Result<()> {
        let mut users: Vec<UserId> = links.iter().filter(|link| link.scope == Scope::All).map(|l| l.user).collect();
        users.sort_unstable();
        users.dedup();
        self.begin_elsewhere(&mut users);
        for chunk in users.chunks(CHUNK) {
            let mut rooms: HashMap<UserId, Vec<RoomId>> = HashMap::new();
            for (user, room) in self.inner.storage.rooms.rooms_of(chunk).await? {
                rooms.entry(user).or_default().push(room);
            }
            for (user, rooms) in rooms {
                let missing: Vec<_> =
                    self.inner.hub.missing(user, &rooms).into_iter().map(|room| (room, user)).collect();
                if missing.is_empty() {
                    continue;
                }
                for standing in self.inner.storage.rooms.standings(&missing).await? {
                    if let Standing::Member(membership) = standing
                        && let Some(seq) = membership.member.joined_seq.map(Seq::number)
                    {
                        tracing::debug!(%user, room = %membership.room.id, "a room was missed");
                        self.inner.hub.joined(user, membership.room.id, seq);
                    }
                }
            }
        }
        Ok(())
    }

    async fn reconcile_heads(&self) -> Result<()> {
        let mut rooms = self.inner.hub.rooms();
        self.begin_elsewhere(&mut rooms);
        for chunk in rooms.chunks(CHUNK) {
            let heads = self.inner.storage.messages.heads(chunk).await?;
            self.inner.hub.note_heads(heads.into_iter().map(|head| (head.room, head.seq.number())));
        }
        Ok(())
    }

    /// Finishes what somebody was stopped half-way through, and removes what has lapsed.
    async fn sweep(&self) -> Result<()> {
        let now = self.now();
        // First what needs no store: while one is away, nothing is to pile up.
        self.inner.hasher.release_idle();
        self.inner.logins_by_account.forget_idle();
        self.inner.logins_by_strangers.forget_idle();
        self.inner.logins_by_address.forget_idle();
        self.inner.registrations.forget_idle();
        self.inner.password_changes.forget_idle();
        self.inner.email_changes.forget_idle();
        self.inner.connects.forget_idle();
        self.inner.work.forget_idle();
        self.inner.caches.forget_lapsed();
        self.inner.familiar.forget(now, self.inner.settings.tokens.refresh_ttl);
        for room in self.inner.storage.rooms.unsettled(now.minus(UNSETTLED_AFTER), SWEEP_LIMIT).await? {
            tracing::info!(%room, "finishing a change that was left half-way");
            // One room that cannot be settled does not keep the others waiting.
            if let Err(error) = self.settle(room).await {
                tracing::warn!(%room, error = &error as &dyn std::error::Error, "a change was not finished");
            }
        }
        self.inner.storage.sessions.purge(now, SWEEP_LIMIT).await?;
        Ok(())
    }
}
