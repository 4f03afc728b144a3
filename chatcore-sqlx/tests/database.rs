//! What is SQLite's own: opening, migrations, durability settings, query plans, two processes on one file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use chatcore::id::{RoomId, UserId};
use chatcore::model::LogRange;
use chatcore::store::{AppendOutcome, Storage};
use chatcore::testing::fixtures;
use chatcore_sqlx::{OpenError, SqliteOptions, SqliteStore, Synchronous};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

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
