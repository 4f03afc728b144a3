//! How long a socket is handed anything without the store having been asked.

use std::time::Duration;

use chatcore::hub::{CloseReason, Delivery, Scope};

use crate::world::{World, input};

fn without_reconciling() -> World {
    World::set(|settings| {
        settings.reconcile_every = Duration::from_secs(3600);
    })
}

/// A socket is trusted from the read of its session on, and not from its own beginning: a session that was read a while ago is nearly over.
#[tokio::test(start_paused = true)]
async fn a_socket_is_trusted_no_longer_than_its_session() {
    let world = without_reconciling();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    // Bob's session was read just now, when his token was looked at.
    tokio::time::advance(Duration::from_secs(4)).await;
    let (mut connection, _) = world.chat.connect(&bob, Scope::Room(room), None).await.unwrap();
    // Another node ends the session.
    assert!(world.storage.sessions.end(bob.user, bob.session).await.unwrap());
    tokio::time::advance(Duration::from_millis(1_001)).await;
    world.chat.post(&ada, room, input("not for bob")).await.unwrap();
    let got = tokio::time::timeout(Duration::from_secs(60), connection.next()).await;
    assert!(got.is_err(), "{got:?}");
}

/// Sessions that ended elsewhere are closed together: however many there are, and though nobody reads their sockets, the others are not
/// kept waiting.
#[tokio::test(start_paused = true)]
async fn ended_sessions_keep_nobody_waiting() {
    let world = World::new();
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let room = world.group(&ada, &[bob.user]).await;
    let mut gone = Vec::new();
    for n in 0..30 {
        let person = world.person(&format!("gone{n}")).await;
        let (connection, _) = world.chat.connect(&person, Scope::All, None).await.unwrap();
        assert!(world.storage.sessions.end(person.user, person.session).await.unwrap());
        gone.push(connection);
    }
    let (mut bystander, _) = world.chat.connect(&bob, Scope::Room(room), None).await.unwrap();
    for n in 0..20 {
        world.chat.post(&ada, room, input(&n.to_string())).await.unwrap();
        let news = tokio::time::timeout(Duration::from_secs(1), bystander.next()).await.unwrap();
        assert!(matches!(news, Delivery::News { .. }));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for mut connection in gone {
        let end = tokio::time::timeout(Duration::from_millis(1), connection.next()).await.unwrap();
        assert!(matches!(end, Delivery::Closed(CloseReason::Revoked)));
    }
    assert_eq!(world.chat.vitals().reconciles_late, 0);
    assert!(world.chat.vitals().reconciles > 5);
}

/// Reconciling that hangs is given up, counted, and begun again.
#[tokio::test(start_paused = true)]
async fn reconciling_that_hangs_is_given_up() {
    let mut world = World::set(|settings| {
        settings.store_deadline = Duration::from_secs(3600);
    });
    let bob = world.person("bob").await;
    let (mut connection, _) = world.chat.connect(&bob, Scope::All, None).await.unwrap();
    world.script.wait("RoomStore::rooms_of");
    assert_eq!(world.arrivals.recv().await, Some("RoomStore::rooms_of"));
    assert_eq!(world.arrivals.recv().await, Some("RoomStore::rooms_of"), "begun again");
    assert!(world.chat.vitals().reconciles_late >= 1);
    world.script.clear("RoomStore::rooms_of");
    world.chat.logout(&bob).await.unwrap();
    assert!(matches!(connection.next().await, Delivery::Closed(_)));
}
