//! What is SQLite's own: opening, migrations, durability settings, query plans, two processes on one file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use chatcore::id::{RoomId, UserId};
use chatcore::model::LogRange;
use chatcore::store::{AppendOutcome, Storage};
use chatcore::testing::fixtures;
use chatcore_sqlx::{OpenError, SqliteOptions, SqliteStore, Synchronous};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Row};

async fn raw(path: &Path) -> SqlitePool {
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap()
}

#[tokio::test]
async fn a_database_is_made_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("chat.db").display());
    SqliteStore::connect(&url).await.unwrap().close().await;
    SqliteStore::connect(&url).await.unwrap().storage().ping().await.unwrap();
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    SqliteStore::open(&SqliteOptions::file(&path)).await.unwrap().close().await;
    let pool = raw(&path).await;
    sqlx::query("INSERT INTO chat_migrations (version) VALUES (99)").execute(&pool).await.unwrap();
    pool.close().await;
    match SqliteStore::open(&SqliteOptions::file(&path)).await {
        Err(OpenError::Newer { found: 99, known }) => assert!(known < 99),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    std::fs::write(&path, "this is no database, but long enough to have a header of one, were it one at all").unwrap();
    assert!(matches!(SqliteStore::open(&SqliteOptions::file(&path)).await, Err(OpenError::Database(_))));
    let nowhere = folder.path().join("no/such/folder/chat.db");
    assert!(matches!(SqliteStore::open(&SqliteOptions::file(nowhere)).await, Err(OpenError::Database(_))));
    for url in ["", "sqlite:", "mysql://x", "chat.db", "sqlite:chat.db?mode=ro"] {
        assert!(matches!(SqliteOptions::from_url(url), Err(OpenError::Url { .. })), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_open_at_once_both_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let open = || {
        let path = path.clone();
        tokio::spawn(async move { SqliteStore::open(&SqliteOptions::file(path)).await.map(drop) })
    };
    let (one, two, three) = (open(), open(), open());
    for opened in [one, two, three] {
        opened.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_settings_are_in_force() {
    let folder = tempfile::tempdir().unwrap();
    for (synchronous, code) in [(Synchronous::Full, 2), (Synchronous::Normal, 1)] {
        let path = folder.path().join(format!("{code}.db"));
        let store = SqliteStore::open(&SqliteOptions::file(&path).synchronous(synchronous)).await.unwrap();
        let pragmas = store.pragmas().await.unwrap();
        assert_eq!(
            pragmas,
            [("journal_mode", "wal".to_owned()), ("synchronous", code.to_string()), ("foreign_keys", "1".to_owned())]
        );
    }
}

/// Two stores on one file, as two processes have them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_append_to_one_room() {
    const EACH: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::file(folder.path().join("chat.db"));
    let room = fixtures::room_id(1);
    let mut tasks = Vec::new();
    for n in 0..2u64 {
        let storage = SqliteStore::open(&options).await.unwrap().storage();
        tasks.push(tokio::spawn(append(storage, room, fixtures::user_id(n), EACH)));
    }
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.extend(task.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=2 * EACH as u64).collect::<Vec<_>>());
    let storage = SqliteStore::open(&options).await.unwrap().storage();
    let log = storage.messages.events(room, LogRange::After(0), 1_000).await.unwrap();
    assert_eq!(log.events.len(), 2 * EACH);
}

async fn append(storage: Storage, room: RoomId, user: UserId, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for n in 0..count {
        let draft = fixtures::post(room, user, &format!("{n}"), "hi");
        match storage.messages.append(&[draft], 20).await.unwrap()[..] {
            [AppendOutcome::Appended(seq)] => numbers.push(seq.number()),
            ref other => panic!("{other:?}"),
        }
    }
    numbers
}

/// Every statement that a request waits for walks an index: no table is scanned, and nothing is sorted that an index has in order.
#[tokio::test]
async fn hot_statements_walk_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    SqliteStore::open(&SqliteOptions::file(&path)).await.unwrap().close().await;
    let pool = raw(&path).await;
    for sql in [
        "SELECT room_id, head FROM chat_heads WHERE room_id IN (?, ?)",
        "SELECT room_id, owner, dedup, seq FROM chat_log WHERE (room_id = ? AND owner = ? AND dedup = ?) OR (room_id = ? AND owner = ? AND dedup = ?)",
        "SELECT seq, body FROM chat_log WHERE room_id = ? AND seq > ? ORDER BY seq LIMIT ?",
        "SELECT seq, body FROM chat_log WHERE room_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
        "UPDATE chat_log SET body = NULL WHERE room_id = ? AND target = ? AND kind = 2",
        "SELECT seq, body FROM chat_messages WHERE room_id = ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
        "SELECT seq, body FROM chat_messages WHERE room_id = ? AND seq >= ? ORDER BY seq LIMIT ?",
        "SELECT body FROM chat_messages WHERE (room_id = ? AND seq = ?) OR (room_id = ? AND seq = ?)",
        "SELECT count(*) FROM (SELECT 1 FROM chat_messages WHERE room_id = ? AND countable = 1 AND seq > ? LIMIT ?) AS unread",
        "SELECT max(seq) FROM chat_messages WHERE room_id = ? AND sender = ?",
        "SELECT user_id, given FROM chat_reactions WHERE room_id = ? AND seq = ? AND emoji = ? AND given > ? ORDER BY given LIMIT ?",
        "SELECT id FROM chat_users WHERE username >= ? AND username < ? AND username > ? ORDER BY username LIMIT ?",
        "SELECT id FROM chat_users WHERE display_key >= ? AND display_key < ? AND display_key >= ? AND (display_key > ? OR id > ?) ORDER BY display_key, id LIMIT ?",
        "SELECT id FROM chat_sessions WHERE user_id = ? AND created_at <= ? AND (created_at < ? OR id < ?) AND expires_at > ? ORDER BY created_at DESC, id DESC LIMIT ?",
        "SELECT id FROM chat_sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?",
        "SELECT id FROM chat_friendships WHERE low = ? AND high = ?",
        "SELECT id FROM chat_friendships WHERE requester = ? AND status = ? AND updated_at <= ? AND (updated_at < ? OR id < ?) ORDER BY updated_at DESC, id DESC LIMIT ?",
        "SELECT id FROM chat_friendships WHERE addressee = ? AND status = ? AND updated_at <= ? AND (updated_at < ? OR id < ?) ORDER BY updated_at DESC, id DESC LIMIT ?",
        "SELECT blocked FROM chat_blocks WHERE blocker = ? AND created_at <= ? AND (created_at < ? OR blocked < ?) ORDER BY created_at DESC, blocked DESC LIMIT ?",
        "SELECT blocker FROM chat_blocks WHERE blocked = ? AND blocker IN (?, ?)",
        "SELECT r.id FROM chat_members m JOIN chat_rooms r ON r.id = m.room_id WHERE m.user_id = ?",
        "SELECT r.id FROM chat_members m JOIN chat_rooms r ON r.id = m.room_id WHERE m.room_id IN (?) AND m.user_id IN (?)",
        "SELECT user_id FROM chat_members WHERE room_id = ? AND joined_at >= ? AND (joined_at > ? OR user_id > ?) ORDER BY joined_at, user_id LIMIT ?",
        "SELECT count(*) FROM chat_members WHERE room_id = ? AND role = ?",
        "SELECT id FROM chat_intents WHERE room_id = ? ORDER BY ordinal",
        "SELECT id FROM chat_rooms WHERE id = ? OR pair = ? OR (created_by = ? AND client_id = ?)",
    ] {
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&pool).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let steps = steps.join("; ");
        assert!(steps.contains("SEARCH"), "{sql}: {steps}");
        assert!(
            !steps.contains("SCAN chat_") && !steps.contains("SCAN m") && !steps.contains("SCAN r"),
            "{sql}: {steps}"
        );
        assert!(!steps.contains("TEMP B-TREE"), "{sql}: {steps}");
    }
}
