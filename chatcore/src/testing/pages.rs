//! Contracts of [`MessageStore`](crate::store::MessageStore): pages of the log and of messages.

use super::fixtures::{delete, edit, post, react, rename, room_id, seq, system, user_id};
use super::tools::{Must, append_all, log};
use crate::id::RoomId;
use crate::model::{LogPage, LogRange, Message, MessagePage, MessageRange};
use crate::store::Storage;

const ADA: u64 = 1;
const BOB: u64 = 2;

fn room() -> RoomId {
    room_id(1)
}

/// A log of 24 events, in which messages stand at 2, 3, 5, 8, 9, 13, 14, 15, 18 and 22, and not at its ends.
async fn mixed(storage: &Storage) {
    let (ada, bob) = (user_id(ADA), user_id(BOB));
    let batch: Vec<_> = (1..=24_u64)
        .map(|number| {
            let key = number.to_string();
            match number {
                2 | 5 | 9 | 14 | 22 => post(room(), ada, &key, "text"),
                3 | 8 | 15 | 18 => post(room(), bob, &key, "text"),
                13 => system(room(), &key, "text"),
                6 => edit(room(), ada, &key, seq(5), "edited"),
                7 | 11 => react(room(), ada, &key, seq(3), if number == 7 { "👍" } else { "👎" }),
                12 => react(room(), bob, &key, seq(3), "👍"),
                20 => delete(room(), bob, &key, seq(8)),
                _ => rename(room(), ada, &key, &key),
            }
        })
        .collect();
    append_all(storage, &batch).await;
    // Another room's messages never show.
    let others: Vec<_> = (0..30).map(|number| post(room_id(2), ada, &number.to_string(), "other")).collect();
    append_all(storage, &others).await;
}

/// Events after a number come from the oldest, those before it from the newest, rising in both cases.
pub async fn events_are_read_from_both_ends(storage: Storage) {
    mixed(&storage).await;
    let all = log(&storage, room()).await;
    assert_eq!(all.len(), 24);
    for limit in [1, 2, 3, 10, 24, 25, 100] {
        for number in 0..=26_u64 {
            let rest = all.iter().filter(|event| event.seq.number() > number);
            let want: Vec<_> = rest.take(limit as usize).cloned().collect();
            let page = storage.messages.events(room(), LogRange::After(number), limit).await.must();
            assert_eq!(page, LogPage { events: want, head: 24 }, "{limit} after {number}");
            let Some(position) = crate::model::Seq::new(number) else { continue };
            let before: Vec<_> = all.iter().filter(|event| event.seq < position).cloned().collect();
            let want = before[before.len().saturating_sub(limit as usize)..].to_vec();
            let page = storage.messages.events(room(), LogRange::Before(position), limit).await.must();
            assert_eq!(page, LogPage { events: want, head: 24 }, "{limit} before {number}");
        }
    }
    let far = storage.messages.events(room(), LogRange::After(crate::model::Seq::MAX), 10).await.must();
    assert_eq!(far, LogPage { events: Vec::new(), head: 24 });
}

/// A room without events has an empty log, whose head is 0.
pub async fn an_empty_log_is_no_error(storage: Storage) {
    append_all(&storage, &[post(room_id(2), user_id(ADA), "key", "text")]).await;
    let empty = LogPage { events: Vec::new(), head: 0 };
    for range in [LogRange::After(0), LogRange::After(5), LogRange::Before(seq(1)), LogRange::Before(seq(9))] {
        assert_eq!(storage.messages.events(room(), range, 10).await.must(), empty);
    }
    let empty = MessagePage { items: Vec::new(), has_before: false, has_after: false, head: 0 };
    for range in [
        MessageRange::Newest,
        MessageRange::Before(seq(9)),
        MessageRange::After(0),
        MessageRange::After(9),
        MessageRange::Around(seq(1)),
    ] {
        assert_eq!(storage.messages.messages(user_id(ADA), room(), range, 10).await.must(), empty);
    }
    assert_eq!(storage.messages.messages_at(user_id(ADA), room(), &[seq(1)]).await.must(), []);
    assert_eq!(storage.messages.heads(&[room()]).await.must(), []);
    assert_eq!(storage.messages.digests(user_id(ADA), &[(room(), 0)], 10).await.must(), []);
    assert_eq!(storage.messages.last_posts(room(), &[user_id(ADA)]).await.must(), []);
}

/// Which of all messages a page holds, by the words of the contract.
fn expected(all: &[Message], range: MessageRange, limit: usize) -> MessagePage {
    let split = |keep: &dyn Fn(u64) -> bool| all.iter().take_while(|message| keep(message.seq.number())).count();
    // `all[from..to]` is the page; an empty one lies between what is before and after its position.
    let (from, to) = match range {
        MessageRange::Newest => (all.len().saturating_sub(limit), all.len()),
        MessageRange::Before(position) => {
            let to = split(&|number| number < position.number());
            (to.saturating_sub(limit), to)
        }
        MessageRange::After(position) => {
            let from = split(&|number| number <= position);
            (from, (from + limit).min(all.len()))
        }
        MessageRange::Around(position) => {
            let middle = split(&|number| number <= position.number());
            let from = middle.saturating_sub(limit.div_ceil(2));
            let to = (from + limit).min(all.len());
            (to.saturating_sub(limit).min(from), to)
        }
    };
    MessagePage { items: all[from..to].to_vec(), has_before: from > 0, has_after: to < all.len(), head: 24 }
}

async fn assert_pages(storage: &Storage, ranges: impl IntoIterator<Item = MessageRange>) {
    for viewer in [user_id(ADA), user_id(BOB)] {
        let numbers: Vec<_> = (1..=24).map(seq).collect();
        let all = storage.messages.messages_at(viewer, room(), &numbers).await.must();
        let found: Vec<_> = all.iter().map(|message| message.seq.number()).collect();
        assert_eq!(found, [2, 3, 5, 8, 9, 13, 14, 15, 18, 22]);
        assert_eq!(all[1].reactions.len(), 2);
        assert_eq!(all[1].reactions[1].me, viewer == user_id(ADA));
        assert!(all[3].deleted);
    }
    let numbers: Vec<_> = (1..=24).map(seq).collect();
    let all = storage.messages.messages_at(user_id(BOB), room(), &numbers).await.must();
    for range in ranges {
        for limit in [1, 2, 3, 4, 5, 9, 10, 11, 50] {
            let page = storage.messages.messages(user_id(BOB), room(), range, limit).await.must();
            assert_eq!(page, expected(&all, range, limit as usize), "{limit} of {range:?}");
        }
    }
}

/// The newest page, and pages before every position, be it a message or not.
pub async fn message_pages_go_back(storage: Storage) {
    mixed(&storage).await;
    assert_pages(&storage, [MessageRange::Newest]).await;
    assert_pages(&storage, (1..=26).map(|number| MessageRange::Before(seq(number)))).await;
}

/// Pages after every position.
pub async fn message_pages_go_forward(storage: Storage) {
    mixed(&storage).await;
    assert_pages(&storage, (0..=26).map(MessageRange::After)).await;
    assert_pages(&storage, [MessageRange::After(crate::model::Seq::MAX)]).await;
}

/// Pages around every position: half of them up to it, the rest after it, or before where there are none after.
pub async fn message_pages_surround_a_position(storage: Storage) {
    mixed(&storage).await;
    assert_pages(&storage, (1..=26).map(|number| MessageRange::Around(seq(number)))).await;
}

/// Messages by their numbers come rising, each once; what is no message of the room is left out.
pub async fn messages_are_found_by_number(storage: Storage) {
    mixed(&storage).await;
    let found = async |numbers: &[u64]| {
        let seqs: Vec<_> = numbers.iter().map(|number| seq(*number)).collect();
        let found = storage.messages.messages_at(user_id(ADA), room(), &seqs).await.must();
        found.iter().map(|message| message.seq.number()).collect::<Vec<_>>()
    };
    assert_eq!(found(&[22, 1, 9, 2, 6, 9, 25, 13]).await, [2, 9, 13, 22]);
    assert_eq!(found(&[]).await, [0; 0]);
    assert_eq!(found(&[1, 4, 26]).await, [0; 0]);
    let elsewhere = storage.messages.messages_at(user_id(ADA), room_id(9), &[seq(2)]).await.must();
    assert_eq!(elsewhere, []);
}
