//! What the contracts are written with.

use std::error::Error;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Barrier;

use super::fixtures::seq;
use crate::id::RoomId;
use crate::model::{Draft, Event, LogRange, Seq};
use crate::store::{AppendOutcome, Storage, StoreError, StoreResult};

/// As many as race where a rule must hold under any race.
pub(super) const RACERS: usize = 32;

/// More different reactions than a contract gives that is not about their limit.
pub(super) const MANY: u32 = 20;

/// Takes what a store answered.
pub(super) trait Must<T> {
    /// The answer; fails the test with the whole chain of causes where there is none.
    fn must(self) -> T;
}

impl<T> Must<T> for StoreResult<T> {
    #[track_caller]
    fn must(self) -> T {
        match self {
            Ok(answer) => answer,
            Err(error) => panic!("the store failed: {}", chain(&error)),
        }
    }
}

fn chain(error: &StoreError) -> String {
    let mut text = format!("{error} ({:?})", error.kind());
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Runs `count` tasks, all let go at the same moment; what they answered, in their order.
pub(super) async fn race<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let gate = Arc::new(Barrier::new(count));
    let start = |index| {
        let (gate, work) = (gate.clone(), task(index));
        tokio::spawn(async move {
            gate.wait().await;
            work.await
        })
    };
    let tasks: Vec<_> = (0..count).map(start).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a racing task fails only by a failed assertion"));
    }
    answers
}

/// Drops a future after it has been polled that many times, unless it is done by then.
///
/// A future is polled again when what it waits for has come, so rising numbers cut it off one step later each.
pub(super) async fn cut_off<F: Future + Unpin>(future: F, polls: usize) -> Option<F::Output> {
    CutOff { future, left: polls }.await
}

struct CutOff<F> {
    future: F,
    left: usize,
}

impl<F: Future + Unpin> Future for CutOff<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.future).poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if self.left <= 1 => Poll::Ready(None),
            Poll::Pending => {
                self.left -= 1;
                Poll::Pending
            }
        }
    }
}

/// Reads a list page by page to its end, from `position` of each page's last row on.
///
/// Fails when a page is too long, or when a row comes twice; so it comes to an end also where the store does not.
pub(super) async fn pages<T: Debug + PartialEq, P>(
    limit: u32,
    mut read: impl AsyncFnMut(Option<P>) -> Vec<T>,
    position: impl Fn(&T) -> P,
) -> Vec<T> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = read(after).await;
        assert!(page.len() <= limit as usize, "a page of {} is too long for {limit}", page.len());
        let Some(last) = page.last() else { return all };
        after = Some(position(last));
        for row in page {
            assert!(!all.contains(&row), "{row:?} comes twice");
            all.push(row);
        }
    }
}

/// Fails unless both hold the same, in whatever order, as often.
#[track_caller]
pub(super) fn assert_same<T: Debug + Hash + Eq + Ord>(
    got: impl IntoIterator<Item = T>,
    want: impl IntoIterator<Item = T>,
) {
    let mut got: Vec<_> = got.into_iter().collect();
    let mut want: Vec<_> = want.into_iter().collect();
    got.sort();
    want.sort();
    assert_eq!(got, want, "compared without regard to order");
}

/// Appends; the answers. What is answered `Contended` is made again, each room alone.
pub(super) async fn append(storage: &Storage, batch: &[Draft]) -> Vec<AppendOutcome> {
    let mut outcomes = storage.messages.append(batch, MANY).await.must();
    assert_eq!(outcomes.len(), batch.len(), "one answer for each draft");
    let mut contended: Vec<RoomId> = Vec::new();
    for (outcome, draft) in outcomes.iter().zip(batch) {
        if *outcome == AppendOutcome::Contended && !contended.contains(&draft.room) {
            contended.push(draft.room);
        }
    }
    let alone = batch.iter().all(|draft| Some(draft.room) == batch.first().map(|first| first.room));
    assert!(contended.is_empty() || !alone, "a room alone is waited for");
    for room in contended {
        let of_room: Vec<usize> = (0..batch.len()).filter(|index| batch[*index].room == room).collect();
        let held = of_room.iter().all(|index| outcomes[*index] == AppendOutcome::Contended);
        assert!(held, "all drafts of a held room are answered so");
        let drafts: Vec<Draft> = of_room.iter().map(|index| batch[*index].clone()).collect();
        let again = storage.messages.append(&drafts, MANY).await.must();
        assert!(!again.contains(&AppendOutcome::Contended), "a room alone is waited for");
        for (index, outcome) in of_room.into_iter().zip(again) {
            outcomes[index] = outcome;
        }
    }
    outcomes
}

/// Appends what must all be appended; the numbers.
pub(super) async fn append_all(storage: &Storage, batch: &[Draft]) -> Vec<Seq> {
    let appended = |(outcome, draft): (AppendOutcome, &Draft)| match outcome {
        AppendOutcome::Appended(seq) => seq,
        other => panic!("{other:?} for {draft:?}"),
    };
    append(storage, batch).await.into_iter().zip(batch).map(appended).collect()
}

/// The whole log, read page by page; fails unless it is dense.
pub(super) async fn log(storage: &Storage, room: RoomId) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let page = storage.messages.events(room, LogRange::After(events.len() as u64), 100).await.must();
        let more = page.events.len() == 100;
        for event in page.events {
            assert_eq!(event.seq.number(), events.len() as u64 + 1, "the log is dense");
            assert_eq!(event.room, room);
            events.push(event);
        }
        assert!(page.head >= events.len() as u64, "the head is at least the last event");
        if !more {
            return events;
        }
    }
}

/// `Appended` under that number.
pub(super) fn appended(number: u64) -> AppendOutcome {
    AppendOutcome::Appended(seq(number))
}

/// `Duplicate` of that number.
pub(super) fn duplicate(number: u64) -> AppendOutcome {
    AppendOutcome::Duplicate(seq(number))
}
