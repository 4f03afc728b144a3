//! What of the shared statements is SQLite's own.

use chatcore::model::Draft;
use sqlx::pool::PoolConnection;
use sqlx::{Pool, QueryBuilder, SqliteConnection, Transaction};
use uuid::Uuid;

use super::append::{Stored, owner};
use super::sql::{push_ids, runs};

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

/// Keys looked up by one statement.
const KEYS: usize = 32;

/// Events of a batch whose statements go to SQLite in one message. Larger ones go one by one: their texts would be too many to stay
/// prepared, and there the messages do not matter.
const TOGETHER: usize = 4;

/// Statements that are run one after the other.
pub(super) struct Script {
    statements: Vec<QueryBuilder<Db>>,
    together: bool,
}

impl Script {
    /// For the statements of so many events.
    pub(super) fn new(events: usize) -> Self {
        Self { statements: Vec::new(), together: events <= TOGETHER }
    }

    /// Begins the next statement.
    pub(super) fn statement(&mut self, sql: &str) -> &mut QueryBuilder<Db> {
        if self.together && !self.statements.is_empty() {
            self.statements[0].push("; ").push(sql);
        } else {
            self.statements.push(QueryBuilder::new(sql));
        }
        let last = self.statements.len() - 1;
        &mut self.statements[last]
    }

    pub(super) async fn run(self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        for mut statement in self.statements {
            statement.build().execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// The transaction of an append.
///
/// Every statement is a message to the thread of its connection and back, which costs about as much as a small insert. So the first read
/// carries the `BEGIN`, and the last write the `COMMIT`: one post takes two messages.
pub(super) struct AppendTx {
    /// Taken by whichever ends the transaction.
    connection: Option<PoolConnection<Db>>,
}

/// Begins to append: locks, and reads what the logs say of these drafts.
pub(super) async fn begin_append(pool: &Pool<Db>, drafts: &[Draft]) -> sqlx::Result<(AppendTx, Stored)> {
    let mut tx = AppendTx { connection: Some(pool.acquire().await?) };
    let stored = tx.read(drafts).await?;
    Ok((tx, stored))
}

impl Drop for AppendTx {
    /// Gives up: an error, or a caller who has stopped waiting. The connection is not given back before it has rolled back, which
    /// the thread behind it does after whatever it is still busy with.
    fn drop(&mut self) {
        let (Some(mut connection), Ok(runtime)) = (self.connection.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            // An error means that SQLite has rolled back already, had committed, or that the connection is gone with its transaction.
            if let Err(error) = sqlx::query("ROLLBACK").execute(&mut *connection).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "nothing to roll back");
            }
        });
    }
}

impl AppendTx {
    /// The connection, which is there until the transaction ends.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    async fn read(&mut self, drafts: &[Draft]) -> sqlx::Result<Stored> {
        let mut stored = Stored::default();
        let mut begin = "BEGIN IMMEDIATE; ";
        for run in runs(drafts, KEYS) {
            let mut rooms: Vec<Uuid> = run.iter().map(|draft| draft.room.uuid()).collect();
            rooms.sort_unstable();
            rooms.dedup();
            let mut query = QueryBuilder::<Db>::new(std::mem::take(&mut begin));
            query
                .push("SELECT room_id, NULL AS owner, NULL AS dedup, head AS number FROM chat_heads WHERE room_id IN ");
            push_ids(&mut query, &rooms);
            query.push(" UNION ALL SELECT room_id, owner, dedup, seq FROM chat_log WHERE ");
            let mut any = query.separated(" OR ");
            for draft in run {
                any.push("(room_id = ").push_bind_unseparated(draft.room.uuid());
                any.push_unseparated(" AND owner = ").push_bind_unseparated(owner(draft));
                any.push_unseparated(" AND dedup = ").push_bind_unseparated(draft.key.as_str().to_owned());
                any.push_unseparated(")");
            }
            let rows: Vec<(Uuid, Option<Uuid>, Option<String>, i64)> =
                query.build_query_as().fetch_all(self.connection()?).await?;
            for (room, owner, dedup, number) in rows {
                match owner.zip(dedup) {
                    None => stored.heads.push((room, number)),
                    Some((owner, dedup)) => stored.known.push(((room, owner, dedup), number)),
                }
            }
        }
        Ok(stored)
    }

    /// Runs these statements and commits.
    pub(super) async fn commit(mut self, mut script: Script) -> sqlx::Result<()> {
        script.statement("COMMIT");
        script.run(self.connection()?).await?;
        // Committed: there is nothing left to roll back.
        self.connection.take();
        Ok(())
    }
}
