//! Logins.

use async_trait::async_trait;
use chatcore::id::{SessionId, UserId};
use chatcore::limits::LIVE_TOKENS;
use chatcore::model::{PageKey, Session, TokenHash};
use chatcore::store::{Rotated, Rotation, SessionStore, StoreResult};
use chatcore::time::Timestamp;
use futures::TryStreamExt;
use mongodb::bson::{Binary, Document, Uuid as Id, doc};
use mongodb::options::Hint;
use serde::Deserialize;

use crate::documents::{SESSIONS, SessionDoc, fresh_rev, id, time, uuid};
use crate::error::{corrupt, is_duplicate};
use crate::keys::binary;
use crate::lists::{BATCH, distinct, in_session};
use crate::open::MongoStore;
use crate::retry::{Attempt, Fault, commit};

/// The live hashes, oldest first, out of one field.
fn hashes(field: &Binary) -> StoreResult<Vec<TokenHash>> {
    let (hashes, rest) = field.bytes.as_chunks::<32>();
    if rest.is_empty() { Ok(hashes.iter().map(|hash| TokenHash::from_bytes(*hash)).collect()) } else { Err(corrupt()) }
}

fn field(hashes: &[TokenHash]) -> Binary {
    binary(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<u8>>())
}

/// The session after a use of a token; `None` when that ends it.
fn rotated(now: &SessionDoc, rotation: &Rotation) -> StoreResult<Option<SessionDoc>> {
    let mut live = hashes(&now.live)?;
    let used = now.used.as_ref().map(hashes).transpose()?.and_then(|used| used.first().copied());
    let mut used = used.zip(now.used_at);
    if let Some(place) = live.iter().position(|hash| *hash == rotation.presented) {
        live.remove(place);
        used = Some((rotation.presented, rotation.at.micros()));
    } else {
        let repeats =
            used.is_some_and(|(hash, at)| hash == rotation.presented && rotation.at.since(time(at)) <= rotation.grace);
        if !repeats {
            return Ok(None);
        }
    }
    if !live.contains(&rotation.next) {
        live.push(rotation.next);
    }
    if live.len() > LIVE_TOKENS {
        live.remove(0);
    }
    Ok(Some(SessionDoc {
        live: field(&live),
        used: used.map(|(hash, _)| field(&[hash])),
        used_at: used.map(|(_, at)| at),
        last_used_at: rotation.at.micros(),
        expires_at: rotation.expires_at.micros(),
        rev: fresh_rev()?,
        ..now.clone()
    }))
}

#[derive(Deserialize)]
struct OnlyId {
    _id: Id,
}

impl MongoStore {
    /// One document, read and then replaced if it is still what was read.
    async fn try_rotate(&self, rotation: &Rotation) -> Attempt<Rotated> {
        let sessions = self.collection::<SessionDoc>(SESSIONS);
        let Some(now) = sessions.find_one(doc! { "_id": id(rotation.session.uuid()) }).await? else {
            return Ok(Rotated::Unknown);
        };
        if now.expires_at <= rotation.at.micros() {
            return Ok(Rotated::Unknown);
        }
        let same = doc! { "_id": now._id, "rev": now.rev };
        let Some(next) = rotated(&now, rotation)? else {
            let ended = sessions.delete_one(same).await?.deleted_count > 0;
            return if ended { Ok(Rotated::Reused(UserId::from_uuid(uuid(now.user)))) } else { Err(Fault::Raced) };
        };
        let replaced = sessions.replace_one(same, &next).await?.matched_count > 0;
        if replaced { Ok(Rotated::Fresh(next.session())) } else { Err(Fault::Raced) }
    }

    /// Removes those that a filter finds in an index, up to a limit; which.
    async fn try_remove_sessions(&self, filter: Document, index: &str, limit: i64) -> Attempt<Vec<SessionId>> {
        let sessions = self.collection::<OnlyId>(SESSIONS);
        let mut session = self.begin().await?;
        let find = sessions.find(filter).projection(doc! { "_id": 1 }).limit(limit);
        let find = find.hint(Hint::Name(index.to_owned()));
        let ids: Vec<Id> = in_session(find, &mut session).await?.into_iter().map(|row| row._id).collect();
        for chunk in ids.chunks(BATCH) {
            sessions.delete_many(doc! { "_id": { "$in": chunk } }).session(&mut session).await?;
        }
        commit(&mut session).await?;
        Ok(ids.into_iter().map(|id| SessionId::from_uuid(uuid(id))).collect())
    }

    async fn remove_sessions(&self, filter: Document, index: &'static str, limit: i64) -> StoreResult<Vec<SessionId>> {
        let store = self.clone();
        self.step(move || {
            let (store, filter) = (store.clone(), filter.clone());
            async move { store.try_remove_sessions(filter, index, limit).await }
        })
        .await
    }
}

#[async_trait]
impl SessionStore for MongoStore {
    async fn ping(&self) -> StoreResult<()> {
        self.answers().await
    }

    async fn create(&self, session: &Session, token: &TokenHash) -> StoreResult<()> {
        let new = &SessionDoc {
            _id: id(session.id.uuid()),
            user: id(session.user.uuid()),
            device: session.device.as_ref().map(|device| device.as_str().to_owned()),
            created_at: session.created_at.micros(),
            last_used_at: session.last_used_at.micros(),
            expires_at: session.expires_at.micros(),
            live: field(&[*token]),
            used: None,
            used_at: None,
            rev: fresh_rev()?,
        };
        let sessions = &self.collection::<SessionDoc>(SESSIONS);
        let write = || async move {
            match sessions.insert_one(new).await {
                Err(error) if is_duplicate(&error) => Ok(()),
                other => Ok(other.map(drop)?),
            }
        };
        self.ask(write).await
    }

    async fn rotate(&self, rotation: &Rotation) -> StoreResult<Rotated> {
        let (store, rotation) = (self.clone(), *rotation);
        self.step(move || {
            let store = store.clone();
            async move { store.try_rotate(&rotation).await }
        })
        .await
    }

    async fn alive(&self, ids: &[SessionId], at: Timestamp) -> StoreResult<Vec<Session>> {
        let sessions = &self.collection::<SessionDoc>(SESSIONS);
        let mut alive = Vec::with_capacity(ids.len());
        for chunk in distinct(ids.iter().map(|id| id.uuid())).chunks(BATCH) {
            let ids = &chunk.iter().map(|session| id(*session)).collect::<Vec<_>>();
            let read = || async move {
                let filter = doc! { "_id": { "$in": ids }, "expires_at": { "$gt": at.micros() } };
                // Not by the index of ends: most sessions end later.
                let hint = Hint::Keys(doc! { "_id": 1 });
                Ok(sessions.find(filter).hint(hint).await?.try_collect().await?)
            };
            let page: Vec<SessionDoc> = self.ask(read).await?;
            alive.extend(page.into_iter().map(SessionDoc::session));
        }
        Ok(alive)
    }

    async fn list(&self, user: UserId, at: Timestamp, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Session>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let filter = &match after {
            None => doc! { "user": id(user.uuid()), "expires_at": { "$gt": at.micros() } },
            Some(after) => {
                let (user, at, before) = (id(user.uuid()), at.micros(), after.at.micros());
                doc! { "$or": [
                    { "user": user, "created_at": before, "_id": { "$lt": id(after.id) }, "expires_at": { "$gt": at } },
                    { "user": user, "created_at": { "$lt": before }, "expires_at": { "$gt": at } },
                ] }
            }
        };
        let sessions = &self.collection::<SessionDoc>(SESSIONS);
        let read = || async move {
            let sort = doc! { "created_at": -1, "_id": -1 };
            let hint = Hint::Name("user".to_owned());
            let find = sessions.find(filter.clone()).sort(sort).hint(hint).limit(i64::from(limit));
            Ok(find.await?.try_collect().await?)
        };
        let page: Vec<SessionDoc> = self.ask(read).await?;
        Ok(page.into_iter().map(SessionDoc::session).collect())
    }

    async fn end(&self, user: UserId, session: SessionId) -> StoreResult<bool> {
        let sessions = self.collection::<SessionDoc>(SESSIONS);
        let filter = doc! { "_id": id(session.uuid()), "user": id(user.uuid()) };
        let done = self.write(sessions.delete_one(filter).into_future()).await?;
        Ok(done.deleted_count > 0)
    }

    async fn end_others(&self, user: UserId, keep: SessionId) -> StoreResult<Vec<SessionId>> {
        let filter = doc! { "user": id(user.uuid()), "_id": { "$ne": id(keep.uuid()) } };
        self.remove_sessions(filter, "user", 0).await
    }

    async fn purge(&self, at: Timestamp, limit: u32) -> StoreResult<u64> {
        if limit == 0 {
            return Ok(0);
        }
        let filter = doc! { "expires_at": { "$lt": at.micros() } };
        Ok(self.remove_sessions(filter, "end", i64::from(limit)).await?.len() as u64)
    }
}
