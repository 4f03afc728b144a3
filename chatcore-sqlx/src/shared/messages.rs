//! Reading the logs and the present state of their messages.

use std::collections::HashMap;

use async_trait::async_trait;
use chatcore::id::{RoomId, UserId};
use chatcore::model::{
    Body, ClientId, Draft, Emoji, LogPage, LogRange, Message, MessagePage, MessageRange, Reaction, Seq,
};
use chatcore::store::{AppendOutcome, Digest, Head, MessageStore, StoreResult};
use sqlx::query_builder::Separated;
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
const EVENT: &str = "SELECT seq, created_at, actor, dedup, kind, target, subject, detail, body FROM chat_log WHERE ";

/// room, head, own last post, unread, and of the last post what `MessageRow` has after the room
type DigestRow = (
    Uuid,
    i64,
    Option<i64>,
    i64,
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
/// Rooms whose digests one statement makes: more than any page holds.
const DIGESTS: usize = 128;

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

async fn head(tx: &mut Tx, room: RoomId) -> StoreResult<u64> {
    let head: Option<i64> = sqlx::query_scalar("SELECT head FROM chat_heads WHERE room_id = ?")
        .bind(room.uuid())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    u64::try_from(head.unwrap_or(0)).map_err(|_| codec::corrupt())
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
    let row: Option<i64> = sqlx::query_scalar("SELECT seq FROM chat_messages WHERE room_id = ? AND seq <= ? LIMIT 1")
        .bind(room.uuid())
        .bind(most)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    Ok(row.is_some())
}

async fn any_after(tx: &mut Tx, room: RoomId, least: i64) -> StoreResult<bool> {
    let row: Option<i64> = sqlx::query_scalar("SELECT seq FROM chat_messages WHERE room_id = ? AND seq >= ? LIMIT 1")
        .bind(room.uuid())
        .bind(least)
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
        let mut tx = dialect::snapshot(&self.reader).await.map_err(store_error)?;
        let (sql, position) = match range {
            LogRange::After(after) => ("seq > ? ORDER BY seq LIMIT ?", number(after)),
            LogRange::Before(before) => ("seq < ? ORDER BY seq DESC LIMIT ?", seq_number(before)),
        };
        let mut rows: Vec<LogRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!("{EVENT}room_id = ? AND {sql}")))
            .bind(room.uuid())
            .bind(position)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
        if matches!(range, LogRange::Before(_)) {
            rows.reverse();
        }
        let events = rows.into_iter().map(|row| codec::event(room, row)).collect::<StoreResult<Vec<_>>>()?;
        Ok(LogPage { events, head: head(&mut tx, room).await? })
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
        let head = head(&mut tx, room).await?;
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
                (items, has_before, most != i64::MAX && any_after(&mut tx, room, most + 1).await?)
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
        let mut digests: HashMap<RoomId, Digest> = HashMap::with_capacity(rooms.len());
        for chunk in rooms.chunks(DIGESTS) {
            let mut query = QueryBuilder::<Db>::new("");
            let mut all = query.separated(" UNION ALL ");
            // The last one again up to a power of two, so that there are few different texts.
            let padding = chunk.len().next_power_of_two() - chunk.len();
            for (room, marker) in chunk.iter().chain(chunk.iter().rev().take(1).cycle().take(padding)) {
                push_digest(&mut all, viewer, *room, number(*marker), cap);
            }
            let rows: Vec<DigestRow> = query.build_query_as().fetch_all(&mut *tx).await.map_err(store_error)?;
            let markers: HashMap<Uuid, u64> = chunk.iter().map(|(room, marker)| (room.uuid(), *marker)).collect();
            for row in rows {
                let digest = digest(row, &markers)?;
                digests.insert(digest.room, digest);
            }
        }
        let mut digests: Vec<Digest> = digests.into_values().collect();
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
        for run in runs(&ids, NAMED) {
            let mut query = QueryBuilder::<Db>::new("");
            let mut all = query.separated(" UNION ALL ");
            for user in run {
                // One seek a user; grouping would walk over all their posts.
                all.push("SELECT * FROM (SELECT sender, seq FROM chat_messages WHERE room_id = ");
                all.push_bind_unseparated(room.uuid());
                all.push_unseparated(" AND sender = ").push_bind_unseparated(*user);
                all.push_unseparated(" ORDER BY seq DESC LIMIT 1) AS last");
            }
            let rows: Vec<(Uuid, i64)> = query.build_query_as().fetch_all(&self.reader).await.map_err(store_error)?;
            for (user, last) in rows {
                posts.push((UserId::from_uuid(user), seq(last)?));
            }
        }
        Ok(posts)
    }
}

/// What one room shows: where its log ends, its last post, the viewer's own last post, and how many after that and the marker are unread.
/// Each is a seek or a bounded walk of an index, whatever the length of the log.
fn push_digest(all: &mut Separated<'_, Db, &str>, viewer: UserId, room: RoomId, marker: i64, cap: u32) {
    const OWN: &str = "(SELECT o.seq FROM chat_messages o WHERE o.room_id = ";
    let (viewer, room) = (viewer.uuid(), room.uuid());
    let own = |all: &mut Separated<'_, Db, &str>| {
        all.push_unseparated(OWN).push_bind_unseparated(room);
        all.push_unseparated(" AND o.sender = ").push_bind_unseparated(viewer);
        all.push_unseparated(" ORDER BY o.seq DESC LIMIT 1)");
    };
    all.push("SELECT h.room_id, h.head, ");
    own(all);
    all.push_unseparated(", (SELECT count(*) FROM (SELECT 1 FROM chat_messages c WHERE c.room_id = ");
    all.push_bind_unseparated(room).push_unseparated(" AND c.countable = 1 AND c.seq > ").push_bind_unseparated(marker);
    all.push_unseparated(" AND c.seq > coalesce(");
    own(all);
    all.push_unseparated(", 0) LIMIT ").push_bind_unseparated(i64::from(cap));
    all.push_unseparated(
        ") AS unread), m.seq, m.rev, m.sender, m.kind, m.body, m.client_id, m.reply_to, m.created_at, m.edited_at, m.deleted \
         FROM chat_heads h LEFT JOIN chat_messages m ON m.room_id = h.room_id AND m.seq = h.post_seq WHERE h.room_id = ",
    );
    all.push_bind_unseparated(room);
}

fn digest(row: DigestRow, markers: &HashMap<Uuid, u64>) -> StoreResult<Digest> {
    let (room, head, own, unread, number, rev, sender, kind, body, client_id, reply_to, created_at, edited_at, deleted) =
        row;
    let last_message = match (number, rev, kind, created_at, deleted) {
        (None, ..) => None,
        (Some(number), Some(rev), Some(kind), Some(created_at), Some(deleted)) => {
            Some(message((room, number, rev, sender, kind, body, client_id, reply_to, created_at, edited_at, deleted))?)
        }
        _ => return Err(codec::corrupt()),
    };
    let marker = markers.get(&room).copied().unwrap_or(0);
    Ok(Digest {
        room: RoomId::from_uuid(room),
        head: seq(head)?,
        last_message,
        read: marker.max(optional_seq(own)?.map_or(0, Seq::number)),
        unread: count(unread)?,
    })
}
