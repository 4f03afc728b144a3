//! What is MySQL's and MariaDB's own: opening, migrations, the session that statements rely on.
#![cfg(all(feature = "mysql", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

use chatcore_sqlx::testing::TemporaryDatabase;
use chatcore_sqlx::{MySqlOptions, MySqlStore, OpenError};
use sqlx::{ConnectOptions as _, Executor as _};

/// A database on the server that the variable names.
async fn on(variable: &str) -> Option<TemporaryDatabase> {
    let Ok(url) = std::env::var(variable) else {
        eprintln!("{variable} is not set: not tested");
        return None;
    };
    Some(TemporaryDatabase::create(&url).await.unwrap())
}

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                if let Some(database) = super::on("CHATCORE_TEST_MARIADB").await {
                    super::$name(database).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mysql() {
                if let Some(database) = super::on("CHATCORE_TEST_MYSQL").await {
                    super::$name(database).await;
                }
            }
        }
    )*};
}

on_both!(
    nodes_that_open_at_once_all_do,
    a_migration_that_was_cut_short_is_made_again,
    a_newer_database_is_refused,
    an_absent_database_is_an_error,
);

async fn nodes_that_open_at_once_all_do(database: TemporaryDatabase) {
    let nodes = (0..8).map(|_| {
        let options = database.options();
        tokio::spawn(async move { MySqlStore::open(&options).await.map(drop) })
    });
    for node in futures::future::join_all(nodes).await {
        node.unwrap().unwrap();
    }
}

async fn a_migration_that_was_cut_short_is_made_again(database: TemporaryDatabase) {
    drop(database.store().await.unwrap());
    let mut connection = database.connect_options().connect().await.unwrap();
    // Some of its statements had been done, and its version not been noted.
    connection.execute("DROP TABLE chat_reactions, chat_edits").await.unwrap();
    connection.execute("DELETE FROM chat_migrations").await.unwrap();
    drop(database.store().await.unwrap());
    connection.execute("SELECT * FROM chat_reactions, chat_edits").await.unwrap();
}

async fn a_newer_database_is_refused(database: TemporaryDatabase) {
    drop(database.store().await.unwrap());
    let mut connection = database.connect_options().connect().await.unwrap();
    connection.execute("INSERT INTO chat_migrations (version) VALUES (99)").await.unwrap();
    match database.store().await {
        Err(OpenError::Newer { found: 99, known }) => assert!(known < 99),
        other => panic!("{other:?}"),
    }
}

async fn an_absent_database_is_an_error(database: TemporaryDatabase) {
    let absent = database.connect_options().database("chatcore_test_that_nobody_made");
    assert!(matches!(MySqlStore::open(&MySqlOptions::new(absent)).await, Err(OpenError::Database(_))));
}
