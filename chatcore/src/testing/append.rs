//! Contracts of [`MessageStore::append`](crate::store::MessageStore::append): numbers, duplicates, rejections.

use super::fixtures::{
    at, body, client_id, delete, draft, edit, emoji, post, react, rename, reply, room_id, room_name, seq, service_key,
    system, unreact, user_id,
};
use super::tools::{Must, append, append_all, appended, duplicate, log};
use crate::model::{Draft, DraftKey, EventKind, LeaveReason, LogRange, MessageKind, Posted, Role};
use crate::store::{AppendOutcome, Rejection, Storage};

const ADA: u64 = 1;
const BOB: u64 = 2;
const ROOM: u64 = 1;

const NO_TARGET: AppendOutcome = AppendOutcome::Rejected(Rejection::NoTarget);
const DELETED: AppendOutcome = AppendOutcome::Rejected(Rejection::Deleted);

fn say(key: &str) -> Draft {
    post(room_id(ROOM), user_id(ADA), key, key)
}

/// Events are numbered from 1 and come back as they went in, whatever their kind.
pub async fn every_kind_of_event_comes_back(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    let mut batch = vec![
        draft(room, Some(ada), "1", EventKind::Joined { user: ada, role: Role::Owner }),
        draft(room, Some(ada), "2", EventKind::Joined { user: user_id(BOB), role: Role::Member }),
        post(room, ada, "3", "hello"),
        reply(room, user_id(BOB), "4", "  hello\n\tyou 👩‍👩‍👧 ", seq(3)),
        system(room, "5", "from the host"),
        edit(room, ada, "6", seq(3), "hello!"),
        react(room, ada, "7", seq(4), "👍🏽"),
        unreact(room, ada, "8", seq(4), "👍🏽"),
        delete(room, user_id(BOB), "9", seq(5)),
        rename(room, ada, "10", "Café"),
        draft(room, Some(ada), "11", EventKind::RoleChanged { user: user_id(BOB), role: Role::Admin }),
        draft(room, Some(ada), "12", EventKind::Left { user: user_id(BOB), reason: LeaveReason::Removed }),
        draft(room, Some(ada), "13", EventKind::Left { user: ada, reason: LeaveReason::Left }),
        draft(room, None, "14", EventKind::Renamed { name: room_name("By the host") }),
    ];
    let keyless = Posted { kind: MessageKind::Text, body: Some(body("no key")), client_id: None, reply_to: None };
    let kind = EventKind::Posted(keyless);
    batch.push(Draft { room, key: service_key(1), actor: Some(ada), at: at(5), kind });
    for (draft, seconds) in batch.iter_mut().zip(100..) {
        draft.at = at(seconds);
    }
    let seqs = append_all(&storage, &batch).await;
    assert_eq!(seqs, (1..=15).map(seq).collect::<Vec<_>>());
    let want = batch.into_iter().zip(seqs).map(|(draft, seq)| draft.into_event(seq));
    // The deletion has taken out what the host said.
    let want: Vec<_> = want.map(|event| if event.seq == seq(5) { event.scrubbed() } else { event }).collect();
    assert_eq!(log(&storage, room).await, want);
}

/// Each room counts for itself, also within a batch; answers come in the order of the drafts.
pub async fn rooms_are_numbered_apart(storage: Storage) {
    let say = |room, key| post(room_id(room), user_id(ADA), key, key);
    let batch = [say(2, "a"), say(1, "b"), say(2, "c"), say(3, "d"), say(1, "e"), say(2, "f")];
    let want = [1, 1, 2, 1, 2, 3].map(appended);
    assert_eq!(append(&storage, &batch).await, want);
    let more = [say(3, "g"), say(2, "h"), say(3, "i")];
    assert_eq!(append(&storage, &more).await, [2, 4, 3].map(appended));
    for (room, keys) in [(1, "be"), (2, "acfh"), (3, "dgi")] {
        let said = log(&storage, room_id(room)).await.into_iter().filter_map(|event| event.posted_message()?.body);
        assert_eq!(said.map(|body| body.to_string()).collect::<String>(), keys);
    }
    assert_eq!(append(&storage, &[]).await, []);
}

/// A key that was appended before answers the first number, whatever the draft says now.
pub async fn a_duplicate_answers_the_first(storage: Storage) {
    assert_eq!(append(&storage, &[say("one"), say("two")]).await, [appended(1), appended(2)]);
    let other_text = post(room_id(ROOM), user_id(ADA), "one", "something else");
    let other_kind = react(room_id(ROOM), user_id(ADA), "two", seq(1), "👍");
    let batch = [say("two"), say("three"), other_text, other_kind];
    assert_eq!(append(&storage, &batch).await, [duplicate(2), appended(3), duplicate(1), duplicate(2)]);
    let events = log(&storage, room_id(ROOM)).await;
    assert_eq!(events.len(), 3);
    assert_eq!(events[0], say("one").into_event(seq(1)));
}

/// A key that comes twice in a batch is appended once.
pub async fn a_duplicate_within_a_batch_answers_the_first(storage: Storage) {
    let batch = [say("a"), say("b"), say("a"), say("c"), say("b"), say("a")];
    let want = [appended(1), appended(2), duplicate(1), appended(3), duplicate(2), duplicate(1)];
    assert_eq!(append(&storage, &batch).await, want);
    assert_eq!(append(&storage, &batch).await, [1, 2, 1, 3, 2, 1].map(duplicate));
    assert_eq!(log(&storage, room_id(ROOM)).await.len(), 3);
}

/// A key belongs to a room and an actor, and is compared by its bytes.
pub async fn keys_are_told_apart(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    let by_service = |number| Draft { key: service_key(number), ..post(room, ada, "x", "text") };
    // The client spells out what the service would store.
    let look_alike = client_id(service_key(1).as_str());
    let batch = [
        post(room, ada, "key", "first"),
        post(room, user_id(BOB), "key", "another sender"),
        system(room, "key", "the host"),
        post(room, ada, "Key", "another case"),
        post(room, ada, "key ", "a space behind"),
        post(room, ada, " key", "a space before"),
        by_service(1),
        by_service(2),
        Draft { key: DraftKey::from_client(&look_alike), ..post(room, ada, "x", "text") },
    ];
    assert_eq!(append(&storage, &batch).await, (1..=9).map(appended).collect::<Vec<_>>());
    let elsewhere = post(room_id(2), ada, "key", "another room");
    assert_eq!(append(&storage, &[elsewhere]).await, [appended(1)]);
    assert_eq!(append(&storage, &batch).await, (1..=9).map(duplicate).collect::<Vec<_>>());
    let longest = "~".repeat(64);
    let long = [post(room, ada, &longest, "long"), post(room, ada, &longest[1..], "shorter")];
    assert_eq!(append(&storage, &long).await, [appended(10), appended(11)]);
    assert_eq!(append(&storage, &long).await, [duplicate(10), duplicate(11)]);
}

/// A repeated draft answers its number also when it would be rejected, or change nothing, now.
pub async fn a_duplicate_comes_before_a_rejection(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    let batch = [
        say("1"),
        edit(room, ada, "2", seq(1), "edited"),
        react(room, ada, "3", seq(1), "👍"),
        unreact(room, ada, "4", seq(1), "👍"),
        delete(room, ada, "5", seq(1)),
    ];
    assert_eq!(append(&storage, &batch).await, [1, 2, 3, 4, 5].map(appended));
    assert_eq!(append(&storage, &batch).await, [1, 2, 3, 4, 5].map(duplicate));
    // Within one batch too.
    let twice = [say("6"), delete(room, ada, "7", seq(6)), delete(room, ada, "7", seq(6)), say("8")];
    assert_eq!(append(&storage, &twice).await, [appended(6), appended(7), duplicate(7), appended(8)]);
    assert_eq!(log(&storage, room).await.len(), 8);
}

/// What is not a message of the room is no target; the other drafts go through, without a hole.
pub async fn rejections_are_one_by_one(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    append_all(&storage, &[rename(room, ada, "name", "Name"), say("first"), edit(room, ada, "edit", seq(2), "x")])
        .await;
    append_all(&storage, &(0..20).map(|n| post(room_id(2), ada, &n.to_string(), "there")).collect::<Vec<_>>()).await;
    let mut batch = vec![say("before")];
    // An event that is no message, an edit, a number beyond the end (of this room only), the draft's own.
    for target in [1, 3, 15, 9000, 5].map(seq) {
        let number = target.number();
        batch.push(edit(room, ada, &format!("e{number}"), target, "text"));
        batch.push(delete(room, ada, &format!("d{number}"), target));
        batch.push(react(room, ada, &format!("r{number}"), target, "👍"));
        batch.push(unreact(room, ada, &format!("u{number}"), target, "👍"));
        batch.push(reply(room, ada, &format!("a{number}"), "text", target));
    }
    batch.push(say("after"));
    let mut want = vec![NO_TARGET; batch.len()];
    want[0] = appended(4);
    want[batch.len() - 1] = appended(5);
    assert_eq!(append(&storage, &batch).await, want);
    assert_eq!(log(&storage, room).await.len(), 5);
    let nowhere = [delete(room_id(3), ada, "d", seq(1)), post(room_id(3), ada, "p", "text")];
    assert_eq!(append(&storage, &nowhere).await, [NO_TARGET, appended(1)], "in a room without a log");
}

/// A key is taken by what was appended only: after a rejection, or when nothing changed, it is free.
pub async fn a_key_is_free_after_a_rejection(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    let early = reply(room, ada, "reply", "text", seq(1));
    assert_eq!(append(&storage, std::slice::from_ref(&early)).await, [NO_TARGET]);
    assert_eq!(append(&storage, &[say("first"), early.clone()]).await, [appended(1), appended(2)]);
    assert_eq!(append(&storage, &[early]).await, [duplicate(2)]);
    let same = edit(room, ada, "edit", seq(1), "first");
    assert_eq!(append(&storage, std::slice::from_ref(&same)).await, [AppendOutcome::Unchanged]);
    let changed = edit(room, ada, "edit", seq(1), "second");
    let batch = [same.clone(), changed, same];
    assert_eq!(append(&storage, &batch).await, [AppendOutcome::Unchanged, appended(3), duplicate(3)]);
}

/// A draft sees what the drafts before it in the batch have done.
pub async fn drafts_see_those_before_them(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    let batch = [
        say("post"),
        reply(room, ada, "reply", "text", seq(1)),
        edit(room, ada, "edit", seq(1), "edited"),
        edit(room, ada, "same", seq(1), "edited"),
        react(room, ada, "react", seq(1), "👍"),
        react(room, ada, "again", seq(1), "👍"),
        unreact(room, ada, "back", seq(1), "👍"),
        unreact(room, ada, "back2", seq(1), "👍"),
        reply(room, ada, "early", "text", seq(7)),
        delete(room, ada, "delete", seq(1)),
        delete(room, ada, "delete2", seq(1)),
        edit(room, ada, "late", seq(1), "late"),
        react(room, ada, "late2", seq(1), "👍"),
        unreact(room, ada, "late3", seq(1), "👍"),
        reply(room, ada, "answer", "a tombstone may be answered", seq(1)),
    ];
    let unchanged = AppendOutcome::Unchanged;
    let want = [
        appended(1),
        appended(2),
        appended(3),
        unchanged,
        appended(4),
        unchanged,
        appended(5),
        unchanged,
        NO_TARGET,
        appended(6),
        unchanged,
        DELETED,
        DELETED,
        unchanged,
        appended(7),
    ];
    assert_eq!(append(&storage, &batch).await, want);
    let events = log(&storage, room).await;
    assert!(events.iter().all(|event| event.body_of() != Some(seq(1))), "scrubbed within the batch");
    assert_eq!(storage.messages.messages_at(ada, room, &[seq(1)]).await.must()[0].rev, seq(6));
}

/// What changes nothing is not appended, also in a later batch.
pub async fn what_is_so_already_is_unchanged(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    append_all(&storage, &[say("text"), react(room, ada, "r", seq(1), "👍")]).await;
    let nothing = [
        edit(room, ada, "same", seq(1), "text"),
        react(room, ada, "again", seq(1), "👍"),
        unreact(room, ada, "not mine", seq(1), "👎"),
        unreact(room, user_id(BOB), "not there", seq(1), "👍"),
    ];
    assert_eq!(append(&storage, &nothing).await, [AppendOutcome::Unchanged; 4]);
    let page = storage.messages.events(room, LogRange::After(0), 10).await.must();
    assert_eq!((page.events.len(), page.head), (2, 2));
    // Bytes are compared: another case, or another spelling that NFC keeps apart, is another text.
    let differs = [edit(room, ada, "case", seq(1), "Text"), edit(room, ada, "space", seq(1), "Text ")];
    assert_eq!(append(&storage, &differs).await, [appended(3), appended(4)]);
}

/// Text comes back byte by byte, up to the greatest length and the widest characters.
pub async fn text_comes_back_byte_by_byte(storage: Storage) {
    let (room, ada) = (room_id(ROOM), user_id(ADA));
    let texts =
        ["𝄞".repeat(4000), "\u{1}\u{7f}\u{feff}\u{10ffff}".into(), "'; DROP TABLE\\'\"%_$".into(), "  x\r\n y ".into()];
    let batch: Vec<_> = texts.iter().zip(0..).map(|(text, n)| post(room, ada, &n.to_string(), text)).collect();
    append_all(&storage, &batch).await;
    let widest = "e\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}\u{308}\u{309}\u{30a}\u{30b}\u{30c}";
    append_all(&storage, &[react(room, ada, "r", seq(1), widest)]).await;
    let events = log(&storage, room).await;
    for (event, text) in events.iter().zip(&texts) {
        let message = event.posted_message().expect("a message");
        assert_eq!(message.body, Some(body(text)));
    }
    let EventKind::ReactionAdded { emoji: kept, .. } = &events[4].kind else { panic!("{:?}", events[4]) };
    assert_eq!(*kept, emoji(widest));
    let messages = storage.messages.messages_at(ada, room, &[1, 2, 3, 4].map(seq)).await.must();
    let bodies: Vec<_> = messages.into_iter().filter_map(|message| message.body).collect();
    assert_eq!(bodies, texts.map(|text| body(&text)));
}

/// A large batch over many rooms is answered draft by draft.
pub async fn a_large_batch_goes_through(storage: Storage) {
    let room = |index: u64| room_id(index * 7 % 20);
    let batch: Vec<_> = (0..600).map(|index| post(room(index), user_id(ADA), &index.to_string(), "text")).collect();
    let want: Vec<_> = (0..600).map(|index| appended(1 + index / 20)).collect();
    assert_eq!(append(&storage, &batch).await, want);
    for number in 0..20 {
        assert_eq!(log(&storage, room_id(number)).await.len(), 30);
    }
}
