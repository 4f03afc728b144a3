//! Contracts of [`RoomStore`](crate::store::RoomStore): intents and read markers.

use super::fixtures::{at, group, intent_id, new_member, room_id, room_name, seq, user_id};
use super::tools::{Must, RACERS, assert_same, race};
use crate::id::IntentId;
use crate::model::{Member, Role, Seq, Standing};
use crate::store::{Changed, MarkerWrite, Removal, RoleChange, Storage};

const ADA: u64 = 1;
const BOB: u64 = 2;
const EVE: u64 = 3;

async fn begin(storage: &Storage, room: u32) {
    storage.rooms.create(&group(room, &[user_id(ADA), user_id(BOB)])).await.must();
}

async fn member(storage: &Storage, room: u64, user: u64) -> Member {
    match &storage.rooms.standings(&[(room_id(room), user_id(user))]).await.must()[..] {
        [Standing::Member(membership)] => membership.member.clone(),
        other => panic!("a member: {other:?}"),
    }
}

async fn intents(storage: &Storage, room: u64) -> Vec<IntentId> {
    storage.rooms.intents(room_id(room)).await.must().iter().map(|intent| intent.id).collect()
}

async fn add(storage: &Storage, user: u64, intent: u64) {
    let member = [new_member(user_id(user), Role::Member, intent)];
    assert_eq!(storage.rooms.add(room_id(1), user_id(ADA), &member, 50, at(20)).await.must(), Changed::Done);
}

async fn leave(storage: &Storage, user: u64, intent: u64) {
    let user = user_id(user);
    let removal = Removal { room: room_id(1), by: user, user, intent: intent_id(intent), at: at(20) };
    assert_eq!(storage.rooms.remove(&removal).await.must(), Changed::Done);
}

/// Intents come in the order of their recording, whatever their ids and times say.
pub async fn intents_come_in_the_order_of_recording(storage: Storage) {
    begin(&storage, 1).await;
    let mut want = intents(&storage, 1).await;
    add(&storage, EVE, 90).await;
    let name = room_name("New");
    let renamed = storage.rooms.rename(room_id(1), user_id(ADA), &name, intent_id(50), at(5)).await.must();
    assert_eq!(renamed, Changed::Done);
    let change = RoleChange {
        room: room_id(1),
        by: user_id(ADA),
        user: user_id(EVE),
        role: Role::Admin,
        intent: intent_id(70),
        at: at(1),
    };
    assert_eq!(storage.rooms.change_role(&change).await.must(), Changed::Done);
    leave(&storage, EVE, 10).await;
    want.extend([90, 50, 70, 10].map(intent_id));
    assert_eq!(intents(&storage, 1).await, want);
    storage.rooms.settle(&[(intent_id(50), seq(4)), (want[1], seq(2))]).await.must();
    let want = [want[0], intent_id(90), intent_id(70), intent_id(10)];
    assert_eq!(intents(&storage, 1).await, want, "the others keep their order");
}

/// A settled intent is gone; a join's number is the member's. Settling what is not there does nothing.
pub async fn settle_forgets_and_numbers(storage: Storage) {
    begin(&storage, 1).await;
    begin(&storage, 2).await;
    let [of_ada, of_bob] = intents(&storage, 1).await[..] else { panic!("two intents") };
    assert_eq!(member(&storage, 1, BOB).await.joined_seq, None);
    storage.rooms.settle(&[(of_bob, seq(2)), (intent_id(999), seq(5))]).await.must();
    assert_eq!(member(&storage, 1, BOB).await.joined_seq, Some(seq(2)));
    assert_eq!(member(&storage, 1, ADA).await.joined_seq, None);
    assert_eq!(intents(&storage, 1).await, [of_ada]);
    storage.rooms.settle(&[(of_bob, seq(9))]).await.must();
    assert_eq!(member(&storage, 1, BOB).await.joined_seq, Some(seq(2)), "settled once");
    storage.rooms.settle(&[]).await.must();
    let of_room_2 = intents(&storage, 2).await;
    storage.rooms.settle(&[(of_ada, seq(1)), (of_room_2[0], seq(1)), (of_room_2[1], seq(2))]).await.must();
    assert_eq!(intents(&storage, 1).await, []);
    assert_eq!(intents(&storage, 2).await, []);
    assert_eq!(member(&storage, 2, BOB).await.joined_seq, Some(seq(2)));
    let read = member(&storage, 1, BOB).await.read;
    assert_eq!(read, None, "a join is not a marker");
}

/// The join of one who has gone and come again since is not the new join.
pub async fn a_late_settle_does_not_number_a_new_member(storage: Storage) {
    begin(&storage, 1).await;
    add(&storage, EVE, 10).await;
    leave(&storage, EVE, 11).await;
    add(&storage, EVE, 12).await;
    storage.rooms.settle(&[(intent_id(10), seq(3)), (intent_id(11), seq(4))]).await.must();
    assert_eq!(member(&storage, 1, EVE).await.joined_seq, None);
    storage.rooms.settle(&[(intent_id(12), seq(5))]).await.must();
    assert_eq!(member(&storage, 1, EVE).await.joined_seq, Some(seq(5)));
    leave(&storage, EVE, 13).await;
    storage.rooms.settle(&[(intent_id(13), seq(6))]).await.must();
    add(&storage, EVE, 14).await;
    assert_eq!(member(&storage, 1, EVE).await.joined_seq, None, "a new member, a new join");
}

/// Rooms with an old enough intent are found once each, so many at a time, until they are settled.
pub async fn unsettled_rooms_are_found(storage: Storage) {
    for room in 1..=5 {
        begin(&storage, room).await;
    }
    assert_eq!(storage.rooms.unsettled(at(0), 10).await.must(), []);
    assert_same(storage.rooms.unsettled(at(3), 10).await.must(), [1, 2, 3].map(room_id));
    assert_same(storage.rooms.unsettled(at(100), 10).await.must(), (1..=5).map(room_id));
    let mut some = storage.rooms.unsettled(at(100), 2).await.must();
    some.dedup();
    assert_eq!(some.len(), 2, "different ones");
    let settled: Vec<_> = intents(&storage, 2).await.into_iter().map(|id| (id, seq(1))).collect();
    storage.rooms.settle(&settled[..1]).await.must();
    assert_same(storage.rooms.unsettled(at(3), 10).await.must(), [1, 2, 3].map(room_id));
    storage.rooms.settle(&settled[1..]).await.must();
    assert_same(storage.rooms.unsettled(at(3), 10).await.must(), [1, 3].map(room_id));
}

/// Markers go forward only, also within a batch that names one twice; those of strangers are left out.
pub async fn markers_never_go_back(storage: Storage) {
    begin(&storage, 1).await;
    begin(&storage, 2).await;
    let marker = |room, user, number| MarkerWrite { room: room_id(room), user: user_id(user), seq: seq(number) };
    let rooms = &storage.rooms;
    rooms.mark_read(&[marker(1, ADA, 5), marker(2, BOB, 9), marker(1, EVE, 3), marker(9, ADA, 3)]).await.must();
    assert_eq!(member(&storage, 1, ADA).await.read, Some(seq(5)));
    assert_eq!(member(&storage, 1, BOB).await.read, None);
    assert_eq!(member(&storage, 2, BOB).await.read, Some(seq(9)));
    rooms.mark_read(&[marker(1, ADA, 4), marker(2, BOB, 9)]).await.must();
    assert_eq!(member(&storage, 1, ADA).await.read, Some(seq(5)));
    rooms.mark_read(&[marker(1, ADA, 6), marker(1, ADA, 8), marker(1, ADA, 7), marker(1, BOB, 1)]).await.must();
    assert_eq!(member(&storage, 1, ADA).await.read, Some(seq(8)));
    assert_eq!(member(&storage, 1, BOB).await.read, Some(seq(1)));
    rooms.mark_read(&[]).await.must();
    rooms.mark_read(&[marker(1, BOB, Seq::MAX)]).await.must();
    assert_eq!(member(&storage, 1, BOB).await.read, Seq::new(Seq::MAX));
    let membership = storage.rooms.memberships(user_id(ADA)).await.must();
    let read = membership.iter().find(|membership| membership.room.id == room_id(1)).and_then(|m| m.member.read);
    assert_eq!(read, Some(seq(8)), "and all lists show it");
    let listed = storage.rooms.members(room_id(1), None, 10).await.must();
    assert_eq!(listed.iter().map(|member| member.read).collect::<Vec<_>>(), [Some(seq(8)), Seq::new(Seq::MAX)]);
}

/// Batches in opposite orders, all at once, end at the greatest of each.
pub async fn markers_end_at_the_greatest_under_a_race(storage: Storage) {
    for room in 1..=4 {
        begin(&storage, room).await;
    }
    race(RACERS, |index| {
        let storage = storage.clone();
        let number = 1 + (index as u64 * 7) % RACERS as u64;
        let write = |(room, user)| MarkerWrite { room: room_id(room), user: user_id(user), seq: seq(number) };
        let mut batch: Vec<_> = (1..=4).flat_map(|room| [(room, ADA), (room, BOB)]).map(write).collect();
        if index % 2 == 0 {
            batch.reverse();
        }
        async move { storage.rooms.mark_read(&batch).await.must() }
    })
    .await;
    for room in 1..=4 {
        for user in [ADA, BOB] {
            assert_eq!(member(&storage, room, user).await.read, Some(seq(RACERS as u64)));
        }
    }
}
