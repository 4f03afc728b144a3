//! Contracts of [`FriendshipStore`](crate::store::FriendshipStore): blocks.

use super::fixtures::{at, friendship_id, request, user_id};
use super::tools::{Must, RACERS, assert_same, pages, race};
use crate::model::{FriendshipStatus, PageKey, Relation};
use crate::policy::friendship::Refusal;
use crate::store::{Blocked, FriendshipList, Requested, Storage};

const ADA: u64 = 1;
const BOB: u64 = 2;

async fn ask(storage: &Storage, number: u32, from: u64, to: u64) -> Requested {
    storage.friendships.request(&request(number, user_id(from), user_id(to))).await.must()
}

async fn block(storage: &Storage, by: u64, user: u64, seconds: u32) -> Blocked {
    storage.friendships.block(user_id(by), user_id(user), at(seconds)).await.must()
}

async fn relation(storage: &Storage, user: u64, other: u64) -> Relation {
    storage.friendships.relation(user_id(user), user_id(other)).await.must()
}

/// A block stands in one direction, is seen from both, and is taken back once.
pub async fn a_block_has_a_direction(storage: Storage) {
    assert_eq!(block(&storage, ADA, BOB, 10).await, Blocked { changed: true, ended: None });
    let blocks = Relation { blocks: true, ..Relation::default() };
    let blocked = Relation { blocked: true, ..Relation::default() };
    assert_eq!(relation(&storage, ADA, BOB).await, blocks);
    assert_eq!(relation(&storage, BOB, ADA).await, blocked);
    assert_eq!(relation(&storage, ADA, 9).await, Relation::default());
    assert!(!storage.friendships.unblock(user_id(BOB), user_id(ADA)).await.must(), "Bob has blocked nobody");
    assert_eq!(block(&storage, BOB, ADA, 11).await, Blocked { changed: true, ended: None });
    let both = Relation { blocks: true, blocked: true, friendship: None };
    assert_eq!(relation(&storage, ADA, BOB).await, both);
    assert!(storage.friendships.unblock(user_id(ADA), user_id(BOB)).await.must());
    assert!(!storage.friendships.unblock(user_id(ADA), user_id(BOB)).await.must());
    assert_eq!(relation(&storage, ADA, BOB).await, blocked);
}

/// A block removes the pair's row, and answers it unless it had been rejected.
pub async fn a_block_ends_the_row(storage: Storage) {
    for (number, by) in [(10, ADA), (11, BOB)] {
        for answer in [None, Some(true), Some(false)] {
            let Requested::Created(mut row) = ask(&storage, number, ADA, BOB).await else { panic!("a new row") };
            if let Some(accept) = answer {
                storage.friendships.answer(row.id, user_id(BOB), accept, at(20)).await.must();
                row.status = if accept { FriendshipStatus::Accepted } else { FriendshipStatus::Rejected };
                row.updated_at = at(20);
            }
            let ended = (answer != Some(false)).then_some(row);
            let other = if by == ADA { BOB } else { ADA };
            assert_eq!(block(&storage, by, other, 30).await, Blocked { changed: true, ended });
            assert_eq!(relation(&storage, ADA, BOB).await.friendship, None);
            for user in [ADA, BOB] {
                for list in [FriendshipList::Friends, FriendshipList::Incoming, FriendshipList::Outgoing] {
                    assert_eq!(storage.friendships.list(user_id(user), list, None, 10).await.must(), []);
                }
                assert_eq!(storage.friendships.friend_ids(user_id(user)).await.must(), []);
            }
            assert!(storage.friendships.unblock(user_id(by), user_id(other)).await.must());
        }
    }
}

/// Nobody asks across a block, in either direction; after it they may.
pub async fn nobody_asks_across_a_block(storage: Storage) {
    block(&storage, ADA, BOB, 10).await;
    assert_eq!(ask(&storage, 10, ADA, BOB).await, Requested::Refused(Refusal::Blocked));
    assert_eq!(ask(&storage, 11, BOB, ADA).await, Requested::Refused(Refusal::Blocked));
    assert_eq!(relation(&storage, ADA, BOB).await.friendship, None);
    assert!(storage.friendships.unblock(user_id(ADA), user_id(BOB)).await.must());
    assert!(matches!(ask(&storage, 12, BOB, ADA).await, Requested::Created(row) if row.id == friendship_id(12)));
}

/// Blocking again changes nothing, not even the time.
pub async fn a_block_is_made_once(storage: Storage) {
    block(&storage, ADA, BOB, 10).await;
    assert_eq!(block(&storage, ADA, BOB, 20).await, Blocked { changed: false, ended: None });
    let blocked = storage.friendships.blocked(user_id(ADA), None, 10).await.must();
    assert_eq!(blocked, [(user_id(BOB), at(10))]);
    let answers = race(RACERS, |_| {
        let storage = storage.clone();
        async move { block(&storage, BOB, ADA, 30).await.changed }
    })
    .await;
    assert_eq!(answers.iter().filter(|changed| **changed).count(), 1);
}

/// A request and a block at once never leave both.
pub async fn a_block_and_a_row_never_stand_together(storage: Storage) {
    for round in 0..4_u64 {
        let (ada, bob) = (user_id(100 * round), user_id(100 * round + 1));
        race(RACERS, |index| {
            let storage = storage.clone();
            let (from, to) = if index % 4 < 2 { (ada, bob) } else { (bob, ada) };
            async move {
                if index % 2 == 0 {
                    storage.friendships.block(from, to, at(1)).await.must();
                } else {
                    let new =
                        crate::store::NewRequest { id: friendship_id(100 * round + index as u64), from, to, at: at(1) };
                    storage.friendships.request(&new).await.must();
                }
            }
        })
        .await;
        let relation = storage.friendships.relation(ada, bob).await.must();
        assert_eq!(relation, Relation { friendship: None, blocks: true, blocked: true });
    }
}

/// The blocked come newest first by the time of the block, equal times by id.
pub async fn the_blocked_come_newest_first(storage: Storage) {
    for number in [5_u32, 2, 8, 0, 7, 4, 1, 6, 3] {
        block(&storage, ADA, 100 + u64::from(number), number / 3).await;
    }
    block(&storage, BOB, 100, 5).await;
    let want: Vec<_> = (0..9_u32).rev().map(|number| (user_id(100 + u64::from(number)), at(number / 3))).collect();
    for limit in 1..=10 {
        let read = async |after: Option<_>| storage.friendships.blocked(user_id(ADA), after, limit).await.must();
        let all = pages(limit, read, |(user, time)| PageKey { at: *time, id: user.uuid() }).await;
        assert_eq!(all, want, "in pages of {limit}");
    }
}

/// Which of many have blocked a user, and whom of many a user has blocked.
pub async fn blocks_are_found_among_many(storage: Storage) {
    for other in [11, 13] {
        block(&storage, ADA, other, 10).await;
    }
    for other in [12, 13] {
        block(&storage, other, ADA, 10).await;
    }
    block(&storage, 14, BOB, 10).await;
    let others: Vec<_> = (10..16).map(user_id).collect();
    let blocked = storage.friendships.blocked_among(user_id(ADA), &others).await.must();
    assert_same(blocked, [user_id(11), user_id(13)]);
    let blockers = storage.friendships.blockers_among(user_id(ADA), &others).await.must();
    assert_same(blockers, [user_id(12), user_id(13)]);
    assert_eq!(storage.friendships.blocked_among(user_id(ADA), &[]).await.must(), []);
    assert_eq!(storage.friendships.blockers_among(user_id(ADA), &[user_id(10)]).await.must(), []);
}
