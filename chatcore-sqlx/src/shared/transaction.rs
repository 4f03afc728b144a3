//! The transaction of an append.
//!
//! Every statement is a message to the database and back. So the dialect's first read carries the `BEGIN`, and the last write the `COMMIT`:
//! one post takes two messages.

use chatcore::model::Draft;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};

use super::append::{Lookup, Stored};
use super::dialect::{self, Db, Script};

type Connection = <Db as Database>::Connection;

pub(super) struct AppendTx {
    /// Taken by whichever ends the transaction.
    connection: Option<PoolConnection<Db>>,
}

/// Begins to append: locks, and reads where the logs end and which of the keys that are looked up they hold.
pub(super) async fn begin_append(
    pool: &Pool<Db>,
    drafts: &[Draft],
    lookup: Lookup,
) -> sqlx::Result<(AppendTx, Stored)> {
    let mut tx = AppendTx { connection: Some(pool.acquire().await?) };
    let stored = dialect::begin_and_read(tx.connection()?, drafts, lookup).await?;
    Ok((tx, stored))
}

impl Drop for AppendTx {
    /// Gives up for a caller who has stopped waiting. The connection is not given back before it has rolled back, which it does after
    /// whatever it is still busy with.
    fn drop(&mut self) {
        let (Some(connection), Ok(runtime)) = (self.connection.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        runtime.spawn(roll_back(connection));
    }
}

async fn roll_back(mut connection: PoolConnection<Db>) {
    // An error means that the database has rolled back already, had committed, or that the connection is gone with its transaction.
    if let Err(error) = sqlx::query("ROLLBACK").execute(&mut *connection).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "nothing to roll back");
    }
}

impl AppendTx {
    /// The connection, which is there until the transaction ends.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut Connection> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// Runs what is left to write, and commits.
    pub(super) async fn commit(&mut self, script: Script) -> sqlx::Result<()> {
        script.commit(self.connection()?).await?;
        // Committed: there is nothing left to roll back.
        self.connection.take();
        Ok(())
    }

    /// Takes back what was written.
    pub(super) async fn rollback(&mut self) {
        if let Some(connection) = self.connection.take() {
            // To its end, also when the caller goes away.
            if tokio::spawn(roll_back(connection)).await.is_err() {
                tracing::error!("a rollback panicked");
            }
        }
    }
}
