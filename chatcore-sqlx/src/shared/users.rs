//! Accounts.

use async_trait::async_trait;
use chatcore::id::UserId;
use chatcore::model::{Account, DisplayName, Email, PasswordHash, SearchKey, User, Username};
use chatcore::store::{Credentials, NewUser, ProfileChange, SearchPosition, StoreResult, Taken, UserStore};
use chatcore::time::Timestamp;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::Store;
use super::codec::time;
use super::dialect::{self, Db};
use super::error::store_error;
use super::retry::retry;
use super::sql::{LIST, push_ids};

/// id, username, display name, creation, last seen
type UserRow = (Uuid, String, String, i64, Option<i64>);
/// The same, and e-mail and password.
type AccountRow = (Uuid, String, String, i64, Option<i64>, String, String);

fn user((id, username, display_name, created_at, last_seen): UserRow) -> User {
    User {
        id: UserId::from_uuid(id),
        username: Username::from_stored(username),
        display_name: DisplayName::from_stored(display_name),
        created_at: time(created_at),
        last_seen: last_seen.map(time),
    }
}

fn credentials((id, username, display_name, created_at, last_seen, email, password): AccountRow) -> Credentials {
    Credentials {
        account: Account {
            user: user((id, username, display_name, created_at, last_seen)),
            email: Email::from_stored(email),
        },
        password: PasswordHash::from_phc(password),
    }
}

/// The first text after all that begin with `prefix`, in the order of bytes: U+10FFFF is no character of any text.
fn after_prefix(prefix: &str) -> String {
    format!("{prefix}\u{10FFFF}")
}

#[async_trait]
impl UserStore for Store {
    async fn ping(&self) -> StoreResult<()> {
        sqlx::query("SELECT 1").execute(&self.reader).await.map(drop).map_err(store_error)
    }

    async fn create(&self, new: &NewUser) -> StoreResult<Result<(), Taken>> {
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let there: Vec<(Uuid, String, String)> = sqlx::query_as(
                "SELECT id, username, email_key FROM chat_users WHERE username = ? OR email_key = ? OR id = ?",
            )
            .bind(new.username.as_str())
            .bind(new.email.key())
            .bind(new.id.uuid())
            .fetch_all(&mut *tx)
            .await
            .map_err(store_error)?;
            if there.iter().any(|(id, ..)| *id == new.id.uuid()) {
                return Ok(Ok(()));
            }
            if !there.is_empty() {
                return Ok(Err(Taken {
                    username: there.iter().any(|(_, username, _)| username == new.username.as_str()),
                    email: there.iter().any(|(_, _, email)| *email == new.email.key()),
                }));
            }
            sqlx::query(
            "INSERT INTO chat_users (id, username, email, email_key, display_name, display_key, password, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(new.id.uuid())
        .bind(new.username.as_str())
        .bind(new.email.as_str())
        .bind(new.email.key())
        .bind(new.display_name.as_str())
        .bind(new.display_name.search_key().as_str().to_owned())
        .bind(new.password.reveal())
        .bind(new.created_at.micros())
        .execute(&mut *tx)
        .await
        .map_err(store_error)?;
            tx.commit().await.map_err(store_error)?;
            Ok(Ok(()))
        })
        .await
    }

    async fn users(&self, ids: &[UserId]) -> StoreResult<Vec<User>> {
        let mut ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut users = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(LIST) {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT id, username, display_name, created_at, last_seen FROM chat_users WHERE id IN ",
            );
            push_ids(&mut query, chunk);
            let rows: Vec<UserRow> = query.build_query_as().fetch_all(&self.reader).await.map_err(store_error)?;
            users.extend(rows.into_iter().map(user));
        }
        Ok(users)
    }

    async fn account(&self, id: UserId) -> StoreResult<Option<Account>> {
        Ok(self.credentials(id).await?.map(|credentials| credentials.account))
    }

    async fn by_username(&self, username: &Username) -> StoreResult<Option<User>> {
        Ok(self.credentials_by_username(username).await?.map(|credentials| credentials.account.user))
    }

    async fn credentials_by_username(&self, username: &Username) -> StoreResult<Option<Credentials>> {
        let row: Option<AccountRow> = sqlx::query_as(
            "SELECT id, username, display_name, created_at, last_seen, email, password FROM chat_users WHERE username = ?",
        )
        .bind(username.as_str())
        .fetch_optional(&self.reader)
        .await
        .map_err(store_error)?;
        Ok(row.map(credentials))
    }

    async fn credentials_by_email(&self, email: &Email) -> StoreResult<Option<Credentials>> {
        let row: Option<AccountRow> = sqlx::query_as(
            "SELECT id, username, display_name, created_at, last_seen, email, password FROM chat_users WHERE email_key = ?",
        )
        .bind(email.key())
        .fetch_optional(&self.reader)
        .await
        .map_err(store_error)?;
        Ok(row.map(credentials))
    }

    async fn credentials(&self, id: UserId) -> StoreResult<Option<Credentials>> {
        let row: Option<AccountRow> = sqlx::query_as(
            "SELECT id, username, display_name, created_at, last_seen, email, password FROM chat_users WHERE id = ?",
        )
        .bind(id.uuid())
        .fetch_optional(&self.reader)
        .await
        .map_err(store_error)?;
        Ok(row.map(credentials))
    }

    async fn update_profile(&self, id: UserId, change: &ProfileChange) -> StoreResult<Option<Result<Account, Taken>>> {
        retry(|| async move {
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            let known: Option<Uuid> = sqlx::query_scalar("SELECT id FROM chat_users WHERE id = ?")
                .bind(id.uuid())
                .fetch_optional(&mut *tx)
                .await
                .map_err(store_error)?;
            if known.is_none() {
                return Ok(None);
            }
            if let Some(email) = &change.email {
                let owner: Option<Uuid> = sqlx::query_scalar("SELECT id FROM chat_users WHERE email_key = ?")
                    .bind(email.key())
                    .fetch_optional(&mut *tx)
                    .await
                    .map_err(store_error)?;
                if owner.is_some_and(|owner| owner != id.uuid()) {
                    return Ok(Some(Err(Taken { email: true, ..Taken::default() })));
                }
                sqlx::query("UPDATE chat_users SET email = ?, email_key = ? WHERE id = ?")
                    .bind(email.as_str())
                    .bind(email.key())
                    .bind(id.uuid())
                    .execute(&mut *tx)
                    .await
                    .map_err(store_error)?;
            }
            if let Some(name) = &change.display_name {
                sqlx::query("UPDATE chat_users SET display_name = ?, display_key = ? WHERE id = ?")
                    .bind(name.as_str())
                    .bind(name.search_key().as_str().to_owned())
                    .bind(id.uuid())
                    .execute(&mut *tx)
                    .await
                    .map_err(store_error)?;
            }
            let row: Option<AccountRow> = sqlx::query_as(
            "SELECT id, username, display_name, created_at, last_seen, email, password FROM chat_users WHERE id = ?",
        )
        .bind(id.uuid())
        .fetch_optional(&mut *tx)
        .await
        .map_err(store_error)?;
            tx.commit().await.map_err(store_error)?;
            Ok(row.map(|row| Ok(credentials(row).account)))
        })
        .await
    }

    async fn replace_password(&self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> StoreResult<bool> {
        retry(|| async move {
            let done =
                sqlx::query("UPDATE chat_users SET password = ? WHERE id = ? AND (password = ? OR password = ?)")
                    .bind(new.reveal())
                    .bind(id.uuid())
                    .bind(expected.reveal())
                    .bind(new.reveal())
                    .execute(&self.writer)
                    .await
                    .map_err(store_error)?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }

    async fn touch_seen(&self, seen: &[(UserId, Timestamp)]) -> StoreResult<()> {
        retry(|| async move {
            // In one order, so that two of these do not lock each other out.
            let mut seen: Vec<&(UserId, Timestamp)> = seen.iter().collect();
            seen.sort_unstable();
            let mut tx = dialect::begin(&self.writer).await.map_err(store_error)?;
            for (id, at) in seen {
                sqlx::query(
                    "UPDATE chat_users SET last_seen = ? WHERE id = ? AND (last_seen IS NULL OR last_seen < ?)",
                )
                .bind(at.micros())
                .bind(id.uuid())
                .bind(at.micros())
                .execute(&mut *tx)
                .await
                .map_err(store_error)?;
            }
            tx.commit().await.map_err(store_error)
        })
        .await
    }

    async fn search(&self, prefix: &SearchKey, after: Option<&SearchPosition>, limit: u32) -> StoreResult<Vec<User>> {
        let (from, to) = (prefix.as_str(), after_prefix(prefix.as_str()));
        let mut found: Vec<User> = Vec::new();
        if !matches!(after, Some(SearchPosition::DisplayName(..))) {
            let last = match after {
                Some(SearchPosition::Username(name)) => name.as_str(),
                _ => "",
            };
            let rows: Vec<UserRow> = sqlx::query_as(
                "SELECT id, username, display_name, created_at, last_seen FROM chat_users \
                 WHERE username >= ? AND username < ? AND username > ? ORDER BY username LIMIT ?",
            )
            .bind(from)
            .bind(&to)
            .bind(last)
            .bind(i64::from(limit))
            .fetch_all(&self.reader)
            .await
            .map_err(store_error)?;
            found.extend(rows.into_iter().map(user));
        }
        let left = i64::from(limit) - i64::try_from(found.len()).unwrap_or(i64::MAX);
        if left > 0 {
            let (key, id) = match after {
                Some(SearchPosition::DisplayName(key, id)) => (key.as_str(), id.uuid()),
                _ => ("", Uuid::nil()),
            };
            let rows: Vec<UserRow> = sqlx::query_as(
                "SELECT id, username, display_name, created_at, last_seen FROM chat_users \
                 WHERE display_key >= ? AND display_key < ? AND display_key >= ? AND (display_key > ? OR id > ?) \
                 AND NOT (username >= ? AND username < ?) ORDER BY display_key, id LIMIT ?",
            )
            .bind(from)
            .bind(&to)
            .bind(key)
            .bind(key)
            .bind(id)
            .bind(from)
            .bind(&to)
            .bind(left)
            .fetch_all(&self.reader)
            .await
            .map_err(store_error)?;
            found.extend(rows.into_iter().map(user));
        }
        Ok(found)
    }
}
