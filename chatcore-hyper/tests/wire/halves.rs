//! What is made in two steps, stopped between them; and a clock that goes back. Over every store, and with the rooms in one database and
//! the logs in another.

use std::sync::Arc;
use std::time::Duration;

use chatcore::model::{EventKind, LogRange};
use chatcore::service::{Error, GroupInput, LoginInput, PostInput, Principal, RegisterInput};
use chatcore::store::Storage;
use chatcore::testing::{ManualClock, fixtures};
use chatcore::time::{Clock as _, SystemClock};
use chatcore::{Chat, Settings};

use crate::harness::{PATIENCE, Store, on_every_store, settings};

on_every_store!(
    a_crash_between_the_steps_heals,
    an_absent_log_leaves_nothing_half_made,
    a_clock_that_goes_back_changes_no_order
);

fn chat(storage: &Storage, clock: &Arc<ManualClock>) -> Chat {
    let (mut core, _): (Settings, _) = settings();
    core.store_deadline = Duration::from_millis(500);
    Chat::builder(storage.clone(), core).clock(clock.clone()).start().unwrap()
}

async fn person(chat: &Chat, name: &str) -> Principal {
    let email = format!("{name}@example.org");
    let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
    chat.register(input, None).await.unwrap();
    login(chat, name).await
}

async fn login(chat: &Chat, name: &str) -> Principal {
    let login = LoginInput { login: name, password: "correct horse", device: None };
    let token = chat.login(login, None).await.unwrap().access_token;
    chat.authenticate(&token).await.unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(SystemClock.now()))
}

/// Waits until no change of the room is left half-made.
async fn settled(storage: &Storage, room: chatcore::id::RoomId) {
    let settled = async {
        while !storage.rooms.intents(room).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.unwrap();
}

/// A node records in the first database that a room is made, and is gone. Another one is gone after it has written the events, and before it
/// could note that it has. The next node finishes both, each event once.
async fn a_crash_between_the_steps_heals(store: Store) {
    let (storage, _guard) = store.open().await;
    let users = [fixtures::user_id(1), fixtures::user_id(2)];
    let (first, second) = (fixtures::group(1, &users), fixtures::group(2, &users));
    for room in [&first, &second] {
        storage.rooms.create(room).await.unwrap();
        assert!(storage.messages.heads(&[room.id]).await.unwrap().is_empty());
    }
    let intents = storage.rooms.intents(second.id).await.unwrap();
    let drafts: Vec<_> = intents.iter().map(chatcore::model::Intent::draft).collect();
    storage.messages.append(&drafts, 20).await.unwrap();

    let clock = clock();
    let _chat = chat(&storage, &clock);
    for room in [first.id, second.id] {
        settled(&storage, room).await;
        let log = storage.messages.events(room, LogRange::After(0), 100).await.unwrap();
        let numbers: Vec<u64> = log.events.iter().map(|event| event.seq.number()).collect();
        assert_eq!(numbers, [1, 2], "each event once");
        assert!(log.events.iter().all(|event| matches!(event.kind, EventKind::Joined { .. })));
        let members = storage.rooms.members(room, None, 10).await.unwrap();
        let joined: Vec<u64> = members.iter().map(|member| member.joined_seq.unwrap().number()).collect();
        assert_eq!(joined.len(), 2);
        assert!(joined.iter().all(|seq| (1..=2).contains(seq)), "and the members know where they came in: {joined:?}");
    }
}

/// The store of the logs is away while a group is made. The call answers that, and made again, with the store back, it answers the one room.
async fn an_absent_log_leaves_nothing_half_made(store: Store) {
    let (storage, _guard) = store.open().await;
    let clock = clock();
    let good = chat(&storage, &clock);
    let ada = person(&good, "ada").await;
    let bob = person(&good, "bob").await;
    // A store that is closed is as far away as one that does not answer.
    let closed = chatcore_sqlx::SqliteStore::connect("sqlite::memory:").await.unwrap();
    closed.close().await;
    let broken = chat(&Storage { messages: closed.storage().messages, ..storage.clone() }, &clock);
    let input = GroupInput { name: "room", members: &[bob.user], client_id: Some("once") };
    let error = broken.create_group(&ada, input).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let error = broken.open_direct(&ada, bob.user).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");

    let made = good.create_group(&ada, input).await.unwrap();
    let direct = good.open_direct(&ada, bob.user).await.unwrap();
    for room in [made.room.summary.room.id, direct.room.summary.room.id] {
        good.post(&bob, room, PostInput { body: "hi", client_id: None, reply_to: None }).await.unwrap();
        settled(&storage, room).await;
        let log = storage.messages.events(room, LogRange::After(0), 100).await.unwrap();
        let numbers: Vec<u64> = log.events.iter().map(|event| event.seq.number()).collect();
        assert_eq!(numbers, [1, 2, 3], "two came in, one said hi");
    }
    assert_eq!(
        storage.rooms.memberships(ada.user).await.unwrap().len(),
        2,
        "one room each, however often it was asked for"
    );
}

/// Order is by number, not by time.
async fn a_clock_that_goes_back_changes_no_order(store: Store) {
    let (storage, _guard) = store.open().await;
    let clock = clock();
    let chat = chat(&storage, &clock);
    let (ada, bob) = (person(&chat, "ada").await, person(&chat, "bob").await);
    let room = chat.open_direct(&ada, bob.user).await.unwrap().room.summary.room.id;
    let now = clock.now();
    let mut said = Vec::new();
    for (round, at) in
        [now, now.minus(Duration::from_secs(3600)), now.minus(Duration::from_secs(1800))].into_iter().enumerate()
    {
        clock.set(at);
        for n in 0..3 {
            let body = format!("{round}.{n}");
            let who = if n == 1 { &bob } else { &ada };
            let client_id = format!("c{round}{n}");
            let input = PostInput { body: &body, client_id: Some(&client_id), reply_to: None };
            let seq = chat.post(who, room, input).await.unwrap().seq;
            let again = chat.post(who, room, input).await.unwrap();
            assert!(again.duplicate && again.seq == seq);
            said.push((seq, body));
        }
    }
    let log = storage.messages.events(room, LogRange::After(0), 100).await.unwrap();
    let numbers: Vec<u64> = log.events.iter().map(|event| event.seq.number()).collect();
    assert_eq!(numbers, (1..=11).collect::<Vec<_>>());
    let page = storage.messages.messages(ada.user, room, chatcore::model::MessageRange::Newest, 100).await.unwrap();
    let read: Vec<_> =
        page.items.iter().map(|message| (message.seq, message.body.as_ref().unwrap().to_string())).collect();
    assert_eq!(read, said);
    let digest = &storage.messages.digests(bob.user, &[(room, 0)], 100).await.unwrap()[0];
    assert_eq!(digest.last_message.as_ref().map(|message| message.seq), said.last().map(|(seq, _)| *seq));
    assert_eq!(digest.unread, 1, "one after his own last");
}
