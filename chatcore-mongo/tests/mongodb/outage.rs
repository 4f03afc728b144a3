//! A server that goes and comes back: what was acknowledged is there, and what was not may be asked again.

use std::time::{Duration, Instant};

use chatcore::id::RoomId;
use chatcore::model::LogRange;
use chatcore::store::{AppendOutcome, Storage, StoreErrorKind};
use chatcore::testing::faults::{Load, rides_out};
use chatcore::testing::fixtures::{post, room_id, session, session_id, token, user_id};
use chatcore_mongo::MongoStore;
use chatcore_mongo::testing::TemporaryDatabase;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, DriverInfo};
use mongodb::{Client, ClientSession};

use crate::server::{Server, Set};
use crate::temporary;

/// How long after a database is back everything has to work again.
const RECOVERY: Duration = Duration::from_secs(10);

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
async fn a_load_rides_out_a_kill() {
    let Some(server) = Server::start(true).await else { return };
    let storage = MongoStore::open(&server.options()).await.unwrap().storage();
    let server = tokio::sync::Mutex::new(server);
    let recovery = rides_out(&storage, || async {
        let mut server = server.lock().await;
        server.kill().await;
        server.start_again().await;
    })
    .await;
    assert!(recovery < RECOVERY, "{recovery:?}");
}

/// The primary of three steps down, and later is killed; another one takes over each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_rides_out_changes_of_primaries() {
    let Some(mut set) = Set::start(3).await else { return };
    let storage = MongoStore::open(&set.options()).await.unwrap().storage();
    let mut load = Load::start(std::slice::from_ref(&storage)).await;
    load.acknowledges(200).await;
    let first = set.primary().await;
    set.node(first).command(doc! { "replSetStepDown": 10, "force": true }).await.unwrap();
    let second = set.primary().await;
    let recovery = load.acknowledges(64).await;
    assert!(recovery < RECOVERY, "{recovery:?}");
    set.node(second).kill().await;
    let third = set.primary().await;
    assert_ne!(third, second);
    let recovery = load.acknowledges(64).await;
    assert!(recovery < RECOVERY, "{recovery:?}");
    load.finish(&storage).await;
}

/// Every connection is closed by the server, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_rides_out_cut_connections() {
    let Some(server) = Server::start(true).await else { return };
    let storage = MongoStore::open(&server.options()).await.unwrap().storage();
    let recovery = rides_out(&storage, || async {
        for _ in 0..10 {
            let drop = doc! { "dropConnections": 1, "hostAndPort": [] };
            server.command(drop).await.unwrap();
            server.command(doc! { "killAllSessions": [] }).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert!(recovery < RECOVERY, "{recovery:?}");
}

/// A small pool, all of whose connections the load wants at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_gets_on_with_one_connection() {
    let Some(place) = temporary().await else { return };
    let store = MongoStore::open(&place.options().unwrap().max_pool_size(1)).await.unwrap();
    rides_out(&store.storage(), || std::future::ready(())).await;
}

/// Two nodes append to the same rooms at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_a_database() {
    let Some(place) = temporary().await else { return };
    let nodes = [place.store().await.unwrap().storage(), place.store().await.unwrap().storage()];
    let mut load = Load::start(&nodes).await;
    load.acknowledges(1000).await;
    load.finish(&nodes[1]).await;
}

/// A transaction that has written what everybody needs, of a client whose driver is called so.
async fn open_transaction(place: &TemporaryDatabase, library: Option<&str>) -> ClientSession {
    let mut options = ClientOptions::parse(place.url()).await.unwrap();
    options.driver_info = library.map(|name| DriverInfo::builder().name(name).build());
    let client = Client::with_options(options).unwrap();
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    for name in ["chat_heads", "chat_sessions"] {
        let held = place.database().await.unwrap().name().to_owned();
        let held = client.database(&held).collection::<Document>(name);
        let done = held.update_many(doc! {}, doc! { "$set": { "held": 1 } }).session(&mut session).await.unwrap();
        assert_eq!(done.modified_count, 1, "{name}");
    }
    session
}

/// Killed in the middle of a transaction, a process leaves it open, and the server keeps it for a minute. Others wait only until nothing has
/// happened in it for a while: an append, which meets it again and again, and a single statement, which waits for it in the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_nobody_goes_on_with_is_ended() {
    let Some(place) = temporary().await else { return };
    let store = MongoStore::open(&place.options().unwrap().abandoned_after(Duration::from_secs(2))).await.unwrap();
    let storage = store.storage();
    persist(&storage, room_id(1), "before").await;
    let stored = session(1, user_id(1));
    for statement in [false, true] {
        storage.sessions.create(&stored, &token(1)).await.unwrap();
        // Neither ended nor given back, as by one who is not there any more.
        let _left = std::mem::ManuallyDrop::new(open_transaction(&place, Some("chatcore")).await);
        let began = Instant::now();
        if statement {
            assert!(storage.sessions.end(user_id(1), session_id(1)).await.unwrap());
        } else {
            let drafts = [post(room_id(1), user_id(1), "after", "text")];
            assert!(matches!(storage.messages.append(&drafts, 20).await.unwrap()[..], [AppendOutcome::Appended(_)]));
            assert!(storage.sessions.end(user_id(1), session_id(1)).await.unwrap());
        }
        let waited = began.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(6)).contains(&waited), "{waited:?}");
    }
}

/// What else the host does with that server is its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_the_hosts_own_is_left_alone() {
    let Some(place) = temporary().await else { return };
    let options = place.options().unwrap().abandoned_after(Duration::from_secs(1)).deadline(Duration::from_secs(4));
    let storage = MongoStore::open(&options).await.unwrap().storage();
    persist(&storage, room_id(1), "before").await;
    storage.sessions.create(&session(1, user_id(1)), &token(1)).await.unwrap();
    let mut own = open_transaction(&place, None).await;
    let drafts = [post(room_id(1), user_id(1), "after", "text")];
    let error = storage.messages.append(&drafts, 20).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    own.commit_transaction().await.unwrap();
    assert_eq!(persist(&storage, room_id(1), "after").await, 2);
}
