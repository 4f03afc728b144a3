//! Reading the logs and the present state of their messages.

use std::collections::HashMap;

use async_trait::async_trait;
use chatcore::id::{RoomId, UserId};
use chatcore::model::{
    Body, ClientId, Draft, Emoji, LogPage, LogRange, Message, MessagePage, MessageRange, Reaction, Seq,
};
use chatcore::store::{AppendOutcome, Digest, Head, MessageStore, StoreResult};
use sqlx::{QueryBuilder, Transaction};
use uuid::Uuid;

use super::Store;
use super::append::append;
use super::codec::{self, LogRow, count, message_kind, number, optional_seq, seq, seq_number, time};
use super::dialect::{self, Db};
use super::error::store_error;
use super::sql::{LIST, WIDE, push_ids, push_numbers, runs};

/// room, seq, rev, sender, kind, body, client id, reply, creation, edit, deleted
type MessageRow =
    (Uuid, i64, i64, Option<Uuid>, i64, Option<String>, Option<String>, Option<i64>, i64, Option<i64>, i64);
/// room, seq, emoji, how many, whether the viewer, the oldest
type ReactionRow = (Uuid, i64, String, i64, i64, i64);

const MESSAGE: &str = "SELECT room_id, seq, rev, sender, kind, body, client_id, reply_to, created_at, edited_at, deleted FROM chat_messages WHERE ";
/// What `codec::LogRow` has, of a message and of another event.
const POSTED: &str =
    "SELECT seq, created_at, sender, client_id, 1, reply_to, NULL, kind, coalesce(first_body, body) FROM chat_messages";
const OTHER: &str = "SELECT seq, created_at, actor, NULL, kind, target, subject, detail, body FROM chat_events";

/// What rooms show: where the log ends, the viewer's own last post, the last post.
const DIGEST: &str = "SELECT h.room_id, h.head, o.seq, m.seq, m.rev, m.sender, m.kind, m.body, m.client_id, m.reply_to, m.created_at, \
     m.edited_at, m.deleted FROM chat_heads h LEFT JOIN chat_messages m ON m.room_id = h.room_id AND m.seq = h.post_seq \
     LEFT JOIN chat_last_posts o ON o.room_id = h.room_id AND o.user_id = ";

/// room, head, own last post, and of the last post what `MessageRow` has after the room
type DigestRow = (
    Uuid,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<Uuid>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

/// Messages named one by one in a statement.
const NAMED: usize = 32;
/// Rooms whose unread messages one statement counts: more than any page holds.
const COUNTED: usize = 128;

fn message(row: MessageRow) -> StoreResult<Message> {
    let (room, number, rev, sender, kind, body, client_id, reply_to, created_at, edited_at, deleted) = row;
    Ok(Message {
        room: RoomId::from_uuid(room),
        seq: seq(number)?,
        rev: seq(rev)?,
        sender: sender.map(UserId::from_uuid),
        kind: message_kind(kind)?,
        body: body.map(Body::from_stored),
        client_id: client_id.map(ClientId::from_stored),
        reply_to: optional_seq(reply_to)?,
        created_at: time(created_at),
        edited_at: edited_at.map(time),
        deleted: deleted != 0,
        reactions: Vec::new(),
    })
}

type Tx = Transaction<'static, Db>;

/// Where the log ends, and its last message; 0 for none.
async fn head(tx: &mut Tx, room: RoomId) -> StoreResult<(u64, i64)> {
    let row: Option<(i64, Option<i64>)> = sqlx::query_as("SELECT head, post_seq FROM chat_heads WHERE room_id = ?")
        .bind(room.uuid())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    let (head, post) = row.unwrap_or((0, None));
    Ok((u64::try_from(head).map_err(|_| codec::corrupt())?, post.unwrap_or(0)))
}

/// Messages up to a position, newest first.
async fn before(tx: &mut Tx, room: RoomId, most: i64, limit: u32) -> StoreResult<Vec<Message>> {
    let sql = format!("{MESSAGE}room_id = ? AND seq <= ? ORDER BY seq DESC LIMIT ?");
    let rows: Vec<MessageRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(room.uuid())
        .bind(most)
        .bind(i64::from(limit))
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
    rows.into_iter().map(message).collect()
}

/// Messages from a position on, oldest first.
async fn after(tx: &mut Tx, room: RoomId, least: i64, limit: u32) -> StoreResult<Vec<Message>> {
    let sql = format!("{MESSAGE}room_id = ? AND seq >= ? ORDER BY seq LIMIT ?");
    let rows: Vec<MessageRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(room.uuid())
        .bind(least)
        .bind(i64::from(limit))
        .fetch_all(&mut **tx)
        .await
        .map_err(store_error)?;
    rows.into_iter().map(message).collect()
}

/// Puts the reactions, seen by `viewer`, on messages.
async fn add_reactions(tx: &mut Tx, viewer: UserId, messages: &mut [Message]) -> StoreResult<()> {
    // Whatever has happened to a message since it was posted, a reaction among it, has moved its `rev`.
    let touched = messages.iter().filter(|message| message.rev > message.seq && !message.deleted);
    let touched: Vec<(RoomId, i64)> = touched.map(|message| (message.room, seq_number(message.seq))).collect();
    let mut found: HashMap<(Uuid, i64), Vec<Reaction>> = HashMap::new();
    for run in runs(&touched, NAMED) {
        let mut query = QueryBuilder::<Db>::new("SELECT room_id, seq, emoji, count(*), max(CASE WHEN user_id = ");
        query.push_bind(viewer.uuid());
        query.push(" THEN 1 ELSE 0 END), min(given) FROM chat_reactions WHERE ");
        let mut any = query.separated(" OR ");
        for (room, seq) in run {
            any.push("(room_id = ").push_bind_unseparated(room.uuid());
            any.push_unseparated(" AND seq = ").push_bind_unseparated(*seq).push_unseparated(")");
        }
        query.push(" GROUP BY room_id, seq, emoji ORDER BY min(given)");
        let rows: Vec<ReactionRow> = query.build_query_as().fetch_all(&mut **tx).await.map_err(store_error)?;
        for (room, seq, emoji, number, me, _) in rows {
            let reaction = Reaction { emoji: Emoji::from_stored(emoji), count: count(number)?, me: me != 0 };
            found.entry((room, seq)).or_default().push(reaction);
        }
    }
    for message in messages {
        if let Some(reactions) = found.remove(&(message.room.uuid(), seq_number(message.seq))) {
            message.reactions = reactions;
        }
    }
    Ok(())
}

async fn any_before(tx: &mut Tx, room: RoomId, most: i64) -> StoreResult<bool> {
    let row: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM chat_messages WHERE room_id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1")
            .bind(room.uuid())
            .bind(most)
            .fetch_optional(&mut **tx)
            .await
            .map_err(store_error)?;
    Ok(row.is_some())
}

/// Cuts a list that was read with one row too many; answers whether there are more.
fn cut(rows: &mut Vec<Message>, limit: u32) -> bool {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    more
}

#[async_trait]
impl MessageStore for Store {
    async fn ping(&self) -> StoreResult<()> {
        sqlx::query("SELECT 1").execute(&self.reader).await.map(drop).map_err(store_error)
    }

    async fn append(&self, batch: &[Draft], max_reactions: u32) -> StoreResult<Vec<AppendOutcome>> {
        append(&self.writer, batch, max_reactions).await
    }

    async fn events(&self, room: RoomId, range: LogRange, limit: u32) -> StoreResult<LogPage> {
        let (range_sql, position) = match range {
            LogRange::After(after) => ("seq > ? ORDER BY seq LIMIT ?", number(after)),
            LogRange::Before(before) => ("seq < ? ORDER BY seq DESC LIMIT ?", seq_number(before)),
        };
        // As many of each as there may be of both; one statement, so one state. A row of kind 0 tells the head.
        let sql = format!(
            "SELECT * FROM ({POSTED} WHERE room_id = ? AND {range_sql}) AS posted \
             UNION ALL SELECT * FROM ({OTHER} WHERE room_id = ? AND {range_sql}) AS other \
             UNION ALL SELECT head, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL FROM chat_heads WHERE room_id = ?"
        );
        let rows: Vec<LogRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(room.uuid())
            .bind(position)
            .bind(i64::from(limit))
            .bind(room.uuid())
            .bind(position)
            .bind(i64::from(limit))
            .bind(room.uuid())
            .fetch_all(&self.reader)
            .await
            .map_err(store_error)?;
        let (mut events, mut head) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            match row {
                (number, _, _, _, 0, ..) => head = seq(number)?.number(),
                row => events.push(codec::event(room, row)?),
            }
        }
        events.sort_unstable_by_key(|event| event.seq);
        let surplus = events.len().saturating_sub(limit as usize);
        match range {
            LogRange::After(_) => events.truncate(limit as usize),
            LogRange::Before(_) => drop(events.drain(..surplus)),
        }
        Ok(LogPage { events, head })
    }

    async fn heads(&self, rooms: &[RoomId]) -> StoreResult<Vec<Head>> {
        let mut ids: Vec<Uuid> = rooms.iter().map(|room| room.uuid()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut heads = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(WIDE) {
            let mut query =
                QueryBuilder::<Db>::new("SELECT room_id, head, post_seq, post_at FROM chat_heads WHERE room_id IN ");
            push_ids(&mut query, chunk);
            let rows: Vec<(Uuid, i64, Option<i64>, Option<i64>)> =
                query.build_query_as().fetch_all(&self.reader).await.map_err(store_error)?;
            for (room, head, post_seq, post_at) in rows {
                let last_post = optional_seq(post_seq)?.zip(post_at.map(time));
                heads.push(Head { room: RoomId::from_uuid(room), seq: seq(head)?, last_post });
            }
        }
        Ok(heads)
    }

    async fn messages(
        &self,
        viewer: UserId,
        room: RoomId,
        range: MessageRange,
        limit: u32,
    ) -> StoreResult<MessagePage> {
        let mut tx = dialect::snapshot(&self.reader).await.map_err(store_error)?;
        let (head, last_post) = head(&mut tx, room).await?;
        let one_more = limit.saturating_add(1);
        let (mut items, has_before, has_after) = match range {
            MessageRange::Newest | MessageRange::Before(_) => {
                let most = match range {
                    MessageRange::Before(before) => seq_number(before) - 1,
                    _ => i64::MAX,
                };
                let mut items = before(&mut tx, room, most, one_more).await?;
                let has_before = cut(&mut items, limit);
                items.reverse();
                (items, has_before, last_post > most)
            }
            MessageRange::After(position) => {
                let mut items = after(&mut tx, room, number(position).saturating_add(1), one_more).await?;
                let has_after = cut(&mut items, limit);
                (items, any_before(&mut tx, room, number(position)).await?, has_after)
            }
            MessageRange::Around(position) => {
                let mut older = before(&mut tx, room, seq_number(position), one_more).await?;
                let mut newer = after(&mut tx, room, seq_number(position) + 1, one_more).await?;
                let behind = u32::try_from(newer.len()).unwrap_or(u32::MAX);
                let has_before = cut(&mut older, limit.div_ceil(2).max(limit.saturating_sub(behind)));
                let left = limit - u32::try_from(older.len()).unwrap_or(limit);
                let has_after = cut(&mut newer, left);
                older.reverse();
                older.extend(newer);
                (older, has_before, has_after)
            }
        };
        add_reactions(&mut tx, viewer, &mut items).await?;
        Ok(MessagePage { items, has_before, has_after, head })
    }

    async fn messages_at(&self, viewer: UserId, room: RoomId, seqs: &[Seq]) -> StoreResult<Vec<Message>> {
        let mut numbers: Vec<i64> = seqs.iter().map(|seq| seq_number(*seq)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut tx = dialect::snapshot(&self.reader).await.map_err(store_error)?;
        let mut messages = Vec::with_capacity(numbers.len());
        for chunk in numbers.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new(MESSAGE);
            query.push("room_id = ").push_bind(room.uuid()).push(" AND seq IN ");
            push_numbers(&mut query, chunk);
            query.push(" ORDER BY seq");
            let rows: Vec<MessageRow> = query.build_query_as().fetch_all(&mut *tx).await.map_err(store_error)?;
            for row in rows {
                messages.push(message(row)?);
            }
        }
        add_reactions(&mut tx, viewer, &mut messages).await?;
        Ok(messages)
    }

    async fn reactors(
        &self,
        room: RoomId,
        message: Seq,
        emoji: &Emoji,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<(UserId, Seq)>> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT user_id, given FROM chat_reactions WHERE room_id = ? AND seq = ? AND emoji = ? AND given > ? \
             ORDER BY given LIMIT ?",
        )
        .bind(room.uuid())
        .bind(seq_number(message))
        .bind(emoji.as_str())
        .bind(number(after))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .map_err(store_error)?;
        rows.into_iter().map(|(user, given)| Ok((UserId::from_uuid(user), seq(given)?))).collect()
    }

    async fn digests(&self, viewer: UserId, rooms: &[(RoomId, u64)], cap: u32) -> StoreResult<Vec<Digest>> {
        let mut tx = dialect::snapshot(&self.reader).await.map_err(store_error)?;
        let markers: HashMap<RoomId, u64> = rooms.iter().copied().collect();
        let mut ids: Vec<Uuid> = markers.keys().map(|room| room.uuid()).collect();
        ids.sort_unstable();
        let mut digests = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new(DIGEST);
            query.push_bind(viewer.uuid()).push(" WHERE h.room_id IN ");
            push_ids(&mut query, chunk);
            let rows: Vec<DigestRow> = query.build_query_as().fetch_all(&mut *tx).await.map_err(store_error)?;
            for row in rows {
                digests.push(digest(row, &markers)?);
            }
        }
        count_unread(&mut tx, &mut digests, cap).await?;
        let (owners, mut last): (Vec<usize>, Vec<Message>) = digests
            .iter()
            .enumerate()
            .filter_map(|(index, digest)| Some((index, digest.last_message.clone()?)))
            .unzip();
        add_reactions(&mut tx, viewer, &mut last).await?;
        for (index, message) in owners.into_iter().zip(last) {
            digests[index].last_message = Some(message);
        }
        Ok(digests)
    }

    async fn last_posts(&self, room: RoomId, users: &[UserId]) -> StoreResult<Vec<(UserId, Seq)>> {
        let mut ids: Vec<Uuid> = users.iter().map(|user| user.uuid()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut posts = Vec::new();
        for chunk in ids.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new("SELECT user_id, seq FROM chat_last_posts WHERE room_id = ");
            query.push_bind(room.uuid()).push(" AND user_id IN ");
            push_ids(&mut query, chunk);
            let rows: Vec<(Uuid, i64)> = query.build_query_as().fetch_all(&self.reader).await.map_err(store_error)?;
            for (user, last) in rows {
                posts.push((UserId::from_uuid(user), seq(last)?));
            }
        }
        Ok(posts)
    }
}

/// Counts what is unread in rooms, up to `cap` in each: a bounded walk of an index, whatever the length of the log. Where the last post is read
/// there is nothing to count.
async fn count_unread(tx: &mut Tx, digests: &mut [Digest], cap: u32) -> StoreResult<()> {
    let behind = |digest: &Digest| digest.last_message.as_ref().is_some_and(|last| last.seq.number() > digest.read);
    let open: Vec<(usize, RoomId, u64)> = digests
        .iter()
        .enumerate()
        .filter(|(_, digest)| behind(digest))
        .map(|(index, digest)| (index, digest.room, digest.read))
        .collect();
    for run in runs(&open, COUNTED) {
        let mut query = QueryBuilder::<Db>::new("");
        let mut all = query.separated(" UNION ALL ");
        for (index, (_, room, read)) in run.iter().enumerate() {
            all.push("SELECT ").push_bind_unseparated(i64::try_from(index).unwrap_or(i64::MAX));
            all.push_unseparated(", count(*) FROM (SELECT 1 FROM chat_messages WHERE room_id = ");
            all.push_bind_unseparated(room.uuid()).push_unseparated(" AND countable = 1 AND seq > ");
            all.push_bind_unseparated(number(*read)).push_unseparated(" LIMIT ");
            all.push_bind_unseparated(i64::from(cap)).push_unseparated(") AS unread");
        }
        let rows: Vec<(i64, i64)> = query.build_query_as().fetch_all(&mut **tx).await.map_err(store_error)?;
        for (index, unread) in rows {
            let (owner, ..) =
                usize::try_from(index).ok().and_then(|index| run.get(index)).ok_or_else(codec::corrupt)?;
            digests[*owner].unread = count(unread)?;
        }
    }
    Ok(())
}

fn digest(row: DigestRow, markers: &HashMap<RoomId, u64>) -> StoreResult<Digest> {
    let (room, head, own, number, rev, sender, kind, body, client_id, reply_to, created_at, edited_at, deleted) = row;
    let last_message = match (number, rev, kind, created_at, deleted) {
        (None, ..) => None,
        (Some(number), Some(rev), Some(kind), Some(created_at), Some(deleted)) => {
            Some(message((room, number, rev, sender, kind, body, client_id, reply_to, created_at, edited_at, deleted))?)
        }
        _ => return Err(codec::corrupt()),
    };
    let room = RoomId::from_uuid(room);
    let marker = markers.get(&room).copied().unwrap_or(0);
    let read = marker.max(optional_seq(own)?.map_or(0, Seq::number));
    Ok(Digest { room, head: seq(head)?, last_message, read, unread: 0 })
}
