//! A panic or an error in one task, for one room, ends neither the task nor what it does for the others.

use std::time::Duration;

use chatcore::hub::Scope;
use chatcore::id::IntentId;
use chatcore::model::{Role, Seq};
use chatcore::service::Error;
use chatcore::store::Removal;

use crate::world::{Act, World, input};

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), wait).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test(start_paused = true)]
async fn the_writer_of_the_logs_survives_a_panic() {
    let world = World::new();
    let ada = world.person("ada").await;
    let room = world.group(&ada, &[]).await;
    world.script.put("MessageStore::append", Act::Panic);
    let lost = world.chat.post(&ada, room, input("lost")).await;
    assert!(matches!(lost, Err(Error::Unavailable(_))), "its outcome is not known: {lost:?}");
    world.chat.post(&ada, room, input("kept")).await.unwrap();
    assert_eq!(world.bodies(room).await, ["kept"]);
    assert_eq!(world.chat.vitals().task_panics, 1);
    assert!(world.chat.ready().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_an_author_is_looked_up_again_answers_them() {
    let world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    // Held up for longer than bob is trusted.
    let mut world = world;
    world.script.wait("MessageStore::append");
    let first = world.chat.submit_post(&ada, room, input("first")).await.unwrap();
    world.arrivals.recv().await.unwrap();
    let late = world.chat.submit_post(&bob, room, input("late")).await.unwrap();
    tokio::time::advance(Duration::from_secs(6)).await;
    world.script.put("RoomStore::standings", Act::Panic);
    world.script.clear("MessageStore::append");
    first.wait().await.unwrap();
    assert!(matches!(late.wait().await, Err(Error::Unavailable(_))));
    world.chat.post(&bob, room, input("again")).await.unwrap();
    assert_eq!(world.bodies(room).await, ["first", "again"]);
}

#[tokio::test(start_paused = true)]
async fn the_writer_of_markers_survives_a_panic() {
    let world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    let seq = world.chat.post(&ada, room, input("x")).await.unwrap().seq.number();
    world.script.put("RoomStore::mark_read", Act::Panic);
    assert!(matches!(world.chat.mark_read(&bob, room, seq).await, Err(Error::Unavailable(_))));
    assert_eq!(world.chat.mark_read(&bob, room, seq).await.unwrap().read, seq);
    assert_eq!(world.chat.vitals().task_panics, 1);
}

#[tokio::test(start_paused = true)]
async fn the_upkeep_survives_a_panic() {
    let world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    let (connection, _) = world.chat.connect(&bob, Scope::All, None).await.unwrap();
    for (panics, call) in ["SessionStore::alive", "RoomStore::rooms_of", "RoomStore::unsettled", "SessionStore::purge"]
        .into_iter()
        .enumerate()
    {
        world.script.put(call, Act::Panic);
        until("played", async || world.script.is_played()).await;
        until("counted", async || world.chat.vitals().task_panics == panics as u64 + 1).await;
    }
    // Reconciling goes on.
    let before = world.chat.vitals().reconciles;
    until("reconciled", async || world.chat.vitals().reconciles > before + 2).await;
    // So does presence: it is told, noted, and survives.
    world.script.put("UserStore::touch_seen", Act::Panic);
    drop(connection);
    until("noted", async || world.script.is_played()).await;
    let (connection, _) = world.chat.connect(&bob, Scope::Room(room), None).await.unwrap();
    drop(connection);
    until("seen", async || {
        let bob = world.storage.users.users(&[bob.user]).await.unwrap().remove(0);
        bob.last_seen.is_some()
    })
    .await;
    // And the sweep.
    removed_half_way(&world, &ada, room, bob.user).await;
    until("swept", async || world.storage.rooms.intents(room).await.unwrap().is_empty()).await;
}

/// A node is stopped between the two steps of a removal.
async fn removed_half_way(
    world: &World,
    by: &chatcore::service::Principal,
    room: chatcore::id::RoomId,
    user: chatcore::id::UserId,
) {
    let intent = IntentId::from_uuid(world.chat.new_id());
    let long_ago = world.chat.now().minus(Duration::from_secs(60));
    let removal = Removal { room, by: by.user, user, intent, at: long_ago };
    world.storage.rooms.remove(&removal).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_room_that_cannot_be_settled_does_not_end_the_sweep() {
    let world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let mut rooms = Vec::new();
    for _ in 0..3 {
        let room = world.group(&ada, &[bob.user]).await;
        removed_half_way(&world, &ada, room, bob.user).await;
        rooms.push(room);
    }
    world.script.put("RoomStore::intents", Act::Fail);
    let settled = async || {
        let mut settled = 0;
        for room in &rooms {
            settled += usize::from(world.storage.rooms.intents(*room).await.unwrap().is_empty());
        }
        settled
    };
    until("two of three in the first sweep", async || settled().await >= 2).await;
    assert!(world.script.is_played());
    until("the third in the next one", async || settled().await == 3).await;
}

/// A writer that is held up by stores that do not answer is not ready.
#[tokio::test(start_paused = true)]
async fn readiness_asks_the_writer() {
    let mut world = World::new();
    let ada = world.person("ada").await;
    let mut rooms = Vec::new();
    for _ in 0..10 {
        rooms.push(world.group(&ada, &[]).await);
    }
    assert!(world.chat.ready().await.unwrap());
    world.script.wait("MessageStore::append");
    let mut waiting = Vec::new();
    for room in rooms {
        waiting.push(world.chat.submit_post(&ada, room, input("x")).await.unwrap());
        // Each batch is given up on by the others after a while, and the next one begins.
        let _ = tokio::time::timeout(Duration::from_millis(150), world.arrivals.recv()).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert!(matches!(world.chat.ready().await, Err(Error::Unavailable(_))));
    world.script.clear("MessageStore::append");
    for post in waiting {
        post.wait().await.unwrap();
    }
    assert!(world.chat.ready().await.unwrap());
}

/// The same with drafts of the host, which nobody authorises.
#[tokio::test(start_paused = true)]
async fn a_change_of_a_room_survives_a_panic_of_the_writer() {
    let world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    world.script.put("MessageStore::append", Act::Panic);
    assert!(world.chat.change_role(&ada, room, bob.user, Role::Admin).await.is_err());
    // Whoever comes next finishes it.
    world.chat.change_role(&ada, room, bob.user, Role::Admin).await.unwrap();
    let head = world.storage.messages.heads(&[room]).await.unwrap().remove(0).seq;
    assert_eq!(head, Seq::new(3).unwrap());
}
