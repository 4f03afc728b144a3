//! Opening a store.

use std::sync::Arc;
use std::time::Duration;

use chatcore::store::Storage;
use log::LevelFilter;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::pool::PoolOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, MySql, Pool};

use super::migrate;
use crate::OpenError;

/// Where a server is and how its connections are kept.
#[derive(Debug, Clone)]
pub struct MySqlOptions {
    connect: MySqlConnectOptions,
    writers: u32,
    readers: u32,
    acquire_timeout: Duration,
    lock_timeout: Duration,
    idle_timeout: Duration,
    max_lifetime: Duration,
}

impl MySqlOptions {
    /// From a URL: `mysql://USER:PASSWORD@HOST:PORT/DATABASE`; `mariadb://` is the same. Settings of the connection follow a `?`:
    /// `ssl-mode` (`DISABLED`, `PREFERRED`, the default, `REQUIRED`, `VERIFY_CA`, `VERIFY_IDENTITY`), `ssl-ca`, `ssl-cert`,
    /// `ssl-key` (files), `socket` (of a server on this machine), `statement-cache-capacity`.
    ///
    /// Version 0.9.0 of the driver leaves Nagle's algorithm on ([sqlx#4335](https://github.com/transact-rs/sqlx/issues/4335)), so that over TLS
    /// a message of more than one record may wait 40 ms: large batches and long answers suffer. On a network that is trusted,
    /// `ssl-mode=DISABLED` or a `socket` avoids that until a release has the fix.
    ///
    /// # Errors
    /// [`OpenError::Url`], also for a setting that there is not, and where the database is not named.
    pub fn from_url(url: &str) -> Result<Self, OpenError> {
        let wrong = || OpenError::Url { expected: "mysql://USER:PASSWORD@HOST:PORT/DATABASE" };
        let rest = url.strip_prefix("mysql://").or_else(|| url.strip_prefix("mariadb://")).ok_or_else(wrong)?;
        let (place, settings) = rest.split_once('?').unwrap_or((rest, ""));
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let name = setting.split('=').next().unwrap_or_default();
            if !SETTINGS.contains(&name) {
                return Err(wrong());
            }
        }
        if place.split_once('/').is_none_or(|(_, database)| database.is_empty()) {
            return Err(wrong());
        }
        let connect: MySqlConnectOptions = format!("mysql://{rest}").parse().map_err(|_| wrong())?;
        Ok(Self::new(connect))
    }

    /// From the driver's own options, which must name a database.
    pub fn new(connect: MySqlConnectOptions) -> Self {
        // Nothing here depends on a time zone; times are numbers.
        // Statements of an append hold what people write, so they are no matter for a log.
        let connect = connect.log_statements(LevelFilter::Trace).log_slow_statements(LevelFilter::Off, Duration::MAX);
        let connect = connect.charset("utf8mb4").pipes_as_concat(false).no_engine_substitution(true);
        Self {
            connect: connect.statement_cache_capacity(256),
            writers: 8,
            readers: 16,
            acquire_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(30),
            max_lifetime: Duration::from_secs(1800),
        }
    }

    /// Connections that write, at most; at least 2. Default: 8.
    #[must_use]
    pub fn writers(mut self, writers: u32) -> Self {
        self.writers = writers.max(2);
        self
    }

    /// Connections that read, at most; at least 1. Default: 16.
    #[must_use]
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// How long a call waits for a connection. Default: 10 s.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// How long a statement waits for a lock that another node holds; whole seconds, at least one. Default: 2 s.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout.max(Duration::from_secs(1));
        self
    }

    /// How long an unused connection is kept; whole seconds, at least one. Default: 30 s.
    ///
    /// The server gives a connection up after twice that, and so the locks of a node which has vanished from the network in the middle of a
    /// transaction; its own default is eight hours.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout.max(Duration::from_secs(1));
        self
    }

    /// How long a connection is kept at all. Default: 30 minutes.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = lifetime;
        self
    }

    fn pool(&self, connections: u32, isolation: &'static str) -> PoolOptions<MySql> {
        let session = format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL {isolation}; SET SESSION innodb_lock_wait_timeout = {}, wait_timeout = {}",
            self.lock_timeout.as_secs(),
            self.idle_timeout.as_secs().saturating_mul(2).min(WAIT_TIMEOUT_MAX)
        );
        PoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(self.acquire_timeout)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(self.max_lifetime)
            // A question and an answer before every step would cost more than some steps. What was in use a moment ago most likely still
            // works, and where it does not, a write is made again and a read answered as unavailable.
            .test_before_acquire(false)
            .before_acquire(|connection: &mut MySqlConnection, meta| {
                Box::pin(async move { Ok(meta.idle_for < FRESH || connection.ping().await.is_ok()) })
            })
            .after_connect(move |connection: &mut MySqlConnection, _| {
                let session = session.clone();
                Box::pin(async move { connection.execute(AssertSqlSafe(session)).await.map(drop) })
            })
    }
}

/// Seconds; what the servers take on every system.
const WAIT_TIMEOUT_MAX: u64 = 2_147_483;
/// A connection that was in use so lately is not asked whether it still works.
const FRESH: Duration = Duration::from_secs(1);

/// What may follow the `?` of a URL.
const SETTINGS: &[&str] = &[
    "ssl-mode",
    "sslmode",
    "ssl-ca",
    "sslca",
    "ssl-cert",
    "sslcert",
    "ssl-key",
    "sslkey",
    "socket",
    "statement-cache-capacity",
];

/// A store in MySQL (8.4 and later) or MariaDB (10.11 and later). Cheap to clone.
#[derive(Debug, Clone)]
pub struct MySqlStore {
    /// Connections at READ COMMITTED.
    pub(super) writer: Pool<MySql>,
    /// Connections at REPEATABLE READ.
    pub(super) reader: Pool<MySql>,
}

impl MySqlStore {
    /// Opens a store, and brings its schema up to date. The database must be there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: &MySqlOptions) -> Result<Self, OpenError> {
        let writer = options.pool(options.writers, "READ COMMITTED").connect_with(options.connect.clone()).await?;
        migrate::run(&writer).await?;
        let reader = options.pool(options.readers, "REPEATABLE READ").connect_lazy_with(options.connect.clone());
        Ok(Self { writer, reader })
    }

    /// Opens the store at that URL; see [`MySqlOptions::from_url`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::open(&MySqlOptions::from_url(url)?).await
    }

    /// All five stores from this one.
    pub fn storage(&self) -> Storage {
        Storage::single(Arc::new(self.clone()))
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}
