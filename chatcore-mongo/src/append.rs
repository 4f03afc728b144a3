//! Appending to logs: one transaction a batch, few exchanges whatever its size.

use std::collections::{BTreeMap, HashMap, HashSet};

use chatcore::id::RoomId;
use chatcore::model::{Draft, EventKind, Seq};
use chatcore::store::{AppendOutcome, StoreError, StoreResult};
use futures::stream::{StreamExt, TryStreamExt};
use mongodb::ClientSession;
use mongodb::bson::{Binary, Document, doc, serialize_to_document};
use mongodb::options::Hint;
use serde::Deserialize;
use tokio::time::Instant;

use crate::decide::{HeadWrite, Place, Plan, Stored, Target, decide, target};
use crate::documents::{HEADS, HeadDoc, LOG, REACTIONS, id, number, seq_number, uuid};
use crate::error::corrupt;
use crate::event::{LogDoc, NowDoc, dedup_key};
use crate::indexes::{KEYS, POSTS};
use crate::keys::{log_key, reaction_key, split_log_key};
use crate::lists::{BATCH, distinct, in_session, piped};
use crate::open::MongoStore;
use crate::retry::{Attempt, Fault, commit};

/// Drafts of one transaction at most.
const DRAFTS: usize = 512;
/// Rooms that are tried at once, where the batch as a whole has lost its races.
const ROOMS_AT_ONCE: usize = 8;

/// Fields of an event that say which it is and under which key.
#[derive(Deserialize)]
struct KeyRow {
    _id: Binary,
    key: Binary,
}

/// Fields of a post that say what it is now.
#[derive(Deserialize)]
struct TargetRow {
    _id: Binary,
    body: Option<String>,
    now: Option<NowDoc>,
}

#[derive(Deserialize)]
struct EmojiRow {
    _id: MessageEmoji,
    count: i64,
}

#[derive(Deserialize)]
struct MessageEmoji {
    of: Binary,
    emoji: String,
}

#[derive(Deserialize)]
struct OnlyKey {
    _id: Binary,
}

impl MongoStore {
    /// Appends drafts; see [`chatcore::store::MessageStore::append`].
    pub(crate) async fn append_drafts(&self, drafts: &[Draft], max: u32) -> StoreResult<Vec<AppendOutcome>> {
        let mut outcomes = Vec::with_capacity(drafts.len());
        for chunk in drafts.chunks(DRAFTS) {
            let (store, chunk) = (self.clone(), chunk.to_vec());
            outcomes.extend(self.detached(async move { store.append_chunk(&chunk, max).await }).await?);
        }
        Ok(outcomes)
    }

    async fn append_chunk(&self, drafts: &[Draft], max: u32) -> StoreResult<Vec<AppendOutcome>> {
        let deadline = Instant::now() + self.deadline();
        let mut retry = self.retry(deadline);
        let rooms = distinct(drafts.iter().map(|draft| draft.room));
        // One room is waited for; of several, those that are not free are told.
        let alone = if rooms.len() == 1 { rooms.clone() } else { Vec::new() };
        let _guards = retry.within(async { Ok(self.lock(alone.iter().copied()).await) }).await?;
        // At first nobody asks whether the keys are taken: the unique index tells, and nearly always they are not.
        let mut keys = drafts.iter().any(|draft| target(&draft.kind).is_some());
        let mut conflicts = 0;
        loop {
            let fault = match retry.within(self.try_append(drafts, max, keys)).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(fault) => fault,
            };
            keys = true;
            if fault.is_conflict() {
                conflicts += 1;
                match conflicts {
                    // Perhaps nothing but a repeated draft.
                    1 => continue,
                    _ if rooms.len() > 1 => return self.append_by_room(drafts, max, deadline).await,
                    _ => {}
                }
            }
            retry.again(fault).await?;
        }
    }

    /// Each room on its own, so that one for which many nodes write does not stop the others: it is told to be contended.
    async fn append_by_room(&self, drafts: &[Draft], max: u32, deadline: Instant) -> StoreResult<Vec<AppendOutcome>> {
        let mut places: BTreeMap<RoomId, Vec<usize>> = BTreeMap::new();
        for (place, draft) in drafts.iter().enumerate() {
            places.entry(draft.room).or_default().push(place);
        }
        let rooms = futures::stream::iter(places.into_values().map(|places| async move {
            let drafts: Vec<Draft> = places.iter().map(|place| drafts[*place].clone()).collect();
            let mut retry = self.retry(deadline);
            loop {
                let outcomes = match retry.within(self.try_append(&drafts, max, true)).await {
                    Ok(outcomes) => outcomes,
                    Err(fault) if fault.is_conflict() => vec![AppendOutcome::Contended; drafts.len()],
                    Err(fault) => {
                        retry.again(fault).await?;
                        continue;
                    }
                };
                return Ok::<_, StoreError>(places.into_iter().zip(outcomes));
            }
        }));
        let mut outcomes: Vec<(usize, AppendOutcome)> = Vec::with_capacity(drafts.len());
        let mut rooms = rooms.buffer_unordered(ROOMS_AT_ONCE);
        while let Some(room) = rooms.try_next().await? {
            outcomes.extend(room);
        }
        outcomes.sort_unstable_by_key(|(place, _)| *place);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    async fn try_append(&self, drafts: &[Draft], max: u32, keys: bool) -> Attempt<Vec<AppendOutcome>> {
        let mut session = self.begin().await?;
        let outcomes = self.append_in(&mut session, drafts, max, keys).await;
        if outcomes.is_err() {
            // So that the next attempt does not meet this one. Where the server cannot be told, it finds out itself.
            if let Err(error) = session.abort_transaction().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a transaction was not aborted");
            }
        }
        outcomes
    }

    async fn append_in(
        &self,
        session: &mut ClientSession,
        drafts: &[Draft],
        max: u32,
        keys: bool,
    ) -> Attempt<Vec<AppendOutcome>> {
        let mut stored = Stored { heads: self.heads_of(session, drafts).await?, ..Stored::default() };
        if keys {
            stored.keys = Some(self.keys_of(session, drafts).await?);
        }
        self.read_targets(session, drafts, &mut stored).await?;
        let plan = decide(drafts, stored, max)?;
        if plan.refuses && !keys {
            return Err(Fault::Raced);
        }
        self.write_plan(session, &plan).await?;
        commit(session).await?;
        Ok(plan.outcomes)
    }

    async fn heads_of(&self, session: &mut ClientSession, drafts: &[Draft]) -> Attempt<HashMap<RoomId, u64>> {
        let rooms: Vec<_> =
            distinct(drafts.iter().map(|draft| draft.room)).iter().map(|room| id(room.uuid())).collect();
        let collection = self.collection::<HeadDoc>(HEADS);
        let mut heads = HashMap::with_capacity(rooms.len());
        for chunk in rooms.chunks(BATCH) {
            let find = collection.find(doc! { "_id": { "$in": chunk } });
            for head in in_session(find, session).await? {
                let number = u64::try_from(head.head).map_err(|_| corrupt())?;
                heads.insert(RoomId::from_uuid(uuid(head._id)), number);
            }
        }
        Ok(heads)
    }

    async fn keys_of(&self, session: &mut ClientSession, drafts: &[Draft]) -> Attempt<HashMap<Vec<u8>, Seq>> {
        let keys: Vec<Binary> = drafts.iter().map(dedup_key).collect();
        let log = self.collection::<KeyRow>(LOG);
        let mut known = HashMap::new();
        for chunk in keys.chunks(BATCH) {
            let find = log.find(doc! { "key": { "$in": chunk } });
            let find = find.projection(doc! { "key": 1 }).hint(Hint::Name(KEYS.to_owned()));
            for row in in_session(find, session).await? {
                known.insert(row.key.bytes, split_log_key(&row._id)?.1);
            }
        }
        Ok(known)
    }

    /// The messages that the drafts refer to, and their reactions where a draft is about those.
    async fn read_targets(&self, session: &mut ClientSession, drafts: &[Draft], stored: &mut Stored) -> Attempt<()> {
        let mut targets: Vec<Place> = Vec::new();
        let mut messages: Vec<Place> = Vec::new();
        let mut own: Vec<Binary> = Vec::new();
        for draft in drafts {
            let Some(seq) = target(&draft.kind) else { continue };
            // What is above the head is in this very batch, if anywhere.
            if stored.heads.get(&draft.room).is_none_or(|head| seq.number() > *head) {
                continue;
            }
            targets.push((draft.room, seq));
            if let EventKind::ReactionAdded { emoji, .. } | EventKind::ReactionRemoved { emoji, .. } = &draft.kind
                && let Some(user) = draft.actor
            {
                messages.push((draft.room, seq));
                own.push(reaction_key(&log_key(draft.room, seq.number()), user, emoji.as_str()));
            }
        }
        let log = self.collection::<TargetRow>(LOG);
        for chunk in distinct(targets).chunks(BATCH) {
            let fields = doc! { "body": 1, "now": 1 };
            let find = log.find(named_posts(chunk)).projection(fields);
            for row in in_session(find.hint(Hint::Name(POSTS.to_owned())), session).await? {
                let place = split_log_key(&row._id)?;
                let now = row.now.unwrap_or_default();
                stored.targets.insert(place, Target { body: row.body, now, fresh: None, changed: false });
            }
        }
        let messages: Vec<Binary> = distinct(messages).iter().map(|(room, seq)| log_key(*room, seq.number())).collect();
        let reactions = self.collection::<OnlyKey>(REACTIONS);
        for chunk in messages.chunks(BATCH) {
            let pipeline = [
                doc! { "$match": { "of": { "$in": chunk } } },
                doc! { "$group": { "_id": { "of": "$of", "emoji": "$emoji" }, "count": { "$sum": 1_i64 } } },
            ];
            let rows = reactions.aggregate(pipeline);
            for EmojiRow { _id, count } in piped(rows, session).await? {
                stored.emojis.entry(split_log_key(&_id.of)?).or_default().insert(_id.emoji, count);
            }
        }
        let mut there = HashSet::new();
        for chunk in own.chunks(BATCH) {
            let find = reactions.find(doc! { "_id": { "$in": chunk } }).projection(doc! { "_id": 1 });
            there.extend(in_session(find, session).await?.into_iter().map(|row| row._id.bytes));
        }
        stored.reactions = there;
        Ok(())
    }

    async fn write_plan(&self, session: &mut ClientSession, plan: &Plan) -> Attempt<()> {
        if !plan.log.is_empty() {
            self.collection::<LogDoc>(LOG).insert_many(&plan.log).session(&mut *session).await?;
        }
        let mut updates = Vec::new();
        for (place, target) in &plan.changed {
            updates.push(message_update(*place, target)?);
        }
        let scrub = |message: &Binary| {
            doc! { "q": { "edits": message }, "u": { "$unset": { "body": "" } }, "multi": true, "hint": "edits" }
        };
        updates.extend(plan.deleted.iter().map(scrub));
        self.run_updates(session, LOG, updates).await?;
        let mut deletes: Vec<Document> =
            plan.deleted.iter().map(|message| doc! { "q": { "of": message }, "limit": 0 }).collect();
        let mut upserts = Vec::new();
        for (key, reaction) in &plan.reactions {
            let key = crate::keys::binary(key.clone());
            match reaction {
                None => deletes.push(doc! { "q": { "_id": key }, "limit": 1 }),
                Some(reaction) => {
                    let reaction = serialize_to_document(reaction).map_err(mongodb::error::Error::from)?;
                    upserts.push(doc! { "q": { "_id": key }, "u": reaction, "upsert": true });
                }
            }
        }
        for chunk in deletes.chunks(BATCH) {
            self.run_many(session, doc! { "delete": REACTIONS, "deletes": chunk }).await?;
        }
        self.run_updates(session, REACTIONS, upserts).await?;
        self.move_heads(session, plan).await
    }

    /// Fails when another one has moved a head that this transaction has read: the server sees to that.
    async fn move_heads(&self, session: &mut ClientSession, plan: &Plan) -> Attempt<()> {
        let (new, moved): (Vec<_>, Vec<_>) = plan.heads.iter().partition(|(_, head)| head.before == 0);
        let new: Vec<HeadDoc> = new.into_iter().map(|(room, head)| head_document(*room, head)).collect();
        if !new.is_empty() {
            self.collection::<HeadDoc>(HEADS).insert_many(&new).session(&mut *session).await?;
        }
        let moved: Vec<Document> = moved.into_iter().map(|(room, head)| head_update(*room, head)).collect();
        let wanted = i64::try_from(moved.len()).unwrap_or(i64::MAX);
        if self.run_updates(session, HEADS, moved).await? == wanted { Ok(()) } else { Err(Fault::Raced) }
    }

    async fn run_updates(&self, session: &mut ClientSession, collection: &str, updates: Vec<Document>) -> Attempt<i64> {
        let mut matched = 0;
        for chunk in updates.chunks(BATCH) {
            matched += self.run_many(session, doc! { "update": collection, "updates": chunk }).await?;
        }
        Ok(matched)
    }
}

/// Posts by their numbers, room by room, as the index of posts has them.
pub(crate) fn named_posts(places: &[Place]) -> Document {
    let mut rooms: BTreeMap<RoomId, Vec<i64>> = BTreeMap::new();
    for (room, seq) in places {
        rooms.entry(*room).or_default().push(seq_number(*seq));
    }
    let mut rooms: Vec<Document> = rooms
        .into_iter()
        .map(|(room, seqs)| doc! { "room": id(room.uuid()), "open": { "$in": [0, 1] }, "seq": { "$in": seqs } })
        .collect();
    match rooms.len() {
        1 => rooms.swap_remove(0),
        _ => doc! { "$or": rooms },
    }
}

fn message_update((room, seq): Place, target: &Target) -> StoreResult<Document> {
    let now = serialize_to_document(&target.now)
        .map_err(|error| StoreError::failed("a message could not be written", error))?;
    let update = if target.is_deleted() {
        doc! { "$set": { "open": 0, "now": now }, "$unset": { "body": "" } }
    } else {
        doc! { "$set": { "now": now } }
    };
    Ok(doc! { "q": { "_id": log_key(room, seq.number()) }, "u": update })
}

fn head_document(room: RoomId, head: &HeadWrite) -> HeadDoc {
    HeadDoc {
        _id: id(room.uuid()),
        head: number(head.after),
        post: head.post.map(|(seq, _)| log_key(room, seq.number())),
        post_at: head.post.map(|(_, at)| at),
    }
}

fn head_update(room: RoomId, head: &HeadWrite) -> Document {
    let mut set = doc! { "head": number(head.after) };
    if let Some((seq, at)) = head.post {
        set.insert("post", log_key(room, seq.number()));
        set.insert("post_at", at);
    }
    // By its id alone, which is the server's shortest way.
    doc! { "q": { "_id": id(room.uuid()) }, "u": { "$set": set } }
}
