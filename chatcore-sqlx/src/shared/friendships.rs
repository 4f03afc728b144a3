//! Friendships and blocks.

use async_trait::async_trait;
use chatcore::id::{FriendshipId, UserId};
use chatcore::model::{Friendship, FriendshipStatus, PageKey, Relation};
use chatcore::policy::friendship as policy;
use chatcore::store::{Answered, Blocked, Ended, FriendshipList, FriendshipStore, NewRequest, Requested, StoreResult};
use chatcore::time::Timestamp;
use sqlx::{QueryBuilder, Transaction};
use uuid::Uuid;

use super::Store;
use super::codec::{status, status_code, time};
use super::dialect::{self, Db, FOR_UPDATE};
use super::error::{is_new, store_error};
use super::retry::retry;
use super::sql::{LIST, push_ids};

/// id, status, requester, addressee, creation, latest change
type Row = (Uuid, i64, Uuid, Uuid, i64, i64);

fn friendship((id, code, requester, addressee, created_at, updated_at): Row) -> StoreResult<Friendship> {
    Ok(Friendship {
        id: FriendshipId::from_uuid(id),
        status: status(code)?,
        requester: UserId::from_uuid(requester),
        addressee: UserId::from_uuid(addressee),
        created_at: time(created_at),
        updated_at: time(updated_at),
    })
}

fn pair(one: UserId, other: UserId) -> (Uuid, Uuid) {
    (one.min(other).uuid(), one.max(other).uuid())
}

async fn by_pair(tx: &mut Transaction<'static, Db>, one: UserId, other: UserId) -> StoreResult<Option<Friendship>> {
    let (low, high) = pair(one, other);
    let sql = format!(
        "SELECT id, status, requester, addressee, created_at, updated_at FROM chat_friendships WHERE low = ? AND high = ?{FOR_UPDATE}"
    );
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(low)
        .bind(high)
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.map(friendship).transpose()
}

async fn by_id(tx: &mut Transaction<'static, Db>, id: FriendshipId) -> StoreResult<Option<Friendship>> {
    let sql = format!(
        "SELECT id, status, requester, addressee, created_at, updated_at FROM chat_friendships WHERE id = ?{FOR_UPDATE}"
    );
    let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(id.uuid())
        .fetch_optional(&mut **tx)
        .await
        .map_err(store_error)?;
    row.map(friendship).transpose()
}

/// Who of the two has blocked the other: `user` blocks, `other` blocks.
async fn blocks(tx: &mut Transaction<'static, Db>, user: UserId, other: UserId) -> StoreResult<(bool, bool)> {
    let blockers: Vec<Uuid> = sqlx::query_scalar(
        "SELECT blocker FROM chat_blocks WHERE (blocker = ? AND blocked = ?) OR (blocker = ? AND blocked = ?)",
    )
    .bind(user.uuid())
    .bind(other.uuid())
    .bind(other.uuid())
    .bind(user.uuid())
    .fetch_all(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok((blockers.contains(&user.uuid()), blockers.contains(&other.uuid())))
}

/// Writes status, asker and time of a row that is there.
async fn update(tx: &mut Transaction<'static, Db>, row: &Friendship) -> StoreResult<()> {
    sqlx::query("UPDATE chat_friendships SET status = ?, requester = ?, addressee = ?, updated_at = ? WHERE id = ?")
        .bind(status_code(row.status))
        .bind(row.requester.uuid())
        .bind(row.addressee.uuid())
        .bind(row.updated_at.micros())
        .bind(row.id.uuid())
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(store_error)
}

async fn delete(tx: &mut Transaction<'static, Db>, id: FriendshipId) -> StoreResult<()> {
    sqlx::query("DELETE FROM chat_friendships WHERE id = ?")
        .bind(id.uuid())
        .execute(&mut **tx)
        .await
        .map(drop)
        .map_err(store_error)
}

impl Store {
    /// Those of `users` in one column of the blocks that have `user` in the other.
    async fn among(
        &self,
        head: &'static str,
        user: UserId,
        tail: &'static str,
        users: &[UserId],
    ) -> StoreResult<Vec<UserId>> {
        let mut ids: Vec<Uuid> = users.iter().map(|id| id.uuid()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::new();
        for chunk in ids.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new(head);
            query.push_bind(user.uuid()).push(tail);
            push_ids(&mut query, chunk);
            let rows: Vec<Uuid> = query.build_query_scalar().fetch_all(&self.reader).await.map_err(store_error)?;
            found.extend(rows.into_iter().map(UserId::from_uuid));
        }
        Ok(found)
    }
}

#[async_trait]
impl FriendshipStore for Store {
    async fn ping(&self) -> StoreResult<()> {
        sqlx::query("SELECT 1").execute(&self.reader).await.map(drop).map_err(store_error)
    }

    async fn request(&self, request: &NewRequest) -> StoreResult<Requested> {
        retry(|| async move {
        let &NewRequest { id, from, to, at } = request;
        let mut tx = dialect::begin_serial(&self.writer).await.map_err(store_error)?;
        let existing = by_pair(&mut tx, from, to).await?;
        let (blocks, blocked) = blocks(&mut tx, from, to).await?;
        let relation = Relation { friendship: existing.clone(), blocks, blocked };
        let step = match policy::request(&relation, from) {
            Ok(step) => step,
            Err(refusal) => return Ok(Requested::Refused(refusal)),
        };
        let requested = match (step, existing) {
            (policy::Request::Keep, Some(row)) => return Ok(Requested::Pending(row)),
            (policy::Request::Accept, Some(row)) => {
                let row = Friendship { status: FriendshipStatus::Accepted, updated_at: at, ..row };
                update(&mut tx, &row).await?;
                Requested::Accepted(row)
            }
            (_, Some(row)) => {
                let status = FriendshipStatus::Pending;
                let row = Friendship { status, requester: from, addressee: to, updated_at: at, ..row };
                update(&mut tx, &row).await?;
                Requested::Created(row)
            }
            (_, None) => {
                let (low, high) = pair(from, to);
                sqlx::query(
                    "INSERT INTO chat_friendships (id, low, high, status, requester, addressee, created_at, updated_at) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                )
                .bind(id.uuid())
                .bind(low)
                .bind(high)
                .bind(status_code(FriendshipStatus::Pending))
                .bind(from.uuid())
                .bind(to.uuid())
                .bind(at.micros())
                .bind(at.micros())
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
                let status = FriendshipStatus::Pending;
                let row = Friendship { id, status, requester: from, addressee: to, created_at: at, updated_at: at };
                Requested::Created(row)
            }
        };
        tx.commit().await.map_err(store_error)?;
        Ok(requested)
        })
        .await
    }

    async fn answer(&self, id: FriendshipId, by: UserId, accept: bool, at: Timestamp) -> StoreResult<Option<Answered>> {
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let Some(row) = by_id(&mut tx, id).await? else { return Ok(None) };
            match policy::answer(&row, by, accept) {
                Err(refusal) => Ok(Some(Answered::Refused(refusal))),
                Ok(false) => Ok(Some(Answered::Same(row))),
                Ok(true) => {
                    let status = if accept { FriendshipStatus::Accepted } else { FriendshipStatus::Rejected };
                    let row = Friendship { status, updated_at: at, ..row };
                    update(&mut tx, &row).await?;
                    tx.commit().await.map_err(store_error)?;
                    Ok(Some(Answered::Changed(row)))
                }
            }
        })
        .await
    }

    async fn end(&self, id: FriendshipId, by: UserId) -> StoreResult<Option<Ended>> {
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let Some(row) = by_id(&mut tx, id).await? else { return Ok(None) };
            if let Err(refusal) = policy::end(&row, by) {
                return Ok(Some(Ended::Refused(refusal)));
            }
            delete(&mut tx, id).await?;
            tx.commit().await.map_err(store_error)?;
            Ok(Some(Ended::Gone(row)))
        })
        .await
    }

    async fn list(
        &self,
        user: UserId,
        list: FriendshipList,
        after: Option<PageKey>,
        limit: u32,
    ) -> StoreResult<Vec<Friendship>> {
        let (before, id) = after.map_or((i64::MAX, Uuid::max()), |key| (key.at.micros(), key.id));
        let (code, columns): (_, &[&str]) = match list {
            FriendshipList::Friends => (FriendshipStatus::Accepted, &["requester", "addressee"]),
            FriendshipList::Incoming => (FriendshipStatus::Pending, &["addressee"]),
            FriendshipList::Outgoing => (FriendshipStatus::Pending, &["requester"]),
        };
        // A friend may stand in either column: a range of each index, merged.
        let mut rows: Vec<Friendship> = Vec::new();
        for column in columns {
            let sql = format!(
                "SELECT id, status, requester, addressee, created_at, updated_at FROM chat_friendships \
                 WHERE {column} = ? AND status = ? AND updated_at <= ? AND (updated_at < ? OR id < ?) \
                 ORDER BY updated_at DESC, id DESC LIMIT ?"
            );
            let found: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(user.uuid())
                .bind(status_code(code))
                .bind(before)
                .bind(before)
                .bind(id)
                .bind(i64::from(limit))
                .fetch_all(&self.reader)
                .await
                .map_err(store_error)?;
            rows.extend(found.into_iter().map(friendship).collect::<StoreResult<Vec<_>>>()?);
        }
        rows.sort_unstable_by_key(|row| std::cmp::Reverse((row.updated_at, row.id)));
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn friend_ids(&self, user: UserId) -> StoreResult<Vec<UserId>> {
        let accepted = status_code(FriendshipStatus::Accepted);
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT addressee FROM chat_friendships WHERE requester = ? AND status = ? \
             UNION ALL SELECT requester FROM chat_friendships WHERE addressee = ? AND status = ?",
        )
        .bind(user.uuid())
        .bind(accepted)
        .bind(user.uuid())
        .bind(accepted)
        .fetch_all(&self.reader)
        .await
        .map_err(store_error)?;
        Ok(ids.into_iter().map(UserId::from_uuid).collect())
    }

    async fn relation(&self, user: UserId, other: UserId) -> StoreResult<Relation> {
        let mut tx = dialect::snapshot(&self.reader).await.map_err(store_error)?;
        let (low, high) = pair(user, other);
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, status, requester, addressee, created_at, updated_at FROM chat_friendships WHERE low = ? AND high = ?",
        )
        .bind(low)
        .bind(high)
        .fetch_optional(&mut *tx)
        .await
        .map_err(store_error)?;
        let (blocks, blocked) = blocks(&mut tx, user, other).await?;
        Ok(Relation { friendship: row.map(friendship).transpose()?, blocks, blocked })
    }

    async fn block(&self, by: UserId, user: UserId, at: Timestamp) -> StoreResult<Blocked> {
        retry(|| async move {
            let mut tx = dialect::begin_serial(&self.writer).await.map_err(store_error)?;
            let done = sqlx::query("INSERT INTO chat_blocks (blocker, blocked, created_at) VALUES (?, ?, ?)")
                .bind(by.uuid())
                .bind(user.uuid())
                .bind(at.micros())
                .execute(&mut *tx)
                .await;
            let changed = is_new(done)?;
            let row = by_pair(&mut tx, by, user).await?;
            if let Some(row) = &row {
                delete(&mut tx, row.id).await?;
            }
            tx.commit().await.map_err(store_error)?;
            let ended = row.filter(|row| row.status != FriendshipStatus::Rejected);
            Ok(Blocked { changed, ended })
        })
        .await
    }

    async fn unblock(&self, by: UserId, user: UserId) -> StoreResult<bool> {
        retry(|| async move {
            let done = sqlx::query("DELETE FROM chat_blocks WHERE blocker = ? AND blocked = ?")
                .bind(by.uuid())
                .bind(user.uuid())
                .execute(&self.writer)
                .await
                .map_err(store_error)?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    async fn blocked(&self, by: UserId, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<(UserId, Timestamp)>> {
        let (before, id) = after.map_or((i64::MAX, Uuid::max()), |key| (key.at.micros(), key.id));
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT blocked, created_at FROM chat_blocks \
             WHERE blocker = ? AND created_at <= ? AND (created_at < ? OR blocked < ?) \
             ORDER BY created_at DESC, blocked DESC LIMIT ?",
        )
        .bind(by.uuid())
        .bind(before)
        .bind(before)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .map_err(store_error)?;
        Ok(rows.into_iter().map(|(user, at)| (UserId::from_uuid(user), time(at))).collect())
    }

    async fn blockers_among(&self, user: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>> {
        self.among("SELECT blocker FROM chat_blocks WHERE blocked = ", user, " AND blocker IN ", users).await
    }

    async fn blocked_among(&self, by: UserId, users: &[UserId]) -> StoreResult<Vec<UserId>> {
        self.among("SELECT blocked FROM chat_blocks WHERE blocker = ", by, " AND blocked IN ", users).await
    }
}
