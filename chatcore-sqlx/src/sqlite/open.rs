//! Opening a store.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chatcore::store::Storage;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Pool, Sqlite};

use super::migrate;
use crate::OpenError;

/// When SQLite waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// At every commit: what was acknowledged survives a loss of power.
    #[default]
    Full,
    /// At checkpoints alone: what was acknowledged survives a crash of the process, but the last of it not a loss of power.
    Normal,
}

/// Where a store is and how it is opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    path: Option<PathBuf>,
    synchronous: Synchronous,
    busy_timeout: Duration,
    readers: u32,
    acquire_timeout: Duration,
}

impl SqliteOptions {
    fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(5),
            readers: 4,
            acquire_timeout: Duration::from_secs(10),
        }
    }

    /// A file, made when it is not there, as long as its folder is.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Some(path.into()))
    }

    /// A database of its own in memory, gone with the store.
    pub fn memory() -> Self {
        Self::new(None)
    }

    /// From a URL: `sqlite:FILE`, `sqlite://FILE` or `sqlite::memory:`.
    ///
    /// # Errors
    /// [`OpenError::Url`].
    pub fn from_url(url: &str) -> Result<Self, OpenError> {
        let wrong = || OpenError::Url { expected: "sqlite:FILE or sqlite::memory:" };
        let rest = url.strip_prefix("sqlite:").ok_or_else(wrong)?;
        match rest.strip_prefix("//").unwrap_or(rest) {
            ":memory:" => Ok(Self::memory()),
            "" => Err(wrong()),
            path if path.contains('?') => Err(wrong()),
            path => Ok(Self::file(path)),
        }
    }

    /// When SQLite waits for the disk. Default: at every commit.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long a writer waits for one in another process. Default: 5 s.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Connections that read, at most; at least 1. In memory there is one connection for all. Default: 4.
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

    fn connect_options(&self) -> Result<SqliteConnectOptions, sqlx::Error> {
        let synchronous = match self.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        };
        let options = match &self.path {
            Some(path) => {
                SqliteConnectOptions::new().filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal)
            }
            None => SqliteConnectOptions::from_str("sqlite::memory:")?,
        };
        Ok(options
            .synchronous(synchronous)
            .foreign_keys(true)
            .busy_timeout(self.busy_timeout)
            // A deleted body is to be gone from the file too, not only from sight.
            .pragma("secure_delete", "ON")
            .statement_cache_capacity(256))
    }
}

/// A store in SQLite. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    /// One connection: SQLite has one writer.
    pub(super) writer: Pool<Sqlite>,
    pub(super) reader: Pool<Sqlite>,
}

impl SqliteStore {
    /// Opens a store, and brings its schema up to date.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: &SqliteOptions) -> Result<Self, OpenError> {
        let connect = options.connect_options()?;
        let pool = |connections: u32| {
            PoolOptions::<Sqlite>::new()
                .max_connections(connections)
                .acquire_timeout(options.acquire_timeout)
                // A database in memory lives as long as its connection, and none of the others costs anything.
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let writer = pool(1).min_connections(1).connect_with(connect.clone()).await?;
        migrate::run(&writer).await?;
        let reader = match options.path {
            Some(_) => pool(options.readers).connect_lazy_with(connect.read_only(true)),
            None => writer.clone(),
        };
        Ok(Self { writer, reader })
    }

    /// Opens the store at that URL: `sqlite:FILE` or `sqlite::memory:`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::open(&SqliteOptions::from_url(url)?).await
    }

    /// All five stores from this one.
    pub fn storage(&self) -> Storage {
        Storage::single(Arc::new(self.clone()))
    }

    /// The settings that durability rests on, as the database has them: name and value.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pragmas(&self) -> Result<[(&'static str, String); 3], OpenError> {
        let mut connection = self.writer.acquire().await?;
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
        let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *connection).await?;
        Ok([
            ("journal_mode", journal),
            ("synchronous", synchronous.to_string()),
            ("foreign_keys", foreign_keys.to_string()),
        ])
    }

    /// Waits for what is under way and closes the database.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}
