//! The use cases: one a function, one family a file. Each authorises, decides, appends, and then publishes.
//!
//! [`Chat`] is what a transport calls. It is cheap to clone, and needs a tokio runtime from its making on: it runs the
//! log's writer and a few tasks that keep things in order, until the last clone is dropped or [`Chat::shutdown`].

mod accounts;
mod cache;
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
mod throttle;
mod tokens;
mod upkeep;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use accounts::{LoginInput, ProfileInput, RegisterInput, TokenPair};
pub use error::{AuthFailure, Error, Family, Result, Rule};
pub use friends::{FriendRef, RequestResult};
pub use guard::Principal;
pub use history::HistoryPage;
pub use live::{Hello, ResumeAnswer, RoomStart};
pub use messages::{PendingPost, PostInput, PostReceipt};
pub use room_list::RoomListKey;
pub use rooms::{CreatedRoom, GroupInput, RoomStatus};
pub use settings::{HashSettings, RateLimit, Settings, SigningKey, TokenSettings};
pub use throttle::{Throttle, network};

pub use crate::hub::{HubSettings, HubStats};

use crate::hub::{CloseReason, Hub};
use crate::id::{IdSource, RandomIds, UserId};
use crate::store::Storage;
use crate::time::{Clock, SystemClock, Timestamp};
use committer::{Committer, Options};
use guard::Caches;
use hasher::Hasher;
use markers::Markers;
use throttle::Familiar;
use tokens::Tokens;

pub(crate) struct Inner {
    storage: Storage,
    settings: Settings,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    hub: Hub,
    caches: Arc<Caches>,
    committer: Committer,
    markers: Markers,
    tokens: Tokens,
    hasher: Hasher,
    logins_by_account: Throttle<(String, Option<IpAddr>)>,
    logins_by_strangers: Throttle<String>,
    logins_by_address: Throttle<IpAddr>,
    registrations: Throttle<IpAddr>,
    password_changes: Throttle<UserId>,
    email_changes: Throttle<UserId>,
    familiar: Familiar,
    draining: AtomicBool,
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
        let options = Options {
            queue: settings.append_queue,
            batch: settings.append_batch,
            max_reactions: settings.max_reactions,
        };
        let committer = Committer::spawn(storage.messages.clone(), hub.clone(), caches.clone(), &options);
        let markers = Markers::spawn(storage.rooms.clone(), settings.append_queue, settings.append_batch);
        let inner = Inner {
            tokens: Tokens::new(&settings.tokens),
            hasher: Hasher::new(settings.hashing)?,
            logins_by_account: Throttle::new(settings.logins_per_account),
            logins_by_strangers: Throttle::new(settings.logins_by_strangers),
            logins_by_address: Throttle::new(settings.logins_per_address),
            registrations: Throttle::new(settings.registrations_per_address),
            password_changes: Throttle::new(settings.logins_per_account),
            email_changes: Throttle::new(settings.email_changes_per_user),
            familiar: Familiar::default(),
            storage,
            settings,
            clock,
            ids,
            hub,
            caches,
            committer,
            markers,
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

    /// Password hashes computed since the start, each of them at the full cost of the settings.
    pub fn password_hashes(&self) -> u64 {
        self.inner.hasher.computed()
    }

    /// Now, by the injected clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// A new UUIDv7, from the injected source.
    pub fn new_id(&self) -> uuid::Uuid {
        self.inner.ids.next(self.now())
    }

    /// Whether it is ready to serve: the storage answers, and it is not draining.
    ///
    /// # Errors
    /// `Unavailable` or `Internal` with the first store's error.
    pub async fn ready(&self) -> Result<bool> {
        if self.is_draining() {
            return Ok(false);
        }
        self.inner.storage.ping().await?;
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

    /// Drains, and ends all connections, which waits at most `patience` for their transports.
    pub async fn shutdown(&self, patience: Duration) {
        self.drain();
        self.inner.hub.close(self.inner.hub.all(), CloseReason::Restart, patience).await;
    }
}

impl std::fmt::Debug for Chat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chat").field("hub", &self.inner.hub).finish_non_exhaustive()
    }
}
