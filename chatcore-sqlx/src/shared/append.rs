//! Appending to logs: one transaction a batch, one statement a table.
//!
//! That a key is new is found by the unique key that it is written under. Looking it up first would cost as much as writing it, and nearly
//! all are new; so only what may end without being written is looked up, and everything once that has failed.

use std::collections::{BTreeMap, HashMap, HashSet};

use chatcore::id::{RoomId, UserId};
use chatcore::model::{Draft, EventKind, MessageKind, Posted, Seq};
use chatcore::store::{AppendOutcome, Rejection, StoreError, StoreResult};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::codec::{self, Flat, flatten, message_kind_code, number, seq, seq_number};
use super::dialect::{Db, Script};
use super::error::store_error;
use super::retry::{lost_race, retry};
use super::script::{HeadRow, Value};
use super::sql::{LIST, push_numbers};
use super::transaction::{AppendTx, begin_append};

/// The actor, or zeros for the host.
pub(super) fn owner(draft: &Draft) -> Uuid {
    draft.actor.map_or(Uuid::nil(), |actor| actor.uuid())
}

/// Room, owner, key: what is unique for ever.
pub(super) type Key = (Uuid, Uuid, String);

fn key(draft: &Draft) -> Key {
    (draft.room.uuid(), owner(draft), draft.key.as_str().to_owned())
}

struct LogRow<'a> {
    seq: Seq,
    draft: &'a Draft,
    flat: Flat,
}

#[derive(Clone, Copy)]
struct Head {
    number: u64,
    /// Whether there was none before.
    new: bool,
    /// The last post of this batch, if there is one.
    post: Option<(Seq, i64)>,
    changed: bool,
}

/// A batch on its way into one transaction.
struct Batch<'a> {
    tx: AppendTx,
    max_reactions: u32,
    heads: HashMap<RoomId, Head>,
    known: HashMap<Key, Seq>,
    /// Rooms whose logs somebody else holds.
    contended: HashSet<RoomId>,
    /// Events that are decided and not written yet.
    log: Vec<LogRow<'a>>,
    /// Each sender's last message of the batch.
    last_posts: BTreeMap<(RoomId, UserId), Seq>,
}

/// Appends drafts; see [`chatcore::store::MessageStore::append`].
pub(super) async fn append(
    pool: &sqlx::Pool<Db>,
    drafts: &[Draft],
    max_reactions: u32,
) -> StoreResult<Vec<AppendOutcome>> {
    if drafts.is_empty() {
        return Ok(Vec::new());
    }
    match try_append(pool, drafts, max_reactions, Lookup::Unwritten).await {
        Err(error) if lost_race(&error) => {}
        done => return done,
    }
    retry(|| try_append(pool, drafts, max_reactions, Lookup::All)).await
}

/// Which keys are looked up before anything is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Those of drafts that may end without being written.
    Unwritten,
    All,
}

impl Lookup {
    pub(super) fn wants(self, draft: &Draft) -> bool {
        self == Self::All || target(&draft.kind).is_some()
    }
}

/// The message that an event is about, if it is.
fn target(kind: &EventKind) -> Option<Seq> {
    match kind {
        EventKind::Posted(Posted { reply_to, .. }) => *reply_to,
        EventKind::Edited { target, .. }
        | EventKind::Deleted { target }
        | EventKind::ReactionAdded { target, .. }
        | EventKind::ReactionRemoved { target, .. } => Some(*target),
        _ => None,
    }
}

async fn try_append(
    pool: &sqlx::Pool<Db>,
    drafts: &[Draft],
    max_reactions: u32,
    lookup: Lookup,
) -> StoreResult<Vec<AppendOutcome>> {
    let (tx, stored) = begin_append(pool, drafts, lookup).await.map_err(store_error)?;
    let mut batch = Batch {
        tx,
        max_reactions,
        heads: HashMap::new(),
        known: HashMap::new(),
        contended: stored.contended.iter().copied().map(RoomId::from_uuid).collect(),
        log: Vec::new(),
        last_posts: BTreeMap::new(),
    };
    let done = batch.write(drafts, stored).await;
    if done.is_err() {
        // Awaited, so that the next attempt does not meet the locks of this one. A caller who goes away leaves it to the drop.
        batch.tx.rollback().await;
    }
    done
}

/// What the logs say before the batch: where they end, and which of its keys they hold.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) heads: Vec<(Uuid, i64)>,
    pub(super) known: Vec<(Key, i64)>,
    /// Rooms whose logs somebody else holds, where the dialect does not wait for them.
    pub(super) contended: Vec<Uuid>,
}

impl<'a> Batch<'a> {
    async fn write(&mut self, drafts: &'a [Draft], stored: Stored) -> StoreResult<Vec<AppendOutcome>> {
        let (outcomes, rest) = self.decide(drafts, stored).await?;
        self.tx.commit(rest).await.map_err(store_error)?;
        Ok(outcomes)
    }

    /// Decides draft by draft; answers with the statements that are still to be written.
    async fn decide(&mut self, drafts: &'a [Draft], stored: Stored) -> StoreResult<(Vec<AppendOutcome>, Script)> {
        for (room, head) in stored.heads {
            let number = u64::try_from(head).map_err(|_| codec::corrupt())?;
            self.heads.insert(RoomId::from_uuid(room), Head { number, new: false, post: None, changed: false });
        }
        for (key, number) in stored.known {
            self.known.insert(key, seq(number)?);
        }
        let mut outcomes = Vec::with_capacity(drafts.len());
        for draft in drafts {
            outcomes.push(self.append(draft).await?);
        }
        let mut rest = Script::new(self.log.len());
        self.inserts(&mut rest);
        self.head_writes(&mut rest);
        let last_posts: Vec<[Value<'_>; 3]> = self
            .last_posts
            .iter()
            .map(|((room, user), seq)| [room.uuid().into(), user.uuid().into(), seq_number(*seq).into()])
            .collect();
        rest.last_posts(&last_posts);
        Ok((outcomes, rest))
    }

    async fn append(&mut self, draft: &'a Draft) -> StoreResult<AppendOutcome> {
        let key = key(draft);
        if self.contended.contains(&draft.room) {
            return Ok(AppendOutcome::Contended);
        }
        if let Some(first) = self.known.get(&key) {
            return Ok(AppendOutcome::Duplicate(*first));
        }
        let head = self.heads.get(&draft.room).map_or(0, |head| head.number);
        let Some(next) = Seq::new(head + 1) else { return Ok(AppendOutcome::Rejected(Rejection::Full)) };
        match self.apply(draft, next).await? {
            Ok(true) => {}
            Ok(false) => return Ok(AppendOutcome::Unchanged),
            Err(rejection) => return Ok(AppendOutcome::Rejected(rejection)),
        }
        let flat = flatten(&draft.kind).ok_or_else(|| StoreError::corrupt("an event of an unknown kind"))?;
        let head = self.heads.entry(draft.room).or_insert(Head { number: 0, new: true, post: None, changed: false });
        head.number = next.number();
        head.changed = true;
        if flat.kind == codec::POSTED {
            head.post = Some((next, draft.at.micros()));
            if let Some(sender) = draft.actor {
                self.last_posts.insert((draft.room, sender), next);
            }
        }
        self.log.push(LogRow { seq: next, draft, flat });
        self.known.insert(key, next);
        Ok(AppendOutcome::Appended(next))
    }

    /// Makes the messages what the draft wants them to be, but for a new one, which is written by the flush. Answers
    /// whether there is something to append.
    async fn apply(&mut self, draft: &Draft, next: Seq) -> StoreResult<Result<bool, Rejection>> {
        let Some(target) = target(&draft.kind) else { return Ok(Ok(true)) };
        // The target may be in this very batch.
        self.flush().await?;
        let row: Option<(i64, Option<String>)> =
            sqlx::query_as("SELECT deleted, body FROM chat_messages WHERE room_id = ? AND seq = ?")
                .bind(draft.room.uuid())
                .bind(seq_number(target))
                .fetch_optional(self.tx.connection().map_err(store_error)?)
                .await
                .map_err(store_error)?;
        let Some((deleted, old_body)) = row else { return Ok(Err(Rejection::NoTarget)) };
        let deleted = deleted != 0;
        match &draft.kind {
            EventKind::Edited { .. } if deleted => Ok(Err(Rejection::Deleted)),
            EventKind::Edited { body, .. } if old_body.as_deref() == body.as_ref().map(|body| body.as_str()) => {
                Ok(Ok(false))
            }
            EventKind::Edited { body, .. } => {
                sqlx::query("UPDATE chat_messages SET first_body = coalesce(first_body, body), body = ?, edited_at = ?, rev = ? WHERE room_id = ? AND seq = ?")
                    .bind(body.as_ref().map(|body| body.as_str().to_owned()))
                    .bind(draft.at.micros())
                    .bind(seq_number(next))
                    .bind(draft.room.uuid())
                    .bind(seq_number(target))
                    .execute(self.tx.connection().map_err(store_error)?)
                    .await
                    .map_err(store_error)?;
                sqlx::query("INSERT INTO chat_edits (room_id, target, seq) VALUES (?, ?, ?)")
                    .bind(draft.room.uuid())
                    .bind(seq_number(target))
                    .bind(seq_number(next))
                    .execute(self.tx.connection().map_err(store_error)?)
                    .await
                    .map_err(store_error)?;
                Ok(Ok(true))
            }
            EventKind::Deleted { .. } if deleted => Ok(Ok(false)),
            EventKind::Deleted { .. } => self.delete(draft.room, target, next).await.map(|()| Ok(true)),
            EventKind::ReactionAdded { .. } if deleted => Ok(Err(Rejection::Deleted)),
            EventKind::ReactionAdded { emoji, .. } => self.react(draft, target, emoji.as_str(), next).await,
            EventKind::ReactionRemoved { emoji, .. } => {
                let done = sqlx::query(
                    "DELETE FROM chat_reactions WHERE room_id = ? AND seq = ? AND emoji = ? AND user_id = ?",
                )
                .bind(draft.room.uuid())
                .bind(seq_number(target))
                .bind(emoji.as_str())
                .bind(owner(draft))
                .execute(self.tx.connection().map_err(store_error)?)
                .await
                .map_err(store_error)?;
                if done.rows_affected() == 0 {
                    return Ok(Ok(false));
                }
                self.set_rev(draft.room, target, next).await.map(|()| Ok(true))
            }
            _ => Ok(Ok(true)),
        }
    }

    /// A tombstone: the bodies go out of the message, its event and its edits.
    async fn delete(&mut self, room: RoomId, target: Seq, next: Seq) -> StoreResult<()> {
        let edits: Vec<i64> = sqlx::query_scalar("SELECT seq FROM chat_edits WHERE room_id = ? AND target = ?")
            .bind(room.uuid())
            .bind(seq_number(target))
            .fetch_all(self.tx.connection().map_err(store_error)?)
            .await
            .map_err(store_error)?;
        for chunk in edits.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new("UPDATE chat_events SET body = NULL WHERE room_id = ");
            query.push_bind(room.uuid()).push(" AND seq IN ");
            push_numbers(&mut query, chunk);
            query.build().execute(self.tx.connection().map_err(store_error)?).await.map_err(store_error)?;
        }
        for statement in [
            "UPDATE chat_messages SET body = NULL, first_body = NULL, deleted = 1, countable = 0 WHERE room_id = ? AND seq = ?",
            "DELETE FROM chat_reactions WHERE room_id = ? AND seq = ?",
        ] {
            sqlx::query(statement)
                .bind(room.uuid())
                .bind(seq_number(target))
                .execute(self.tx.connection().map_err(store_error)?)
                .await
                .map_err(store_error)?;
        }
        self.set_rev(room, target, next).await
    }

    async fn react(
        &mut self,
        draft: &Draft,
        target: Seq,
        emoji: &str,
        next: Seq,
    ) -> StoreResult<Result<bool, Rejection>> {
        let there: Vec<(String, i64)> = sqlx::query_as(
            "SELECT emoji, max(CASE WHEN user_id = ? THEN 1 ELSE 0 END) FROM chat_reactions \
             WHERE room_id = ? AND seq = ? GROUP BY emoji",
        )
        .bind(owner(draft))
        .bind(draft.room.uuid())
        .bind(seq_number(target))
        .fetch_all(self.tx.connection().map_err(store_error)?)
        .await
        .map_err(store_error)?;
        match there.iter().find(|(other, _)| other == emoji) {
            Some((_, 1)) => return Ok(Ok(false)),
            None if there.len() >= self.max_reactions as usize => return Ok(Err(Rejection::TooManyReactions)),
            _ => {}
        }
        sqlx::query("INSERT INTO chat_reactions (room_id, seq, emoji, user_id, given) VALUES (?, ?, ?, ?, ?)")
            .bind(draft.room.uuid())
            .bind(seq_number(target))
            .bind(emoji)
            .bind(owner(draft))
            .bind(seq_number(next))
            .execute(self.tx.connection().map_err(store_error)?)
            .await
            .map_err(store_error)?;
        self.set_rev(draft.room, target, next).await.map(|()| Ok(true))
    }

    async fn set_rev(&mut self, room: RoomId, target: Seq, next: Seq) -> StoreResult<()> {
        sqlx::query("UPDATE chat_messages SET rev = ? WHERE room_id = ? AND seq = ?")
            .bind(seq_number(next))
            .bind(room.uuid())
            .bind(seq_number(target))
            .execute(self.tx.connection().map_err(store_error)?)
            .await
            .map(drop)
            .map_err(store_error)
    }

    /// Writes what is decided.
    async fn flush(&mut self) -> StoreResult<()> {
        let mut script = Script::new(self.log.len());
        self.inserts(&mut script);
        script.run(self.tx.connection().map_err(store_error)?).await.map_err(store_error)
    }

    /// The statements that write what is decided.
    fn inserts(&mut self, script: &mut Script) {
        let keys: Vec<[Value<'_>; 4]> = self.log.iter().map(key_row).collect();
        script.insert("chat_keys (room_id, owner, dedup, seq)", &keys);
        let (messages, events): (Vec<_>, Vec<_>) = self.log.iter().partition(|row| row.flat.kind == codec::POSTED);
        let messages: Vec<[Value<'_>; 11]> = messages.into_iter().filter_map(message_row).collect();
        script.insert(
            "chat_messages (room_id, seq, rev, sender, kind, body, client_id, reply_to, created_at, deleted, countable)",
            &messages,
        );
        let events: Vec<[Value<'_>; 9]> = events.into_iter().map(event_row).collect();
        script.insert("chat_events (room_id, seq, created_at, actor, kind, target, subject, detail, body)", &events);
        self.log.clear();
    }

    /// The statements that move the heads, in the order of the rooms.
    fn head_writes(&self, script: &mut Script) {
        let heads: BTreeMap<RoomId, Head> =
            self.heads.iter().filter(|(_, head)| head.changed).map(|(room, head)| (*room, *head)).collect();
        let heads: Vec<HeadRow> = heads
            .into_iter()
            .map(|(room, head)| HeadRow {
                room: room.uuid(),
                head: number(head.number),
                post: head.post.map(|(seq, at)| (seq_number(seq), at)),
                new: head.new,
            })
            .collect();
        script.heads(&heads);
    }
}

fn key_row<'a>(LogRow { seq, draft, .. }: &'a LogRow<'_>) -> [Value<'a>; 4] {
    [draft.room.uuid().into(), owner(draft).into(), draft.key.as_str().into(), seq_number(*seq).into()]
}

fn event_row<'a>(LogRow { seq, draft, flat }: &'a LogRow<'_>) -> [Value<'a>; 9] {
    [
        draft.room.uuid().into(),
        seq_number(*seq).into(),
        draft.at.micros().into(),
        draft.actor.map(|actor| actor.uuid()).into(),
        flat.kind.into(),
        flat.target.into(),
        flat.subject.into(),
        flat.detail.into(),
        flat.body.as_deref().into(),
    ]
}

fn message_row<'a>(LogRow { seq, draft, flat }: &'a LogRow<'_>) -> Option<[Value<'a>; 11]> {
    let EventKind::Posted(posted) = &draft.kind else { return None };
    let countable = posted.kind == MessageKind::Text && posted.body.is_some();
    Some([
        draft.room.uuid().into(),
        seq_number(*seq).into(),
        seq_number(*seq).into(),
        draft.actor.map(|actor| actor.uuid()).into(),
        message_kind_code(posted.kind).into(),
        flat.body.as_deref().into(),
        posted.client_id.as_ref().map(|id| id.as_str()).into(),
        flat.target.into(),
        draft.at.micros().into(),
        i64::from(posted.body.is_none()).into(),
        i64::from(countable).into(),
    ])
}
