//! Versioned migrations, embedded and run when a store is opened.

use sqlx::{Pool, Sqlite};

use super::dialect;
use crate::OpenError;

/// Each brings the schema from the version before to its own: 1, 2, 3, … A released one never changes.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/0001_schema.sql")];

/// Brings the schema up to date, in one transaction: two processes that open the same file do it one after the other.
pub(super) async fn run(pool: &Pool<Sqlite>) -> Result<(), OpenError> {
    let mut tx = dialect::begin(pool).await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS chat_migrations (version INTEGER NOT NULL PRIMARY KEY) STRICT")
        .execute(&mut *tx)
        .await?;
    let found: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM chat_migrations").fetch_one(&mut *tx).await?;
    let found = found.unwrap_or(0);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, migration) in (1i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        sqlx::raw_sql(*migration).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO chat_migrations (version) VALUES (?)").bind(version).execute(&mut *tx).await?;
        tracing::info!(version, "schema migrated");
    }
    tx.commit().await?;
    Ok(())
}
