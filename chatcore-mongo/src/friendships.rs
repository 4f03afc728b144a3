//! Friendships and blocks: one document a pair. Every step reads it, lets the policy decide, and replaces it if it is
//! still what was read.

use async_trait::async_trait;
use chatcore::id::{FriendshipId, UserId};
use chatcore::model::{Friendship, FriendshipStatus, PageKey, Relation};
use chatcore::policy::friendship as policy;
use chatcore::store::{Answered, Blocked, Ended, FriendshipList, FriendshipStore, NewRequest, Requested, StoreResult};
use chatcore::time::Timestamp;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;

use crate::documents::{FriendshipDoc, PAIRS, PairDoc, fresh_rev, id, status_code, time, uuid};
use crate::error::{corrupt, is_duplicate};
use crate::keys::pair;
use crate::lists::{BATCH, ROWS, distinct};
use crate::open::MongoStore;
use crate::retry::{Attempt, Fault};

impl PairDoc {
    /// Two who have had nothing to do with one another.
    fn strangers(one: UserId, other: UserId) -> Self {
        Self {
            _id: pair(one, other),
            low: id(one.min(other).uuid()),
            high: id(one.max(other).uuid()),
            friendship: None,
            low_blocks: None,
            high_blocks: None,
            rev: 0,
        }
    }

    fn friendship(&self) -> StoreResult<Option<Friendship>> {
        self.friendship.as_ref().map(FriendshipDoc::friendship).transpose()
    }

    /// When `by`, one of the two, blocked the other.
    fn block_by(&mut self, by: UserId) -> &mut Option<i64> {
        if id(by.uuid()) == self.low { &mut self.low_blocks } else { &mut self.high_blocks }
    }

    fn relation(&self, user: UserId) -> StoreResult<Relation> {
        let (low, high) = (self.low_blocks.is_some(), self.high_blocks.is_some());
        let (blocks, blocked) = if id(user.uuid()) == self.low { (low, high) } else { (high, low) };
        Ok(Relation { friendship: self.friendship()?, blocks, blocked })
    }
}

/// What a step makes of a pair: its answer, and whether the pair has to be written.
type Decision<T> = (T, bool);

fn request(doc: &mut PairDoc, request: &NewRequest) -> StoreResult<Decision<Requested>> {
    let &NewRequest { id, from, to, at } = request;
    let step = match policy::request(&doc.relation(from)?, from) {
        Ok(step) => step,
        Err(refusal) => return Ok((Requested::Refused(refusal), false)),
    };
    let (row, answer): (Friendship, fn(Friendship) -> Requested) = match (step, doc.friendship()?) {
        (policy::Request::Keep, Some(row)) => return Ok((Requested::Pending(row), false)),
        (policy::Request::Accept, Some(row)) => {
            (Friendship { status: FriendshipStatus::Accepted, updated_at: at, ..row }, Requested::Accepted)
        }
        (_, Some(row)) => {
            let status = FriendshipStatus::Pending;
            (Friendship { status, requester: from, addressee: to, updated_at: at, ..row }, Requested::Created)
        }
        (_, None) => {
            let status = FriendshipStatus::Pending;
            let row = Friendship { id, status, requester: from, addressee: to, created_at: at, updated_at: at };
            (row, Requested::Created)
        }
    };
    doc.friendship = Some(FriendshipDoc::new(&row));
    Ok((answer(row), true))
}

fn answer(doc: &mut PairDoc, by: UserId, accept: bool, at: Timestamp) -> StoreResult<Decision<Option<Answered>>> {
    let Some(row) = doc.friendship()? else { return Ok((None, false)) };
    let (answered, changed) = match policy::answer(&row, by, accept) {
        Err(refusal) => (Answered::Refused(refusal), false),
        Ok(false) => (Answered::Same(row), false),
        Ok(true) => {
            let status = if accept { FriendshipStatus::Accepted } else { FriendshipStatus::Rejected };
            let row = Friendship { status, updated_at: at, ..row };
            doc.friendship = Some(FriendshipDoc::new(&row));
            (Answered::Changed(row), true)
        }
    };
    Ok((Some(answered), changed))
}

fn end(doc: &mut PairDoc, by: UserId) -> StoreResult<Decision<Option<Ended>>> {
    let Some(row) = doc.friendship()? else { return Ok((None, false)) };
    if let Err(refusal) = policy::end(&row, by) {
        return Ok((Some(Ended::Refused(refusal)), false));
    }
    doc.friendship = None;
    Ok((Some(Ended::Gone(row)), true))
}

fn block(doc: &mut PairDoc, by: UserId, at: Timestamp) -> StoreResult<Decision<Blocked>> {
    let row = doc.friendship()?;
    doc.friendship = None;
    let block = doc.block_by(by);
    let changed = block.is_none();
    block.get_or_insert(at.micros());
    let written = changed || row.is_some();
    let ended = row.filter(|row| row.status != FriendshipStatus::Rejected);
    Ok((Blocked { changed, ended }, written))
}

/// Whom a step is about.
#[derive(Clone, Copy)]
enum Whose {
    Pair(UserId, UserId),
    Row(FriendshipId),
}

impl MongoStore {
    /// Makes a step on one pair. `None`: no such row.
    ///
    /// Every write has a mark of its own, so that one whose acknowledgement was lost is known again.
    async fn pair_step<T: Send + 'static>(
        &self,
        whose: Whose,
        decide: impl Fn(&mut PairDoc) -> StoreResult<Decision<T>> + Send + Sync + 'static,
    ) -> StoreResult<Option<T>> {
        let store = self.clone();
        let decide = std::sync::Arc::new(decide);
        let made = std::sync::Arc::new(std::sync::Mutex::new(None::<(i64, T)>));
        self.step(move || {
            let (store, decide, made) = (store.clone(), decide.clone(), made.clone());
            async move {
                let pairs = store.collection::<PairDoc>(PAIRS);
                let (filter, strangers) = match whose {
                    Whose::Pair(one, other) => (doc! { "_id": pair(one, other) }, Some((one, other))),
                    Whose::Row(row) => (doc! { "friendship.id": id(row.uuid()) }, None),
                };
                let found = pairs.find_one(filter).await?;
                let mut doc = match (found, strangers) {
                    (Some(doc), _) => doc,
                    (None, Some((one, other))) => PairDoc::strangers(one, other),
                    (None, None) => return Ok(None),
                };
                let before = doc.rev;
                // What an earlier attempt wrote without hearing of it.
                let earlier = made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                if let Some((rev, answer)) = earlier
                    && rev == before
                {
                    return Ok(Some(answer));
                }
                let (answer, changed) = decide(&mut doc)?;
                if !changed {
                    return Ok(Some(answer));
                }
                doc.rev = fresh_rev()?;
                let rev = doc.rev;
                let written = if before == 0 {
                    match pairs.insert_one(&doc).await {
                        Ok(_) => Ok(true),
                        Err(error) if is_duplicate(&error) => Ok(false),
                        Err(error) => Err(error),
                    }
                } else {
                    let same = doc! { "_id": &doc._id, "rev": before };
                    pairs.replace_one(same, &doc).await.map(|done| done.matched_count > 0)
                };
                match written {
                    Ok(true) => Ok(Some(answer)),
                    Ok(false) => Err(Fault::Raced),
                    Err(error) => {
                        *made.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((rev, answer));
                        Err(error.into())
                    }
                }
            }
        })
        .await
    }

    async fn pairs(
        &self,
        filter: &Document,
        sort: Option<&Document>,
        hint: &Hint,
        limit: i64,
    ) -> Attempt<Vec<PairDoc>> {
        let pairs = self.collection::<PairDoc>(PAIRS);
        let mut find = pairs.find(filter.clone()).hint(hint.clone()).limit(limit).batch_size(ROWS);
        if let Some(sort) = sort {
            find = find.sort(sort.clone());
        }
        Ok(find.await?.try_collect().await?)
    }

    /// The pairs of `user` with each of those.
    async fn pairs_with(&self, user: UserId, others: &[UserId]) -> StoreResult<Vec<PairDoc>> {
        let others = distinct(others.iter().map(|id| id.uuid()));
        let mut found = Vec::new();
        for chunk in others.chunks(BATCH) {
            let keys: Vec<_> = chunk.iter().map(|other| pair(user, UserId::from_uuid(*other))).collect();
            let filter = &doc! { "_id": { "$in": keys } };
            let hint = &Hint::Keys(doc! { "_id": 1 });
            found.extend(self.ask(|| self.pairs(filter, None, hint, 0)).await?);
        }
        Ok(found)
    }
}

/// A range of the index of one side, newest first, after a position.
fn rows_of(side: &str, user: UserId, status: FriendshipStatus, after: Option<PageKey>) -> Document {
    let side = format!("friendship.{side}");
    let (user, status) = (id(user.uuid()), status_code(status));
    match after {
        None => doc! { side: user, "friendship.status": status },
        Some(after) => doc! {
            "$or": [
                {
                    side.clone(): user,
                    "friendship.status": status,
                    "friendship.updated_at": after.at.micros(),
                    "friendship.id": { "$lt": id(after.id) },
                },
                { side: user, "friendship.status": status, "friendship.updated_at": { "$lt": after.at.micros() } },
            ],
        },
    }
}

/// A range of the index of one side's blocks, newest first, after a position.
fn blocks_of([own, block, other]: [&str; 3], by: UserId, after: Option<PageKey>) -> Document {
    let by = id(by.uuid());
    match after {
        None => doc! { own: by, block: { "$exists": true } },
        Some(after) => doc! {
            block: { "$exists": true },
            "$or": [
                { own: by, block: after.at.micros(), other: { "$lt": id(after.id) } },
                { own: by, block: { "$lt": after.at.micros() } },
            ],
        },
    }
}

#[async_trait]
impl FriendshipStore for MongoStore {
    async fn ping(&self) -> StoreResult<()> {
        self.answers().await
    }

    async fn request(&self, new: &NewRequest) -> StoreResult<Requested> {
        let new = *new;
        let made = self.pair_step(Whose::Pair(new.from, new.to), move |doc| request(doc, &new)).await?;
        made.ok_or_else(corrupt)
    }

    async fn answer(
        &self,
        row: FriendshipId,
        by: UserId,
        accept: bool,
        at: Timestamp,
    ) -> StoreResult<Option<Answered>> {
        Ok(self.pair_step(Whose::Row(row), move |doc| answer(doc, by, accept, at)).await?.flatten())
    }

    async fn end(&self, row: FriendshipId, by: UserId) -> StoreResult<Option<Ended>> {
        Ok(self.pair_step(Whose::Row(row), move |doc| end(doc, by)).await?.flatten())
    }

    async fn list(
        &self,
        user: UserId,
        list: FriendshipList,
        after: Option<PageKey>,
        limit: u32,
    ) -> StoreResult<Vec<Friendship>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (status, sides): (_, &[&str]) = match list {
            FriendshipList::Friends => (FriendshipStatus::Accepted, &["requester", "addressee"]),
            FriendshipList::Incoming => (FriendshipStatus::Pending, &["addressee"]),
            FriendshipList::Outgoing => (FriendshipStatus::Pending, &["requester"]),
        };
        // A friend may stand on either side: a range of each index, merged.
        let mut rows: Vec<Friendship> = Vec::new();
        for side in sides {
            let filter = &rows_of(side, user, status, after);
            let sort = &doc! { "friendship.updated_at": -1, "friendship.id": -1 };
            let hint = &Hint::Name((*side).to_owned());
            for found in self.ask(|| self.pairs(filter, Some(sort), hint, i64::from(limit))).await? {
                rows.push(found.friendship()?.ok_or_else(corrupt)?);
            }
        }
        rows.sort_unstable_by_key(|row| std::cmp::Reverse((row.updated_at, row.id)));
        // A row that changed sides between the two reads.
        rows.dedup_by_key(|row| row.id);
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn friend_ids(&self, user: UserId) -> StoreResult<Vec<UserId>> {
        let mut friends = Vec::new();
        for side in ["requester", "addressee"] {
            let filter = &rows_of(side, user, FriendshipStatus::Accepted, None);
            let hint = &Hint::Name(side.to_owned());
            for found in self.ask(|| self.pairs(filter, None, hint, 0)).await? {
                let row = found.friendship()?.ok_or_else(corrupt)?;
                friends.push(row.other(user).ok_or_else(corrupt)?);
            }
        }
        friends.sort_unstable();
        friends.dedup();
        Ok(friends)
    }

    async fn relation(&self, user: UserId, other: UserId) -> StoreResult<Relation> {
        let found = self.pairs_with(user, &[other]).await?;
        found.first().map_or_else(|| Ok(Relation::default()), |doc| doc.relation(user))
    }

    async fn block(&self, by: UserId, user: UserId, at: Timestamp) -> StoreResult<Blocked> {
        let made = self.pair_step(Whose::Pair(by, user), move |doc| block(doc, by, at)).await?;
        made.ok_or_else(corrupt)
    }

    async fn unblock(&self, by: UserId, user: UserId) -> StoreResult<bool> {
        let unblock = move |doc: &mut PairDoc| {
            let was = doc.block_by(by).take().is_some();
            Ok((was, was))
        };
        let made = self.pair_step(Whose::Pair(by, user), unblock).await?;
        made.ok_or_else(corrupt)
    }

    async fn blocked(&self, by: UserId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<(UserId, Timestamp)>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut blocked: Vec<(Timestamp, UserId)> = Vec::new();
        for fields in [["low", "low_blocks", "high"], ["high", "high_blocks", "low"]] {
            let filter = &blocks_of(fields, by, after);
            let [_, block, other] = fields;
            let sort = &doc! { block: -1, other: -1 };
            let hint = &Hint::Name(block.to_owned());
            for doc in self.ask(|| self.pairs(filter, Some(sort), hint, i64::from(limit))).await? {
                let (at, user) =
                    if block == "low_blocks" { (doc.low_blocks, doc.high) } else { (doc.high_blocks, doc.low) };
                blocked.push((time(at.ok_or_else(corrupt)?), UserId::from_uuid(uuid(user))));
            }
        }
        blocked.sort_unstable_by(|one, other| other.cmp(one));
        blocked.truncate(limit as usize);
        Ok(blocked.into_iter().map(|(at, user)| (user, at)).collect())
    }

    async fn blockers_among(&self, user: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>> {
        let mut blockers = Vec::new();
        for mut doc in self.pairs_with(user, users).await? {
            let other = if id(user.uuid()) == doc.low { doc.high } else { doc.low };
            let other = UserId::from_uuid(uuid(other));
            if doc.block_by(other).is_some() {
                blockers.push(other);
            }
        }
        Ok(blockers)
    }

    async fn blocked_among(&self, by: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>> {
        let mut blocked = Vec::new();
        for mut doc in self.pairs_with(by, users).await? {
            let other = if id(by.uuid()) == doc.low { doc.high } else { doc.low };
            if doc.block_by(by).is_some() {
                blocked.push(UserId::from_uuid(uuid(other)));
            }
        }
        Ok(blocked)
    }
}
