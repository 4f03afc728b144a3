//! One sender's post, from the call or the frame to the acknowledgement, over SQLite with `synchronous=FULL`.
//! The floor is a transaction that inserts one bare row of the same size with the same durability, through the same driver.
//!
//! `cargo bench -p chatcore-benches --bench post`
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::path::Path;
use std::time::{Duration, Instant};

use chatcore::model::AccessSecret;
use chatcore::service::{GroupInput, LoginInput, PostInput, Principal, RegisterInput};
use chatcore::{Chat, Settings};
use chatcore_hyper::{Api, HttpSettings};
use chatcore_sqlx::SqliteStore;
use futures::{SinkExt, StreamExt};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const ROUNDS: usize = 300;
const BODY: &str = "a message of a usual length, as people write them to one another";

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run());
}

/// A database with a bare table, opened as the store opens its own.
async fn bare(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool =
        SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_with(options).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE bare (room BLOB, seq INTEGER, at INTEGER, actor BLOB, dedup TEXT, body TEXT, PRIMARY KEY (room, seq)) STRICT, WITHOUT ROWID",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool
}

async fn insert_bare(pool: &SqlitePool, first: i64, rows: i64) {
    let room = uuid::Uuid::from_u128(7);
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new("INSERT INTO bare (room, seq, at, actor, dedup, body) ");
    query.push_values(first..first + rows, |mut row, seq| {
        row.push_bind(room).push_bind(seq).push_bind(seq).push_bind(room);
        row.push_bind("k:01920000-0000-7000-8000-000000000001").push_bind(BODY);
    });
    query.build().execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn person(chat: &Chat, name: &str) -> (Principal, String) {
    let email = format!("{name}@example.org");
    let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
    chat.register(input, None).await.unwrap();
    let login = LoginInput { login: name, password: "correct horse", device: None };
    let token = chat.login(login, None).await.unwrap().access_token;
    (chat.authenticate(&token).await.unwrap(), token)
}

async fn run() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::connect(&format!("sqlite:{}", folder.path().join("chat.db").display())).await.unwrap();
    let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
    settings.work_per_user = None;
    settings.hashing.memory_kib = 64;
    settings.hashing.iterations = 1;
    let chat = Chat::builder(store.storage(), settings).start().unwrap();
    let bare = bare(&folder.path().join("bare.db")).await;
    let (ada, token) = person(&chat, "ada").await;
    let group = GroupInput { name: "bench", members: &[], client_id: None };
    let room = chat.create_group(&ada, group).await.unwrap().room.summary.room.id;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let http = HttpSettings { frames_per_second: 1_000_000, ..HttpSettings::default() };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(chatcore_hyper::serve(listener, Api::new(chat.clone(), http), async move {
        let _ = stopped.await;
    }));
    let mut request = format!("ws://{address}/ws/chat/{room}").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();

    let (mut floor, mut calls, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS + 20 {
        let begun = Instant::now();
        insert_bare(&bare, i64::try_from(round).unwrap(), 1).await;
        let bare_time = begun.elapsed();

        let begun = Instant::now();
        chat.post(&ada, room, PostInput { body: BODY, client_id: None, reply_to: None }).await.unwrap();
        let call_time = begun.elapsed();

        let begun = Instant::now();
        let frame = format!(r#"{{"type":"message.send","id":"n{round}","body":"{BODY}"}}"#);
        socket.send(Message::text(frame)).await.unwrap();
        let id = format!(r#""id":"n{round}""#);
        while let Some(message) = socket.next().await {
            if matches!(message.unwrap(), Message::Text(text) if text.contains(&id)) {
                break;
            }
        }
        let frame_time = begun.elapsed();
        // The first rounds warm statements and caches.
        if round >= 20 {
            floor.push(bare_time);
            calls.push(call_time);
            frames.push(frame_time);
        }
    }
    let (floor, calls, frames) = (median(floor), median(calls), median(frames));
    let ratio = |time: Duration| time.as_secs_f64() / floor.as_secs_f64();
    println!("post: bare insert transaction {floor:?}");
    println!("post: one sender, call to acknowledgement {calls:?}: {:.2} times the bare insert", ratio(calls));
    println!("post: one sender, frame to ack over a socket {frames:?}: {:.2} times the bare insert", ratio(frames));
    let _ = stop.send(());
    server.await.unwrap().unwrap();
}
