//! A database of its own for a test.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use crate::{MySqlOptions, MySqlStore, OpenError};

/// A database that is made for a test and gone when this is dropped.
#[derive(Debug)]
pub struct TemporaryDatabase {
    server: MySqlConnectOptions,
    name: String,
}

impl TemporaryDatabase {
    /// Makes one on the server of that URL, whose user may make databases. The URL's own database is not touched.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn create(url: &str) -> Result<Self, OpenError> {
        let server: MySqlConnectOptions =
            url.parse().map_err(|_| OpenError::Url { expected: "mysql://USER:PASSWORD@HOST:PORT" })?;
        // A hasher's keys are random, and what it is asked first differs a process.
        let random = || RandomState::new().hash_one(std::process::id());
        let name = format!("chatcore_test_{:016x}{:016x}", random(), random());
        let mut connection = server.clone().connect().await?;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        connection.close().await?;
        Ok(Self { server, name })
    }

    /// How to open a store in it.
    pub fn options(&self) -> MySqlOptions {
        MySqlOptions::new(self.server.clone().database(&self.name))
    }

    /// How to speak to it directly.
    pub fn connect_options(&self) -> MySqlConnectOptions {
        self.server.clone().database(&self.name)
    }

    /// Runs a dump in it, as `mariadb-dump` writes them: tables and rows as an older release left them, say.
    ///
    /// # Errors
    /// [`OpenError::Database`].
    pub async fn restore(&self, dump: String) -> Result<(), OpenError> {
        let mut connection = self.connect_options().connect().await?;
        connection.execute(AssertSqlSafe(dump)).await?;
        connection.close().await?;
        Ok(())
    }

    /// Opens a store in it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn store(&self) -> Result<MySqlStore, OpenError> {
        MySqlStore::open(&self.options()).await
    }
}

impl Drop for TemporaryDatabase {
    /// On a thread of its own, because the test's runtime may be ending.
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(10), async {
                    let mut connection: MySqlConnection = server.connect().await?;
                    connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}"))).await?;
                    connection.close().await
                })
                .await
                .map_err(std::io::Error::other)?
                .map_err(std::io::Error::other)
            })
        });
        match dropped.join() {
            Ok(Ok(())) => {}
            failed => tracing::warn!(?failed, "a temporary database was left behind"),
        }
    }
}
