//! The logs. Implemented by adapters, called by [`crate::service`].

use async_trait::async_trait;

use super::error::StoreResult;
use crate::id::{RoomId, UserId};
use crate::model::{Draft, Emoji, LogPage, LogRange, Message, MessagePage, MessageRange, Seq};
use crate::time::Timestamp;

/// What became of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It stands in the log under this number.
    Appended(Seq),
    /// Its key had been appended before, as this number, whatever that draft said.
    Duplicate(Seq),
    /// The message is as the draft wants it already; nothing was appended.
    Unchanged,
    /// Nothing was appended.
    Rejected(Rejection),
    /// Nothing was appended: another node holds the room's log just now, and waiting for it would have held up the other rooms of the
    /// batch. The same draft again, alone with those of its room, waits.
    Contended,
}

/// Why a draft was not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The target, or the `reply_to`, is no message of the room.
    NoTarget,
    /// The target is a tombstone.
    Deleted,
    /// The message has as many different reactions as it may have.
    TooManyReactions,
    /// The log is full: its next number would not be below 2^53.
    Full,
}

/// Where a room's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The room.
    pub room: RoomId,
    /// The number of its last event.
    pub seq: Seq,
    /// Its last posted message, and when that was posted.
    pub last_post: Option<(Seq, Timestamp)>,
}

/// What a room list shows of a log, for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The room.
    pub room: RoomId,
    /// The number of its last event.
    pub head: Seq,
    /// Its last posted message, perhaps a tombstone.
    pub last_message: Option<Message>,
    /// The marker in force: the larger of the one given and the user's own last post, perhaps a tombstone.
    pub read: u64,
    /// Messages after the marker in force that are not the user's, not deleted and not by the host; counted up to the
    /// cap given.
    pub unread: u32,
}

/// Keeps each room's log, and beside it the present state of each message.
///
/// # Contract
/// - The events of a room are numbered 1, 2, 3, … without a hole. When a reader sees number n, it sees 1..n-1 too; this
///   holds on every node and at every moment.
/// - A message's present state and the log change together: what [`MessageStore::messages`] shows at `head` is what the
///   events up to `head` make of it.
/// - Events never change, but for a deletion: it takes the bodies out of the message, out of the event that posted it
///   and out of the events that edited it.
/// - A page, a count or a head costs the same in a room of a hundred messages and in one of ten million.
/// - A room without events is not an error: its log is empty and its head is 0.
/// - The reactions of a message come in the order of the earliest one of each emoji that is still there.
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Whether the store answers.
    async fn ping(&self) -> StoreResult<()>;

    /// Appends drafts of any rooms; answers each on its own, in the order given.
    ///
    /// To be correct:
    /// - Duplicates are found first: a draft whose (`room`, `actor`, `key`) is in the log already, or earlier in this
    ///   batch, answers `Duplicate` of that one, even if it would be rejected now. Then the survivors are tried in order
    ///   and numbered from head + 1 of their room on. What a draft sees includes the drafts before it. A key is taken
    ///   once a draft under it has been appended; after `Unchanged` or a rejection it is free. The host (`actor` is
    ///   `None`) has keys of its own, like a user.
    /// - One draft's rejection never fails another. A room that is held by another node does not hold up the others: its drafts are
    ///   answered `Contended`, all of them. A batch of one room is never answered so: it waits, within a bound, and then fails.
    /// - Each draft is atomic: its event, its number and the message's new state are written together. The batch as a
    ///   whole need not be, but an `Err` for it means that any of its drafts may or may not be there; appending the same
    ///   batch again then answers `Duplicate` for those that are.
    /// - Appends of several nodes to one room at once all succeed and stay dense.
    ///
    /// A draft carries its body, and a reaction its actor; a system message has none, a person's has.
    ///
    /// What each kind of event does:
    /// - `Posted`: a new message whose `seq` and `rev` are the event's number. With `reply_to` that is no message of the room:
    ///   `NoTarget`. A tombstone may be answered.
    /// - `Edited`: sets body, `edited_at` (the draft's `at`) and `rev`. No message: `NoTarget`; a tombstone: `Deleted`; the same
    ///   body: `Unchanged`.
    /// - `Deleted`: a tombstone without body and reactions, otherwise as it was; the bodies go out of the log too; sets
    ///   `rev`. No message:
    ///   `NoTarget`; a tombstone: `Unchanged`.
    /// - `ReactionAdded`: sets `rev`. No message: `NoTarget`; a tombstone: `Deleted`; the actor's already: `Unchanged`; a further
    ///   emoji on a message that has `max_reactions` different ones: `TooManyReactions`.
    /// - `ReactionRemoved`: sets `rev`. No message: `NoTarget`; a tombstone, or not there: `Unchanged`.
    /// - The others only stand in the log.
    async fn append(&self, batch: &[Draft], max_reactions: u32) -> StoreResult<Vec<AppendOutcome>>;

    /// At most `limit` events of that range, rising. Fewer than `limit` after a position means that there were no more when
    /// they were read; `head` is at least the last one's number.
    async fn events(&self, room: RoomId, range: LogRange, limit: u32) -> StoreResult<LogPage>;

    /// Where these logs end, in no order; empty logs are left out. One read for all.
    async fn heads(&self, rooms: &[RoomId]) -> StoreResult<Vec<Head>>;

    /// A page of messages seen by `viewer`, rising, at most `limit`. `Newest` and `Before` take the newest ones of their range,
    /// `After` the oldest. `Around` takes up to `limit / 2` (rounded up) messages up to its position and fills up with those
    /// after it; where fewer are after it, the rest comes from before. The position itself need not be a message.
    /// `has_before` and `has_after` say whether there are messages before the first and after the last one of the page;
    /// on an empty page, whether there are any on that side of it.
    async fn messages(&self, viewer: UserId, room: RoomId, range: MessageRange, limit: u32)
    -> StoreResult<MessagePage>;

    /// The messages under these numbers seen by `viewer`, rising; numbers that are no messages are left out.
    async fn messages_at(&self, viewer: UserId, room: RoomId, seqs: &[Seq]) -> StoreResult<Vec<Message>>;

    /// Who has that reaction on that message, in the order in which they gave it, with the number of the event, after
    /// that number (0: from the beginning). Empty when there is no such message.
    async fn reactors(
        &self,
        room: RoomId,
        seq: Seq,
        emoji: &Emoji,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<(UserId, Seq)>>;

    /// What a room list shows, for each (room, stored marker) whose log is not empty, in no order; `unread` is counted up to
    /// `cap`. A bounded number of reads for all.
    async fn digests(&self, viewer: UserId, rooms: &[(RoomId, u64)], cap: u32) -> StoreResult<Vec<Digest>>;

    /// The last message that each of these users posted in the room, perhaps a tombstone, in no order; who posted none is
    /// left out.
    async fn last_posts(&self, room: RoomId, users: &[UserId]) -> StoreResult<Vec<(UserId, Seq)>>;
}
