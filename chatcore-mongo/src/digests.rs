//! What room lists show of many logs at once.

use std::collections::HashMap;

use chatcore::id::{RoomId, UserId};
use chatcore::model::{Message, Seq};
use chatcore::store::Digest;
use mongodb::ClientSession;
use mongodb::bson::{Binary, Document, doc};
use mongodb::options::Hint;
use serde::Deserialize;
use uuid::Uuid;

use crate::append::named_posts;
use crate::decide::Place;
use crate::documents::{HEADS, HeadDoc, LOG, id, number, seq, uuid};
use crate::error::corrupt;
use crate::event::LogDoc;
use crate::indexes::{POSTS, SENDERS};
use crate::keys::{joined, split, split_log_key};
use crate::lists::{BATCH, distinct, ids, in_session, piped};
use crate::open::MongoStore;
use crate::retry::Attempt;

/// Counts of one statement at most.
const COUNTS: usize = 64;

/// The last post of a sender in a room.
#[derive(Deserialize)]
struct SenderRow {
    _id: Binary,
    last: i64,
}

/// One count among many.
#[derive(Deserialize)]
struct CountRow {
    _id: i64,
    count: i64,
}

impl MongoStore {
    pub(crate) async fn try_digests(
        &self,
        viewer: UserId,
        markers: &HashMap<Uuid, u64>,
        cap: u32,
    ) -> Attempt<Vec<Digest>> {
        let session = &mut self.snapshot().await?;
        let rooms = distinct(markers.keys().copied());
        let mut digests: Vec<Digest> = Vec::with_capacity(rooms.len());
        let (heads, log) = (self.frozen::<HeadDoc>(HEADS), self.frozen::<LogDoc>(LOG));
        let mut posts: Vec<Place> = Vec::with_capacity(rooms.len());
        for chunk in rooms.chunks(BATCH) {
            let find = heads.find(doc! { "_id": { "$in": ids(chunk) } });
            for HeadDoc { _id, head, post, .. } in in_session(find, session).await? {
                posts.extend(post.as_ref().map(split_log_key).transpose()?);
                digests.push(Digest {
                    room: RoomId::from_uuid(uuid(_id)),
                    head: seq(head)?,
                    last_message: None,
                    read: markers.get(&uuid(_id)).copied().unwrap_or(0),
                    unread: 0,
                });
            }
        }
        // Not by `$lookup`, for which the server walks over a clustered collection that is not large.
        let mut last: HashMap<RoomId, Message> = HashMap::with_capacity(posts.len());
        for chunk in posts.chunks(BATCH) {
            let find = log.find(named_posts(chunk)).hint(Hint::Name(POSTS.to_owned()));
            for row in in_session(find, session).await? {
                let message = row.message()?;
                last.insert(message.room, message);
            }
        }
        for digest in &mut digests {
            digest.last_message = last.remove(&digest.room);
        }
        let senders: Vec<Binary> = digests.iter().map(|digest| joined(digest.room.uuid(), viewer.uuid())).collect();
        let own: HashMap<RoomId, Seq> =
            self.last_of(session, &senders).await?.into_iter().map(|(room, _, seq)| (room, seq)).collect();
        for digest in &mut digests {
            digest.read = digest.read.max(own.get(&digest.room).map_or(0, |seq| seq.number()));
        }
        self.count_unread(session, &mut digests, cap).await?;
        let mut last: Vec<Message> = digests.iter_mut().filter_map(|digest| digest.last_message.take()).collect();
        self.add_reactions(session, viewer, &mut last).await?;
        let mut last: HashMap<RoomId, Message> = last.into_iter().map(|message| (message.room, message)).collect();
        for digest in &mut digests {
            digest.last_message = last.remove(&digest.room);
        }
        Ok(digests)
    }

    /// Counts what is unread, where there is anything after the marker.
    async fn count_unread(&self, session: &mut ClientSession, digests: &mut [Digest], cap: u32) -> Attempt<()> {
        if cap == 0 {
            return Ok(());
        }
        let behind: Vec<usize> = (0..digests.len())
            .filter(|index| {
                let digest = &digests[*index];
                digest.last_message.as_ref().is_some_and(|last| last.seq.number() > digest.read)
            })
            .collect();
        for chunk in behind.chunks(COUNTS) {
            let count = |index: &usize| {
                let digest = &digests[*index];
                let range = doc! { "$gt": number(digest.read) };
                let index = i64::try_from(*index).unwrap_or(i64::MAX);
                vec![
                    doc! { "$match": { "room": id(digest.room.uuid()), "open": 1, "seq": range } },
                    doc! { "$limit": i64::from(cap) },
                    doc! { "$group": { "_id": index, "count": { "$sum": 1_i64 } } },
                ]
            };
            let mut pipeline: Vec<Document> = Vec::new();
            for index in chunk {
                if pipeline.is_empty() {
                    pipeline = count(index);
                } else {
                    pipeline.push(doc! { "$unionWith": { "coll": LOG, "pipeline": count(index) } });
                }
            }
            for row in piped::<CountRow>(self.frozen::<LogDoc>(LOG).aggregate(pipeline), session).await? {
                let digest = usize::try_from(row._id).ok().and_then(|index| digests.get_mut(index));
                digest.ok_or_else(corrupt)?.unread = u32::try_from(row.count).map_err(|_| corrupt())?;
            }
        }
        Ok(())
    }

    /// The last posts of senders in rooms; one step of the index each, however many they have posted.
    pub(crate) async fn last_of(
        &self,
        session: &mut ClientSession,
        senders: &[Binary],
    ) -> Attempt<Vec<(RoomId, UserId, Seq)>> {
        let mut found = Vec::with_capacity(senders.len());
        let log = self.frozen::<LogDoc>(LOG);
        for chunk in senders.chunks(BATCH) {
            // In this form the server skips from sender to sender.
            let pipeline = [
                doc! { "$match": { "sender": { "$in": chunk } } },
                doc! { "$sort": { "sender": -1, "seq": -1 } },
                doc! { "$group": { "_id": "$sender", "last": { "$first": "$seq" } } },
            ];
            let rows = log.aggregate(pipeline).hint(Hint::Name(SENDERS.to_owned()));
            for SenderRow { _id, last } in piped(rows, session).await? {
                let (room, user) = split(&_id)?;
                found.push((RoomId::from_uuid(room.uuid()), user, seq(last)?));
            }
        }
        Ok(found)
    }
}
