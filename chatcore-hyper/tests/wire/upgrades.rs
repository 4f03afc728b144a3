//! Databases of older releases. This release opens them, answers what they answered, and goes on.
//!
//! A fixture is a database as a release left it when it was killed in the middle of five changes, and the calls that
//! the same release answered on it afterwards; `scripts/make-fixture.py` makes them. The answers are those of REST, the
//! contract that no release breaks: so one comparison serves every store and every version of the schema, and leaves
//! out nothing that a client can see.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chatcore::model::AccessSecret;
use chatcore::store::Storage;
use chatcore::testing::ManualClock;
use chatcore::time::{Clock as _, Timestamp};
use chatcore_sqlx::{SqliteOptions, SqliteStore, testing::TemporaryDatabase};
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::harness::{MARIADB, MONGODB, MYSQL, PATIENCE, Server, Store};

/// Makes one test per version and store.
macro_rules! fixtures {
    ($($version:ident),* $(,)?) => {$(
        mod $version {
            use super::{Store, upgrade};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                upgrade(Store::Sqlite, stringify!($version)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                upgrade(Store::Maria, stringify!($version)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mysql() {
                upgrade(Store::MySql, stringify!($version)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mongodb() {
                upgrade(Store::Mongo, stringify!($version)).await;
            }
        }
    )*};
}

fixtures!(v0001);

/// The first line of a fixture's answers.
#[derive(Deserialize)]
struct Head {
    /// When the old release was asked, in milliseconds since the Unix epoch. What has a later time was made since.
    now: i64,
    /// The key that its access tokens are signed with.
    secret: String,
    /// An access token for each person.
    tokens: std::collections::BTreeMap<String, String>,
}

/// A call and what the old release answered.
#[derive(Deserialize)]
struct Call {
    r#as: Option<String>,
    method: String,
    path: String,
    body: Value,
    status: u16,
    answer: Value,
}

async fn upgrade(store: Store, version: &str) {
    let Some(store) = store.there() else { return };
    let (database, answers) = Database::restore(store, version).await;
    // A migration that is cut off half-way belongs here: between a database as it was and its opening.
    let storage = database.open().await;

    let text = std::fs::read_to_string(answers).unwrap();
    let mut lines = text.lines();
    let head: Head = serde_json::from_str(lines.next().unwrap()).unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(head.now * 1000)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::over(listener, (storage.clone(), Box::new(database)), clock.clone(), |core, _| {
        core.tokens.keys[0].secret = AccessSecret::new(head.secret.as_bytes()).unwrap();
    });
    // What was cut off is finished by the server itself, as soon as it looks.
    let finished = async {
        while !storage.rooms.unsettled(clock.now(), 100).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, finished).await.unwrap();
    let mut count = 0;
    for line in lines {
        let call: Call = serde_json::from_str(line).unwrap();
        // Lists are ordered by time.
        clock.advance(Duration::from_millis(1));
        let token = call.r#as.as_ref().map(|name| head.tokens[name].as_str());
        let method = Method::from_bytes(call.method.as_bytes()).unwrap();
        let body = (!call.body.is_null()).then_some(&call.body);
        let answer = server.call(method, &call.path, token, body).await;
        let about = format!("{version}: {} as {:?}: {} {}", call.method, call.r#as, call.path, call.body);
        assert_eq!(answer.status.as_u16(), call.status, "{about}: {answer:?}");
        let mut got = if answer.body.is_empty() { Value::Null } else { answer.json() };
        mask(None, &mut got, head.now);
        if let Err(difference) = holds(&got, &call.answer) {
            panic!("{about}: {difference}\nwas {}\nis {got}", call.answer);
        }
        count += 1;
    }
    assert!(count > 100, "{count} calls");
}

/// A database as a release left it, which this one has not opened yet.
enum Database {
    Sqlite(tempfile::TempDir),
    Sql(Box<TemporaryDatabase>),
    Mongo(chatcore_mongo::testing::TemporaryDatabase),
}

impl Database {
    /// The database, and the file of the answers.
    async fn restore(store: Store, version: &str) -> (Self, PathBuf) {
        let of =
            |of: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of).join("tests/fixtures").join(version);
        let (sql, mongo) = (of("chatcore-sqlx"), of("chatcore-mongo"));
        let server = async |variable: &str, dump: &str| {
            let database = TemporaryDatabase::create(&std::env::var(variable).unwrap()).await.unwrap();
            database.restore(std::fs::read_to_string(sql.join(dump)).unwrap()).await.unwrap();
            Self::Sql(Box::new(database))
        };
        match store {
            Store::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                std::fs::copy(sql.join("chat.sqlite"), folder.path().join("chat.db")).unwrap();
                (Self::Sqlite(folder), sql.join("sqlite.answers.json"))
            }
            Store::Maria => (server(MARIADB, "mariadb.sql").await, sql.join("mariadb.answers.json")),
            Store::MySql => (server(MYSQL, "mysql.sql").await, sql.join("mysql.answers.json")),
            Store::Mongo => {
                let url = std::env::var(MONGODB).unwrap();
                let database = chatcore_mongo::testing::TemporaryDatabase::create(&url).await.unwrap();
                for file in std::fs::read_dir(&mongo).unwrap() {
                    let path = file.unwrap().path();
                    let name = path.file_stem().unwrap().to_str().unwrap();
                    if name.starts_with("chat_") {
                        database.restore(name, &std::fs::read_to_string(&path).unwrap()).await.unwrap();
                    }
                }
                (Self::Mongo(database), mongo.join("answers.json"))
            }
            Store::Memory | Store::Hybrid => panic!("{store:?} has no fixture"),
        }
    }

    async fn open(&self) -> Storage {
        match self {
            Self::Sqlite(folder) => {
                SqliteStore::open(&SqliteOptions::file(folder.path().join("chat.db"))).await.unwrap().storage()
            }
            Self::Sql(database) => database.store().await.unwrap().storage(),
            Self::Mongo(database) => database.store().await.unwrap().storage(),
        }
    }
}

/// Replaces what is made anew at each run, as the script does.
fn mask(key: Option<&str>, value: &mut Value, now: i64) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, field)| mask(Some(key), field, now)),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(None, item, now)),
        Value::String(text) => {
            let time = text.parse::<jiff::Timestamp>().is_ok_and(|time| time.as_millisecond() >= now);
            let id = uuid::Uuid::parse_str(text).ok().filter(|id| id.get_version_num() == 7);
            let new = id.is_some_and(|id| (id.as_u128() >> 80) >= now.unsigned_abs().into());
            match key {
                Some("access_token" | "refresh_token") => "token".clone_into(text),
                _ if time => "later".clone_into(text),
                _ if new => "new".clone_into(text),
                _ => {}
            }
        }
        _ => {}
    }
}

/// All that was answered is answered. A release may add fields, and say more about a refusal.
fn holds(got: &Value, was: &Value) -> Result<(), String> {
    match (got, was) {
        (Value::Object(got), Value::Object(was)) => was.iter().try_for_each(|(key, was)| {
            let got = got.get(key).ok_or_else(|| format!("{key} is missing"))?;
            holds(got, was).map_err(|difference| format!("{key}: {difference}"))
        }),
        (Value::Array(got), Value::Array(was)) if got.len() == was.len() => {
            let mut pairs = got.iter().zip(was).enumerate();
            pairs.try_for_each(|(n, (got, was))| holds(got, was).map_err(|difference| format!("{n}: {difference}")))
        }
        _ if got == was => Ok(()),
        _ => Err(format!("{got}, and not {was}")),
    }
}
