//! The use cases: one a function, one family a file. Each authorises, decides, appends, and then publishes.
//!
//! [`Chat`] is what a transport calls. It is cheap to clone, and needs a tokio runtime from its making on: it runs the
//! log's writer and a few tasks that keep things in order, until the last clone is dropped or [`Chat::shutdown`].

mod accounts;
mod cache;
#[cfg(test)]
mod cache_tests;
mod committer;
mod error;
mod friends;
mod guard;
mod hasher;
mod history;
mod live;
mod markers;
mod members;
mod messages;
mod people;
mod presence;
mod reads;
mod room_list;
mod rooms;
mod sessions;
mod settings;
mod supervise;
mod throttle;
mod tokens;
mod turns;
mod upkeep;
mod work;

/// The locks of what is modelled, which the models replace.
mod sync {
    pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use accounts::{LoginInput, ProfileInput, RegisterInput, TokenPair};
pub use error::{AuthFailure, Budget, Error, Family, Result, Rule};
pub use friends::{FriendRef, RequestResult};
pub use guard::Principal;
pub use history::HistoryPage;
pub use live::{Hello, ResumeAnswer, RoomStart};
pub use messages::{PendingPost, PostInput, PostReceipt};
pub use room_list::RoomListKey;
pub use rooms::{CreatedRoom, GroupInput, RoomStatus};
pub use settings::{HashSettings, RateLimit, Settings, SigningKey, TokenSettings};
pub use throttle::{ClientKey, Throttle};

pub use crate::hub::{HubSettings, HubStats};

use crate::hub::{CloseReason, Hub};
use crate::id::{IdSource, RandomIds, UserId};
use crate::store::Storage;
use crate::time::{Clock, SystemClock, Timestamp};
use committer::{Committer, Options};
use guard::{Caches, Guard};
use hasher::Hasher;
use markers::Markers;
use supervise::Panics;
use throttle::Familiar;
use tokens::Tokens;
use tokio_util::task::TaskTracker;
use turns::Turns;
use upkeep::Reconciling;

pub(crate) struct Inner {
    storage: Storage,
    settings: Settings,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    hub: Hub,
    caches: Arc<Caches>,
    guard: Arc<Guard>,
    panics: Panics,
    committer: Committer,
    markers: Markers,
    tokens: Tokens,
    hasher: Hasher,
    logins_by_account: Throttle<(String, ClientKey)>,
    logins_by_strangers: Throttle<String>,
    logins_by_address: Throttle<ClientKey>,
    registrations: Throttle<ClientKey>,
    password_changes: Throttle<UserId>,
    email_changes: Throttle<UserId>,
    connects: Throttle<UserId>,
    work: Throttle<UserId>,
    familiar: Familiar,
    reconciling: Reconciling,
    settling: Turns,
    /// Those that go on to their end, see [`Chat::to_its_end`].
    changes: TaskTracker,
    draining: AtomicBool,
}

/// How long the writer of the logs may take to answer that it is there.
const WRITER_ANSWERS: Duration = Duration::from_secs(2);

/// The state of the service's own tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vitals {
    /// Drafts that wait for the log.
    pub drafts_waiting: usize,
    /// Panics of tasks since the start. Each task was begun again.
    pub task_panics: u64,
    /// Comparisons with the store since the start.
    pub reconciles: u64,
    /// Those that took longer than [`Settings::trust`] and were given up. Sockets fall silent meanwhile.
    pub reconciles_late: u64,
    /// How long the latest comparison took.
    pub last_reconcile: Duration,
}

/// A chat backend: all use cases over a [`Storage`].
#[derive(Clone)]
pub struct Chat {
    pub(crate) inner: Arc<Inner>,
}

/// Puts a [`Chat`] together.
pub struct Builder {
    storage: Storage,
    settings: Settings,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl Builder {
    /// Tells the time by another clock than the operating system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes ids from another source than the operating system's randomness.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Starts it. Call it within a tokio runtime.
    ///
    /// # Errors
    /// `Internal` when the settings of password hashing are out of Argon2's range.
    pub fn start(self) -> Result<Chat> {
        let Self { storage, settings, clock, ids } = self;
        let storage = storage.within(settings.store_deadline);
        let hub = Hub::new(settings.hub.clone(), storage.messages.clone());
        let caches = Arc::new(Caches::new(settings.trust));
        let guard = Arc::new(Guard::new(storage.clone(), clock.clone(), caches.clone()));
        let panics = Panics::default();
        let options = Options {
            queue: settings.append_queue,
            queue_per_user: settings.append_queue_per_user,
            batch: settings.append_batch,
            share: settings.append_share,
            max_reactions: settings.max_reactions,
        };
        let committer = Committer::spawn(storage.messages.clone(), hub.clone(), guard.clone(), &panics, &options);
        let markers = Markers::spawn(storage.rooms.clone(), &panics, settings.append_queue, settings.append_batch);
        let inner = Inner {
            tokens: Tokens::new(&settings.tokens)?,
            hasher: Hasher::new(settings.hashing)?,
            logins_by_account: Throttle::new(Budget::Logins, settings.logins_per_account.map(RateLimit::half)),
            logins_by_strangers: Throttle::new(Budget::Logins, settings.logins_by_strangers.map(RateLimit::half)),
            logins_by_address: Throttle::new(Budget::Logins, settings.logins_per_address),
            registrations: Throttle::new(Budget::Registrations, settings.registrations_per_address),
            password_changes: Throttle::new(Budget::PasswordChanges, settings.logins_per_account),
            email_changes: Throttle::new(Budget::EmailChanges, settings.email_changes_per_user),
            connects: Throttle::new(Budget::Handshakes, settings.connects_per_user),
            work: Throttle::new(Budget::Work, settings.work_per_user),
            familiar: Familiar::default(),
            changes: TaskTracker::new(),
            storage,
            settings,
            clock,
            ids,
            hub,
            caches,
            guard,
            panics,
            committer,
            markers,
            reconciling: Reconciling::default(),
            settling: Turns::default(),
            draining: AtomicBool::new(false),
        };
        let chat = Chat { inner: Arc::new(inner) };
        upkeep::spawn(&chat);
        Ok(chat)
    }
}

impl Chat {
    /// Begins to put one together.
    pub fn builder(storage: Storage, settings: Settings) -> Builder {
        Builder { storage, settings, clock: Arc::new(SystemClock), ids: Arc::new(RandomIds::default()) }
    }

    /// What was set.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// What the hub holds at the moment.
    pub fn stats(&self) -> HubStats {
        self.inner.hub.stats()
    }

    /// Returns how the service's own tasks do.
    pub fn vitals(&self) -> Vitals {
        let Inner { committer, panics, reconciling, .. } = &*self.inner;
        Vitals {
            drafts_waiting: committer.waiting(),
            task_panics: panics.count(),
            reconciles: reconciling.rounds(),
            reconciles_late: reconciling.late(),
            last_reconcile: reconciling.last(),
        }
    }

    /// Sizes of the maps that grow with what clients do, by name, for a host's metrics.
    pub fn map_sizes(&self) -> Vec<(&'static str, usize)> {
        let inner = &self.inner;
        vec![
            ("logins_by_account", inner.logins_by_account.len()),
            ("logins_by_strangers", inner.logins_by_strangers.len()),
            ("logins_by_address", inner.logins_by_address.len()),
            ("registrations_by_address", inner.registrations.len()),
            ("password_changes_by_user", inner.password_changes.len()),
            ("email_changes_by_user", inner.email_changes.len()),
            ("cached_sessions", inner.caches.sessions.len()),
            ("cached_memberships", inner.caches.standings.len()),
            ("cached_blocks", inner.caches.relations.len()),
            ("handshakes_by_user", inner.connects.len()),
            ("work_by_user", inner.work.len()),
            ("rooms_settling", inner.settling.len()),
            ("familiar_addresses", inner.familiar.len()),
        ]
    }

    /// Password hashes computed since the start, each of them at the full cost of the settings.
    pub fn password_hashes(&self) -> u64 {
        self.inner.hasher.computed()
    }

    /// Bytes of memory that password hashing holds at the moment: at most [`HashSettings::workers`] times
    /// [`HashSettings::memory_kib`], and none after a while without any login.
    pub fn password_memory(&self) -> u64 {
        self.inner.hasher.memory()
    }

    /// Now, by the injected clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// A new UUIDv7, from the injected source.
    pub fn new_id(&self) -> uuid::Uuid {
        self.inner.ids.next(self.now())
    }

    /// Returns whether it is ready to serve: the storage and the writer of the logs answer, and it is not draining.
    ///
    /// # Errors
    /// `Unavailable` or `Internal` with the first store's error; `Unavailable` when the writer does not answer within 2 s.
    pub async fn ready(&self) -> Result<bool> {
        if self.is_draining() {
            return Ok(false);
        }
        self.inner.storage.ping().await?;
        self.inner.committer.probe(WRITER_ANSWERS).await?;
        Ok(true)
    }

    /// Whether [`Chat::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// From here on it is not ready any more. Existing connections go on.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Drains, ends all connections, and lets the changes that are under way come to their end, those of clients that have gone too. Waits
    /// at most `patience` for all of that.
    pub async fn shutdown(&self, patience: Duration) {
        self.drain();
        let closed = self.inner.hub.close(self.inner.hub.all(), CloseReason::Restart, patience);
        let changed = async {
            self.inner.changes.close();
            if tokio::time::timeout(patience, self.inner.changes.wait()).await.is_err() {
                let left = self.inner.changes.len();
                tracing::warn!(left, "changes are still being made, and may be left half-way");
            }
        };
        futures::join!(closed, changed);
    }
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat").field("hub", &self.inner.hub).finish_non_exhaustive()
    }
}
