//! The floor: bare multi-row inserts into one table with one key, by the same driver, on the same server, of the same durability.

use std::any::Any;
use std::sync::Arc;

use chatcore::store::Storage;
use chatcore_sqlx::SqliteStore;
use chatcore_sqlx::testing::TemporaryDatabase;
use mongodb::Collection;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, WriteConcern};
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{MySql, QueryBuilder, Sqlite};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub(crate) const BODY: &str = "a message of a usual length, as people write them to one another";
const KEY: &str = "k:01920000-0000-7000-8000-000000000001";
const ACTOR: Uuid = Uuid::from_u128(7);

/// A row: its room and its number.
pub(crate) type Place = (Uuid, i64);

/// A bare table.
#[async_trait::async_trait]
pub(crate) trait Floor: Send + Sync {
    /// Inserts these rows in one statement, in one transaction, durably.
    async fn insert(&self, rows: &[Place]);
}

/// Senders' rows, inserted as they queue up: what one has to do at least to acknowledge many senders.
pub(crate) fn queue(floor: Arc<dyn Floor>) -> mpsc::Sender<(Place, oneshot::Sender<()>)> {
    let (sender, mut receiver) = mpsc::channel::<(Place, oneshot::Sender<()>)>(4096);
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while receiver.recv_many(&mut batch, 512).await > 0 {
            let rows: Vec<Place> = batch.iter().map(|(row, _)| *row).collect();
            floor.insert(&rows).await;
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
    async fn insert(&self, rows: &[Place]) {
        let mut tx = self.0.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO bare (room, seq, at, actor, dedup, body) ");
        query.push_values(rows, |mut row, (room, seq)| {
            row.push_bind(*room).push_bind(*seq).push_bind(*seq).push_bind(ACTOR).push_bind(KEY).push_bind(BODY);
        });
        query.build().execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

struct MySqlFloor(MySqlPool);

#[async_trait::async_trait]
impl Floor for MySqlFloor {
    async fn insert(&self, rows: &[Place]) {
        let mut tx = self.0.begin().await.unwrap();
        let mut query = QueryBuilder::<MySql>::new("INSERT INTO bare (room, seq, at, actor, dedup, body) ");
        query.push_values(rows, |mut row, (room, seq)| {
            row.push_bind(*room).push_bind(*seq).push_bind(*seq).push_bind(ACTOR).push_bind(KEY).push_bind(BODY);
        });
        query.build().execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

struct MongoFloor(Collection<Document>);

#[async_trait::async_trait]
impl Floor for MongoFloor {
    async fn insert(&self, rows: &[Place]) {
        let binary = |bytes: Vec<u8>| Binary { subtype: BinarySubtype::Generic, bytes };
        let row = |(room, seq): &Place| {
            let key = [room.as_bytes().as_slice(), &seq.to_be_bytes()].concat();
            doc! { "_id": binary(key), "at": seq, "actor": binary(ACTOR.as_bytes().to_vec()), "key": KEY, "body": BODY }
        };
        self.0.insert_many(rows.iter().map(row)).await.unwrap();
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
        "mongodb" => {
            let url = std::env::var("CHATCORE_BENCH_MONGODB").ok()?;
            let database = chatcore_mongo::testing::TemporaryDatabase::create(&url).await.unwrap();
            let store = database.store().await.unwrap();
            let bare = database.database().await.unwrap();
            bare.run_command(doc! { "create": "bare", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } })
                .await
                .unwrap();
            let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
            let bare =
                bare.collection_with_options("bare", CollectionOptions::builder().write_concern(durable).build());
            Some((store.storage(), Box::new(MongoFloor(bare)), Box::new(database)))
        }
        _ => None,
    }
}
