//! Logins.

use async_trait::async_trait;
use chatcore::id::{SessionId, UserId};
use chatcore::limits::LIVE_TOKENS;
use chatcore::model::{DeviceName, PageKey, Session, TokenHash};
use chatcore::store::{Rotated, Rotation, SessionStore, StoreResult};
use chatcore::time::Timestamp;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::Store;
use super::codec::{corrupt, time};
use super::dialect::{self, Db, FOR_UPDATE};
use super::error::{is_new, store_error};
use super::retry::retry;
use super::sql::{LIST, push_ids};

/// id, user, device, creation, last use, end
type SessionRow = (Uuid, Uuid, Option<String>, i64, i64, i64);
/// The same, and the live hashes, the one used last, and when.
type TokenRow = (Uuid, Option<String>, i64, i64, Vec<u8>, Option<Vec<u8>>, Option<i64>);

fn session((id, user, device, created_at, last_used_at, expires_at): SessionRow) -> Session {
    Session {
        id: SessionId::from_uuid(id),
        user: UserId::from_uuid(user),
        device: device.map(DeviceName::from_stored),
        created_at: time(created_at),
        last_used_at: time(last_used_at),
        expires_at: time(expires_at),
    }
}

/// The live hashes, oldest first, out of one column.
fn hashes(bytes: &[u8]) -> StoreResult<Vec<TokenHash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if rest.is_empty() { Ok(hashes.iter().map(|hash| TokenHash::from_bytes(*hash)).collect()) } else { Err(corrupt()) }
}

fn bytes(hashes: &[TokenHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

#[async_trait]
impl SessionStore for Store {
    async fn ping(&self) -> StoreResult<()> {
        sqlx::query("SELECT 1").execute(&self.reader).await.map(drop).map_err(store_error)
    }

    async fn create(&self, session: &Session, token: &TokenHash) -> StoreResult<()> {
        retry(|| async move {
        let done = sqlx::query(
            "INSERT INTO chat_sessions (id, user_id, device, created_at, last_used_at, expires_at, live) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
            .bind(session.id.uuid())
            .bind(session.user.uuid())
            .bind(session.device.as_ref().map(|device| device.as_str().to_owned()))
            .bind(session.created_at.micros())
            .bind(session.last_used_at.micros())
            .bind(session.expires_at.micros())
            .bind(bytes(&[*token]))
            .execute(&self.writer)
            .await
            ;
        is_new(done).map(drop)
        })
        .await
    }

    async fn rotate(&self, rotation: &Rotation) -> StoreResult<Rotated> {
        retry(|| async move {
        let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
        let sql = format!(
            "SELECT user_id, device, created_at, expires_at, live, used, used_at FROM chat_sessions WHERE id = ?{FOR_UPDATE}"
        );
        let row: Option<TokenRow> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(rotation.session.uuid())
            .fetch_optional(&mut *tx)
            .await
            .map_err(store_error)?;
        let Some((user, device, created_at, expires_at, live, used, used_at)) = row else {
            return Ok(Rotated::Unknown);
        };
        if expires_at <= rotation.at.micros() {
            return Ok(Rotated::Unknown);
        }
        let mut live = hashes(&live)?;
        let mut used = used.as_deref().map(hashes).transpose()?.and_then(|used| used.first().copied()).zip(used_at);
        if let Some(place) = live.iter().position(|hash| *hash == rotation.presented) {
            live.remove(place);
            used = Some((rotation.presented, rotation.at.micros()));
        } else {
            let repeats = used
                .is_some_and(|(hash, at)| hash == rotation.presented && rotation.at.since(time(at)) <= rotation.grace);
            if !repeats {
                sqlx::query("DELETE FROM chat_sessions WHERE id = ?")
                    .bind(rotation.session.uuid())
                    .execute(&mut *tx)
                    .await
                    .map_err(store_error)?;
                tx.commit().await.map_err(store_error)?;
                return Ok(Rotated::Reused(UserId::from_uuid(user)));
            }
        }
        if !live.contains(&rotation.next) {
            live.push(rotation.next);
        }
        if live.len() > LIVE_TOKENS {
            live.remove(0);
        }
        sqlx::query(
            "UPDATE chat_sessions SET live = ?, used = ?, used_at = ?, last_used_at = ?, expires_at = ? WHERE id = ?",
        )
        .bind(bytes(&live))
        .bind(used.map(|(hash, _)| hash.as_bytes().to_vec()))
        .bind(used.map(|(_, at)| at))
        .bind(rotation.at.micros())
        .bind(rotation.expires_at.micros())
        .bind(rotation.session.uuid())
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
        tx.commit().await.map_err(store_error)?;
        Ok(Rotated::Fresh(Session {
            id: rotation.session,
            user: UserId::from_uuid(user),
            device: device.map(DeviceName::from_stored),
            created_at: time(created_at),
            last_used_at: rotation.at,
            expires_at: rotation.expires_at,
        }))
        })
        .await
    }

    async fn alive(&self, ids: &[SessionId], at: Timestamp) -> StoreResult<Vec<Session>> {
        let mut ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut alive = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT id, user_id, device, created_at, last_used_at, expires_at FROM chat_sessions WHERE expires_at > ",
            );
            query.push_bind(at.micros()).push(" AND id IN ");
            push_ids(&mut query, chunk);
            let rows: Vec<SessionRow> = query.build_query_as().fetch_all(&self.reader).await.map_err(store_error)?;
            alive.extend(rows.into_iter().map(session));
        }
        Ok(alive)
    }

    async fn list(&self, user: UserId, at: Timestamp, after: Option<PageKey>, limit: u32) -> StoreResult<Vec<Session>> {
        let (before, id) = after.map_or((i64::MAX, Uuid::max()), |key| (key.at.micros(), key.id));
        let rows: Vec<SessionRow> = sqlx::query_as(
            "SELECT id, user_id, device, created_at, last_used_at, expires_at FROM chat_sessions \
             WHERE user_id = ? AND created_at <= ? AND (created_at < ? OR id < ?) AND expires_at > ? \
             ORDER BY created_at DESC, id DESC LIMIT ?",
        )
        .bind(user.uuid())
        .bind(before)
        .bind(before)
        .bind(id)
        .bind(at.micros())
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .map_err(store_error)?;
        Ok(rows.into_iter().map(session).collect())
    }

    async fn end(&self, user: UserId, id: SessionId) -> StoreResult<bool> {
        let done = sqlx::query("DELETE FROM chat_sessions WHERE id = ? AND user_id = ?")
            .bind(id.uuid())
            .bind(user.uuid())
            .execute(&self.writer)
            .await
            .map_err(store_error)?;
        Ok(done.rows_affected() > 0)
    }

    async fn end_others(&self, user: UserId, keep: SessionId) -> StoreResult<Vec<SessionId>> {
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let sql = format!("SELECT id FROM chat_sessions WHERE user_id = ? AND id <> ?{FOR_UPDATE}");
            let ids: Vec<Uuid> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .bind(user.uuid())
                .bind(keep.uuid())
                .fetch_all(&mut *tx)
                .await
                .map_err(store_error)?;
            // These and no others: one that was made since has to be answered too.
            for chunk in ids.chunks(LIST) {
                let mut query = QueryBuilder::<Db>::new("DELETE FROM chat_sessions WHERE id IN ");
                push_ids(&mut query, chunk);
                query.build().execute(&mut *tx).await.map_err(store_error)?;
            }
            tx.commit().await.map_err(store_error)?;
            Ok(ids.into_iter().map(SessionId::from_uuid).collect())
        })
        .await
    }

    async fn purge(&self, at: Timestamp, limit: u32) -> StoreResult<u64> {
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let due: Vec<Uuid> =
                sqlx::query_scalar("SELECT id FROM chat_sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?")
                    .bind(at.micros())
                    .bind(i64::from(limit))
                    .fetch_all(&mut *tx)
                    .await
                    .map_err(store_error)?;
            for chunk in due.chunks(LIST) {
                let mut query = QueryBuilder::<Db>::new("DELETE FROM chat_sessions WHERE id IN ");
                push_ids(&mut query, chunk);
                query.build().execute(&mut *tx).await.map_err(store_error)?;
            }
            tx.commit().await.map_err(store_error)?;
            Ok(due.len() as u64)
        })
        .await
    }
}
