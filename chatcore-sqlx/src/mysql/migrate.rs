//! Versioned migrations, embedded and run when a store is opened.

use sqlx::{AssertSqlSafe, MySql, Pool};

use crate::OpenError;

/// Each brings the schema from the version before to its own: 1, 2, 3, … A released one never changes. DDL is not transactional here,
/// so every statement must be repeatable: what was cut short is run again from its beginning.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/mysql/0001_schema.sql")];

/// How long a node waits for another that migrates, in seconds.
const PATIENCE: i64 = 60;

/// Brings the schema up to date. Nodes that start at once do it one after the other.
pub(super) async fn run(pool: &Pool<MySql>) -> Result<(), OpenError> {
    // The lock belongs to the connection, and is gone with it whatever happens.
    let mut connection = pool.acquire().await?.detach();
    let locked: Option<i64> =
        sqlx::query_scalar("SELECT GET_LOCK(concat('chatcore.', left(sha2(database(), 256), 32)), ?)")
            .bind(PATIENCE)
            .fetch_one(&mut connection)
            .await?;
    if locked != Some(1) {
        return Err(OpenError::Migrating);
    }
    let version: String = sqlx::query_scalar("SELECT version()").fetch_one(&mut connection).await?;
    // Text is compared by bytes, trailing spaces and all. The two have the same collation under different names.
    let collation = if version.contains("MariaDB") { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" };
    sqlx::query("CREATE TABLE IF NOT EXISTS chat_migrations (version BIGINT NOT NULL PRIMARY KEY) ENGINE = InnoDB")
        .execute(&mut connection)
        .await?;
    let found: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM chat_migrations").fetch_one(&mut connection).await?;
    let found = found.unwrap_or(0);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (version, migration) in (1i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let sql = migration.replace("{collation}", collation);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        sqlx::query("INSERT INTO chat_migrations (version) VALUES (?)").bind(version).execute(&mut connection).await?;
        tracing::info!(version, "schema migrated");
    }
    sqlx::Connection::close(connection).await?;
    Ok(())
}
