//! Contracts of [`RoomStore`](crate::store::RoomStore): making rooms, and finding who is where.

use super::fixtures::{at, client_id, direct, group, intent_id, new_member, room_id, user_id};
use super::tools::{Must, RACERS, assert_same, cut_off, pages, race};
use crate::model::{Intent, Member, Membership, PageKey, Role, Room, RoomChange, RoomKind, Standing};
use crate::store::{Changed, Created, NewRoom, Removal, Storage};

const ADA: u64 = 1;
const BOB: u64 = 2;
const EVE: u64 = 3;

fn room_of(new: &NewRoom) -> Room {
    Room {
        id: new.id,
        kind: new.kind,
        name: new.name.clone(),
        created_by: new.created_by,
        created_at: new.created_at,
        member_count: new.members.len() as u32,
    }
}

/// What a new room leaves behind.
fn intents_of(new: &NewRoom) -> Vec<Intent> {
    let intent = |member: &crate::store::NewMember| Intent {
        id: member.intent,
        room: new.id,
        actor: Some(new.created_by),
        at: new.created_at,
        change: RoomChange::Joined { user: member.user, role: member.role },
    };
    new.members.iter().map(intent).collect()
}

async fn create(storage: &Storage, new: &NewRoom) -> Created {
    storage.rooms.create(new).await.must()
}

async fn standing(storage: &Storage, room: u64, user: u64) -> Standing {
    let standings = storage.rooms.standings(&[(room_id(room), user_id(user))]).await.must();
    let [standing] = &standings[..] else { panic!("one answer for one question: {standings:?}") };
    standing.clone()
}

/// A group is there with all its members and an intent for each.
pub async fn a_group_is_made_whole(storage: Storage) {
    let mut new = group(1, &[user_id(ADA), user_id(EVE), user_id(BOB)]);
    new.members[1].role = Role::Admin;
    assert_eq!(create(&storage, &new).await, Created::New(room_of(&new)));
    assert_eq!(storage.rooms.intents(new.id).await.must(), intents_of(&new));
    for member in &new.members {
        let want = Membership {
            room: room_of(&new),
            member: Member {
                user: member.user,
                role: member.role,
                joined_at: new.created_at,
                joined_seq: None,
                read: None,
            },
            peer: None,
        };
        let got = storage.rooms.standings(&[(new.id, member.user)]).await.must();
        assert_eq!(got, [Standing::Member(want.clone())]);
        assert_eq!(storage.rooms.memberships(member.user).await.must(), [want]);
    }
    assert_eq!(standing(&storage, 1, 9).await, Standing::Outsider);
    assert_eq!(standing(&storage, 9, ADA).await, Standing::NoRoom);
}

/// A direct room is found from both sides, and each sees the other as the peer.
pub async fn a_direct_room_has_two_sides(storage: Storage) {
    assert_eq!(storage.rooms.direct(user_id(ADA), user_id(BOB)).await.must(), None);
    let new = direct(1, user_id(BOB), user_id(ADA));
    assert_eq!(create(&storage, &new).await, Created::New(room_of(&new)));
    assert_eq!(storage.rooms.intents(new.id).await.must(), intents_of(&new));
    for (user, other) in [(ADA, BOB), (BOB, ADA)] {
        assert_eq!(storage.rooms.direct(user_id(user), user_id(other)).await.must(), Some(room_of(&new)));
        let Standing::Member(membership) = standing(&storage, 1, user).await else { panic!("a member") };
        assert_eq!(membership.peer, Some(user_id(other)));
        assert_eq!(membership.member.role, Role::Member);
        assert_eq!(membership.room, room_of(&new));
    }
    assert_eq!(storage.rooms.direct(user_id(ADA), user_id(EVE)).await.must(), None);
}

/// A pair has one direct room, whoever makes it and however many at once.
pub async fn a_pair_has_one_direct_room_under_a_race(storage: Storage) {
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let (one, other) = if index % 2 == 0 { (ADA, BOB) } else { (BOB, ADA) };
        async move { create(&storage, &direct(index as u32, user_id(one), user_id(other))).await }
    })
    .await;
    assert_one_new(&storage, &answers).await;
    let room = storage.rooms.direct(user_id(ADA), user_id(BOB)).await.must().expect("the room is there");
    assert_eq!(storage.rooms.memberships(user_id(ADA)).await.must().len(), 1);
    assert_eq!(storage.rooms.member_ids(room.id).await.must().len(), 2);
}

/// Checks that one of many made a room, that all others were given it, and that nothing is left of theirs.
async fn assert_one_new(storage: &Storage, answers: &[Created]) {
    let made = answers.iter().position(|answer| matches!(answer, Created::New(_))).expect("one made it");
    let Created::New(room) = &answers[made] else { unreachable!() };
    assert_eq!(room.id, room_id(made as u64));
    for (index, answer) in answers.iter().enumerate() {
        if index != made {
            assert_eq!(*answer, Created::Existing(room.clone()));
            assert_eq!(standing(storage, index as u64, ADA).await, Standing::NoRoom);
            assert_eq!(storage.rooms.intents(room_id(index as u64)).await.must(), []);
        }
    }
    assert_eq!(storage.rooms.unsettled(at(1000), 100).await.must(), [room.id]);
}

/// A maker's key makes one group; the answer to the same key is that group as it is now.
pub async fn a_client_id_makes_one_group(storage: Storage) {
    let new = |number, maker: u64, key: &str| NewRoom {
        client_id: Some(client_id(key)),
        ..group(number, &[user_id(maker), user_id(EVE)])
    };
    let first = new(1, ADA, "key");
    assert_eq!(create(&storage, &first).await, Created::New(room_of(&first)));
    let added = [new_member(user_id(9), Role::Member, 1)];
    assert_eq!(storage.rooms.add(first.id, user_id(ADA), &added, 10, at(5)).await.must(), Changed::Done);
    let now = Room { member_count: 3, ..room_of(&first) };
    assert_eq!(create(&storage, &new(2, ADA, "key")).await, Created::Existing(now));
    assert_eq!(standing(&storage, 2, ADA).await, Standing::NoRoom);
    // Another maker's, and what differs by a byte, is another key.
    for (number, maker, key) in [(3, BOB, "key"), (4, ADA, "Key"), (5, ADA, "key "), (6, ADA, " key")] {
        assert!(matches!(create(&storage, &new(number, maker, key)).await, Created::New(_)), "{key:?} of {maker}");
    }
    // Groups without a key are always new ones.
    for number in 7..9 {
        assert!(matches!(create(&storage, &group(number, &[user_id(ADA)])).await, Created::New(_)));
    }
}

/// However many use a key at once, one group is made.
pub async fn a_client_id_makes_one_group_under_a_race(storage: Storage) {
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let new = NewRoom { client_id: Some(client_id("key")), ..group(index as u32, &[user_id(ADA), user_id(BOB)]) };
        // All at one time, so that they differ by their ids alone.
        async move { create(&storage, &NewRoom { created_at: at(0), ..new }).await }
    })
    .await;
    // Their names differ by the index, so the room made tells whose it was.
    assert_one_new(&storage, &answers).await;
}

/// The very same call again answers the room that is there.
pub async fn create_is_repeatable(storage: Storage) {
    for new in [group(1, &[user_id(ADA), user_id(BOB)]), direct(2, user_id(ADA), user_id(BOB))] {
        assert_eq!(create(&storage, &new).await, Created::New(room_of(&new)));
        assert_eq!(create(&storage, &new).await, Created::Existing(room_of(&new)));
        assert_eq!(storage.rooms.intents(new.id).await.must(), intents_of(&new), "recorded once");
        assert_eq!(storage.rooms.member_ids(new.id).await.must().len(), 2);
    }
}

/// A creation that is dropped half-way has happened whole or not at all.
pub async fn a_creation_cut_off_is_whole_or_not_at_all(storage: Storage) {
    for polls in 1..=20_u32 {
        let new = group(polls, &[user_id(ADA), user_id(BOB), user_id(EVE)]);
        let storage = storage.clone();
        cut_off(storage.rooms.create(&new), polls as usize).await;
        let members = storage.rooms.member_ids(new.id).await.must().len();
        assert!([0, 3].contains(&members), "{members} members after {polls} polls");
        let created = create(&storage, &new).await;
        assert!(matches!(&created, Created::New(room) | Created::Existing(room) if *room == room_of(&new)));
        assert_eq!(storage.rooms.intents(new.id).await.must(), intents_of(&new));
    }
}

/// Standings come in the order asked, also when one is asked twice.
pub async fn standings_come_in_the_order_asked(storage: Storage) {
    create(&storage, &group(1, &[user_id(ADA), user_id(BOB)])).await;
    create(&storage, &direct(2, user_id(BOB), user_id(EVE))).await;
    let asked = [(2, EVE), (1, ADA), (9, ADA), (1, EVE), (2, BOB), (1, ADA), (2, ADA), (1, BOB)];
    let pairs: Vec<_> = asked.iter().map(|(room, user)| (room_id(*room), user_id(*user))).collect();
    let standings = storage.rooms.standings(&pairs).await.must();
    assert_eq!(standings.len(), asked.len());
    for (standing, (room, user)) in standings.into_iter().zip(asked) {
        match (room, user) {
            (9, _) => assert_eq!(standing, Standing::NoRoom),
            (1, EVE) | (2, ADA) => assert_eq!(standing, Standing::Outsider),
            _ => {
                let Standing::Member(membership) = standing else { panic!("{user} is in {room}") };
                assert_eq!((membership.room.id, membership.member.user), (room_id(room), user_id(user)));
                assert_eq!(membership.room.member_count, 2);
                let kind = if room == 1 { RoomKind::Group } else { RoomKind::Direct };
                assert_eq!((membership.room.kind, membership.peer.is_some()), (kind, room == 2));
            }
        }
    }
    assert_eq!(storage.rooms.standings(&[]).await.must(), []);
}

/// All rooms of one user, whole, and the ids of all rooms of many.
pub async fn rooms_are_found_by_user(storage: Storage) {
    for number in 1..=5 {
        let others = if number % 2 == 0 { vec![user_id(ADA), user_id(BOB)] } else { vec![user_id(ADA)] };
        create(&storage, &group(number, &others)).await;
    }
    create(&storage, &direct(6, user_id(ADA), user_id(BOB))).await;
    create(&storage, &group(7, &[user_id(EVE)])).await;
    let memberships = storage.rooms.memberships(user_id(BOB)).await.must();
    assert_same(memberships.iter().map(|membership| membership.room.id), [2, 4, 6].map(room_id));
    for membership in &memberships {
        let want = storage.rooms.standings(&[(membership.room.id, user_id(BOB))]).await.must();
        assert_eq!(want, [Standing::Member(membership.clone())]);
    }
    assert_eq!(storage.rooms.memberships(user_id(9)).await.must(), []);
    let of = storage.rooms.rooms_of(&[user_id(BOB), user_id(9), user_id(EVE)]).await.must();
    let pairs = [(BOB, 2), (BOB, 4), (BOB, 6), (EVE, 7)];
    assert_same(of, pairs.map(|(user, room)| (user_id(user), room_id(room))));
    assert_eq!(storage.rooms.rooms_of(&[]).await.must(), []);
}

/// Members come oldest first by their coming, equal times by id, in pages that bear who comes and who goes.
pub async fn members_come_oldest_first(storage: Storage) {
    create(&storage, &group(1, &[user_id(50)])).await;
    for (round, users) in [[25, 22, 28], [10, 17, 14], [41, 36, 33]].into_iter().enumerate() {
        let round = round as u32;
        let intent = |user: u64| new_member(user_id(user), Role::Member, user);
        let added = storage.rooms.add(room_id(1), user_id(50), &users.map(intent), 100, at(2 + round)).await.must();
        assert_eq!(added, Changed::Done);
    }
    // Who went stands between the others no more.
    let gone = [new_member(user_id(23), Role::Member, 23)];
    assert_eq!(storage.rooms.add(room_id(1), user_id(50), &gone, 100, at(2)).await.must(), Changed::Done);
    let user = user_id(23);
    let removal = Removal { room: room_id(1), by: user, user, intent: intent_id(24), at: at(9) };
    assert_eq!(storage.rooms.remove(&removal).await.must(), Changed::Done);
    let want = [50, 22, 25, 28, 10, 14, 17, 33, 36, 41].map(user_id);
    for limit in 1..=11 {
        let mut late = u64::from(limit) * 1000;
        let read = async |after: Option<_>| {
            let page = storage.rooms.members(room_id(1), after, limit).await.must();
            // Between the pages somebody comes whose time is before that of all others: behind the cursor.
            late += 1;
            let early = [new_member(user_id(late), Role::Member, late)];
            assert_eq!(storage.rooms.add(room_id(1), user_id(50), &early, 1000, at(0)).await.must(), Changed::Done);
            page
        };
        let members = pages(limit, read, |last| PageKey { at: last.joined_at, id: last.user.uuid() }).await;
        let old: Vec<_> = members.iter().map(|member| member.user).filter(|user| want.contains(user)).collect();
        assert_eq!(old, want, "in pages of {limit}");
    }
    let ids = storage.rooms.member_ids(room_id(1)).await.must();
    let Standing::Member(membership) = standing(&storage, 1, 50).await else { panic!("a member") };
    assert_eq!(ids.len() as u32, membership.room.member_count);
    assert_eq!(storage.rooms.members(room_id(9), None, 10).await.must(), []);
    assert_eq!(storage.rooms.member_ids(room_id(9)).await.must(), []);
    assert_eq!(storage.rooms.intents(room_id(9)).await.must(), []);
    assert!(storage.rooms.intents(room_id(1)).await.must().iter().any(|intent| intent.id == intent_id(25)));
}
