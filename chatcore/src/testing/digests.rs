//! Contracts of [`MessageStore`](crate::store::MessageStore): heads, digests, last posts.

use super::fixtures::{at, delete, edit, post, react, rename, room_id, seq, system, user_id};
use super::tools::{Must, append_all};
use crate::id::RoomId;
use crate::model::{Draft, Message};
use crate::store::{Digest, Head, Storage};

const ADA: u64 = 1;
const BOB: u64 = 2;
const EVE: u64 = 3;

fn room() -> RoomId {
    room_id(1)
}

fn say(user: u64, key: &str) -> Draft {
    post(room(), user_id(user), key, "text")
}

async fn digest(storage: &Storage, viewer: u64, marker: u64, cap: u32) -> Digest {
    let mut digests = storage.messages.digests(user_id(viewer), &[(room(), marker)], cap).await.must();
    assert_eq!(digests.len(), 1);
    digests.remove(0)
}

/// The marker in force and how many are unread.
async fn unread(storage: &Storage, viewer: u64, marker: u64, cap: u32) -> (u64, u32) {
    let digest = digest(storage, viewer, marker, cap).await;
    (digest.read, digest.unread)
}

/// Each log's end and last message, for many rooms at once.
pub async fn heads_tell_where_logs_end(storage: Storage) {
    let late = Draft { at: at(9), ..post(room_id(1), user_id(ADA), "late", "text") };
    append_all(&storage, &[post(room_id(1), user_id(ADA), "early", "text"), late]).await;
    append_all(&storage, &[edit(room_id(1), user_id(ADA), "edit", seq(1), "edited")]).await;
    append_all(&storage, &[rename(room_id(2), user_id(ADA), "name", "Name")]).await;
    append_all(&storage, &[post(room_id(3), user_id(ADA), "gone", "text"), system(room_id(3), "host", "text")]).await;
    append_all(&storage, &[delete(room_id(3), user_id(ADA), "delete", seq(2))]).await;
    let asked = [3, 9, 1, 2].map(room_id);
    let mut heads = storage.messages.heads(&asked).await.must();
    heads.sort_by_key(|head| head.room);
    let head = |room, number, last_post| Head { room: room_id(room), seq: seq(number), last_post };
    let want = [head(1, 3, Some((seq(2), at(9)))), head(2, 1, None), head(3, 3, Some((seq(2), at(0))))];
    assert_eq!(heads, want);
    assert_eq!(storage.messages.heads(&[]).await.must(), []);
}

/// Unread is what others have written after the marker; what is deleted or the host's does not count.
pub async fn unread_counts_what_others_wrote(storage: Storage) {
    append_all(&storage, &[say(ADA, "1"), say(BOB, "2"), say(BOB, "3"), system(room(), "4", "host")]).await;
    append_all(&storage, &[react(room(), user_id(BOB), "5", seq(2), "👍"), say(EVE, "6"), say(EVE, "7")]).await;
    for (marker, want) in [(0, (1, 4)), (1, (1, 4)), (2, (2, 3)), (4, (4, 2)), (6, (6, 1)), (7, (7, 0)), (99, (99, 0))]
    {
        assert_eq!(unread(&storage, ADA, marker, 100).await, want, "Ada's marker at {marker}");
    }
    assert_eq!(unread(&storage, 9, 0, 100).await, (0, 5), "of one who wrote nothing");
    append_all(&storage, &[delete(room(), user_id(BOB), "8", seq(3))]).await;
    assert_eq!(unread(&storage, ADA, 0, 100).await, (1, 3));
    append_all(&storage, &[edit(room(), user_id(EVE), "9", seq(6), "edited")]).await;
    assert_eq!(unread(&storage, ADA, 0, 100).await, (1, 3), "an edit makes nothing unread");
}

/// One's own last post moves the marker in force, also once it is deleted; it never moves it back.
pub async fn an_own_post_moves_the_marker(storage: Storage) {
    append_all(&storage, &[say(BOB, "1"), say(ADA, "2"), say(BOB, "3"), say(BOB, "4")]).await;
    assert_eq!(unread(&storage, ADA, 0, 100).await, (2, 2));
    assert_eq!(unread(&storage, ADA, 3, 100).await, (3, 1));
    assert_eq!(unread(&storage, BOB, 0, 100).await, (4, 0));
    append_all(&storage, &[delete(room(), user_id(ADA), "5", seq(2))]).await;
    assert_eq!(unread(&storage, ADA, 0, 100).await, (2, 2));
    append_all(&storage, &[react(room(), user_id(ADA), "6", seq(1), "👍")]).await;
    assert_eq!(unread(&storage, ADA, 0, 100).await, (2, 2), "a reaction is no post");
}

/// Unread is counted up to the cap.
pub async fn unread_is_capped(storage: Storage) {
    let batch: Vec<_> = (0..10).map(|number| say(BOB, &number.to_string())).collect();
    append_all(&storage, &batch).await;
    for cap in [1, 5, 9, 10, 11, 1000] {
        assert_eq!(unread(&storage, ADA, 0, cap).await, (0, cap.min(10)));
        assert_eq!(unread(&storage, ADA, 4, cap).await, (4, cap.min(6)));
    }
}

/// A digest shows the head and the last message as the viewer sees it, perhaps a tombstone.
pub async fn a_digest_shows_the_last_message(storage: Storage) {
    append_all(&storage, &[rename(room(), user_id(ADA), "1", "Name")]).await;
    let want = Digest { room: room(), head: seq(1), last_message: None, read: 0, unread: 0 };
    assert_eq!(digest(&storage, ADA, 0, 10).await, want);
    append_all(&storage, &[say(ADA, "2"), say(BOB, "3"), react(room(), user_id(EVE), "4", seq(3), "👍")]).await;
    append_all(&storage, &[edit(room(), user_id(BOB), "5", seq(3), "edited")]).await;
    for viewer in [ADA, EVE] {
        let last = storage.messages.messages_at(user_id(viewer), room(), &[seq(3)]).await.must();
        let digest = digest(&storage, viewer, 0, 10).await;
        assert_eq!(digest.last_message.as_ref(), last.first());
        assert_eq!(digest.head, seq(5));
        let me = digest.last_message.map(|message| message.reactions[0].me);
        assert_eq!(me, Some(viewer == EVE));
    }
    append_all(&storage, &[delete(room(), user_id(BOB), "6", seq(3))]).await;
    let digest = digest(&storage, ADA, 0, 10).await;
    assert!(matches!(digest.last_message, Some(Message { deleted: true, body: None, .. })), "{digest:?}");
    assert_eq!((digest.head, digest.unread), (seq(6), 0));
}

/// Many rooms at once, each with its own marker; empty logs are left out.
pub async fn digests_of_many_rooms(storage: Storage) {
    for number in 1..=30 {
        let batch: Vec<_> = (0..number).map(|n| post(room_id(number), user_id(BOB), &n.to_string(), "text")).collect();
        append_all(&storage, &batch).await;
    }
    let asked: Vec<_> = (1..=35).rev().map(|number| (room_id(number), number / 2)).collect();
    let mut digests = storage.messages.digests(user_id(ADA), &asked, 10).await.must();
    digests.sort_by_key(|digest| digest.room);
    let got: Vec<_> = digests.iter().map(|d| (d.room, d.head.number(), d.read, d.unread)).collect();
    let unread = |number: u64| u32::try_from(number - number / 2).expect("small").min(10);
    let want: Vec<_> = (1..=30).map(|number| (room_id(number), number, number / 2, unread(number))).collect();
    assert_eq!(got, want);
    assert_eq!(storage.messages.digests(user_id(ADA), &[], 10).await.must(), []);
}

/// The last message of each of many users.
pub async fn last_posts_of_many_users(storage: Storage) {
    append_all(&storage, &[say(ADA, "1"), say(BOB, "2"), say(ADA, "3"), system(room(), "4", "host")]).await;
    append_all(&storage, &[post(room_id(2), user_id(EVE), "5", "elsewhere"), say(BOB, "6")]).await;
    append_all(&storage, &[delete(room(), user_id(BOB), "7", seq(5)), react(room(), user_id(EVE), "8", seq(1), "👍")])
        .await;
    let asked = [BOB, 9, ADA, EVE].map(user_id);
    let mut posts = storage.messages.last_posts(room(), &asked).await.must();
    posts.sort();
    assert_eq!(posts, [(user_id(ADA), seq(3)), (user_id(BOB), seq(5))]);
    assert_eq!(storage.messages.last_posts(room(), &[]).await.must(), []);
    assert_eq!(storage.messages.last_posts(room(), &[user_id(EVE)]).await.must(), []);
}
