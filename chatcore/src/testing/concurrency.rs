//! Contracts of [`MessageStore`](crate::store::MessageStore) under many writers and readers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fixtures::{delete, edit, emoji, post, react, room_id, seq, unreact, user_id};
use super::tools::{MANY, Must, RACERS, append, append_all, cut_off, log, race};
use crate::id::{RoomId, UserId};
use crate::model::{Draft, Event, EventKind, LogRange, Message, MessageRange, Seq};
use crate::store::{AppendOutcome, Rejection, Storage};

const WRITERS: usize = 8;
const ROOMS: u64 = 3;

fn room(number: u64) -> RoomId {
    room_id(1 + number % ROOMS)
}

/// Reads a room's log as it grows, until told to stop: what is read is dense, and never beyond the head.
async fn follow(storage: Storage, room: RoomId, done: Arc<AtomicBool>) -> u64 {
    let mut last = 0;
    loop {
        // Asked first, so that the read after it sees all that was written.
        let is_last = done.load(Ordering::SeqCst);
        let page = storage.messages.events(room, LogRange::After(last), 7).await.must();
        let newest = storage.messages.events(room, LogRange::Before(seq(Seq::MAX)), 3).await.must();
        assert!(
            page.events.len() == 7 || last + page.events.len() as u64 == page.head,
            "short only at the end: {page:?}"
        );
        for event in &page.events {
            last += 1;
            assert_eq!(event.seq.number(), last, "no hole and no repeat");
        }
        assert!(page.head >= last);
        assert!(newest.head >= page.head, "the head never goes back");
        assert_eq!(newest.events.last().map_or(0, |event| event.seq.number()), newest.head);
        assert!(newest.events.windows(2).all(|pair| pair[0].seq.number() + 1 == pair[1].seq.number()));
        if is_last && page.events.is_empty() {
            return last;
        }
        tokio::task::yield_now().await;
    }
}

/// Starts a reader for each room; the answer stops them, and tells how much each has read.
fn follow_all(storage: &Storage) -> impl Future<Output = Vec<u64>> + use<> {
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> =
        (0..ROOMS).map(|number| tokio::spawn(follow(storage.clone(), room(number), done.clone()))).collect();
    async move {
        done.store(true, Ordering::SeqCst);
        let mut counts = Vec::new();
        for reader in readers {
            counts.push(reader.await.expect("a reader fails only by a failed assertion"));
        }
        counts
    }
}

/// Many appenders to shared rooms all succeed; the logs are dense at every moment, for every reader.
pub async fn logs_are_dense_at_every_moment(storage: Storage) {
    const BATCHES: u64 = 15;
    let readers = follow_all(&storage);
    race(WRITERS, |writer| {
        let storage = storage.clone();
        async move {
            let sender = user_id(writer as u64);
            for round in 0..BATCHES {
                // Batches of different sizes over all rooms, in an order of its own for each writer.
                let size = 1 + (round + writer as u64) % 6;
                let draft = |index| {
                    let turned = if writer % 2 == 0 { index } else { size - index };
                    post(room(turned + round), sender, &format!("{round}.{index}"), "text")
                };
                let batch: Vec<_> = (0..size).map(draft).collect();
                let seqs = append_all(&storage, &batch).await;
                for number in 0..ROOMS {
                    let in_room = batch.iter().zip(&seqs).filter(|(draft, _)| draft.room == room(number));
                    let seqs: Vec<_> = in_room.map(|(_, seq)| *seq).collect();
                    assert!(seqs.is_sorted_by(|one, other| one < other), "a batch keeps its order: {seqs:?}");
                }
            }
        }
    })
    .await;
    let read = readers.await;
    let mut posted = BTreeSet::new();
    for number in 0..ROOMS {
        let events = log(&storage, room(number)).await;
        assert_eq!(events.len() as u64, read[number as usize]);
        posted.extend(events.into_iter().map(|event| {
            let key = event.posted_message().and_then(|message| message.client_id).expect("a keyed post");
            (event.actor, key.to_string(), number)
        }));
    }
    let want: u64 =
        (0..WRITERS as u64).map(|writer| (0..BATCHES).map(|round| 1 + (round + writer) % 6).sum::<u64>()).sum();
    assert_eq!(posted.len() as u64, want, "each once");
    assert_eq!(read.iter().sum::<u64>(), want);
}

/// Batches over the same rooms in opposite orders all go through.
pub async fn opposite_orders_do_not_lock_each_other_out(storage: Storage) {
    const ROUNDS: u64 = 10;
    race(WRITERS, |writer| {
        let storage = storage.clone();
        async move {
            for round in 0..ROUNDS {
                let draft =
                    |number| post(room_id(number), user_id(writer as u64), &format!("{round}.{number}"), "text");
                let mut batch: Vec<_> = (0..10).map(draft).collect();
                if writer % 2 == 0 {
                    batch.reverse();
                }
                append_all(&storage, &batch).await;
            }
        }
    })
    .await;
    for number in 0..10 {
        assert_eq!(log(&storage, room_id(number)).await.len() as u64, WRITERS as u64 * ROUNDS);
    }
}

/// One draft appended by many at once stands in the log once, and all are told the same number.
pub async fn one_key_is_appended_once_under_a_race(storage: Storage) {
    for round in 0..4 {
        let key = format!("key{round}");
        let answers = race(RACERS, |index| {
            let storage = storage.clone();
            // Alone, or among others and twice.
            let shared = post(room(0), user_id(1), &key, "text");
            let own = post(room(0), user_id(100 + index as u64), &key, "own");
            let batch = if index % 2 == 0 { vec![shared] } else { vec![shared.clone(), own, shared] };
            async move { append(&storage, &batch).await }
        })
        .await;
        let appended = answers.iter().filter(|answer| matches!(answer[0], AppendOutcome::Appended(_))).count();
        assert_eq!(appended, 1, "{answers:?}");
        let (AppendOutcome::Appended(number) | AppendOutcome::Duplicate(number)) = answers[0][0] else {
            panic!("{answers:?}")
        };
        for answer in &answers {
            let same = [AppendOutcome::Appended(number), AppendOutcome::Duplicate(number)];
            assert!(same.contains(&answer[0]), "{answers:?}");
            assert!(answer.get(2).is_none_or(|again| *again == AppendOutcome::Duplicate(number)), "{answers:?}");
        }
    }
    assert_eq!(log(&storage, room(0)).await.len(), 4 * (1 + RACERS / 2));
}

/// However many react at once, the limit of different emojis holds, and each reaction counts.
pub async fn reactions_hold_their_limit_under_a_race(storage: Storage) {
    const LIMIT: u32 = 5;
    append_all(&storage, &[post(room(0), user_id(0), "post", "text")]).await;
    let answers = race(RACERS, |index| {
        let storage = storage.clone();
        let with = char::from(b'A' + (index % 16) as u8).to_string();
        let batch = [react(room(0), user_id(index as u64), "key", seq(1), &with)];
        async move { storage.messages.append(&batch, LIMIT).await.must()[0] }
    })
    .await;
    let appended = answers.iter().filter(|answer| matches!(answer, AppendOutcome::Appended(_))).count();
    let refused = AppendOutcome::Rejected(Rejection::TooManyReactions);
    assert!(answers.iter().all(|answer| matches!(answer, AppendOutcome::Appended(_)) || *answer == refused));
    let messages = storage.messages.messages_at(user_id(0), room(0), &[seq(1)]).await.must();
    assert_eq!(messages[0].reactions.len(), LIMIT as usize);
    assert_eq!(messages[0].reactions.iter().map(|reaction| reaction.count as usize).sum::<usize>(), appended);
    assert_eq!(log(&storage, room(0)).await.len(), 1 + appended);
}

/// Edits and deletions at once: one deletion counts, no edit comes after it, and no body is left.
pub async fn nothing_outlives_a_deletion(storage: Storage) {
    for round in 0..4 {
        let target = append_all(&storage, &[post(room(0), user_id(0), &format!("post{round}"), "secret")]).await[0];
        let answers = race(RACERS, |index| {
            let storage = storage.clone();
            let (user, key) = (user_id(index as u64), format!("key{round}"));
            let draft = match index % 8 {
                7 => delete(room(0), user, &key, target),
                _ => edit(room(0), user, &key, target, &format!("secret {index}")),
            };
            async move { append(&storage, &[draft]).await[0] }
        })
        .await;
        let deletions = answers.iter().skip(7).step_by(8);
        let made = deletions.filter(|answer| matches!(answer, AppendOutcome::Appended(_))).count();
        assert_eq!(made, 1, "{answers:?}");
        let events = log(&storage, room(0)).await;
        assert!(events.iter().all(|event| event.body_of().is_none()), "no body is left");
        let deleted = events.iter().rposition(|event| matches!(event.kind, EventKind::Deleted { .. }));
        assert_eq!(deleted, Some(events.len() - 1), "nothing comes after it");
        let message = &storage.messages.messages_at(user_id(0), room(0), &[target]).await.must()[0];
        assert!(message.deleted && message.body.is_none());
        assert_eq!(Some(message.rev), events.last().map(|event| event.seq));
    }
}

/// What these events up to `head` make of the messages, as far as edits and reactions go.
fn replay(events: &[Event], head: u64, viewer: UserId) -> BTreeMap<Seq, Message> {
    let mut messages = BTreeMap::<Seq, Message>::new();
    let mut reactions = BTreeMap::<(Seq, UserId), Seq>::new();
    for event in events.iter().take_while(|event| event.seq.number() <= head) {
        if let Some(message) = event.posted_message() {
            messages.insert(event.seq, message);
        }
        let (EventKind::Edited { target, .. }
        | EventKind::ReactionAdded { target, .. }
        | EventKind::ReactionRemoved { target, .. }) = &event.kind
        else {
            continue;
        };
        let message = messages.get_mut(target).expect("the target comes first");
        message.rev = event.seq;
        let user = event.actor.expect("somebody");
        match &event.kind {
            EventKind::Edited { body, .. } => {
                message.body = body.clone();
                message.edited_at = Some(event.at);
            }
            EventKind::ReactionAdded { .. } => drop(reactions.insert((*target, user), event.seq)),
            _ => drop(reactions.remove(&(*target, user))),
        }
        let of_target: Vec<_> = reactions.keys().filter(|(seq, _)| seq == target).collect();
        let reaction = crate::model::Reaction {
            emoji: emoji("👍"),
            count: of_target.len() as u32,
            me: of_target.iter().any(|(_, user)| *user == viewer),
        };
        message.reactions = (reaction.count > 0).then_some(reaction).into_iter().collect();
    }
    messages
}

/// What a page of messages shows is what the events up to its head make of them: no more, no less.
pub async fn a_page_shows_what_its_head_has_made(storage: Storage) {
    const ROUNDS: u64 = 20;
    append_all(&storage, &(0..3).map(|n| post(room(0), user_id(9), &n.to_string(), "text")).collect::<Vec<_>>()).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (storage, done) = (storage.clone(), done.clone());
        async move {
            let mut pages = Vec::new();
            while !done.load(Ordering::SeqCst) {
                pages.push(storage.messages.messages(user_id(0), room(0), MessageRange::Newest, 50).await.must());
                tokio::task::yield_now().await;
            }
            pages
        }
    });
    race(4, |writer| {
        let storage = storage.clone();
        async move {
            let user = user_id(writer as u64);
            for round in 0..ROUNDS {
                let target = seq(1 + round % 3);
                let key = |kind: &str| format!("{kind}{round}");
                let batch = [
                    edit(room(0), user, &key("edit"), target, &format!("{writer} {round}")),
                    react(room(0), user, &key("react"), target, "👍"),
                    post(room(0), user, &key("post"), "text"),
                    unreact(room(0), user, &key("back"), target, "👍"),
                ];
                // Each alone, or all in one batch.
                for part in batch.chunks(if round % 2 == 0 { 1 } else { 4 }) {
                    append(&storage, part).await;
                }
            }
        }
    })
    .await;
    done.store(true, Ordering::SeqCst);
    let pages = reader.await.expect("a reader fails only by a failed assertion");
    let events = log(&storage, room(0)).await;
    for page in pages {
        let want = replay(&events, page.head, user_id(0));
        let newest = want.len().saturating_sub(50);
        assert_eq!(page.items, want.into_values().skip(newest).collect::<Vec<_>>(), "at head {}", page.head);
    }
}

/// A draft as a writer repeats it until it knows what became of it.
async fn persist(storage: &Storage, draft: &Draft, first_cut: usize) -> Seq {
    let batch = std::slice::from_ref(draft);
    for polls in first_cut.. {
        // Every repeat gets a little further, so that one of them ends.
        if let Some(answer) = cut_off(storage.messages.append(batch, MANY), polls).await {
            match answer.must()[..] {
                [AppendOutcome::Appended(seq) | AppendOutcome::Duplicate(seq)] => return seq,
                ref other => panic!("{other:?}"),
            }
        }
    }
    unreachable!("the range has no end")
}

/// An append that is dropped half-way is there or not; the same again answers which.
pub async fn an_append_cut_off_is_there_or_not(storage: Storage) {
    let mut count = 0;
    for polls in 1..=30_usize {
        let draft = |index: u64| post(room(index), user_id(1), &format!("{polls}.{index}"), "text");
        let batch: Vec<_> = (0..6).map(draft).collect();
        cut_off(storage.messages.append(&batch, MANY), polls).await;
        let outcomes = append(&storage, &batch).await;
        count += batch.len() as u64;
        for outcome in outcomes {
            assert!(matches!(outcome, AppendOutcome::Appended(_) | AppendOutcome::Duplicate(_)), "{outcome:?}");
        }
        let mut logged = 0;
        for number in 0..ROOMS {
            logged += log(&storage, room(number)).await.len() as u64;
        }
        assert_eq!(logged, count, "each once, after {polls} polls");
    }
}

/// Appends that are dropped and repeated, beside others and beside aborted tasks, leave dense logs.
pub async fn appends_cut_off_beside_others_leave_dense_logs(storage: Storage) {
    const ROUNDS: u64 = 12;
    let readers = follow_all(&storage);
    race(WRITERS, |writer| {
        let storage = storage.clone();
        async move {
            for round in 0..ROUNDS {
                let draft = post(room(round), user_id(writer as u64), &round.to_string(), "text");
                if writer % 2 == 0 {
                    let task = tokio::spawn({
                        let (storage, draft) = (storage.clone(), draft.clone());
                        async move { storage.messages.append(&[draft], MANY).await.map(drop) }
                    });
                    for _ in 0..round {
                        tokio::task::yield_now().await;
                    }
                    task.abort();
                    append(&storage, &[draft]).await;
                } else {
                    persist(&storage, &draft, 1 + (round as usize) % 4).await;
                }
            }
        }
    })
    .await;
    readers.await;
    let mut keys = BTreeSet::new();
    let mut count = 0;
    for number in 0..ROOMS {
        for event in log(&storage, room(number)).await {
            count += 1;
            keys.insert((
                number,
                event.actor,
                event.posted_message().and_then(|message| message.client_id).map(|id| id.to_string()),
            ));
        }
    }
    assert_eq!(count, WRITERS as u64 * ROUNDS, "each once");
    assert_eq!(keys.len() as u64, count);
}
