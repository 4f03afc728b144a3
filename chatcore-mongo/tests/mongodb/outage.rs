//! A server that goes and comes back: what was acknowledged is there, and what was not may be asked again.

use std::time::{Duration, Instant};

use chatcore::id::RoomId;
use chatcore::model::LogRange;
use chatcore::store::{AppendOutcome, Storage, StoreErrorKind};
use chatcore::testing::fixtures::{post, room_id, user_id};
use chatcore_mongo::MongoStore;
use mongodb::bson::doc;

use crate::server::Server;

/// Appends one post, and again after every failure; its number.
async fn persist(storage: &Storage, room: RoomId, key: &str) -> u64 {
    let draft = post(room, user_id(1), key, "text");
    let began = Instant::now();
    loop {
        match storage.messages.append(std::slice::from_ref(&draft), 20).await {
            Ok(outcomes) => match outcomes[..] {
                [AppendOutcome::Appended(seq) | AppendOutcome::Duplicate(seq)] => return seq.number(),
                ref other => panic!("{other:?}"),
            },
            Err(error) => {
                assert!(error.retryable(), "{error:?}");
                assert!(began.elapsed() < Duration::from_secs(60), "{error:?}");
            }
        }
    }
}

async fn keys(storage: &Storage, room: RoomId) -> Vec<(u64, String)> {
    let log = storage.messages.events(room, LogRange::After(0), 10_000).await.unwrap();
    let key = |event: &chatcore::model::Event| event.posted_message().unwrap().client_id.unwrap().to_string();
    log.events.iter().map(|event| (event.seq.number(), key(event))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_keeps_what_it_acknowledged() {
    let Some(mut server) = Server::start(true).await else { return };
    let options = server.options().deadline(Duration::from_secs(2)).server_selection_timeout(Duration::from_secs(1));
    let storage = MongoStore::open(&options).await.unwrap().storage();
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        acknowledged.push((persist(&storage, room_id(1), &n.to_string()).await, n.to_string()));
    }
    server.kill().await;
    let began = Instant::now();
    let error = storage.messages.append(&[post(room_id(1), user_id(1), "20", "text")], 20).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    let error = storage.messages.events(room_id(1), LogRange::After(0), 10).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(6), "each within its deadline: {:?}", began.elapsed());
    server.start_again().await;
    assert_eq!(keys(&storage, room_id(1)).await, acknowledged);
    assert_eq!(persist(&storage, room_id(1), "20").await, 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_ride_out_a_change_of_primaries() {
    const WRITERS: u64 = 3;
    let Some(server) = Server::start(true).await else { return };
    let mut writers = Vec::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for writer in 0..WRITERS {
        let storage = MongoStore::open(&server.options()).await.unwrap().storage();
        let stopped = stopped.clone();
        writers.push(tokio::spawn(async move {
            let mut numbers = Vec::new();
            while !*stopped.borrow() {
                let key = format!("{writer}.{}", numbers.len());
                numbers.push((persist(&storage, room_id(1), &key).await, key));
            }
            numbers
        }));
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // The only node steps down, and is elected again a little later. What is under way is cut off.
        server.command(doc! { "replSetStepDown": 1, "force": true }).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    stop.send(true).unwrap();
    let mut want = Vec::new();
    for writer in writers {
        want.extend(writer.await.unwrap());
    }
    want.sort_unstable();
    assert!(want.len() > 100, "they got on: {}", want.len());
    let storage = MongoStore::open(&server.options()).await.unwrap().storage();
    assert_eq!(keys(&storage, room_id(1)).await, want, "each once, and without a hole");
}
