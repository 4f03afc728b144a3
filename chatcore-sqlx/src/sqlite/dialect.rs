//! What of the shared statements is SQLite's own.

use chatcore::model::Draft;
use sqlx::error::DatabaseError;
use sqlx::{Pool, QueryBuilder, SqliteConnection, Transaction};
use uuid::Uuid;

use super::append::{Lookup, Stored, owner};
use super::script::{HeadRow, Value};
use super::sql::{LIST, push_ids, runs};

/// The database that the shared modules are compiled for.
pub(super) type Db = sqlx::Sqlite;

/// Begins a transaction that writes. `IMMEDIATE`, so that two writers wait for each other at the beginning, where nothing is lost,
/// and not at their first write, where SQLite could only refuse.
pub(super) async fn begin(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin_with("BEGIN IMMEDIATE").await
}

/// Begins a transaction that writes on the ground of what is not there, and must not be when it commits. There is one writer, so that is any.
pub(super) async fn begin_serial(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    begin(pool).await
}

/// Begins a transaction that sees one state of the database throughout.
pub(super) async fn snapshot(pool: &Pool<Db>) -> sqlx::Result<Transaction<'static, Db>> {
    pool.begin().await
}

/// Appended to a `SELECT` whose rows must not change before the end of the transaction. The one writer needs no such thing.
pub(super) const FOR_UPDATE: &str = "";

/// How a transaction failed for another one's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(dead_code, reason = "the shared module asks; one writer never loses")]
pub(super) enum Conflict {
    LostRace,
    LockTimeout,
}

/// Whether an error means that another transaction was first. With one writer, none was.
pub(super) fn conflict(_: &dyn DatabaseError) -> Option<Conflict> {
    None
}

/// Whether what went wrong may be gone when the same is tried again.
pub(super) fn is_passing(error: &dyn DatabaseError) -> bool {
    // The primary result code is the low byte: SQLITE_BUSY 5, SQLITE_LOCKED 6, SQLITE_READONLY 8, SQLITE_IOERR 10, SQLITE_FULL 13,
    // SQLITE_CANTOPEN 14, SQLITE_PROTOCOL 15. https://sqlite.org/rescode.html
    let primary = error.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    matches!(primary, Some(5 | 6 | 8 | 10 | 13 | 14 | 15))
}

/// Keys looked up by one statement.
const KEYS: usize = 32;
/// Rows of one insert.
const ROWS: usize = 64;

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
    fn statement(&mut self, sql: &str) -> &mut QueryBuilder<Db> {
        if self.together && !self.statements.is_empty() {
            self.statements[0].push("; ").push(sql);
        } else {
            self.statements.push(QueryBuilder::new(sql));
        }
        let last = self.statements.len() - 1;
        &mut self.statements[last]
    }

    /// Inserts rows; `into` is the table and its columns.
    pub(super) fn insert<const N: usize>(&mut self, into: &str, rows: &[[Value<'_>; N]]) {
        for run in runs(rows, ROWS) {
            self.statement("INSERT INTO ").push(into).push(" ").push_values(run, |mut row, values| {
                for value in values {
                    match value {
                        Value::Null => row.push("NULL"),
                        Value::Int(number) => row.push_bind(*number),
                        Value::Id(id) => row.push_bind(*id),
                        Value::Text(text) => row.push_bind((*text).to_owned()),
                    };
                }
            });
        }
    }

    /// Moves heads.
    pub(super) fn heads(&mut self, heads: &[HeadRow]) {
        for run in runs(heads, ROWS) {
            let query = self.statement("INSERT INTO chat_heads (room_id, head, post_seq, post_at) ");
            query.push_values(run, |mut row, head| {
                row.push_bind(head.room)
                    .push_bind(head.head)
                    .push_bind(head.post.map(|(seq, _)| seq))
                    .push_bind(head.post.map(|(_, at)| at));
            });
            query.push(
                " ON CONFLICT (room_id) DO UPDATE SET head = excluded.head, \
                 post_seq = coalesce(excluded.post_seq, post_seq), post_at = coalesce(excluded.post_at, post_at)",
            );
        }
    }

    /// Moves the last posts of senders: room, user, number.
    pub(super) fn last_posts(&mut self, rows: &[[Value<'_>; 3]]) {
        for run in runs(rows, ROWS) {
            self.insert("chat_last_posts (room_id, user_id, seq)", run);
            let last = self.statements.len() - 1;
            self.statements[last].push(" ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq");
        }
    }

    /// Runs the statements.
    pub(super) async fn run(self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        for mut statement in self.statements {
            statement.build().execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Runs the statements and commits.
    pub(super) async fn commit(mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.statement("COMMIT");
        self.run(connection).await
    }
}

/// Begins the transaction of an append, and reads where the logs end and which of the keys that are looked up they hold.
pub(super) async fn begin_and_read(
    connection: &mut SqliteConnection,
    drafts: &[Draft],
    lookup: Lookup,
) -> sqlx::Result<Stored> {
    let mut stored = Stored::default();
    let mut rooms: Vec<Uuid> = drafts.iter().map(|draft| draft.room.uuid()).collect();
    rooms.sort_unstable();
    rooms.dedup();
    let mut begin = "BEGIN IMMEDIATE; ";
    for chunk in rooms.chunks(LIST) {
        let mut query = QueryBuilder::<Db>::new(std::mem::take(&mut begin));
        query.push("SELECT room_id, head FROM chat_heads WHERE room_id IN ");
        push_ids(&mut query, chunk);
        let heads: Vec<(Uuid, i64)> = query.build_query_as().fetch_all(&mut *connection).await?;
        stored.heads.extend(heads);
    }
    let looked_up: Vec<&Draft> = drafts.iter().filter(|draft| lookup.wants(draft)).collect();
    for run in runs(&looked_up, KEYS) {
        let mut query = QueryBuilder::<Db>::new("SELECT room_id, owner, dedup, seq FROM chat_keys WHERE ");
        let mut any = query.separated(" OR ");
        for draft in run {
            any.push("(room_id = ").push_bind_unseparated(draft.room.uuid());
            any.push_unseparated(" AND owner = ").push_bind_unseparated(owner(draft));
            any.push_unseparated(" AND dedup = ").push_bind_unseparated(draft.key.as_str().to_owned());
            any.push_unseparated(")");
        }
        let rows: Vec<(Uuid, Uuid, String, i64)> = query.build_query_as().fetch_all(&mut *connection).await?;
        stored.known.extend(rows.into_iter().map(|(room, owner, dedup, seq)| ((room, owner, dedup), seq)));
    }
    Ok(stored)
}
