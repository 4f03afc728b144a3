//! Contracts of [`SessionStore`](crate::store::SessionStore).

use std::time::Duration;

use super::fixtures::{at, session, session_id, token, user_id};
use super::tools::{Must, RACERS, assert_same, pages, race};
use crate::limits::LIVE_TOKENS;
use crate::model::{DeviceName, PageKey, Session};
use crate::store::{Rotated, Rotation, Storage};
use crate::time::Timestamp;

const GRACE: Duration = Duration::from_secs(10);

/// A refresh of session 1 at that time, which then lasts for another 1000 seconds.
fn rotation(presented: u64, next: u64, seconds: u32) -> Rotation {
    Rotation {
        session: session_id(1),
        presented: token(presented),
        next: token(next),
        at: at(seconds),
        expires_at: at(seconds + 1000),
        grace: GRACE,
    }
}

/// Session 1 of user 1, made at time 1, with token 0.
async fn begin(storage: &Storage) -> Session {
    let session = session(1, user_id(1));
    storage.sessions.create(&session, &token(0)).await.must();
    session
}

async fn rotate(storage: &Storage, presented: u64, next: u64, seconds: u32) -> Rotated {
    storage.sessions.rotate(&rotation(presented, next, seconds)).await.must()
}

#[track_caller]
fn assert_fresh(rotated: &Rotated) {
    assert!(matches!(rotated, Rotated::Fresh(_)), "{rotated:?}");
}

async fn is_alive(storage: &Storage, number: u64, at: Timestamp) -> bool {
    !storage.sessions.alive(&[session_id(number)], at).await.must().is_empty()
}

/// A session is alive until it expires, and comes back as it was kept.
pub async fn a_session_is_alive_until_it_expires(storage: Storage) {
    let mut kept = session(1, user_id(1));
    kept.device = Some(DeviceName::parse("Ada's 📱").expect("a device's name"));
    storage.sessions.create(&kept, &token(0)).await.must();
    storage.sessions.create(&session(2, user_id(2)), &token(1)).await.must();
    let ids = [session_id(1), session_id(9), session_id(2)];
    assert_same(
        storage.sessions.alive(&ids, at(2)).await.must().into_iter().map(|session| session.id),
        [session_id(1), session_id(2)],
    );
    let just_before = kept.expires_at.minus(Duration::from_micros(1));
    assert_eq!(storage.sessions.alive(&[kept.id], just_before).await.must(), [kept.clone()]);
    assert_eq!(storage.sessions.alive(&[kept.id], kept.expires_at).await.must(), []);
    assert_eq!(storage.sessions.alive(&[], at(2)).await.must(), []);
}

/// The same `create` again changes nothing, not even the tokens.
pub async fn create_is_repeatable(storage: Storage) {
    let kept = begin(&storage).await;
    let again = Session { expires_at: at(5000), ..kept.clone() };
    storage.sessions.create(&again, &token(7)).await.must();
    assert_eq!(storage.sessions.alive(&[kept.id], at(2)).await.must(), [kept]);
    assert_fresh(&rotate(&storage, 0, 1, 2).await);
    storage.sessions.create(&again, &token(0)).await.must();
    assert_fresh(&rotate(&storage, 1, 2, 3).await);
    assert_eq!(rotate(&storage, 7, 3, 3).await, Rotated::Reused(user_id(1)), "token 7 was never kept");
}

/// A refresh makes the next token live and moves the session's times.
pub async fn a_refresh_moves_the_session(storage: Storage) {
    let kept = begin(&storage).await;
    let want = Session { last_used_at: at(50), expires_at: at(1050), ..kept };
    assert_eq!(rotate(&storage, 0, 1, 50).await, Rotated::Fresh(want.clone()));
    let alive = storage.sessions.alive(&[want.id], at(1049)).await.must();
    assert_eq!(alive, std::slice::from_ref(&want));
    let want = Session { last_used_at: at(90), expires_at: at(1090), ..want };
    assert_eq!(rotate(&storage, 1, 2, 90).await, Rotated::Fresh(want.clone()));
    assert_eq!(storage.sessions.list(user_id(1), at(91), None, 10).await.must(), [want]);
}

/// Nothing is known of a session that never was, was ended, or has expired.
pub async fn a_refresh_of_no_session_is_unknown(storage: Storage) {
    assert_eq!(rotate(&storage, 0, 1, 2).await, Rotated::Unknown);
    let kept = begin(&storage).await;
    assert_eq!(rotate(&storage, 0, 1, 1001).await, Rotated::Unknown, "expired at that moment");
    assert_eq!(rotate(&storage, 9, 1, 1001).await, Rotated::Unknown);
    assert!(storage.sessions.end(kept.user, kept.id).await.must());
    assert_eq!(rotate(&storage, 0, 1, 2).await, Rotated::Unknown);
}

/// The token used last may be repeated within the grace, counted from its first use; each time a further one is live.
pub async fn a_repeated_refresh_within_the_grace_is_fresh(storage: Storage) {
    begin(&storage).await;
    assert_fresh(&rotate(&storage, 0, 1, 100).await);
    assert_fresh(&rotate(&storage, 0, 2, 105).await);
    assert_fresh(&rotate(&storage, 0, 3, 110).await);
    for presented in 1..=3 {
        assert_fresh(&rotate(&storage, presented, 10 + presented, 120).await);
    }
}

/// After the grace, which repeats do not lengthen, a used token ends the session.
pub async fn a_repeated_refresh_after_the_grace_ends_the_session(storage: Storage) {
    begin(&storage).await;
    assert_fresh(&rotate(&storage, 0, 1, 100).await);
    assert_fresh(&rotate(&storage, 0, 2, 108).await);
    let mut late = rotation(0, 3, 110);
    late.at = at(110).plus(Duration::from_micros(1));
    assert_eq!(storage.sessions.rotate(&late).await.must(), Rotated::Reused(user_id(1)));
    assert!(!is_alive(&storage, 1, at(111)).await);
    assert_eq!(rotate(&storage, 1, 4, 111).await, Rotated::Unknown, "its live tokens went with it");
    assert_eq!(storage.sessions.list(user_id(1), at(111), None, 10).await.must(), []);
}

/// A token that another was used after ends the session at once.
pub async fn a_token_before_the_last_ends_the_session(storage: Storage) {
    begin(&storage).await;
    assert_fresh(&rotate(&storage, 0, 1, 100).await);
    assert_fresh(&rotate(&storage, 1, 2, 100).await);
    assert_eq!(rotate(&storage, 0, 3, 100).await, Rotated::Reused(user_id(1)));
    assert!(!is_alive(&storage, 1, at(101)).await);
}

/// A token that never was ends the session at once, and no other session.
pub async fn a_strange_token_ends_the_session(storage: Storage) {
    begin(&storage).await;
    storage.sessions.create(&session(2, user_id(1)), &token(20)).await.must();
    assert_eq!(rotate(&storage, 20, 1, 2).await, Rotated::Reused(user_id(1)), "live, but not in this session");
    assert!(!is_alive(&storage, 1, at(3)).await);
    assert!(is_alive(&storage, 2, at(3)).await);
}

/// Only so many tokens are live; the oldest one goes first.
pub async fn live_tokens_are_bounded(storage: Storage) {
    begin(&storage).await;
    let most = LIVE_TOKENS as u64;
    for next in 1..=most {
        assert_fresh(&rotate(&storage, 0, next, 100).await);
    }
    assert_fresh(&rotate(&storage, 0, most + 1, 100).await);
    // Token 1 has gone, the others have not. The last is used first: being live is not a matter of order.
    for presented in (2..=most + 1).rev() {
        assert_fresh(&rotate(&storage, presented, 100 + presented, 101).await);
    }
    assert_eq!(rotate(&storage, 1, 99, 101).await, Rotated::Reused(user_id(1)));
}

/// The very same refresh made again counts its token once.
pub async fn the_same_refresh_again_counts_once(storage: Storage) {
    begin(&storage).await;
    let most = LIVE_TOKENS as u64;
    for next in 1..=most {
        assert_fresh(&rotate(&storage, 0, next, 100).await);
    }
    for _ in 0..LIVE_TOKENS {
        assert_fresh(&rotate(&storage, 0, most, 101).await);
    }
    assert_fresh(&rotate(&storage, 1, 100, 102).await);
}

/// Many refreshes with one token at once, as of many tabs, are all good.
pub async fn many_tabs_refresh_at_once(storage: Storage) {
    begin(&storage).await;
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        async move { rotate(&storage, 0, 1 + index as u64, 100).await }
    })
    .await;
    answers.iter().for_each(assert_fresh);
    assert!(is_alive(&storage, 1, at(101)).await);
    assert_eq!(rotate(&storage, 0, 99, 111).await, Rotated::Reused(user_id(1)));
}

/// Sessions are listed newest first, equal times by id; the expired and those of others are not.
pub async fn sessions_are_listed_newest_first(storage: Storage) {
    // Three made at each time, in an order that is none.
    for number in [5, 2, 8, 0, 7, 4, 1, 6, 3] {
        let time = at(number / 3);
        let kept = Session { created_at: time, expires_at: at(100), ..session(number, user_id(1)) };
        storage.sessions.create(&kept, &token(number.into())).await.must();
    }
    storage.sessions.create(&session(20, user_id(2)), &token(20)).await.must();
    let expired = Session { expires_at: at(9), ..session(21, user_id(1)) };
    storage.sessions.create(&expired, &token(21)).await.must();
    let want: Vec<_> = (0..9).rev().map(session_id).collect();
    for limit in 1..=10 {
        let mut late = 100 * limit;
        let read = async |after: Option<_>| {
            let page = storage.sessions.list(user_id(1), at(10), after, limit).await.must();
            // Between the pages somebody logs in: before everything, so it is not met again.
            late += 1;
            let new = Session { created_at: at(50), expires_at: at(100), ..session(late, user_id(1)) };
            storage.sessions.create(&new, &token(0)).await.must();
            page
        };
        let listed = pages(limit, read, |last| PageKey { at: last.created_at, id: last.id.uuid() }).await;
        let old = listed.iter().map(|session| session.id).filter(|id| want.contains(id));
        assert_eq!(old.collect::<Vec<_>>(), want, "in pages of {limit}");
    }
    assert_eq!(storage.sessions.list(user_id(1), at(100), None, 10).await.must(), []);
}

/// A session is ended by its user alone, and once.
pub async fn a_session_is_ended_once_by_its_user(storage: Storage) {
    let kept = begin(&storage).await;
    assert!(!storage.sessions.end(user_id(2), kept.id).await.must());
    assert!(is_alive(&storage, 1, at(2)).await);
    let answers = race(RACERS, |_| {
        let storage = storage.clone();
        async move { storage.sessions.end(user_id(1), session_id(1)).await.must() }
    })
    .await;
    assert_eq!(answers.iter().filter(|ended| **ended).count(), 1);
    assert!(!is_alive(&storage, 1, at(2)).await);
    assert!(!storage.sessions.end(user_id(1), session_id(9)).await.must());
}

/// All other sessions of a user end; the one kept and those of others do not.
pub async fn all_others_are_ended(storage: Storage) {
    for number in 1..=4 {
        storage.sessions.create(&session(number, user_id(1)), &token(number.into())).await.must();
    }
    storage.sessions.create(&session(5, user_id(2)), &token(5)).await.must();
    let ended = storage.sessions.end_others(user_id(1), session_id(3)).await.must();
    assert_same(ended, [session_id(1), session_id(2), session_id(4)]);
    assert_eq!(storage.sessions.end_others(user_id(1), session_id(3)).await.must(), []);
    for (number, alive) in [(1, false), (2, false), (3, true), (4, false), (5, true)] {
        assert_eq!(is_alive(&storage, number, at(10)).await, alive, "session {number}");
    }
    let ended = storage.sessions.end_others(user_id(1), session_id(5)).await.must();
    assert_eq!(ended, [session_id(3)], "the one to keep is somebody else's");
    assert!(is_alive(&storage, 5, at(10)).await);
}

/// A session that was made before the others are ended has ended with them, and every one that ends is answered, once.
pub async fn a_session_made_before_is_ended_with_the_others(storage: Storage) {
    let keep = session(1, user_id(1));
    storage.sessions.create(&keep, &token(0)).await.must();
    let ended = race(RACERS, |index| {
        let (storage, number) = (storage.clone(), 2 + u32::try_from(index).expect("a small number"));
        async move {
            storage.sessions.create(&session(number, user_id(1)), &token(number.into())).await.must();
            let ended = storage.sessions.end_others(user_id(1), session_id(1)).await.must();
            assert!(!is_alive(&storage, number.into(), at(2)).await, "session {number}");
            ended
        }
    })
    .await;
    assert_same(ended.into_iter().flatten(), (2..2 + RACERS as u64).map(session_id));
    assert!(is_alive(&storage, 1, at(2)).await);
}

/// Expired sessions are removed so many at a time; a refreshed one counts by its new end.
pub async fn expired_sessions_are_purged(storage: Storage) {
    for number in 1..=5 {
        storage.sessions.create(&session(number, user_id(1)), &token(number.into())).await.must();
    }
    assert_fresh(&rotate(&storage, 1, 11, 900).await);
    assert_eq!(storage.sessions.purge(at(1001), 10).await.must(), 0);
    assert_eq!(storage.sessions.purge(at(1005), 2).await.must(), 2, "2 and 3 of 2, 3 and 4");
    assert_eq!(storage.sessions.purge(at(1005), 2).await.must(), 1);
    assert_eq!(storage.sessions.purge(at(1005), 2).await.must(), 0, "5 expires at that moment, 1 was refreshed");
    assert!(is_alive(&storage, 1, at(1005)).await);
    assert!(is_alive(&storage, 5, at(1004)).await);
    assert_eq!(storage.sessions.purge(at(9000), 10).await.must(), 2);
}
