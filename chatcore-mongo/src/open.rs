//! Opening a store.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chatcore::id::RoomId;
use chatcore::store::{Storage, StoreResult};
use mongodb::bson::doc;
use mongodb::options::{
    Acknowledgment, ClientOptions, ConnectionString, DatabaseOptions, DriverInfo, ReadConcern, ReadPreference,
    SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection, Database};
use tokio::sync::{Mutex, MutexGuard};

use crate::abandoned::LIBRARY;
use crate::indexes;

/// MongoDB 6.0.
const WIRE_VERSION: i32 = 17;

/// Locks that rooms share. More than calls that are under way at once.
const LOCKS: usize = 64;

/// Where a store is and how it is opened.
#[derive(Clone)]
pub struct MongoOptions {
    url: ConnectionString,
    database: String,
    deadline: Duration,
    abandoned_after: Duration,
    server_selection_timeout: Duration,
    connect_timeout: Duration,
    max_pool_size: u32,
    app_name: String,
}

impl MongoOptions {
    /// From the driver's own URL: `mongodb://HOST,HOST/DATABASE?replicaSet=NAME` or `mongodb+srv://HOST/DATABASE`. Without a
    /// database in it, that is `chatcore`.
    ///
    /// What the URL says of timeouts, the size of the pool and the name of the program replaces the defaults below. What it
    /// says of read concern, write concern and read preference is left out: the contract of the stores rests on them.
    ///
    /// # Errors
    /// [`OpenError::Url`].
    pub fn from_url(url: &str) -> Result<Self, OpenError> {
        let parsed = ConnectionString::parse(url).map_err(|error| OpenError::Url(reason(&error)))?;
        Ok(Self {
            database: parsed.default_database.clone().unwrap_or_else(|| "chatcore".to_owned()),
            deadline: Duration::from_secs(10),
            abandoned_after: Duration::from_secs(5),
            server_selection_timeout: parsed.server_selection_timeout.unwrap_or(Duration::from_secs(5)),
            connect_timeout: parsed.connect_timeout.unwrap_or(Duration::from_secs(5)),
            max_pool_size: parsed.max_pool_size.unwrap_or(32),
            app_name: parsed.app_name.clone().unwrap_or_else(|| "chatcore".to_owned()),
            url: parsed,
        })
    }

    /// Another database than the URL's.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = name.into();
        self
    }

    /// How long a call is tried before it answers that the database is unavailable. Default: 10 s.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long nothing may happen in a transaction of this library before other processes, which it keeps from writing, end it: that of a process
    /// which was killed or cut off in the middle of it. Default: 5 s; at least 1 s. (Without them the server ends it, after a minute.)
    #[must_use]
    pub fn abandoned_after(mut self, time: Duration) -> Self {
        self.abandoned_after = time.max(Duration::from_secs(1));
        self
    }

    /// How long one attempt waits for a primary. Default: 5 s.
    #[must_use]
    pub fn server_selection_timeout(mut self, timeout: Duration) -> Self {
        self.server_selection_timeout = timeout;
        self
    }

    /// How long a connection may take to be made. Default: 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connections to one server at most; at least 1. Default: 32.
    #[must_use]
    pub fn max_pool_size(mut self, connections: u32) -> Self {
        self.max_pool_size = connections.max(1);
        self
    }

    /// What the server's logs call this program. Default: `chatcore`.
    #[must_use]
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app_name = name.into();
        self
    }

    async fn client_options(&self) -> Result<ClientOptions, mongodb::error::Error> {
        let mut options = ClientOptions::parse(self.url.clone()).await?;
        options.server_selection_timeout = Some(self.server_selection_timeout);
        options.connect_timeout = Some(self.connect_timeout);
        options.max_pool_size = Some(self.max_pool_size);
        options.app_name = Some(self.app_name.clone());
        options.driver_info =
            Some(DriverInfo::builder().name(LIBRARY).version(env!("CARGO_PKG_VERSION").to_owned()).build());
        options.retry_reads = Some(true);
        options.retry_writes = Some(true);
        // What has been acknowledged, and what has been read, survives any failover.
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.read_concern = None;
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        Ok(options)
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for MongoOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoOptions")
            .field("database", &self.database)
            .field("deadline", &self.deadline)
            .field("abandoned_after", &self.abandoned_after)
            .field("server_selection_timeout", &self.server_selection_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("max_pool_size", &self.max_pool_size)
            .field("app_name", &self.app_name)
            .finish_non_exhaustive()
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not the URL of a MongoDB database.
    #[error("not the URL of a MongoDB database (`mongodb://HOST/DATABASE?replicaSet=NAME`): {0}")]
    Url(String),
    /// A server on its own, which has no transactions.
    #[error(
        "the server is not part of a replica set, and without one MongoDB has no transactions. One node is enough: \
         start it with `mongod --replSet rs0`, and then run `rs.initiate()` in mongosh, once"
    )]
    Standalone,
    /// The server is older than MongoDB 6.0.
    #[error("the server is older than MongoDB 6.0")]
    TooOld,
    /// The database has been written by a newer version of this library.
    #[error("the database has schema version {found}, and this version of chatcore knows only up to {known}")]
    Newer {
        /// The version of the database.
        found: i64,
        /// The latest version that is known.
        known: i64,
    },
    /// The server does not answer, or refuses what opening a store needs.
    #[error("the database could not be opened")]
    Database(#[from] mongodb::error::Error),
}

/// What the driver says of a URL, without the words that every error of its begins with.
fn reason(error: &mongodb::error::Error) -> String {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::InvalidArgument { message, .. } => message.clone(),
        kind => kind.to_string(),
    }
}

/// A store in MongoDB. Cheap to clone.
#[derive(Clone)]
pub struct MongoStore {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    /// Reads what a majority holds.
    database: Database,
    /// The same in a session of one moment, and in transactions, which have a read concern of their own.
    snapshot: Database,
    deadline: Duration,
    abandoned_after: Duration,
    /// When this process last looked for abandoned transactions.
    last_look: std::sync::Mutex<Option<Instant>>,
    locks: [Mutex<()>; LOCKS],
}

impl MongoStore {
    /// Opens a store, and makes its collections and indexes where they are not there yet.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: &MongoOptions) -> Result<Self, OpenError> {
        let client = Client::with_options(options.client_options().await?)?;
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await?;
        if !hello.contains_key("setName") && !hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
            return Err(OpenError::Standalone);
        }
        if hello.get_i32("maxWireVersion").unwrap_or(0) < WIRE_VERSION {
            return Err(OpenError::TooOld);
        }
        let database = |concern| {
            let concern = DatabaseOptions::builder().read_concern(concern).build();
            client.database_with_options(&options.database, concern)
        };
        let (snapshot, database) = (database(ReadConcern::snapshot()), database(ReadConcern::majority()));
        indexes::prepare(&database).await?;
        let locks = std::array::from_fn(|_| Mutex::new(()));
        let inner = Inner {
            client,
            database,
            snapshot,
            deadline: options.deadline,
            abandoned_after: options.abandoned_after,
            last_look: std::sync::Mutex::default(),
            locks,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the store at that URL; see [`MongoOptions::from_url`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::open(&MongoOptions::from_url(url)?).await
    }

    /// All five stores from this one.
    pub fn storage(&self) -> Storage {
        Storage::single(Arc::new(self.clone()))
    }

    /// Waits for what is under way, as long as a call may take, and closes the connections, of all clones. To be called before the runtime ends: the
    /// driver says goodbye to the server from a task of its own.
    pub async fn close(&self) {
        let client = || self.inner.client.clone();
        // The driver waits for whatever still has a session, for ever if others keep on asking.
        if tokio::time::timeout(self.deadline(), client().shutdown()).await.is_err() {
            client().shutdown().immediate(true).await;
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.inner.deadline
    }

    pub(crate) fn abandoned_after(&self) -> Duration {
        self.inner.abandoned_after
    }

    pub(crate) fn last_look(&self) -> &std::sync::Mutex<Option<Instant>> {
        &self.inner.last_look
    }

    /// A collection, for reads of what a majority holds and for writes.
    pub(crate) fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.inner.database.collection(name)
    }

    /// The same for reads in a session of [`MongoStore::snapshot`](Self::snapshot).
    pub(crate) fn frozen<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.inner.snapshot.collection(name)
    }

    /// Keeps the writers of this process to those rooms apart. The database keeps all writers apart, but by failing all of
    /// them but one, which then have to begin anew.
    pub(crate) async fn lock(&self, rooms: impl IntoIterator<Item = RoomId>) -> Vec<MutexGuard<'_, ()>> {
        let mut places: Vec<usize> =
            rooms.into_iter().map(|room| usize::from(room.uuid().as_bytes()[15]) % LOCKS).collect();
        // In one order, so that nobody waits in a circle.
        places.sort_unstable();
        places.dedup();
        let mut guards = Vec::with_capacity(places.len());
        for place in places {
            guards.push(self.inner.locks[place].lock().await);
        }
        guards
    }

    /// Whether the server answers.
    pub(crate) async fn answers(&self) -> StoreResult<()> {
        self.ask(|| async {
            self.database().run_command(doc! { "ping": 1 }).await?;
            Ok(())
        })
        .await
    }
}

impl fmt::Debug for MongoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoStore").field("database", &self.inner.database.name()).finish_non_exhaustive()
    }
}
