//! Reading the logs and the present state of their messages. What has to be of one moment is read in a session of one
//! moment.

use std::collections::HashMap;

use async_trait::async_trait;
use chatcore::id::{RoomId, UserId};
use chatcore::model::{Draft, Emoji, Event, LogPage, LogRange, Message, MessagePage, MessageRange, Reaction, Seq};
use chatcore::store::{AppendOutcome, Digest, Head, MessageStore, StoreResult};
use futures::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{Binary, Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use crate::append::named_posts;
use crate::decide::Place;
use crate::documents::{HEADS, HeadDoc, LOG, REACTIONS, ReactionDoc, id, number, seq, seq_number, time, uuid};
use crate::error::corrupt;
use crate::event::LogDoc;
use crate::indexes::POSTS;
use crate::keys::{joined, log_key, split_log_key};
use crate::lists::{BATCH, ROWS, distinct, ids, in_session, piped};
use crate::open::MongoStore;
use crate::retry::Attempt;

/// How many have given an emoji to a message.
#[derive(Deserialize)]
struct ReactionRow {
    _id: MessageEmoji,
    count: i64,
    /// 1 when the viewer is among them.
    me: i64,
    /// The number of the earliest event.
    first: i64,
}

#[derive(Deserialize)]
struct MessageEmoji {
    of: Binary,
    emoji: String,
}

fn last_event(head: &HeadDoc) -> StoreResult<u64> {
    Ok(seq(head.head)?.number())
}

/// Cuts a list that was read with one row too many; answers whether there are more.
fn cut(rows: &mut Vec<Message>, limit: u32) -> bool {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    more
}

/// Posts of a room, within a range of numbers.
fn posts(room: RoomId, range: Document) -> Document {
    doc! { "room": id(room.uuid()), "open": { "$in": [0, 1] }, "seq": range }
}

impl MongoStore {
    async fn head_at(&self, session: &mut ClientSession, room: RoomId) -> Attempt<u64> {
        let heads = self.frozen::<HeadDoc>(HEADS);
        let head = heads.find_one(doc! { "_id": id(room.uuid()) }).session(session).await?;
        Ok(head.as_ref().map(last_event).transpose()?.unwrap_or(0))
    }

    async fn try_events(&self, room: RoomId, range: LogRange, limit: u32) -> Attempt<LogPage> {
        let mut session = self.snapshot().await?;
        let log = self.frozen::<LogDoc>(LOG);
        let (first, end) = match range {
            LogRange::After(after) => (after.saturating_add(1), u64::MAX),
            LogRange::Before(before) => (0, before.number()),
        };
        let order = if matches!(range, LogRange::Before(_)) { -1 } else { 1 };
        let mut events: Vec<Event> = Vec::new();
        // A limit of 0 is none at all.
        if limit > 0 {
            let filter = doc! { "_id": { "$gte": log_key(room, first), "$lt": log_key(room, end) } };
            let find = log.find(filter).sort(doc! { "_id": order }).limit(i64::from(limit));
            let rows = in_session(find, &mut session).await?;
            events = rows.into_iter().map(LogDoc::event).collect::<StoreResult<_>>()?;
        }
        if order == -1 {
            events.reverse();
        }
        let head = match (range, events.last()) {
            // A page that is not full goes to the end of the log.
            (LogRange::After(_), Some(last)) if events.len() < limit as usize => last.seq.number(),
            _ => self.head_at(&mut session, room).await?,
        };
        Ok(LogPage { events, head })
    }

    /// Posts of a range, by rising (1) or falling (-1) numbers.
    async fn posts_in(
        &self,
        session: &mut ClientSession,
        filter: Document,
        order: i32,
        limit: u32,
    ) -> Attempt<Vec<Message>> {
        let log = self.frozen::<LogDoc>(LOG);
        let find =
            log.find(filter).sort(doc! { "seq": order }).hint(Hint::Name(POSTS.to_owned())).limit(i64::from(limit));
        let rows = in_session(find, session).await?;
        Ok(rows.into_iter().map(LogDoc::message).collect::<StoreResult<_>>()?)
    }

    async fn any_post(&self, session: &mut ClientSession, filter: Document) -> Attempt<bool> {
        let log = self.frozen::<Document>(LOG);
        Ok(log
            .find_one(filter)
            .projection(doc! { "_id": 1 })
            .hint(Hint::Name(POSTS.to_owned()))
            .session(session)
            .await?
            .is_some())
    }

    async fn try_messages(
        &self,
        viewer: UserId,
        room: RoomId,
        range: MessageRange,
        limit: u32,
    ) -> Attempt<MessagePage> {
        let session = &mut self.snapshot().await?;
        let head = self.head_at(session, room).await?;
        let one_more = limit.saturating_add(1);
        let up_to = |most: i64| posts(room, doc! { "$lte": most });
        let from = |least: i64| posts(room, doc! { "$gte": least });
        let (mut items, has_before, has_after) = match range {
            MessageRange::Newest | MessageRange::Before(_) => {
                let most = match range {
                    MessageRange::Before(before) => seq_number(before) - 1,
                    _ => i64::MAX,
                };
                let mut items = self.posts_in(session, up_to(most), -1, one_more).await?;
                let has_before = cut(&mut items, limit);
                items.reverse();
                (items, has_before, most != i64::MAX && self.any_post(session, from(most + 1)).await?)
            }
            MessageRange::After(position) => {
                let least = number(position).saturating_add(1);
                let mut items = self.posts_in(session, from(least), 1, one_more).await?;
                let has_after = cut(&mut items, limit);
                (items, self.any_post(session, up_to(number(position))).await?, has_after)
            }
            MessageRange::Around(position) => {
                let mut older = self.posts_in(session, up_to(seq_number(position)), -1, one_more).await?;
                let mut newer = self.posts_in(session, from(seq_number(position) + 1), 1, one_more).await?;
                let behind = u32::try_from(newer.len()).unwrap_or(u32::MAX);
                let has_before = cut(&mut older, limit.div_ceil(2).max(limit.saturating_sub(behind)));
                let left = limit - u32::try_from(older.len()).unwrap_or(limit);
                let has_after = cut(&mut newer, left);
                older.reverse();
                older.extend(newer);
                (older, has_before, has_after)
            }
        };
        self.add_reactions(session, viewer, &mut items).await?;
        Ok(MessagePage { items, has_before, has_after, head })
    }

    async fn try_messages_at(&self, viewer: UserId, places: &[Place]) -> Attempt<Vec<Message>> {
        let session = &mut self.snapshot().await?;
        let mut messages = Vec::with_capacity(places.len());
        let log = self.frozen::<LogDoc>(LOG);
        for chunk in places.chunks(BATCH) {
            let find = log.find(named_posts(chunk)).hint(Hint::Name(POSTS.to_owned()));
            for row in in_session(find, session).await? {
                messages.push(row.message()?);
            }
        }
        messages.sort_unstable_by_key(|message| message.seq);
        self.add_reactions(session, viewer, &mut messages).await?;
        Ok(messages)
    }

    /// Puts the reactions, seen by `viewer`, on messages.
    pub(crate) async fn add_reactions(
        &self,
        session: &mut ClientSession,
        viewer: UserId,
        messages: &mut [Message],
    ) -> Attempt<()> {
        // Whatever has happened to a message since it was posted, a reaction among it, has moved its `rev`.
        let touched = messages.iter().filter(|message| message.rev > message.seq && !message.deleted);
        let touched: Vec<Binary> = touched.map(|message| log_key(message.room, message.seq.number())).collect();
        let mut found: HashMap<Place, Vec<(i64, Reaction)>> = HashMap::new();
        let collection = self.frozen::<Document>(REACTIONS);
        for chunk in touched.chunks(BATCH) {
            let pipeline = [
                doc! { "$match": { "of": { "$in": chunk } } },
                doc! { "$group": {
                    "_id": { "of": "$of", "emoji": "$emoji" },
                    "count": { "$sum": 1_i64 },
                    "me": { "$max": { "$cond": [{ "$eq": ["$user", id(viewer.uuid())] }, 1_i64, 0_i64] } },
                    "first": { "$min": "$given" },
                } },
            ];
            let rows = collection.aggregate(pipeline);
            for ReactionRow { _id, count, me, first } in piped(rows, session).await? {
                let count = u32::try_from(count).map_err(|_| corrupt())?;
                let reaction = Reaction { emoji: Emoji::from_stored(_id.emoji), count, me: me != 0 };
                found.entry(split_log_key(&_id.of)?).or_default().push((first, reaction));
            }
        }
        for message in messages {
            let Some(mut reactions) = found.remove(&(message.room, message.seq)) else { continue };
            reactions.sort_unstable_by_key(|(first, _)| *first);
            message.reactions = reactions.into_iter().map(|(_, reaction)| reaction).collect();
        }
        Ok(())
    }
}

#[async_trait]
impl MessageStore for MongoStore {
    async fn ping(&self) -> StoreResult<()> {
        self.answers().await
    }

    async fn append(&self, batch: &[Draft], max_reactions: u32) -> StoreResult<Vec<AppendOutcome>> {
        self.append_drafts(batch, max_reactions).await
    }

    async fn events(&self, room: RoomId, range: LogRange, limit: u32) -> StoreResult<LogPage> {
        self.ask(|| self.try_events(room, range, limit)).await
    }

    async fn heads(&self, rooms: &[RoomId]) -> StoreResult<Vec<Head>> {
        let rooms = distinct(rooms.iter().map(|room| room.uuid()));
        let collection = &self.collection::<HeadDoc>(HEADS);
        let mut heads = Vec::with_capacity(rooms.len());
        for chunk in rooms.chunks(ROWS as usize) {
            let ids = &ids(chunk);
            let read = || async move {
                let find = collection.find(doc! { "_id": { "$in": ids } }).batch_size(ROWS);
                Ok(find.await?.try_collect().await?)
            };
            let rows: Vec<HeadDoc> = self.ask(read).await?;
            for row in rows {
                let post = row.post.as_ref().map(split_log_key).transpose()?.map(|(_, seq)| seq);
                let last_post = post.zip(row.post_at.map(time));
                heads.push(Head { room: RoomId::from_uuid(uuid(row._id)), seq: seq(row.head)?, last_post });
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
        self.ask(|| self.try_messages(viewer, room, range, limit)).await
    }

    async fn messages_at(&self, viewer: UserId, room: RoomId, seqs: &[Seq]) -> StoreResult<Vec<Message>> {
        let places = &distinct(seqs.iter().map(|seq| (room, *seq)));
        if places.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(|| self.try_messages_at(viewer, places)).await
    }

    async fn reactors(
        &self,
        room: RoomId,
        message: Seq,
        emoji: &Emoji,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<(UserId, Seq)>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let filter = &doc! {
            "of": log_key(room, message.number()),
            "emoji": emoji.as_str(),
            "given": { "$gt": number(after) },
        };
        let reactions = &self.collection::<ReactionDoc>(REACTIONS);
        let read = || async move {
            let find = reactions.find(filter.clone()).sort(doc! { "given": 1 }).limit(i64::from(limit));
            Ok(find.await?.try_collect().await?)
        };
        let rows: Vec<ReactionDoc> = self.ask(read).await?;
        rows.into_iter().map(|row| Ok((UserId::from_uuid(uuid(row.user)), seq(row.given)?))).collect()
    }

    async fn digests(&self, viewer: UserId, rooms: &[(RoomId, u64)], cap: u32) -> StoreResult<Vec<Digest>> {
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let markers = &rooms.iter().map(|(room, marker)| (room.uuid(), *marker)).collect::<HashMap<_, _>>();
        self.ask(|| self.try_digests(viewer, markers, cap)).await
    }

    async fn last_posts(&self, room: RoomId, users: &[UserId]) -> StoreResult<Vec<(UserId, Seq)>> {
        let users = distinct(users.iter().map(|user| user.uuid()));
        let senders = &users.iter().map(|user| joined(room.uuid(), *user)).collect::<Vec<_>>();
        if senders.is_empty() {
            return Ok(Vec::new());
        }
        let read = || async move { self.last_of(&mut self.snapshot().await?, senders).await };
        let found = self.ask(read).await?;
        Ok(found.into_iter().map(|(_, user, seq)| (user, seq)).collect())
    }
}
