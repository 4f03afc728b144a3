//! What of the shared statements is MySQL's and MariaDB's own.

use std::collections::HashSet;

use chatcore::model::Draft;
use futures::TryStreamExt as _;
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, Either, Pool, Row as _, Transaction};
use uuid::Uuid;

use super::append::{Lookup, Stored, owner};
use super::literal::{push_id, push_list, push_value};
use super::script::{HeadRow, Value};

/// The database that the shared modules are compiled for.
pub(super) type Db = sqlx::MySql;

/// Begins a transaction that writes. Connections that write are at READ COMMITTED: what a statement reads after it has waited for a lock is
/// what is there then, and no gaps are locked.
pub(super) async fn begin(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    begin_with(pool, "START TRANSACTION").await
}

/// Begins to its end, in a task of its own, also for a caller who goes away meanwhile. The driver rolls back only what it has counted, and counts a
/// transaction when its begin is answered: given up before that, the connection would go back into the pool in the middle of a transaction. Who has
/// it next would read what was there once, and be told that something is done which is never committed.
async fn begin_with(pool: &Pool<Db>, statement: &'static str) -> sqlx::Result<Transaction<'static, Db>> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.begin_with(statement).await }).await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Begins a transaction that writes on the ground of what is not there, and must not be when it commits: here gaps are locked.
pub(super) async fn begin_serial(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    begin_with(pool, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION").await
}

/// Begins a transaction that sees one state of the database throughout: connections that read are at REPEATABLE READ.
pub(super) async fn snapshot(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    begin_with(pool, "START TRANSACTION READ ONLY").await
}

/// Appended to a `SELECT` whose rows must not change before the end of the transaction.
pub(super) const FOR_UPDATE: &str = " FOR UPDATE";

/// How a transaction failed for another one's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// Another one was first: at once made again, it sees what that one did.
    LostRace,
    /// Another one has held a lock for long.
    LockTimeout,
}

fn number(error: &dyn DatabaseError) -> Option<u16> {
    error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

/// Whether an error means that another transaction was in the way.
pub(super) fn conflict(error: &dyn DatabaseError) -> Option<Conflict> {
    match number(error)? {
        // ER_LOCK_DEADLOCK; ER_DUP_ENTRY, which was not there when the step looked; ER_CHECKREAD of MariaDB.
        1213 | 1062 | 1020 => Some(Conflict::LostRace),
        // ER_LOCK_WAIT_TIMEOUT
        1205 => Some(Conflict::LockTimeout),
        _ => None,
    }
}

/// Whether what went wrong may be gone when the same is tried again.
pub(super) fn is_passing(error: &dyn DatabaseError) -> bool {
    matches!(
        number(error),
        Some(
            1020 | 1062 | 1205 | 1213 // lost to others, as above
            | 1021 | 1114 | 1026 | 3675 // ER_DISK_FULL, ER_RECORD_FILE_FULL, ER_ERROR_ON_WRITE, a full disk under a table space
            | 1040 | 1203 | 1226 // too many connections, of all, of this user, by a quota
            | 1053 | 1077 | 1079 | 1080 // the server is shutting down
            | 1158
                ..=1161 // the network
            | 1180 // ER_ERROR_DURING_COMMIT
            | 1290 | 1792 | 1836 | 3100 // read-only; a replica, or one that is being promoted
            | 1317 | 1927 | 1928 | 3024 | 4031 // the statement was interrupted, the connection killed or timed out
            | 1047 // of Galera: this node is not ready
        )
    )
}

/// The length from which a script goes on in a further message. Both servers take 16 MiB at once by default; one statement stays far below.
const MESSAGE: usize = 1 << 20;
/// Rows of one insert.
const ROWS: usize = 256;

/// Statements that go to the server together.
pub(super) struct Script {
    messages: Vec<String>,
}

impl Script {
    pub(super) fn new(_events: usize) -> Self {
        Self { messages: vec![String::new()] }
    }

    /// Begins the next statement.
    fn statement(&mut self) -> &mut String {
        if self.messages.last().is_none_or(|message| message.len() > MESSAGE) {
            self.messages.push(String::new());
        }
        let last = self.messages.len() - 1;
        let message = &mut self.messages[last];
        if !message.is_empty() {
            message.push(';');
        }
        message
    }

    /// Inserts rows; `into` is the table and its columns.
    pub(super) fn insert<const N: usize>(&mut self, into: &str, rows: &[[Value<'_>; N]]) {
        let mut rows = rows;
        while !rows.is_empty() {
            let sql = self.statement();
            let from = sql.len();
            sql.push_str("INSERT INTO ");
            sql.push_str(into);
            sql.push_str(" VALUES ");
            let mut written = 0;
            while written < rows.len().min(ROWS) && sql.len() - from <= MESSAGE {
                sql.push_str(if written > 0 { ",(" } else { "(" });
                push_list(sql, rows[written], push_value);
                sql.push(')');
                written += 1;
            }
            rows = &rows[written..];
        }
    }

    /// Inserts rows, or updates what is there: `set` says how, from the columns of `new`. Neither server's short form is one that the other
    /// has and does not deprecate; this is what they share. It makes a table in between, so a single row is better named by its values.
    fn upsert<const N: usize>(&mut self, table: &str, columns: [&str; N], rows: &[[Value<'_>; N]], set: &str) {
        for run in rows.chunks(ROWS) {
            let sql = self.statement();
            sql.push_str("INSERT INTO ");
            sql.push_str(table);
            sql.push('(');
            sql.push_str(&columns.join(","));
            sql.push_str(")SELECT * FROM(");
            for (index, row) in run.iter().enumerate() {
                if index > 0 {
                    sql.push_str(" UNION ALL SELECT ");
                    push_list(sql, *row, push_value);
                } else {
                    sql.push_str("SELECT ");
                    push_list(sql, row.iter().zip(columns), |sql, (value, column)| {
                        push_value(sql, *value);
                        sql.push_str(" AS ");
                        sql.push_str(column);
                    });
                }
            }
            sql.push_str(")AS new ON DUPLICATE KEY UPDATE ");
            sql.push_str(set);
        }
    }

    /// Moves heads.
    pub(super) fn heads(&mut self, heads: &[HeadRow]) {
        let row = |head: &HeadRow| -> [Value<'static>; 4] {
            let (seq, at) = head.post.unzip();
            [head.room.into(), head.head.into(), seq.into(), at.into()]
        };
        let (new, there): (Vec<&HeadRow>, Vec<&HeadRow>) = heads.iter().partition(|head| head.new);
        // What was not there must still not be: not an update.
        let new: Vec<_> = new.into_iter().map(row).collect();
        self.insert("chat_heads (room_id, head, post_seq, post_at)", &new);
        let there: Vec<_> = there.into_iter().map(row).collect();
        if let [[room, head, seq, at]] = there.as_slice() {
            let sql = self.statement();
            sql.push_str("UPDATE chat_heads SET head=");
            push_value(sql, *head);
            if *seq != Value::Null {
                sql.push_str(",post_seq=");
                push_value(sql, *seq);
                sql.push_str(",post_at=");
                push_value(sql, *at);
            }
            sql.push_str(" WHERE room_id=");
            push_value(sql, *room);
            return;
        }
        self.upsert(
            "chat_heads",
            ["room_id", "head", "post_seq", "post_at"],
            &there,
            "head=new.head,post_seq=coalesce(new.post_seq,chat_heads.post_seq),post_at=coalesce(new.post_at,chat_heads.post_at)",
        );
    }

    /// Moves the last posts of senders: room, user, number.
    pub(super) fn last_posts(&mut self, rows: &[[Value<'_>; 3]]) {
        if let [row] = rows {
            let sql = self.statement();
            sql.push_str("INSERT INTO chat_last_posts(room_id,user_id,seq)VALUES(");
            push_list(sql, *row, push_value);
            sql.push_str(")ON DUPLICATE KEY UPDATE seq=");
            push_value(sql, row[2]);
            return;
        }
        self.upsert("chat_last_posts", ["room_id", "user_id", "seq"], rows, "seq=new.seq");
    }

    /// Runs the statements.
    pub(super) async fn run(self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        for message in self.messages {
            if !message.is_empty() {
                let mut results = sqlx::raw_sql(AssertSqlSafe(message)).execute_many(&mut *connection);
                while results.try_next().await?.is_some() {}
            }
        }
        Ok(())
    }

    /// Runs the statements and commits.
    pub(super) async fn commit(mut self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        self.statement().push_str("COMMIT");
        self.run(connection).await
    }
}

/// Begins the transaction of an append, and reads where the logs end and which of the keys that are looked up they hold.
///
/// The heads are locked first; what the log holds is read after that, so nothing can come between. Of several rooms only those that are free
/// are locked, and the others left alone.
pub(super) async fn begin_and_read(
    connection: &mut MySqlConnection,
    drafts: &[Draft],
    lookup: Lookup,
) -> sqlx::Result<Stored> {
    let mut rooms: Vec<Uuid> = drafts.iter().map(|draft| draft.room.uuid()).collect();
    rooms.sort_unstable();
    rooms.dedup();
    let mut sql = String::from("START TRANSACTION;SELECT room_id,NULL,NULL,head FROM chat_heads WHERE room_id IN(");
    push_list(&mut sql, rooms.iter().copied(), push_id);
    sql.push(')');
    sql.push_str(FOR_UPDATE);
    let several = rooms.len() > 1;
    if several {
        sql.push_str(" SKIP LOCKED");
    }
    let mut first = true;
    for draft in drafts.iter().filter(|draft| lookup.wants(draft)) {
        let key = if first { ";SELECT room_id,owner,dedup,seq FROM chat_keys WHERE(room_id=" } else { "OR(room_id=" };
        first = false;
        sql.push_str(key);
        push_id(&mut sql, draft.room.uuid());
        sql.push_str(" AND owner=");
        push_id(&mut sql, owner(draft));
        sql.push_str(" AND dedup=");
        push_value(&mut sql, Value::Text(draft.key.as_str()));
        sql.push(')');
    }
    let mut stored = Stored::default();
    let mut results = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(&mut *connection);
    while let Some(result) = results.try_next().await? {
        let Either::Right(row) = result else { continue };
        let (room, number) = (row.try_get(0)?, row.try_get(3)?);
        match key(&row)? {
            Some((owner, dedup)) => stored.known.push(((room, owner, dedup), number)),
            None => stored.heads.push((room, number)),
        }
    }
    drop(results);
    // Those that were left alone are not all new: perhaps somebody else holds them.
    let locked: HashSet<Uuid> = stored.heads.iter().map(|(room, _)| *room).collect();
    rooms.retain(|room| !locked.contains(room));
    if !several || rooms.is_empty() {
        return Ok(stored);
    }
    let mut sql = String::from("SELECT room_id FROM chat_heads WHERE room_id IN(");
    push_list(&mut sql, rooms, push_id);
    sql.push(')');
    let there = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    stored.contended = there.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>()?;
    Ok(stored)
}

fn key(row: &MySqlRow) -> sqlx::Result<Option<(Uuid, String)>> {
    let owner: Option<Uuid> = row.try_get(1)?;
    let dedup: Option<String> = row.try_get(2)?;
    Ok(owner.zip(dedup))
}
