//! Contracts of [`RoomStore`](crate::store::RoomStore): who comes, goes, and may do what.

use super::fixtures::{at, direct, group, intent_id, new_member, room_id, room_name, user_id};
use super::tools::{Must, RACERS, race};
use crate::model::{Intent, LeaveReason, Membership, Role, RoomChange, Standing};
use crate::policy::room::Refusal;
use crate::store::{Changed, MarkerWrite, NewRoom, Removal, RoleChange, Storage};

const ADA: u64 = 1;
const BOB: u64 = 2;
const EVE: u64 = 3;
const MAX: u32 = 50;

/// Room 1: Ada owns it, Bob is an admin, Eve a member.
async fn begin(storage: &Storage) {
    let mut new = group(1, &[user_id(ADA), user_id(BOB), user_id(EVE)]);
    new.members[1].role = Role::Admin;
    create(storage, &new).await;
}

async fn create(storage: &Storage, new: &NewRoom) {
    storage.rooms.create(new).await.must();
    let intents = storage.rooms.intents(new.id).await.must();
    let settled: Vec<_> = intents.iter().zip(1..).map(|(intent, n)| (intent.id, super::fixtures::seq(n))).collect();
    storage.rooms.settle(&settled).await.must();
}

/// The number of an intent: each room has its own.
fn intent(room: u64, number: u64) -> u64 {
    room * 10_000 + number
}

async fn add(storage: &Storage, room: u64, by: u64, users: &[u64], max: u32) -> Changed {
    let members: Vec<_> =
        users.iter().map(|user| new_member(user_id(*user), Role::Member, intent(room, 100 + user))).collect();
    storage.rooms.add(room_id(room), user_id(by), &members, max, at(20)).await.must()
}

async fn remove(storage: &Storage, room: u64, by: u64, user: u64) -> Changed {
    let removal = Removal {
        room: room_id(room),
        by: user_id(by),
        user: user_id(user),
        intent: intent_id(intent(room, 200 + user)),
        at: at(30),
    };
    storage.rooms.remove(&removal).await.must()
}

async fn change_role(storage: &Storage, room: u64, by: u64, user: u64, role: Role) -> Changed {
    let change = RoleChange {
        room: room_id(room),
        by: user_id(by),
        user: user_id(user),
        role,
        intent: intent_id(intent(room, 300 + user)),
        at: at(40),
    };
    storage.rooms.change_role(&change).await.must()
}

async fn membership(storage: &Storage, room: u64, user: u64) -> Option<Membership> {
    match &storage.rooms.standings(&[(room_id(room), user_id(user))]).await.must()[..] {
        [Standing::Member(membership)] => Some(membership.clone()),
        [_] => None,
        other => panic!("one answer for one question: {other:?}"),
    }
}

async fn role(storage: &Storage, room: u64, user: u64) -> Option<Role> {
    membership(storage, room, user).await.map(|membership| membership.member.role)
}

/// The changes that are recorded and not settled.
async fn recorded(storage: &Storage, room: u64) -> Vec<(u64, u32, RoomChange)> {
    let intents = storage.rooms.intents(room_id(room)).await.must();
    let number = |kept: &Intent| (0..400).find(|number| intent_id(intent(room, *number)) == kept.id);
    let number = |kept: &Intent| number(kept).expect("a known intent");
    let seconds = |intent: &Intent| (0..100).find(|seconds| at(*seconds) == intent.at).expect("a known time");
    assert!(intents.iter().all(|intent| intent.room == room_id(room) && intent.actor.is_some()));
    intents.iter().map(|intent| (number(intent), seconds(intent), intent.change.clone())).collect()
}

fn joined(user: u64) -> RoomChange {
    RoomChange::Joined { user: user_id(user), role: Role::Member }
}

/// Who is new comes in; who is there keeps role and marker; only the new ones are recorded, in their order.
pub async fn add_lets_in_who_is_new(storage: Storage) {
    begin(&storage).await;
    let marker = MarkerWrite { room: room_id(1), user: user_id(BOB), seq: super::fixtures::seq(7) };
    storage.rooms.mark_read(&[marker]).await.must();
    let before = membership(&storage, 1, BOB).await.expect("a member");
    assert_eq!(add(&storage, 1, ADA, &[9, BOB, 8], MAX).await, Changed::Done);
    assert_eq!(recorded(&storage, 1).await, [(109, 20, joined(9)), (108, 20, joined(8))]);
    let after = membership(&storage, 1, BOB).await.expect("a member");
    assert_eq!((after.member, after.room.member_count), (before.member, 5));
    let new = membership(&storage, 1, 9).await.expect("a member").member;
    assert_eq!((new.role, new.joined_at, new.joined_seq, new.read), (Role::Member, at(20), None, None));
    assert_eq!(add(&storage, 1, BOB, &[EVE, 9], MAX).await, Changed::Same);
    assert_eq!(recorded(&storage, 1).await.len(), 2, "nothing more");
}

/// All come in or none; who is there already takes no new place.
pub async fn add_is_all_or_nothing(storage: Storage) {
    begin(&storage).await;
    assert_eq!(add(&storage, 1, ADA, &[7, 8, 9], 5).await, Changed::Refused(Refusal::Full));
    assert_eq!(membership(&storage, 1, 7).await, None);
    assert_eq!(recorded(&storage, 1).await, []);
    assert_eq!(membership(&storage, 1, ADA).await.expect("a member").room.member_count, 3);
    assert_eq!(add(&storage, 1, ADA, &[7, EVE, 8], 5).await, Changed::Done, "up to the last place");
    assert_eq!(add(&storage, 1, ADA, &[7, EVE], 5).await, Changed::Same);
    assert_eq!(add(&storage, 1, ADA, &[9], 5).await, Changed::Refused(Refusal::Full));
    assert_eq!(membership(&storage, 1, ADA).await.expect("a member").room.member_count, 5);
}

/// Who may not add is told why, and nothing changes.
pub async fn add_is_for_admins_of_groups(storage: Storage) {
    begin(&storage).await;
    create(&storage, &direct(2, user_id(ADA), user_id(BOB))).await;
    for (room, by, why) in [
        (9, ADA, Refusal::NoRoom),
        (1, 8, Refusal::NotMember),
        (1, EVE, Refusal::RoleTooLow),
        (2, ADA, Refusal::DirectRoom),
        (2, EVE, Refusal::NotMember),
    ] {
        assert_eq!(add(&storage, room, by, &[7], MAX).await, Changed::Refused(why), "{by} in room {room}");
        assert_eq!(recorded(&storage, room).await, []);
    }
    assert_eq!(add(&storage, 1, BOB, &[7], MAX).await, Changed::Done);
}

/// However many add at once, the room does not overflow, and its count is right.
pub async fn a_room_fills_up_once_under_a_race(storage: Storage) {
    begin(&storage).await;
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        // Every second one adds two, so that the last place is not enough for some.
        let users = [1000 + 2 * index as u64, 1001 + 2 * index as u64];
        async move { (index % 2, add(&storage, 1, ADA, &users[..1 + index % 2], 20).await) }
    })
    .await;
    let added: usize = answers.iter().filter(|(_, done)| *done == Changed::Done).map(|(more, _)| 1 + more).sum();
    assert!(answers.iter().all(|(_, answer)| matches!(answer, Changed::Done | Changed::Refused(Refusal::Full))));
    let members = storage.rooms.member_ids(room_id(1)).await.must().len();
    assert_eq!(members, 3 + added);
    assert_eq!(membership(&storage, 1, ADA).await.expect("a member").room.member_count as usize, members);
    assert_eq!(members, 20, "and no place is left");
    assert_eq!(storage.rooms.intents(room_id(1)).await.must().len(), added);
}

/// However many add one user at once, that user comes in once.
pub async fn a_member_comes_in_once_under_a_race(storage: Storage) {
    begin(&storage).await;
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let member = [new_member(user_id(9), Role::Member, index as u64)];
        async move { storage.rooms.add(room_id(1), user_id(ADA), &member, MAX, at(20)).await.must() }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| **answer == Changed::Done).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Changed::Same).count(), RACERS - 1);
    assert_eq!(storage.rooms.intents(room_id(1)).await.must().len(), 1);
    assert_eq!(membership(&storage, 1, 9).await.expect("a member").room.member_count, 4);
}

/// Who goes is gone with row and marker; who comes again comes as a new one.
pub async fn a_member_goes_whole(storage: Storage) {
    begin(&storage).await;
    let marker = MarkerWrite { room: room_id(1), user: user_id(EVE), seq: super::fixtures::seq(7) };
    storage.rooms.mark_read(&[marker]).await.must();
    assert_eq!(remove(&storage, 1, EVE, EVE).await, Changed::Done);
    assert_eq!(remove(&storage, 1, EVE, EVE).await, Changed::Same, "gone already");
    assert_eq!(membership(&storage, 1, EVE).await, None);
    assert_eq!(storage.rooms.memberships(user_id(EVE)).await.must(), []);
    assert_eq!(storage.rooms.rooms_of(&[user_id(EVE)]).await.must(), []);
    assert_eq!(storage.rooms.member_ids(room_id(1)).await.must().len(), 2);
    assert_eq!(storage.rooms.members(room_id(1), None, 10).await.must().len(), 2);
    assert_eq!(membership(&storage, 1, ADA).await.expect("a member").room.member_count, 2);
    let left = RoomChange::Left { user: user_id(EVE), reason: LeaveReason::Left };
    assert_eq!(recorded(&storage, 1).await, [(203, 30, left.clone())]);
    assert_eq!(add(&storage, 1, ADA, &[EVE], MAX).await, Changed::Done);
    let again = membership(&storage, 1, EVE).await.expect("a member").member;
    assert_eq!((again.joined_at, again.joined_seq, again.read), (at(20), None, None));
    assert_eq!(recorded(&storage, 1).await, [(203, 30, left), (103, 20, joined(EVE))]);
    let listed = storage.rooms.members(room_id(1), None, 10).await.must();
    let listed: Vec<_> = listed.iter().map(|member| member.user).collect();
    assert_eq!(listed, [ADA, BOB, EVE].map(user_id), "once, and by the new time");
}

/// Admins remove members, owners anybody; who may not is told why.
pub async fn remove_is_for_who_ranks_higher(storage: Storage) {
    begin(&storage).await;
    create(&storage, &direct(2, user_id(ADA), user_id(BOB))).await;
    for (room, by, user, answer) in [
        (9, ADA, ADA, Changed::Refused(Refusal::NoRoom)),
        (9, ADA, BOB, Changed::Refused(Refusal::NoRoom)),
        (1, 8, 8, Changed::Same),
        (1, 8, EVE, Changed::Refused(Refusal::NotMember)),
        (1, EVE, BOB, Changed::Refused(Refusal::RoleTooLow)),
        (1, BOB, ADA, Changed::Refused(Refusal::RoleTooLow)),
        (1, ADA, 8, Changed::Same),
        (1, ADA, ADA, Changed::Refused(Refusal::LastOwner)),
        (2, ADA, ADA, Changed::Refused(Refusal::DirectRoom)),
        (2, ADA, BOB, Changed::Refused(Refusal::DirectRoom)),
    ] {
        assert_eq!(remove(&storage, room, by, user).await, answer, "{by} removes {user} from {room}");
        assert_eq!(recorded(&storage, room).await, []);
    }
    assert_eq!(remove(&storage, 1, BOB, EVE).await, Changed::Done);
    assert_eq!(remove(&storage, 1, ADA, BOB).await, Changed::Done);
    let removed = |user| RoomChange::Left { user: user_id(user), reason: LeaveReason::Removed };
    assert_eq!(recorded(&storage, 1).await, [(203, 30, removed(EVE)), (202, 30, removed(BOB))]);
    let actors: Vec<_> = storage.rooms.intents(room_id(1)).await.must().iter().map(|intent| intent.actor).collect();
    assert_eq!(actors, [Some(user_id(BOB)), Some(user_id(ADA))]);
    assert_eq!(remove(&storage, 1, ADA, ADA).await, Changed::Done, "the last one may go");
    let standing = storage.rooms.standings(&[(room_id(1), user_id(ADA))]).await.must();
    assert_eq!(standing, [Standing::Outsider], "the empty room stays");
}

/// Two owners who leave at once do not leave the others without one.
pub async fn two_owners_leave_at_once(storage: Storage) {
    for room in 1..=8 {
        let mut new = group(room, &[user_id(ADA), user_id(BOB), user_id(EVE)]);
        new.members[1].role = Role::Owner;
        create(&storage, &new).await;
        let answers = race(2, |index| {
            let storage = storage.clone();
            let user = if index == 0 { ADA } else { BOB };
            async move { remove(&storage, room.into(), user, user).await }
        })
        .await;
        let want = [Changed::Done, Changed::Refused(Refusal::LastOwner)];
        assert!(answers.iter().all(|answer| want.contains(answer)) && answers[0] != answers[1], "{answers:?}");
        assert_eq!(storage.rooms.member_ids(room_id(room.into())).await.must().len(), 2);
    }
}

/// An owner gives roles, and one owner is always left.
pub async fn roles_are_given_by_owners(storage: Storage) {
    begin(&storage).await;
    create(&storage, &direct(2, user_id(ADA), user_id(BOB))).await;
    for (room, by, user, role, answer) in [
        (9, ADA, BOB, Role::Member, Changed::Refused(Refusal::NoRoom)),
        (1, 8, BOB, Role::Member, Changed::Refused(Refusal::NotMember)),
        (1, BOB, EVE, Role::Admin, Changed::Refused(Refusal::RoleTooLow)),
        (1, ADA, 8, Role::Admin, Changed::Refused(Refusal::TargetNotMember)),
        (1, ADA, BOB, Role::Admin, Changed::Same),
        (1, ADA, ADA, Role::Member, Changed::Refused(Refusal::LastOwner)),
        (2, ADA, BOB, Role::Owner, Changed::Refused(Refusal::DirectRoom)),
    ] {
        assert_eq!(change_role(&storage, room, by, user, role).await, answer, "{by} makes {user} {role:?} in {room}");
        assert_eq!(recorded(&storage, room).await, []);
    }
    assert_eq!(change_role(&storage, 1, ADA, EVE, Role::Owner).await, Changed::Done);
    assert_eq!(change_role(&storage, 1, ADA, ADA, Role::Member).await, Changed::Done);
    assert_eq!(role(&storage, 1, EVE).await, Some(Role::Owner));
    assert_eq!(role(&storage, 1, ADA).await, Some(Role::Member));
    let changed = |user, role| RoomChange::RoleChanged { user: user_id(user), role };
    let want = [(303, 40, changed(EVE, Role::Owner)), (301, 40, changed(ADA, Role::Member))];
    assert_eq!(recorded(&storage, 1).await, want);
}

/// Two owners who demote each other at once leave one.
pub async fn two_owners_demote_each_other(storage: Storage) {
    for room in 1..=8 {
        let mut new = group(room, &[user_id(ADA), user_id(BOB)]);
        new.members[1].role = Role::Owner;
        create(&storage, &new).await;
        let answers = race(2, |index| {
            let storage = storage.clone();
            let (by, user) = if index == 0 { (ADA, BOB) } else { (BOB, ADA) };
            async move { change_role(&storage, room.into(), by, user, Role::Member).await }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| **answer == Changed::Done).count(), 1, "{answers:?}");
        let roles = [role(&storage, room.into(), ADA).await, role(&storage, room.into(), BOB).await];
        assert!(roles.contains(&Some(Role::Owner)) && roles.contains(&Some(Role::Member)), "{roles:?}");
    }
}

/// Admins rename; the name that it has already records nothing.
pub async fn a_room_is_renamed(storage: Storage) {
    begin(&storage).await;
    create(&storage, &direct(2, user_id(ADA), user_id(BOB))).await;
    let rename = |room: u64, by: u64, name: &'static str| {
        let storage = storage.clone();
        async move {
            let intent = intent_id(intent(room, 10 + by));
            storage.rooms.rename(room_id(room), user_id(by), &room_name(name), intent, at(50)).await.must()
        }
    };
    assert_eq!(rename(9, ADA, "New").await, Changed::Refused(Refusal::NoRoom));
    assert_eq!(rename(1, 8, "New").await, Changed::Refused(Refusal::NotMember));
    assert_eq!(rename(1, EVE, "New").await, Changed::Refused(Refusal::RoleTooLow));
    assert_eq!(rename(2, ADA, "New").await, Changed::Refused(Refusal::DirectRoom));
    assert_eq!(rename(1, BOB, "Ñéw 🚪").await, Changed::Done);
    assert_eq!(rename(1, BOB, "Ñéw 🚪").await, Changed::Same);
    assert_eq!(rename(1, ADA, "ñéw 🚪").await, Changed::Done, "compared by bytes");
    assert_eq!(membership(&storage, 1, EVE).await.expect("a member").room.name, Some(room_name("ñéw 🚪")));
    let renamed = |name| RoomChange::Renamed { name: room_name(name) };
    assert_eq!(recorded(&storage, 1).await, [(12, 50, renamed("Ñéw 🚪")), (11, 50, renamed("ñéw 🚪"))]);
    assert_eq!(membership(&storage, 2, ADA).await.expect("a member").room.name, None);
}
