//! Two nodes over one store: what one does reaches the other by reconciling.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use chatcore::hub::{Connection, Delivery, Scope};
use chatcore::id::RoomId;
use chatcore::memory::MemoryStore;
use chatcore::model::{AccessSecret, EventKind, Seq};
use chatcore::service::{GroupInput, LoginInput, PostInput, Principal, RegisterInput};
use chatcore::store::Storage;
use chatcore::{Chat, Settings};

fn nodes() -> (Chat, Chat) {
    let storage = Storage::single(Arc::new(MemoryStore::new()));
    let start = || {
        let mut settings = Settings::new(AccessSecret::new([7; 32]).unwrap());
        settings.hashing.memory_kib = 64;
        settings.hashing.iterations = 1;
        Chat::builder(storage.clone(), settings).start().unwrap()
    };
    (start(), start())
}

async fn person(chat: &Chat, name: &str) -> Principal {
    let email = format!("{name}@example.org");
    let input = RegisterInput { username: name, email: &email, password: "correct horse", display_name: None };
    chat.register(input, None).await.unwrap();
    let login = LoginInput { login: name, password: "correct horse", device: None };
    let token = chat.login(login, None).await.unwrap().access_token;
    chat.authenticate(&token).await.unwrap()
}

async fn post(chat: &Chat, who: &Principal, room: RoomId, body: &str) -> Seq {
    let input = PostInput { body, client_id: None, reply_to: None };
    chat.post(who, room, input).await.unwrap().seq
}

/// The bodies that a connection is handed up to that event.
async fn bodies(connection: &mut Connection, to: Seq) -> Vec<Option<String>> {
    let mut bodies = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), connection.next()).await.expect("nothing comes");
        let Delivery::News { events, .. } = next else { panic!("it ends") };
        for logged in events {
            if let EventKind::Posted(posted) = &logged.event().kind {
                bodies.push(posted.body.as_ref().map(|body| body.as_str().to_owned()));
            }
            if logged.event().seq == to {
                return bodies;
            }
        }
    }
}

/// A deletion on one node: after the reconciling period the other one gives the body to nobody, though no socket there reads.
#[tokio::test(start_paused = true)]
async fn a_deletion_reaches_the_tails_of_other_nodes() {
    let (here, there) = nodes();
    let ada = person(&here, "ada").await;
    let bob = person(&here, "bob").await;
    let input = GroupInput { name: "room", members: &[bob.user], client_id: None };
    let room = here.create_group(&ada, input).await.unwrap().room.summary.room.id;
    // Keeps the room's tail in memory there, and reads nothing.
    let _stuck = there.connect(&bob, Scope::Room(room), None).await.unwrap();
    let kept = post(&there, &ada, room, "kept").await;
    let taken_back = post(&there, &ada, room, "taken back").await;
    let deletion = here.delete(&ada, room, taken_back).await.unwrap().seq.unwrap();
    tokio::time::sleep(Duration::from_secs(2) + Duration::from_millis(100)).await;
    let after = Some(kept.number() - 1);
    let (mut late, _) = there.connect(&bob, Scope::Room(room), after).await.unwrap();
    assert_eq!(bodies(&mut late, deletion).await, [Some("kept".to_owned()), None]);
    // At once where the head is read: the opening of a socket is enough.
    let another = post(&there, &ada, room, "another").await;
    let deletion = here.delete(&ada, room, another).await.unwrap().seq.unwrap();
    let (mut late, _) = there.connect(&bob, Scope::Room(room), Some(another.number() - 1)).await.unwrap();
    assert_eq!(bodies(&mut late, deletion).await, [None]);
}

/// What is posted on one node comes to all who listen on the other, also to those who were there before somebody's opening showed the new head.
#[tokio::test(start_paused = true)]
async fn posts_reach_other_nodes() {
    let (here, there) = nodes();
    let ada = person(&here, "ada").await;
    let bob = person(&here, "bob").await;
    let input = GroupInput { name: "room", members: &[bob.user], client_id: None };
    let room = here.create_group(&ada, input).await.unwrap().room.summary.room.id;
    let (mut first, _) = there.connect(&bob, Scope::Room(room), None).await.unwrap();
    let seq = post(&here, &ada, room, "hello").await;
    let (_second, hello) = there.connect(&bob, Scope::Room(room), None).await.unwrap();
    assert_eq!(hello.room.unwrap().1.head, seq.number());
    let got = tokio::time::timeout(Duration::from_secs(3), bodies(&mut first, seq)).await;
    assert_eq!(got.expect("nothing came"), [Some("hello".to_owned())]);
}
