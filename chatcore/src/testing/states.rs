//! Contracts of [`MessageStore`](crate::store::MessageStore): what events make of a message.

use super::fixtures::{at, body, client_id, delete, edit, emoji, post, react, reply, room_id, seq, unreact, user_id};
use super::tools::{MANY, Must, append, append_all, appended, log, pages};
use crate::id::UserId;
use crate::model::{Draft, Event, EventKind, Message, MessageKind, Reaction, Seq};
use crate::store::{AppendOutcome, Rejection, Storage};

const ADA: u64 = 1;
const BOB: u64 = 2;
const EVE: u64 = 3;
const ROOM: u64 = 1;

async fn message(storage: &Storage, viewer: u64, number: u64) -> Message {
    let found = storage.messages.messages_at(user_id(viewer), room_id(ROOM), &[seq(number)]).await.must();
    found.into_iter().next().expect("the message is there")
}

/// What one sees of the reactions on message 1.
async fn reactions(storage: &Storage, viewer: u64) -> Vec<(String, u32, bool)> {
    let reactions = message(storage, viewer, 1).await.reactions;
    reactions.into_iter().map(|Reaction { emoji, count, me }| (emoji.to_string(), count, me)).collect()
}

async fn reactors(storage: &Storage, with: &str, after: u64, limit: u32) -> Vec<(UserId, Seq)> {
    storage.messages.reactors(room_id(ROOM), seq(1), &emoji(with), after, limit).await.must()
}

fn add(user: u64, key: &str, with: &str) -> Draft {
    react(room_id(ROOM), user_id(user), key, seq(1), with)
}

fn take(user: u64, key: &str, with: &str) -> Draft {
    unreact(room_id(ROOM), user_id(user), key, seq(1), with)
}

/// A new message is as it was posted.
pub async fn a_message_begins_as_posted(storage: Storage) {
    let room = room_id(ROOM);
    let first = Draft { at: at(7), ..post(room, user_id(ADA), "key", "text") };
    append_all(&storage, &[first, reply(room, user_id(BOB), "other", "answer", seq(1))]).await;
    let want = Message {
        room,
        seq: seq(1),
        rev: seq(1),
        sender: Some(user_id(ADA)),
        kind: MessageKind::Text,
        body: Some(body("text")),
        client_id: Some(client_id("key")),
        reply_to: None,
        created_at: at(7),
        edited_at: None,
        deleted: false,
        reactions: Vec::new(),
    };
    assert_eq!(message(&storage, EVE, 1).await, want);
    assert_eq!(message(&storage, EVE, 2).await.reply_to, Some(seq(1)));
}

/// An edit sets body, time and `rev`; the event of the post still shows the first body.
pub async fn an_edit_changes_the_message_not_the_log(storage: Storage) {
    let room = room_id(ROOM);
    append_all(&storage, &[post(room, user_id(ADA), "key", "first"), post(room, user_id(BOB), "other", "other")]).await;
    let before = message(&storage, EVE, 1).await;
    let edits = [("e1", "second", 20), ("e2", "first", 10)];
    for (key, text, seconds) in edits {
        append_all(&storage, &[Draft { at: at(seconds), ..edit(room, user_id(ADA), key, seq(1), text) }]).await;
    }
    let want = Message { body: Some(body("first")), edited_at: Some(at(10)), rev: seq(4), ..before };
    assert_eq!(message(&storage, EVE, 1).await, want);
    assert_eq!(message(&storage, EVE, 2).await.rev, seq(2), "the other one is untouched");
    let events = log(&storage, room).await;
    assert_eq!(events[0].posted_message().and_then(|message| message.body), Some(body("first")));
    assert_eq!(events[2].kind, EventKind::Edited { target: seq(1), body: Some(body("second")) });
}

/// A deletion leaves a tombstone, and takes the bodies out of the log; nothing else changes.
pub async fn a_deletion_takes_the_bodies_out(storage: Storage) {
    let room = room_id(ROOM);
    let batch = [
        post(room, user_id(ADA), "one", "secret"),
        reply(room, user_id(BOB), "two", "about it", seq(1)),
        edit(room, user_id(ADA), "three", seq(1), "more secret"),
        edit(room, user_id(BOB), "four", seq(2), "changed"),
        add(EVE, "five", "👍"),
        react(room, user_id(EVE), "six", seq(2), "👍"),
        edit(room, user_id(ADA), "seven", seq(1), "most secret"),
    ];
    append_all(&storage, &batch).await;
    let before = message(&storage, EVE, 1).await;
    let other_before = message(&storage, EVE, 2).await;
    let log_before = log(&storage, room).await;
    assert_eq!(append(&storage, &[delete(room, user_id(BOB), "eight", seq(1))]).await, [appended(8)]);

    let tombstone = Message { body: None, deleted: true, rev: seq(8), reactions: Vec::new(), ..before };
    assert_eq!(message(&storage, EVE, 1).await, tombstone, "sender, key, times stay");
    assert_eq!(message(&storage, EVE, 2).await, other_before);
    let scrub = |event: Event| if event.body_of() == Some(seq(1)) { event.scrubbed() } else { event };
    let mut want: Vec<_> = log_before.into_iter().map(scrub).collect();
    want.push(delete(room, user_id(BOB), "eight", seq(1)).into_event(seq(8)));
    let events = log(&storage, room).await;
    assert_eq!(events, want);
    assert_eq!(events.iter().filter(|event| event.body_of() == Some(seq(2))).count(), 2);
    assert_eq!(reactors(&storage, "👍", 0, 10).await, []);
    let others = storage.messages.reactors(room, seq(2), &emoji("👍"), 0, 10).await.must();
    assert_eq!(others, [(user_id(EVE), seq(6))], "reactions on other messages stay");
}

/// A tombstone takes no edits and no reactions, and stays one; it may be answered.
pub async fn a_tombstone_stays(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    append_all(&storage, &[post(room, ada, "one", "text"), add(ADA, "two", "👍"), delete(room, ada, "three", seq(1))])
        .await;
    let deleted = AppendOutcome::Rejected(Rejection::Deleted);
    let batch = [
        edit(room, ada, "four", seq(1), "text"),
        add(ADA, "five", "👍"),
        take(ADA, "six", "👍"),
        delete(room, ada, "seven", seq(1)),
        reply(room, ada, "eight", "answer", seq(1)),
    ];
    let unchanged = AppendOutcome::Unchanged;
    assert_eq!(append(&storage, &batch).await, [deleted, deleted, unchanged, unchanged, appended(4)]);
    let tombstone = message(&storage, ADA, 1).await;
    assert_eq!((tombstone.rev, tombstone.deleted, tombstone.body), (seq(3), true, None));
}

/// Reactions are counted by emoji, in the order of the earliest one still there, and one's own are marked.
pub async fn reactions_are_counted_in_order(storage: Storage) {
    append_all(&storage, &[post(room_id(ROOM), user_id(ADA), "post", "text")]).await;
    append_all(&storage, &[add(ADA, "2", "😀"), add(BOB, "3", "❤️"), add(EVE, "4", "😀"), add(ADA, "5", "👍")]).await;
    let row = |with: &str, count, me| (with.to_owned(), count, me);
    assert_eq!(reactions(&storage, ADA).await, [row("😀", 2, true), row("❤️", 1, false), row("👍", 1, true)]);
    assert_eq!(reactions(&storage, BOB).await, [row("😀", 2, false), row("❤️", 1, true), row("👍", 1, false)]);
    assert_eq!(message(&storage, EVE, 1).await.rev, seq(5));
    append_all(&storage, &[take(ADA, "6", "😀")]).await;
    // Eve's is number 4 now, behind Bob's heart.
    assert_eq!(reactions(&storage, EVE).await, [row("❤️", 1, false), row("😀", 1, true), row("👍", 1, false)]);
    assert_eq!(message(&storage, EVE, 1).await.rev, seq(6));
    append_all(&storage, &[take(BOB, "7", "❤️"), add(BOB, "8", "❤️")]).await;
    assert_eq!(reactions(&storage, EVE).await, [row("😀", 1, true), row("👍", 1, false), row("❤️", 1, false)]);
    assert_eq!(append(&storage, &[add(BOB, "8", "❤️")]).await, [super::tools::duplicate(8)]);
}

/// Emojis that look or sort alike are told apart.
pub async fn reactions_are_compared_by_bytes(storage: Storage) {
    append_all(&storage, &[post(room_id(ROOM), user_id(ADA), "post", "text")]).await;
    let alike = ["👍", "👍🏽", "👍🏿", "❤", "❤️", "a", "A", "á", "😀", "😁", "ß", "ẞ", "1", "①"];
    let batch: Vec<_> = alike.iter().zip(0..).map(|(with, n)| add(ADA, &n.to_string(), with)).collect();
    append_all(&storage, &batch).await;
    let want: Vec<_> = alike.map(|with| (with.to_owned(), 1, true)).into();
    assert_eq!(reactions(&storage, ADA).await, want);
    append_all(&storage, &[take(ADA, "take", "👍🏽")]).await;
    assert_eq!(reactions(&storage, ADA).await.len(), alike.len() - 1);
    assert_eq!(reactors(&storage, "👍", 0, 10).await.len(), 1);
    assert_eq!(reactors(&storage, "👍🏽", 0, 10).await.len(), 0);
}

/// A message bears so many different emojis; more of one that is there is no more.
pub async fn different_reactions_are_limited(storage: Storage) {
    append_all(&storage, &[post(room_id(ROOM), user_id(ADA), "post", "text")]).await;
    let too_many = AppendOutcome::Rejected(Rejection::TooManyReactions);
    let batch = [add(ADA, "2", "😀"), add(ADA, "3", "😁"), add(ADA, "4", "😂"), add(BOB, "5", "😀")];
    let outcomes = storage.messages.append(&batch, 2).await.must();
    assert_eq!(outcomes, [appended(2), appended(3), too_many, appended(4)]);
    let outcomes = storage.messages.append(&[add(ADA, "6", "😂"), add(ADA, "7", "😁")], 2).await.must();
    assert_eq!(outcomes, [too_many, AppendOutcome::Unchanged]);
    let batch = [take(ADA, "8", "😁"), add(ADA, "9", "😂"), add(ADA, "10", "🤣")];
    let outcomes = storage.messages.append(&batch, 2).await.must();
    assert_eq!(outcomes, [appended(5), appended(6), too_many]);
    let outcomes = storage.messages.append(&[take(ADA, "11", "😀"), add(ADA, "12", "🤣")], 2).await.must();
    assert_eq!(outcomes, [appended(7), too_many], "Bob's is still there");
    let outcomes = storage.messages.append(&[add(ADA, "13", "🤣")], MANY).await.must();
    assert_eq!(outcomes, [appended(8)], "the limit is that of the call");
}

/// Who reacted comes in the order of the events, page by page; who reacts again comes last.
pub async fn reactors_come_in_order(storage: Storage) {
    append_all(&storage, &[post(room_id(ROOM), user_id(ADA), "post", "text")]).await;
    let users = [5, 3, 9, 1, 7, 2];
    let batch: Vec<_> = users.iter().map(|user| add(*user, "same key", "👍")).collect();
    append_all(&storage, &batch).await;
    append_all(&storage, &[add(50, "other", "👎"), take(3, "back", "👍"), add(3, "again", "👍")]).await;
    let want = [(5, 2), (9, 4), (1, 5), (7, 6), (2, 7), (3, 10)].map(|(user, number)| (user_id(user), seq(number)));
    for limit in 1..=7 {
        let read = async |after: Option<u64>| reactors(&storage, "👍", after.unwrap_or(0), limit).await;
        let all = pages(limit, read, |(_, last)| last.number()).await;
        assert_eq!(all, want, "in pages of {limit}");
    }
    assert_eq!(reactors(&storage, "👍", 5, 2).await, want[3..5]);
    assert_eq!(reactors(&storage, "😀", 0, 10).await, []);
    for (room, number) in [(room_id(ROOM), 2), (room_id(ROOM), 99), (room_id(9), 1)] {
        assert_eq!(storage.messages.reactors(room, seq(number), &emoji("👍"), 0, 10).await.must(), []);
    }
}
