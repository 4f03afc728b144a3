//! Reading: pages of a long room beside those of a short one, and a long list of rooms beside a short one.

use chatcore::Chat;
use chatcore::id::{IntentId, RoomId, UserId};
use chatcore::model::{
    Body, ClientId, Draft, DraftKey, EventKind, MessageKind, MessageRange, Posted, Role, RoomKind, RoomName, Seq,
};
use chatcore::service::Principal;
use chatcore::store::{NewMember, NewRoom, Storage};
use chatcore::time::Timestamp;
use uuid::Uuid;

use crate::floor::BODY;
use crate::{median, person, ratio, timed};

const SHORT: u64 = 1_000;
const PAGE: u32 = 50;
const READS: usize = 200;

fn at(n: u64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + i64::try_from(n).unwrap())
}

async fn group(storage: &Storage, id: u128, owner: UserId) -> RoomId {
    let room = RoomId::from_uuid(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + (id << 8)));
    let intent = IntentId::from_uuid(Uuid::from_u128(0x0192_0000_0000_7000_9000_0000_0000_0000 + (id << 8)));
    let new = NewRoom {
        id: room,
        kind: RoomKind::Group,
        name: Some(RoomName::parse("bench").unwrap()),
        created_by: owner,
        created_at: at(0),
        client_id: None,
        members: vec![NewMember { user: owner, role: Role::Owner, intent }],
    };
    storage.rooms.create(&new).await.unwrap();
    storage.rooms.settle(&[(intent, Seq::FIRST)]).await.unwrap();
    room
}

fn draft(room: RoomId, sender: UserId, n: u64) -> Draft {
    let client_id = ClientId::parse(&format!("{n}")).unwrap();
    let kind = EventKind::Posted(Posted {
        kind: MessageKind::Text,
        body: Some(Body::parse(BODY).unwrap()),
        client_id: Some(client_id.clone()),
        reply_to: None,
    });
    Draft { room, key: DraftKey::from_client(&client_id), actor: Some(sender), at: at(n), kind }
}

async fn fill(storage: &Storage, room: RoomId, sender: UserId, messages: u64) {
    let mut from = 0;
    while from < messages {
        let batch: Vec<Draft> = (from..(from + 512).min(messages)).map(|n| draft(room, sender, n)).collect();
        storage.messages.append(&batch, 20).await.unwrap();
        from += batch.len() as u64;
    }
}

pub(crate) async fn long_rooms(name: &str, chat: &Chat, storage: &Storage, ada: &Principal) {
    let messages = std::env::var("CHATCORE_BENCH_MESSAGES").map_or(1_000_000, |text| text.parse().unwrap());
    let bob = person(chat, "bob").await;
    let (short, long) = (group(storage, 1, ada.user).await, group(storage, 2, ada.user).await);
    fill(storage, short, bob.user, SHORT).await;
    let filling = timed(fill(storage, long, bob.user, messages)).await;
    println!("{name}: filled a room with {messages} messages at {:.0}/s", messages as f64 / filling.as_secs_f64());
    let middle = |messages: u64| MessageRange::Before(Seq::new(messages / 2).unwrap());
    for (what, in_short, in_long) in [
        ("the newest page", MessageRange::Newest, MessageRange::Newest),
        ("a page from the middle", middle(SHORT), middle(messages)),
    ] {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for _ in 0..READS {
            one.push(timed(storage.messages.messages(ada.user, short, in_short, PAGE)).await);
            other.push(timed(storage.messages.messages(ada.user, long, in_long, PAGE)).await);
        }
        let (one, other) = (median(&mut one), median(&mut other));
        println!(
            "{name}: {what}: {one:?} of {SHORT} messages, {other:?} of {messages}: {:.2} times",
            ratio(other, one)
        );
    }
    let digest = async |room, marker| storage.messages.digests(ada.user, &[(room, marker)], 1000).await.unwrap();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for _ in 0..READS {
        one.push(timed(digest(short, SHORT - 500)).await);
        other.push(timed(digest(long, messages - 500)).await);
    }
    let (one, other) = (median(&mut one), median(&mut other));
    println!("{name}: an unread count of 500: {one:?}, {other:?}: {:.2} times", ratio(other, one));
}

pub(crate) async fn long_lists(name: &str, chat: &Chat, storage: &Storage) {
    let (few, many) = (person(chat, "few").await, person(chat, "many").await);
    for (user, rooms, from) in [(&few, 20, 1_000), (&many, 2_000, 10_000)] {
        let mut batch = Vec::new();
        for n in 0..rooms {
            let room = group(storage, from + n, user.user).await;
            batch.extend((0..3).map(|n| draft(room, user.user, n)));
        }
        for drafts in batch.chunks(510) {
            storage.messages.append(drafts, 20).await.unwrap();
        }
    }
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for _ in 0..READS / 4 {
        one.push(timed(async { chat.rooms(&few, None, PAGE).await.unwrap() }).await);
        other.push(timed(async { chat.rooms(&many, None, PAGE).await.unwrap() }).await);
    }
    let (one, other) = (median(&mut one), median(&mut other));
    println!("{name}: a room list: {one:?} of 20 rooms, {other:?} of 2,000: {:.2} times", ratio(other, one));
}
