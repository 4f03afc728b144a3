//! What of the shared statements is SQLite's own.

use sqlx::{Pool, Transaction};

/// The database that the shared modules are compiled for.
pub(super) type Db = sqlx::Sqlite;

/// Begins a transaction that writes. `IMMEDIATE`, so that two writers wait for each other at the beginning, where nothing is lost,
/// and not at their first write, where SQLite could only refuse.
pub(super) async fn begin(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin_with("BEGIN IMMEDIATE").await
}

/// Begins a transaction that sees one state of the database throughout.
pub(super) async fn snapshot(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin().await
}

/// Appended to a `SELECT` whose rows must not change before the end of the transaction. The one writer needs no such thing.
pub(super) const FOR_UPDATE: &str = "";

/// Inserts a row unless a unique key is in its way.
pub(super) const INSERT_NEW: &str = "INSERT OR IGNORE INTO ";

/// Makes an insert of heads an update where there is one already.
pub(super) const UPSERT_HEAD: &str = " ON CONFLICT (room_id) DO UPDATE SET head = excluded.head, \
     post_seq = coalesce(excluded.post_seq, post_seq), post_at = coalesce(excluded.post_at, post_at)";

/// Whether an error with that code may be gone when the same is tried again.
pub(super) fn is_busy(code: Option<&str>) -> bool {
    // The primary result code is the low byte: SQLITE_BUSY 5, SQLITE_LOCKED 6, SQLITE_IOERR 10, SQLITE_CANTOPEN 14,
    // SQLITE_PROTOCOL 15. https://sqlite.org/rescode.html
    let primary = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    matches!(primary, Some(5 | 6 | 10 | 14 | 15))
}
