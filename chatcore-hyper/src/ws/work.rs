//! The commands of one socket, in the order sent.
//!
//! Posts are submitted one behind the other without waiting for each other's commit, so that they share it; everything else waits
//! until what came before it has been answered. Answers come in the order of the commands.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use chatcore::Result;
use chatcore::id::RoomId;
use chatcore::service::{PendingPost, PostReceipt};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::encode::{self, Ack};
use crate::problem::Problem;

/// What has become of a command: a frame to answer with, if it had an id or failed.
pub(super) type Answer = Option<Utf8Bytes>;

/// A command on its way.
pub(super) enum Work {
    /// A post that has no place in the log's queue yet.
    Submit { id: Option<String>, room: RoomId, submit: BoxFuture<'static, Result<PendingPost>> },
    /// A post that waits for its commit.
    Commit { id: Option<String>, room: RoomId, commit: BoxFuture<'static, Result<PostReceipt>> },
    /// Any other command.
    Other(BoxFuture<'static, Answer>),
    /// A command that needs the connection itself: done by the socket when its turn comes.
    Resume { id: Option<String>, rooms: Vec<(RoomId, u64)>, more: bool },
    /// Answered, and waits for its turn.
    Done(Answer),
}

/// What comes out of the queue.
pub(super) enum Turn {
    Answer(Answer),
    Resume { id: Option<String>, rooms: Vec<(RoomId, u64)>, more: bool },
}

#[derive(Default)]
pub(super) struct Queue {
    works: VecDeque<Work>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.works.len()
    }

    pub(super) fn push(&mut self, work: Work) {
        self.works.push_back(work);
    }

    /// The next answer, or the next command that the socket has to do itself.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut index = 0;
        while index < self.works.len() {
            let first = index == 0;
            match &mut self.works[index] {
                Work::Submit { id, room, submit } => {
                    let Poll::Ready(submitted) = submit.poll_unpin(cx) else { return Poll::Pending };
                    let (id, room) = (id.take(), *room);
                    // Polled again in its new form.
                    self.works[index] = match submitted {
                        Ok(pending) => Work::Commit { id, room, commit: pending.wait().boxed() },
                        Err(error) => Work::Done(failed(id.as_deref(), error)),
                    };
                }
                Work::Commit { id, room, commit } => {
                    if first {
                        let Poll::Ready(receipt) = commit.poll_unpin(cx) else {
                            // The ones behind it may still be submitted.
                            index += 1;
                            continue;
                        };
                        let answer = match receipt {
                            Ok(receipt) => id
                                .as_deref()
                                .map(|id| encode::ack(id, Ack::change(*room, Some(receipt.seq), receipt.duplicate))),
                            Err(error) => failed(id.as_deref(), error),
                        };
                        self.works.pop_front();
                        return Poll::Ready(Turn::Answer(answer));
                    }
                    index += 1;
                }
                Work::Done(answer) => {
                    if first {
                        let answer = answer.take();
                        self.works.pop_front();
                        return Poll::Ready(Turn::Answer(answer));
                    }
                    index += 1;
                }
                Work::Other(other) => {
                    if !first {
                        return Poll::Pending;
                    }
                    let Poll::Ready(answer) = other.poll_unpin(cx) else { return Poll::Pending };
                    self.works.pop_front();
                    return Poll::Ready(Turn::Answer(answer));
                }
                Work::Resume { .. } => {
                    if !first {
                        return Poll::Pending;
                    }
                    if let Some(Work::Resume { id, rooms, more }) = self.works.pop_front() {
                        return Poll::Ready(Turn::Resume { id, rooms, more });
                    }
                }
            }
        }
        Poll::Pending
    }
}

/// An `error` frame.
pub(super) fn failed(id: Option<&str>, error: impl Into<Problem>) -> Answer {
    Some(encode::error(id, &error.into()))
}
