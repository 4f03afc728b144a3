//! The hub as its connections see it, over the store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::*;
use crate::memory::MemoryStore;
use crate::model::{Body, Draft, DraftKey, EventKind, LeaveReason, MessageKind, Posted, Role, Seq};
use crate::time::Timestamp;

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

fn event(room: RoomId, number: u64, kind: EventKind) -> Event {
    Event { room, seq: Seq::new(number).unwrap(), at: Timestamp::from_micros(0), actor: None, kind }
}

fn post(room: RoomId, number: u64) -> Event {
    let body = Some(Body::parse("something").unwrap());
    let posted = Posted { kind: MessageKind::Text, body, client_id: None, reply_to: None };
    event(room, number, EventKind::Posted(posted))
}

fn begun(hub: &Hub, n: u128, room: RoomId, joined: u64, head: u64) -> Connection {
    let mut connection = connect(hub, n, Scope::All);
    connection.start();
    connection.listen(room);
    connection.begin(Begin { room, position: head, joined, head });
    connection
}

fn polled(connection: &mut Connection) -> Poll<Delivery> {
    connection.poll_next(&mut Context::from_waker(Waker::noop()))
}

fn signals(connection: &mut Connection) -> usize {
    match polled(connection) {
        Poll::Ready(Delivery::News { signals, .. }) => signals.len(),
        other => panic!("{other:?}"),
    }
}

/// A client that is always a little behind: each poll gives it something, and something more is published before the next.
#[test]
fn what_waits_for_a_slow_client_holds_each_room_once() {
    let settings = HubSettings { quota_events: 1, ..HubSettings::default() };
    let hub = Hub::new(settings, Arc::new(MemoryStore::new()));
    let mut connection = begun(&hub, 1, room(1), 1, 1);
    hub.publish(vec![post(room(1), 2), post(room(1), 3)]);
    for number in 4..200 {
        hub.publish(vec![post(room(1), number)]);
        assert!(matches!(polled(&mut connection), Poll::Ready(Delivery::News { events, .. }) if events.len() == 1));
        assert!(connection.waiting() <= 1, "{} after {number}", connection.waiting());
    }
}

/// Reconciling finds the same rooms again every two seconds for as long as a client does not read.
#[tokio::test]
async fn rooms_to_begin_wait_once_and_not_without_end() {
    let settings = HubSettings { joins: 10, ..HubSettings::default() };
    let hub = Hub::new(settings, Arc::new(MemoryStore::new()));
    let mut connection = connect(&hub, 1, Scope::All);
    connection.start();
    let user = connection.user();
    let rooms: Vec<RoomId> = (1..=30).map(room).collect();
    for round in 1..=5 {
        let missing = hub.missing(user, &rooms);
        assert_eq!(missing.len(), if round == 1 { 30 } else { 20 }, "what waits already is not looked up again");
        for room in missing {
            hub.joined(user, room, 1);
        }
        assert_eq!(connection.joins(), 10);
    }
    // Those that did not fit are found again once there is room.
    for _ in 0..3 {
        let _ = polled(&mut connection);
        for room in hub.missing(user, &rooms) {
            hub.joined(user, room, 1);
        }
    }
    assert_eq!(hub.missing(user, &rooms), []);
}

#[test]
fn a_removed_member_who_does_not_read_gets_no_signals() {
    let hub = hub();
    let (left, joined) = (
        |user, number| event(room(1), number, EventKind::Left { user, reason: LeaveReason::Removed }),
        |user, number| event(room(1), number, EventKind::Joined { user, role: Role::Member }),
    );
    let mut removed = begun(&hub, 1, room(1), 1, 2);
    let (user, other) = (removed.user(), UserId::from_uuid(id(2)));
    let typing = || {
        let signal = Signal::new(Some(room(1)), Some(other), SignalKind::Typing { on: true });
        hub.signal_room(room(1), &[user], &Arc::new(signal));
    };
    typing();
    assert_eq!(signals(&mut removed), 1);
    hub.publish(vec![left(user, 3)]);
    typing();
    assert_eq!(hub.members_listening(room(1)), []);
    // Its own leaving comes by the log all the same, with the signal that says so.
    let Poll::Ready(Delivery::News { signals: told, events }) = polled(&mut removed) else { panic!("nothing") };
    assert!(matches!(told[..], [ref one] if matches!(one.kind, SignalKind::RoomRemoved(_))), "{told:?}");
    assert_eq!(events.len(), 1);
    drop(removed);
    // One who has come again before reading anything of it is a member.
    let mut back = begun(&hub, 1, room(1), 1, 2);
    hub.publish(vec![left(user, 3), joined(user, 4)]);
    assert_eq!(hub.members_listening(room(1)), [user]);
    // What is read of the log of long ago changes nothing.
    let history = Arc::new(Logged::new(left(user, 3)));
    hub.absorb(&hub.existing_topic(room(1)).unwrap(), &[history]);
    assert_eq!(hub.members_listening(room(1)), [user]);
    typing();
    assert_eq!(signals(&mut back), 2, "what is typed, and that of the removal");
}

/// A client that does not read is not polled either: its read of the store goes on, or it would keep one of the few permits.
#[tokio::test]
async fn reads_of_those_who_are_not_polled_end() {
    let settings = HubSettings { catch_up_reads: 1, ..HubSettings::default() };
    let hub = Hub::new(settings, Arc::new(MemoryStore::new()));
    let permits = hub.inner.catch_up.clone();
    for ends in [false, true] {
        let mut stuck = connect(&hub, 1, Scope::All);
        stuck.start();
        stuck.begin(Begin { room: room(1), position: 0, joined: 1, head: 5 });
        let permit = permits.acquire().await.unwrap();
        assert!(polled(&mut stuck).is_pending());
        tokio::task::yield_now().await;
        let kept = (!ends).then_some(stuck);
        drop(permit);
        // Those who come later have their turn.
        drop(tokio::time::timeout(Duration::from_secs(20), permits.acquire()).await.expect("it is kept").unwrap());
        drop(kept);
    }
}

/// What another node appends is looked at when reconciling shows it, though no listener reads.
#[tokio::test]
async fn what_another_node_appends_is_looked_at_even_if_nobody_reads() {
    let store = Arc::new(MemoryStore::new());
    let hub = Hub::new(HubSettings { catch_up_page: 2, ..HubSettings::default() }, store.clone());
    let draft = |kind: EventKind| Draft {
        room: room(1),
        key: DraftKey::from_uuid(Uuid::from_u128(KEYS.fetch_add(1, Ordering::Relaxed).into())),
        actor: None,
        at: Timestamp::from_micros(0),
        kind,
    };
    let posted = || post(room(1), 1).kind;
    store.append(&[draft(posted()), draft(posted())], 20).await.unwrap();
    let mut stuck = begun(&hub, 1, room(1), 1, 0);
    hub.publish(vec![post(room(1), 1), post(room(1), 2)]);
    let user = stuck.user();
    assert_eq!(hub.members_listening(room(1)), [user]);
    let elsewhere = [
        draft(EventKind::Deleted { target: Seq::new(2).unwrap() }),
        draft(posted()),
        draft(EventKind::Left { user, reason: LeaveReason::Left }),
        draft(posted()),
        draft(posted()),
    ];
    store.append(&elsewhere, 20).await.unwrap();
    let topic = hub.existing_topic(room(1)).unwrap();
    hub.note_heads([(room(1), 7)]);
    let looked_at = async {
        while topic.head_seen() != (7, 7) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looked_at).await.expect("nobody looks");
    assert_eq!(topic.bodies(), [1, 4, 6, 7], "and not that of 2");
    assert_eq!(hub.members_listening(room(1)), []);
    let used = hub.stats().tail_bytes;
    assert_eq!(used, topic.tail_bytes());
    let Poll::Ready(Delivery::News { events, .. }) = polled(&mut stuck) else { panic!("nothing") };
    assert_eq!(events.len(), 5, "to its own leaving");
    drop((stuck, topic));
    assert_eq!(hub.stats().tail_bytes, 0);
}

static KEYS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
