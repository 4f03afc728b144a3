//! Contracts of [`FriendshipStore`](crate::store::FriendshipStore): requests, answers, ends and lists.

use super::fixtures::{at, friendship_id, request, user_id};
use super::tools::{Must, RACERS, assert_same, pages, race};
use crate::id::{FriendshipId, UserId};
use crate::model::{Friendship, FriendshipStatus, PageKey, Relation};
use crate::policy::friendship::Refusal;
use crate::store::{Answered, Ended, FriendshipList, NewRequest, Requested, Storage};

const ADA: u64 = 1;
const BOB: u64 = 2;
const EVE: u64 = 3;

/// Row 10, which Ada has asked Bob for at time 10.
fn pending() -> Friendship {
    Friendship {
        id: friendship_id(10),
        status: FriendshipStatus::Pending,
        requester: user_id(ADA),
        addressee: user_id(BOB),
        created_at: at(10),
        updated_at: at(10),
    }
}

async fn ask(storage: &Storage, number: u32, from: u64, to: u64) -> Requested {
    storage.friendships.request(&request(number, user_id(from), user_id(to))).await.must()
}

async fn answer(storage: &Storage, by: u64, accept: bool, seconds: u32) -> Option<Answered> {
    storage.friendships.answer(friendship_id(10), user_id(by), accept, at(seconds)).await.must()
}

async fn list(storage: &Storage, user: u64, list: FriendshipList) -> Vec<Friendship> {
    storage.friendships.list(user_id(user), list, None, 100).await.must()
}

/// Checks the pair's row from both sides: the relation, all lists, the friends.
async fn assert_row(storage: &Storage, want: Option<&Friendship>) {
    let want_relation = Relation { friendship: want.cloned(), ..Relation::default() };
    for (user, other) in [(ADA, BOB), (BOB, ADA)] {
        let relation = storage.friendships.relation(user_id(user), user_id(other)).await.must();
        assert_eq!(relation, want_relation);
        let status = want.map(|row| row.status);
        let asks = want.is_some_and(|row| row.requester == user_id(user));
        for (name, listed) in [
            (FriendshipList::Friends, status == Some(FriendshipStatus::Accepted)),
            (FriendshipList::Outgoing, status == Some(FriendshipStatus::Pending) && asks),
            (FriendshipList::Incoming, status == Some(FriendshipStatus::Pending) && !asks),
        ] {
            let want: Vec<_> = want.filter(|_| listed).cloned().into_iter().collect();
            assert_eq!(list(storage, user, name).await, want, "{name:?}");
        }
        let friends = storage.friendships.friend_ids(user_id(user)).await.must();
        let want: Vec<_> = (status == Some(FriendshipStatus::Accepted)).then(|| user_id(other)).into_iter().collect();
        assert_eq!(friends, want);
    }
}

/// A request makes a pending row; the same again changes nothing.
pub async fn a_request_is_pending(storage: Storage) {
    assert_row(&storage, None).await;
    assert_eq!(ask(&storage, 10, ADA, BOB).await, Requested::Created(pending()));
    assert_row(&storage, Some(&pending())).await;
    assert_eq!(ask(&storage, 11, ADA, BOB).await, Requested::Pending(pending()));
    assert_row(&storage, Some(&pending())).await;
}

/// A request that meets the other's accepts it.
pub async fn a_crossing_request_accepts(storage: Storage) {
    assert_eq!(ask(&storage, 10, ADA, BOB).await, Requested::Created(pending()));
    let row = Friendship { status: FriendshipStatus::Accepted, updated_at: at(11), ..pending() };
    assert_eq!(ask(&storage, 11, BOB, ADA).await, Requested::Accepted(row.clone()));
    assert_row(&storage, Some(&row)).await;
    for (from, to) in [(ADA, BOB), (BOB, ADA)] {
        assert_eq!(ask(&storage, 12, from, to).await, Requested::Refused(Refusal::AlreadyFriends));
    }
    assert_row(&storage, Some(&row)).await;
}

/// Only who was asked answers; the same answer again changes nothing, another is refused.
pub async fn an_answer_is_given_once(storage: Storage) {
    for accept in [true, false] {
        let (one, other) = if accept { (ADA, BOB) } else { (EVE, BOB) };
        let id = friendship_id(if accept { 10 } else { 20 });
        let asked = NewRequest { id, from: user_id(one), to: user_id(other), at: at(10) };
        assert!(matches!(storage.friendships.request(&asked).await.must(), Requested::Created(_)));
        let reply = |by, accept, seconds| {
            let storage = storage.clone();
            async move { storage.friendships.answer(id, user_id(by), accept, at(seconds)).await.must() }
        };
        assert_eq!(reply(one, accept, 11).await, Some(Answered::Refused(Refusal::OwnRequest)));
        assert_eq!(reply(9, accept, 11).await, Some(Answered::Refused(Refusal::NotParty)));
        let status = if accept { FriendshipStatus::Accepted } else { FriendshipStatus::Rejected };
        let row = Friendship { id, status, requester: user_id(one), updated_at: at(12), ..pending() };
        assert_eq!(reply(other, accept, 12).await, Some(Answered::Changed(row.clone())));
        assert_eq!(reply(other, accept, 13).await, Some(Answered::Same(row.clone())));
        assert_eq!(reply(other, !accept, 13).await, Some(Answered::Refused(Refusal::NotPending)));
        let relation = storage.friendships.relation(user_id(one), user_id(other)).await.must();
        assert_eq!(relation.friendship, Some(row));
    }
    assert_eq!(answer(&storage, EVE, true, 14).await, Some(Answered::Refused(Refusal::NotParty)));
    let unknown = storage.friendships.answer(friendship_id(99), user_id(ADA), true, at(14)).await.must();
    assert_eq!(unknown, None);
}

/// A rejected request is on no list, and either may ask again: the row keeps its id and its beginning.
pub async fn a_rejected_request_may_be_asked_again(storage: Storage) {
    ask(&storage, 10, ADA, BOB).await;
    let row = Friendship { status: FriendshipStatus::Rejected, updated_at: at(11), ..pending() };
    assert_eq!(answer(&storage, BOB, false, 11).await, Some(Answered::Changed(row.clone())));
    assert_row(&storage, Some(&row)).await;
    let row = Friendship { updated_at: at(12), ..pending() };
    assert_eq!(ask(&storage, 12, ADA, BOB).await, Requested::Created(row.clone()), "by the same");
    assert_row(&storage, Some(&row)).await;
    assert!(matches!(answer(&storage, BOB, false, 13).await, Some(Answered::Changed(_))));
    let row = Friendship { requester: user_id(BOB), addressee: user_id(ADA), updated_at: at(14), ..pending() };
    assert_eq!(ask(&storage, 14, BOB, ADA).await, Requested::Created(row.clone()), "by the other");
    assert_row(&storage, Some(&row)).await;
}

/// Either of two friends ends it, or who asked takes it back; then the row is gone, and a new one has a new id.
pub async fn an_end_removes_the_row(storage: Storage) {
    let end = |by| {
        let storage = storage.clone();
        async move { storage.friendships.end(friendship_id(10), user_id(by)).await.must() }
    };
    assert_eq!(end(ADA).await, None, "no such row");
    ask(&storage, 10, ADA, BOB).await;
    assert_eq!(end(EVE).await, Some(Ended::Refused(Refusal::NotParty)));
    assert_eq!(end(BOB).await, Some(Ended::Refused(Refusal::NotFriends)), "who was asked answers instead");
    assert_eq!(end(ADA).await, Some(Ended::Gone(pending())));
    assert_row(&storage, None).await;
    for by in [ADA, BOB] {
        ask(&storage, 10, ADA, BOB).await;
        let Some(Answered::Changed(row)) = answer(&storage, BOB, true, 11).await else { panic!("accepted") };
        assert_eq!(end(by).await, Some(Ended::Gone(row)));
        assert_row(&storage, None).await;
    }
    ask(&storage, 10, ADA, BOB).await;
    answer(&storage, BOB, false, 11).await;
    assert_eq!(end(ADA).await, Some(Ended::Refused(Refusal::NotFriends)), "rejected: there is nothing to end");
    assert_eq!(end(BOB).await, Some(Ended::Refused(Refusal::NotFriends)));
}

/// Many equal requests at once make one row.
pub async fn a_request_is_made_once_under_a_race(storage: Storage) {
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        async move { ask(&storage, index as u32, ADA, BOB).await }
    })
    .await;
    let created: Vec<_> = answers.iter().filter(|answer| matches!(answer, Requested::Created(_))).collect();
    let [Requested::Created(row)] = created[..] else { panic!("one made it: {answers:?}") };
    for answer in &answers {
        let (Requested::Created(other) | Requested::Pending(other)) = answer else { panic!("{answer:?}") };
        assert_eq!(other, row);
    }
    assert_row(&storage, Some(row)).await;
}

/// Requests that cross, however many, make one row and two friends.
pub async fn crossing_requests_make_friends_under_a_race(storage: Storage) {
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let (from, to) = if index % 2 == 0 { (ADA, BOB) } else { (BOB, ADA) };
        async move { ask(&storage, index as u32, from, to).await }
    })
    .await;
    let mut rows = Vec::<FriendshipId>::new();
    let (mut created, mut accepted) = (0, 0);
    for answer in &answers {
        match answer {
            Requested::Created(row) => (created += 1, rows.push(row.id)).0,
            Requested::Accepted(row) => (accepted += 1, rows.push(row.id)).0,
            Requested::Pending(row) => rows.push(row.id),
            Requested::Refused(refusal) => assert_eq!(*refusal, Refusal::AlreadyFriends),
        }
    }
    assert_eq!((created, accepted), (1, 1), "{answers:?}");
    rows.dedup();
    assert_eq!(rows.len(), 1, "one row: {answers:?}");
    let relation = storage.friendships.relation(user_id(ADA), user_id(BOB)).await.must();
    assert!(relation.are_friends());
    assert_row(&storage, relation.friendship.as_ref()).await;
}

/// Of two answers at once one is given, and the row shows it.
pub async fn an_answer_is_given_once_under_a_race(storage: Storage) {
    ask(&storage, 10, ADA, BOB).await;
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        async move { answer(&storage, BOB, index % 2 == 0, 11).await.expect("the row is there") }
    })
    .await;
    let changed: Vec<_> = answers.iter().filter(|answer| matches!(answer, Answered::Changed(_))).collect();
    let [Answered::Changed(row)] = changed[..] else { panic!("one was given: {answers:?}") };
    for answer in &answers {
        match answer {
            Answered::Changed(same) | Answered::Same(same) => assert_eq!(same, row),
            Answered::Refused(refusal) => assert_eq!(*refusal, Refusal::NotPending),
        }
    }
    assert_row(&storage, Some(row)).await;
}

/// Of many ends at once, one removes the row; the others find none.
pub async fn an_end_happens_once_under_a_race(storage: Storage) {
    ask(&storage, 10, ADA, BOB).await;
    answer(&storage, BOB, true, 11).await;
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let by = if index % 2 == 0 { ADA } else { BOB };
        async move { storage.friendships.end(friendship_id(10), user_id(by)).await.must() }
    })
    .await;
    assert_eq!(answers.iter().flatten().count(), 1, "{answers:?}");
    assert_row(&storage, None).await;
}

/// Reads a list in pages, and does something between them.
async fn paged(
    storage: &Storage,
    user: UserId,
    list: FriendshipList,
    limit: u32,
    mut between: impl AsyncFnMut(),
) -> Vec<FriendshipId> {
    let read = async |after: Option<_>| {
        let page = storage.friendships.list(user, list, after, limit).await.must();
        between().await;
        page
    };
    let rows = pages(limit, read, |last| PageKey { at: last.updated_at, id: last.id.uuid() }).await;
    rows.into_iter().map(|row| row.id).collect()
}

/// Lists come newest first by their last change, equal times by id, in pages that bear new rows.
pub async fn lists_come_newest_first(storage: Storage) {
    // Three rows at each time, in an order that is none.
    for number in [5_u32, 2, 8, 0, 7, 4, 1, 6, 3] {
        let number = u64::from(number);
        let time = at(number as u32 / 3);
        let out = NewRequest { id: friendship_id(number), from: user_id(ADA), to: user_id(100 + number), at: time };
        let to_me =
            NewRequest { id: friendship_id(50 + number), from: user_id(200 + number), to: user_id(ADA), at: time };
        let friend = NewRequest { id: friendship_id(70 + number), from: user_id(300 + number), ..to_me };
        for request in [out, to_me, friend] {
            assert!(matches!(storage.friendships.request(&request).await.must(), Requested::Created(_)));
        }
        let accepted = storage.friendships.answer(friend.id, user_id(ADA), true, time).await.must();
        assert!(matches!(accepted, Some(Answered::Changed(_))));
    }
    let mut fresh = 1000_u64;
    for (list, first) in [(FriendshipList::Outgoing, 0), (FriendshipList::Incoming, 50), (FriendshipList::Friends, 70)]
    {
        let want: Vec<_> = (first..first + 9).rev().map(friendship_id).collect();
        for limit in 1..=10 {
            let got = paged(&storage, user_id(ADA), list, limit, async || {
                // Newer than all the others: it is not met again.
                fresh += 1;
                let new = |from, to| NewRequest { id: friendship_id(fresh), from, to, at: at(50) };
                let request = match list {
                    FriendshipList::Outgoing => new(user_id(ADA), user_id(fresh)),
                    _ => new(user_id(fresh), user_id(ADA)),
                };
                storage.friendships.request(&request).await.must();
                if list == FriendshipList::Friends {
                    storage.friendships.answer(request.id, user_id(ADA), true, at(50)).await.must();
                }
            })
            .await;
            // The later rounds begin with what the earlier ones have added.
            let old: Vec<_> = got.iter().copied().filter(|id| want.contains(id)).collect();
            assert_eq!(old, want, "{list:?} in pages of {limit}");
        }
    }
}

/// A user's friends are all the users of accepted rows, whoever asked.
pub async fn friends_are_all_of_them(storage: Storage) {
    for number in 10..16_u32 {
        let other = u64::from(number);
        let (from, to) = if number % 2 == 0 { (ADA, other) } else { (other, ADA) };
        ask(&storage, number, from, to).await;
        if number < 14 {
            storage.friendships.answer(friendship_id(other), user_id(to), true, at(20)).await.must();
        }
    }
    let friends = storage.friendships.friend_ids(user_id(ADA)).await.must();
    assert_same(friends, (10..14).map(user_id));
    assert_eq!(storage.friendships.friend_ids(user_id(14)).await.must(), []);
}
