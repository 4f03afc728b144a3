//! The hub as its connections see it, over the store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::*;
use crate::memory::MemoryStore;

fn hub() -> Hub {
    Hub::new(HubSettings::default(), Arc::new(MemoryStore::new()))
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn room(n: u128) -> RoomId {
    RoomId::from_uuid(id(n))
}

fn connect(hub: &Hub, n: u128, scope: Scope) -> Connection {
    let (connection, user, session) =
        (ConnectionId::from_uuid(id(n)), UserId::from_uuid(id(n)), SessionId::from_uuid(id(n)));
    hub.connect(connection, user, session, scope, Instant::now() + Duration::from_secs(3600)).unwrap()
}

/// Tight rounds on several threads: the topic that somebody is registered with is always the one that is published to.
#[test]
fn nobody_listens_to_a_topic_that_was_given_up() {
    const ROUNDS: u32 = 100_000;
    let hub = hub();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for n in 1..=2 {
            let (hub, stop) = (&hub, &stop);
            scope.spawn(move || {
                let mut connection = connect(hub, n, Scope::All);
                while !stop.load(Ordering::Relaxed) {
                    connection.listen(room(1));
                    connection.unlisten(room(1));
                }
            });
        }
        let mut connection = connect(&hub, 3, Scope::All);
        let mut deaf = 0;
        for _ in 0..ROUNDS {
            connection.listen(room(1));
            deaf += u32::from(!hub.existing_topic(room(1)).is_some_and(|topic| topic.listens(connection.id())));
            connection.unlisten(room(1));
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(deaf, 0, "of {ROUNDS} rounds");
    });
    assert_eq!(hub.stats().rooms, 0);
    assert_eq!(hub.stats().tail_bytes, 0);
}

#[test]
fn a_connection_takes_its_registrations_back_however_it_ends() {
    let hub = hub();
    let mut connection = connect(&hub, 1, Scope::All);
    connection.listen(room(1));
    connection.listen(room(2));
    connection.begin(Begin { room: room(2), position: 0, joined: 1, head: 1 });
    connection.reset();
    assert_eq!(hub.stats().rooms, 0, "a reset");
    connection.listen(room(1));
    connection.begin(Begin { room: room(2), position: 0, joined: 1, head: 1 });
    assert_eq!(hub.stats().rooms, 2);
    drop(connection);
    assert_eq!(hub.stats().rooms, 0, "an end between `listen` and `begin`");
}
