//! What the server does to answer: every statement walks an index, and looks at little more than it answers.

use std::collections::BTreeSet;
use std::time::Duration;

use chatcore::id::RoomId;
use chatcore::model::{LogRange, MessageRange, PageKey, SearchKey};
use chatcore::store::{FriendshipList, MarkerWrite, ProfileChange, Rotation, SearchPosition, Storage};
use chatcore::testing::fixtures::{self, at, room_id, seq, user_id};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};

use crate::temporary;

/// Everything that a request may wait for.
async fn everything(storage: &Storage) {
    let (room, ada, bob) = (room_id(1), user_id(1), user_id(2));
    let page = Some(PageKey { at: at(50), id: user_id(40).uuid() });
    for n in 0..60 {
        storage.users.create(&fixtures::new_user(n)).await.unwrap().unwrap();
    }
    storage.users.users(&[ada, bob]).await.unwrap();
    storage.users.credentials(ada).await.unwrap();
    let user = fixtures::new_user(1);
    storage.users.credentials_by_username(&user.username).await.unwrap();
    storage.users.credentials_by_email(&user.email).await.unwrap();
    storage.users.replace_password(ada, &user.password, &user.password).await.unwrap();
    let change = ProfileChange { display_name: Some(user.display_name.clone()), email: None };
    storage.users.update_profile(ada, &change).await.unwrap();
    storage.users.touch_seen(&[(ada, at(1)), (bob, at(2))]).await.unwrap();
    let prefix = SearchKey::parse(&user.display_name.as_str()[..2]).unwrap();
    for after in [
        None,
        Some(SearchPosition::Username(fixtures::username("user9"))),
        Some(SearchPosition::Username(user.username.clone())),
        Some(SearchPosition::DisplayName(user.display_name.search_key(), ada)),
    ] {
        storage.users.search(&prefix, after.as_ref(), 10).await.unwrap();
    }
    for n in 0..60 {
        let session = fixtures::session(n, ada);
        storage.sessions.create(&session, &fixtures::token(n.into())).await.unwrap();
    }
    let ids: Vec<_> = (0..20).map(fixtures::session_id).collect();
    storage.sessions.alive(&ids, at(0)).await.unwrap();
    storage.sessions.list(ada, at(0), None, 10).await.unwrap();
    storage.sessions.list(ada, at(0), page, 10).await.unwrap();
    let rotation = Rotation {
        session: ids[0],
        presented: fixtures::token(0),
        next: fixtures::token(100),
        at: at(1),
        expires_at: at(1_000_000),
        grace: Duration::from_secs(10),
    };
    storage.sessions.rotate(&rotation).await.unwrap();
    storage.sessions.end(ada, ids[1]).await.unwrap();
    storage.sessions.purge(at(10), 10).await.unwrap();
    storage.sessions.end_others(ada, ids[0]).await.unwrap();

    for n in 10..60 {
        let other = user_id(n.into());
        let (from, to) = if n % 2 == 0 { (ada, other) } else { (other, ada) };
        let id = fixtures::friendship_id(n.into());
        storage.friendships.request(&fixtures::request(n, from, to)).await.unwrap();
        if n % 3 == 0 {
            storage.friendships.answer(id, to, true, at(n)).await.unwrap();
        }
        if n % 5 == 0 {
            storage.friendships.block(ada, other, at(n)).await.unwrap();
        }
    }
    for after in [None, page] {
        for list in [FriendshipList::Friends, FriendshipList::Incoming, FriendshipList::Outgoing] {
            storage.friendships.list(ada, list, after, 10).await.unwrap();
        }
        storage.friendships.blocked(ada, after, 10).await.unwrap();
    }
    storage.friendships.friend_ids(ada).await.unwrap();
    storage.friendships.relation(ada, bob).await.unwrap();
    storage.friendships.blockers_among(ada, &[bob, user_id(10)]).await.unwrap();
    storage.friendships.blocked_among(ada, &[bob, user_id(10)]).await.unwrap();
    storage.friendships.end(fixtures::friendship_id(18), ada).await.unwrap();
    storage.friendships.unblock(ada, user_id(10)).await.unwrap();

    for n in 0..20 {
        storage.rooms.create(&fixtures::group(n, &[ada, bob, user_id(u64::from(n) + 3)])).await.unwrap();
    }
    storage.rooms.direct(ada, bob).await.unwrap();
    storage.rooms.standings(&[(room, ada), (room_id(2), bob), (room_id(99), ada)]).await.unwrap();
    storage.rooms.memberships(ada).await.unwrap();
    storage.rooms.rooms_of(&[ada, bob]).await.unwrap();
    storage.rooms.members(room, None, 10).await.unwrap();
    storage.rooms.members(room, page, 10).await.unwrap();
    storage.rooms.member_ids(room).await.unwrap();
    let marker = |room| MarkerWrite { room, user: ada, seq: seq(1) };
    storage.rooms.mark_read(&[marker(room), marker(room_id(2))]).await.unwrap();
    let intents = storage.rooms.intents(room).await.unwrap();
    storage.rooms.unsettled(at(100), 10).await.unwrap();
    storage.rooms.settle(&[(intents[0].id, seq(1))]).await.unwrap();

    for n in 0..20 {
        let room = room_id(n);
        let posts: Vec<_> =
            (0..30).map(|post| fixtures::post(room, user_id(1 + post % 3), &format!("{post}"), "text")).collect();
        storage.messages.append(&posts, 20).await.unwrap();
        let changes: Vec<_> = (0..10)
            .flat_map(|n| {
                let key = |kind: &str| format!("{kind}{n}");
                [
                    fixtures::react(room, ada, &key("react"), seq(11 + n), "👍"),
                    fixtures::react(room, bob, &key("react"), seq(11 + n), "👍"),
                    fixtures::unreact(room, bob, &key("unreact"), seq(11 + n), "👍"),
                    fixtures::edit(room, ada, &key("edit"), seq(21 + n), "another text"),
                ]
            })
            .collect();
        storage.messages.append(&changes, 20).await.unwrap();
        storage.messages.append(&[fixtures::delete(room, ada, "delete", seq(21))], 20).await.unwrap();
        storage.messages.append(&posts[..3], 20).await.unwrap();
    }
    let rooms: Vec<RoomId> = (0..20).map(room_id).collect();
    storage.messages.heads(&rooms).await.unwrap();
    for range in [LogRange::After(5), LogRange::After(1_000), LogRange::Before(seq(20))] {
        storage.messages.events(room, range, 10).await.unwrap();
    }
    for range in
        [MessageRange::Newest, MessageRange::Before(seq(20)), MessageRange::After(5), MessageRange::Around(seq(15))]
    {
        storage.messages.messages(ada, room, range, 10).await.unwrap();
    }
    storage.messages.messages_at(ada, room, &[seq(3), seq(12), seq(25)]).await.unwrap();
    storage.messages.reactors(room, seq(12), &fixtures::emoji("👍"), 0, 10).await.unwrap();
    let markers: Vec<_> = rooms.iter().map(|room| (*room, 3)).collect();
    storage.messages.digests(user_id(50), &markers, 5).await.unwrap();
    storage.messages.digests(ada, &markers, 1_000).await.unwrap();
    storage.messages.last_posts(room, &[ada, bob, user_id(50)]).await.unwrap();
}

/// What the server noted of every statement: none walks over a collection, sorts, or looks at many more documents than it
/// answers or writes.
#[tokio::test]
async fn every_statement_walks_an_index() {
    let Some(place) = temporary().await else { return };
    let storage = place.store().await.unwrap().storage();
    let database = place.database().await.unwrap();
    // As large as all notes together; by itself the server keeps the last megabyte.
    let notebook = doc! { "create": "system.profile", "capped": true, "size": 64 << 20 };
    database.run_command(notebook).await.unwrap();
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    everything(&storage).await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let notes = database.collection::<Document>("system.profile");
    let notes = notes.find(doc! { "ns": { "$not": { "$regex": "system" } } });
    let notes: Vec<Document> = notes.await.unwrap().try_collect().await.unwrap();
    let mut seen = BTreeSet::new();
    for note in &notes {
        let number = |field: &str| note.get_i32(field).map_or_else(|_| note.get_i64(field).unwrap_or(0), i64::from);
        let plan = note.get_str("planSummary").unwrap_or("");
        let command = note.get_document("command").ok().map(ToString::to_string).unwrap_or_default();
        seen.insert(format!("{} {} {plan}", note.get_str("op").unwrap(), note.get_str("ns").unwrap()));
        assert!(!plan.contains("COLLSCAN"), "{plan}: {command}");
        // The rooms that are unsettled are grouped first, and those are few.
        let grouped = command.contains("chat_intents") && command.contains("$group");
        assert!(grouped || !note.get_bool("hasSortStage").unwrap_or(false), "sorts: {command}");
        // A statement that answers nothing but counts is bounded by what it counts.
        if note.contains_key("nreturned") && !command.contains("$group") {
            let (looked, answered) = (number("docsExamined"), number("nreturned"));
            assert!(looked <= 2 * answered + 10, "{looked} documents for {answered}: {plan}: {command}");
        }
    }
    // The collections that a request waits for have all been read.
    for collection in ["users", "sessions", "pairs", "rooms", "members", "intents", "log", "heads", "reactions"] {
        assert!(seen.iter().any(|note| note.contains(&format!("chat_{collection} "))), "{collection}: {seen:#?}");
    }
    assert!(seen.iter().any(|note| note.contains("DISTINCT_SCAN")), "last posts skip from sender to sender: {seen:#?}");
}
