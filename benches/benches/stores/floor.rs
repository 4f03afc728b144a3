//! The floor: bare multi-row inserts into one table with one key, by the same driver, on the same server, of the same durability.

use std::any::Any;
use std::sync::Arc;

use chatcore::store::Storage;
use chatcore_sqlx::SqliteStore;
use chatcore_sqlx::testing::TemporaryDatabase;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{MySql, QueryBuilder, Sqlite};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub(crate) const BODY: &str = "a message of a usual length, as people write them to one another";
const KEY: &str = "k:01920000-0000-7000-8000-000000000001";
const ROOM: Uuid = Uuid::from_u128(7);

/// A bare table.
#[async_trait::async_trait]
pub(crate) trait Floor: Send + Sync {
    /// Inserts rows of these numbers in one statement, in one transaction, durably.
    async fn insert(&self, seqs: &[i64]);
}

/// Senders' rows, inserted as they queue up: what one has to do at least to acknowledge many senders.
pub(crate) fn queue(floor: Arc<dyn Floor>) -> mpsc::Sender<(i64, oneshot::Sender<()>)> {
    let (sender, mut receiver) = mpsc::channel::<(i64, oneshot::Sender<()>)>(4096);
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 512).await > 0 {
            let seqs: Vec<i64> = batch.iter().map(|(seq, _)| *seq).collect();
            floor.insert(&seqs).await;
            for (_, reply) in batch.drain(..) {
                reply.send(()).unwrap();
            }
        }
    });
    sender
}

struct SqliteFloor(SqlitePool);

#[async_trait::async_trait]
impl Floor for SqliteFloor {
    async fn insert(&self, seqs: &[i64]) {
        let mut tx = self.0.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO bare (room, seq, at, actor, dedup, body) ");
        query.push_values(seqs, |mut row, seq| {
            row.push_bind(ROOM).push_bind(*seq).push_bind(*seq).push_bind(ROOM).push_bind(KEY).push_bind(BODY);
        });
        query.build().execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

struct MySqlFloor(MySqlPool);

#[async_trait::async_trait]
impl Floor for MySqlFloor {
    async fn insert(&self, seqs: &[i64]) {
        let mut tx = self.0.begin().await.unwrap();
        let mut query = QueryBuilder::<MySql>::new("INSERT INTO bare (room, seq, at, actor, dedup, body) ");
        query.push_values(seqs, |mut row, seq| {
            row.push_bind(ROOM).push_bind(*seq).push_bind(*seq).push_bind(ROOM).push_bind(KEY).push_bind(BODY);
        });
        query.build().execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// A store of that name, its floor, and what has to live as long. `None` where no server is named.
pub(crate) async fn open(name: &str) -> Option<(Storage, Box<dyn Floor>, Box<dyn Any>)> {
    match name {
        "sqlite" => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("chat.db");
            let store = SqliteStore::connect(&format!("sqlite:{}", path.display())).await.unwrap();
            let options = SqliteConnectOptions::new()
                .filename(folder.path().join("bare.db"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full);
            let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
            let table = "CREATE TABLE bare (room BLOB, seq INTEGER, at INTEGER, actor BLOB, dedup TEXT, body TEXT, PRIMARY KEY (room, seq)) STRICT, WITHOUT ROWID";
            sqlx::query(table).execute(&pool).await.unwrap();
            Some((store.storage(), Box::new(SqliteFloor(pool)), Box::new(folder)))
        }
        "mariadb" | "mysql" => {
            let url = std::env::var(format!("CHATCORE_BENCH_{}", name.to_uppercase())).ok()?;
            let database = TemporaryDatabase::create(&url).await.unwrap();
            let store = database.store().await.unwrap();
            let pool = MySqlPoolOptions::new()
                .max_connections(1)
                .test_before_acquire(false)
                .connect_with(database.connect_options())
                .await
                .unwrap();
            let table = "CREATE TABLE bare (room BINARY(16), seq BIGINT, at BIGINT, actor BINARY(16), dedup VARCHAR(80), body TEXT, PRIMARY KEY (room, seq)) ENGINE = InnoDB CHARSET = utf8mb4";
            sqlx::query(table).execute(&pool).await.unwrap();
            Some((store.storage(), Box::new(MySqlFloor(pool)), Box::new(database)))
        }
        _ => None,
    }
}
