//! What is MongoDB's own: opening, the schema's version, several nodes on one database.
use std::time::Duration;

use chatcore::id::{RoomId, UserId};
use chatcore::model::{LogRange, Role};
use chatcore::store::{AppendOutcome, Changed, Removal, Storage, StoreErrorKind};
use chatcore::testing::fixtures::{self, at, room_id, user_id};
use chatcore_mongo::{MongoOptions, MongoStore, OpenError};
use mongodb::bson::{Document, doc};

use crate::server::Server;
use crate::temporary;

#[test]
fn what_is_no_url_is_refused() {
    for url in ["", "mongodb://", "sqlite:chat.db", "localhost", "mongodb://user:secret@host:port/chat"] {
        match MongoOptions::from_url(url) {
            Err(OpenError::Url(reason)) => assert!(!reason.contains("secret"), "{reason}"),
            other => panic!("{url}: {other:?}"),
        }
    }
    let options = MongoOptions::from_url("mongodb://user:secret@localhost/").unwrap();
    let shown = format!("{options:?}");
    assert!(shown.contains(r#"database: "chatcore""#) && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn who_does_not_answer_is_unavailable() {
    let options = MongoOptions::from_url("mongodb://127.0.0.1:1/").unwrap();
    let options = options.server_selection_timeout(Duration::from_millis(200));
    assert!(matches!(MongoStore::open(&options).await, Err(OpenError::Database(_))));
}

#[tokio::test]
async fn a_standalone_server_is_refused() {
    let Some(server) = Server::start(false).await else { return };
    match MongoStore::open(&server.options()).await {
        Err(error @ OpenError::Standalone) => {
            let told = error.to_string();
            assert!(told.contains("mongod --replSet rs0") && told.contains("rs.initiate()"), "{told}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_database_is_made_and_opened_again() {
    let Some(place) = temporary().await else { return };
    place.store().await.unwrap().close().await;
    let store = place.store().await.unwrap();
    store.storage().ping().await.unwrap();
    store.close().await;
    let closed = store.storage().ping().await.unwrap_err();
    assert_eq!(closed.kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let Some(place) = temporary().await else { return };
    place.store().await.unwrap().close().await;
    let schema = place.database().await.unwrap().collection::<Document>("chat_schema");
    schema.update_one(doc! { "_id": "chatcore" }, doc! { "$set": { "version": 99 } }).await.unwrap();
    match MongoStore::open(&place.options().unwrap()).await {
        Err(OpenError::Newer { found: 99, known }) => assert!(known < 99),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_open_at_once_all_do() {
    let Some(place) = temporary().await else { return };
    let open = || {
        let options = place.options().unwrap();
        tokio::spawn(async move { MongoStore::open(&options).await.map(drop) })
    };
    let (one, two, three) = (open(), open(), open());
    for opened in [one, two, three] {
        opened.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_corrupt() {
    let Some(place) = temporary().await else { return };
    let storage = place.store().await.unwrap().storage();
    let (room, user) = (room_id(1), user_id(1));
    storage.messages.append(&[fixtures::post(room, user, "1", "hi")], 20).await.unwrap();
    let log = place.database().await.unwrap().collection::<Document>("chat_log");
    for spoilt in [doc! { "kind": 77 }, doc! { "kind": "1" }, doc! { "kind": 1, "key": 5 }] {
        log.update_one(doc! {}, doc! { "$set": spoilt }).await.unwrap();
        let error = storage.messages.events(room, LogRange::After(0), 10).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error:?}");
    }
}

async fn append(storage: Storage, rooms: Vec<RoomId>, user: UserId, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for n in 0..count {
        let batch: Vec<_> = rooms.iter().map(|room| fixtures::post(*room, user, &format!("{n}"), "hi")).collect();
        let outcomes = storage.messages.append(&batch, 20).await.unwrap();
        for (draft, mut outcome) in batch.iter().zip(outcomes) {
            // Held by the other node just then; alone it is waited for.
            if outcome == AppendOutcome::Contended {
                outcome = storage.messages.append(std::slice::from_ref(draft), 20).await.unwrap()[0];
            }
            match outcome {
                AppendOutcome::Appended(seq) => numbers.push(seq.number()),
                other => panic!("{other:?}"),
            }
        }
    }
    numbers
}

/// Two stores on one database, as two processes have them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_append_to_one_room() {
    const EACH: usize = 100;
    let Some(place) = temporary().await else { return };
    let mut tasks = Vec::new();
    for n in 0..2 {
        let storage = place.store().await.unwrap().storage();
        tasks.push(tokio::spawn(append(storage, vec![room_id(1)], user_id(n), EACH)));
    }
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.extend(task.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=2 * EACH as u64).collect::<Vec<_>>());
    let storage = place.store().await.unwrap().storage();
    let log = storage.messages.events(room_id(1), LogRange::After(0), 1_000).await.unwrap();
    assert_eq!(log.events.len(), 2 * EACH);
}

/// Four nodes, whose batches go to the same rooms in orders of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_append_batches_to_the_same_rooms() {
    const EACH: usize = 15;
    const ROOMS: u64 = 12;
    let Some(place) = temporary().await else { return };
    let mut tasks = Vec::new();
    for n in 0..4 {
        let storage = place.store().await.unwrap().storage();
        let mut rooms: Vec<RoomId> = (0..ROOMS).map(room_id).collect();
        rooms.rotate_left(n as usize * 3);
        tasks.push(tokio::spawn(append(storage, rooms, user_id(n), EACH)));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().len(), EACH * ROOMS as usize);
    }
    let storage = place.store().await.unwrap().storage();
    for room in 0..ROOMS {
        let log = storage.messages.events(room_id(room), LogRange::After(0), 1_000).await.unwrap();
        let numbers: Vec<u64> = log.events.iter().map(|event| event.seq.number()).collect();
        assert_eq!(numbers, (1..=4 * EACH as u64).collect::<Vec<_>>());
    }
}

/// Two nodes, on which both owners of a room leave at once: one of them stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_change_one_room() {
    let Some(place) = temporary().await else { return };
    let stores = [place.store().await.unwrap().storage(), place.store().await.unwrap().storage()];
    for round in 0..10 {
        let mut group = fixtures::group(round, &[user_id(1), user_id(2), user_id(3)]);
        let room = group.id;
        for member in &mut group.members[..2] {
            member.role = Role::Owner;
        }
        stores[0].rooms.create(&group).await.unwrap();
        let leave = |n: usize| {
            let (rooms, user) = (stores[n].rooms.clone(), user_id(1 + n as u64));
            let intent = fixtures::intent_id(u64::from(round) * 2 + n as u64);
            let removal = Removal { room, by: user, user, intent, at: at(1) };
            tokio::spawn(async move { rooms.remove(&removal).await.unwrap() })
        };
        let (one, two) = (leave(0), leave(1));
        let answers = [one.await.unwrap(), two.await.unwrap()];
        assert_eq!(answers.iter().filter(|answer| **answer == Changed::Done).count(), 1, "{answers:?}");
        assert_eq!(stores[0].rooms.member_ids(room).await.unwrap().len(), 2);
    }
}
