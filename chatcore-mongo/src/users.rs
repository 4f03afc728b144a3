//! Accounts.

use async_trait::async_trait;
use chatcore::id::UserId;
use chatcore::model::{Account, Email, PasswordHash, SearchKey, User, Username};
use chatcore::store::{Credentials, NewUser, ProfileChange, SearchPosition, StoreResult, Taken, UserStore};
use chatcore::time::Timestamp;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::{Hint, ReturnDocument};

use crate::documents::{USERS, UserDoc, id};
use crate::error::is_duplicate;
use crate::indexes::{BY_DISPLAY_NAME, BY_USERNAME};
use crate::lists::{BATCH, distinct};
use crate::open::MongoStore;
use crate::retry::{Attempt, Fault, commit};

/// The first text after all that begin with `prefix`, in the order of bytes: U+10FFFF is no character of any text.
fn after_prefix(prefix: &str) -> String {
    format!("{prefix}\u{10FFFF}")
}

fn display_name_search(from: &str, to: &str, after: Option<(&str, UserId)>) -> Document {
    // Who is found by the username has come before. Each branch is a range of the index, which the server merges.
    let others = [doc! { "$lt": from }, doc! { "$gte": to }];
    let branches = others.into_iter().flat_map(|username| match after {
        None => vec![doc! { "display_key": { "$gte": from, "$lt": to }, "username": username }],
        Some((key, user)) => vec![
            doc! { "display_key": key, "_id": { "$gt": id(user.uuid()) }, "username": username.clone() },
            doc! { "display_key": { "$gt": key, "$lt": to }, "username": username },
        ],
    });
    doc! { "$or": branches.collect::<Vec<_>>() }
}

impl MongoStore {
    async fn one_user(&self, filter: Document) -> StoreResult<Option<Credentials>> {
        let users = &self.collection::<UserDoc>(USERS);
        let filter = &filter;
        let user = self.ask(|| async move { Ok(users.find_one(filter.clone()).await?) }).await?;
        Ok(user.map(UserDoc::credentials))
    }

    async fn try_create_user(&self, new: &UserDoc) -> Attempt<Result<(), Taken>> {
        let users = self.collection::<UserDoc>(USERS);
        match users.insert_one(new).await {
            Ok(_) => return Ok(Ok(())),
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let any = doc! { "$or": [{ "_id": new._id }, { "username": &new.username }, { "email_key": &new.email_key }] };
        let there: Vec<UserDoc> = users.find(any).await?.try_collect().await?;
        if there.iter().any(|user| user._id == new._id) {
            return Ok(Ok(()));
        }
        let taken = Taken {
            username: there.iter().any(|user| user.username == new.username),
            email: there.iter().any(|user| user.email_key == new.email_key),
        };
        // Nothing is there when the other one has not reached a majority yet, or has just got another address.
        if taken == Taken::default() { Err(Fault::Raced) } else { Ok(Err(taken)) }
    }

    async fn try_touch_seen(&self, seen: &[(UserId, Timestamp)]) -> Attempt<()> {
        let mut session = self.begin().await?;
        for chunk in seen.chunks(BATCH) {
            let updates: Vec<Document> = chunk
                .iter()
                .map(
                    |(user, at)| doc! { "q": { "_id": id(user.uuid()) }, "u": { "$max": { "last_seen": at.micros() } } },
                )
                .collect();
            self.run_many(&mut session, doc! { "update": USERS, "updates": updates }).await?;
        }
        commit(&mut session).await
    }

    async fn found(
        &self,
        filter: &Document,
        sort: &Document,
        index: &str,
        limit: usize,
    ) -> StoreResult<impl Iterator<Item = User> + use<>> {
        let users = &self.collection::<UserDoc>(USERS);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found: Vec<UserDoc> = self
            .ask(|| async move {
                let hint = Hint::Name(index.to_owned());
                Ok(users.find(filter.clone()).sort(sort.clone()).hint(hint).limit(limit).await?.try_collect().await?)
            })
            .await?;
        Ok(found.into_iter().map(UserDoc::user))
    }
}

#[async_trait]
impl UserStore for MongoStore {
    async fn ping(&self) -> StoreResult<()> {
        self.answers().await
    }

    async fn create(&self, user: &NewUser) -> StoreResult<Result<(), Taken>> {
        let new = &UserDoc {
            _id: id(user.id.uuid()),
            username: user.username.as_str().to_owned(),
            email: user.email.as_str().to_owned(),
            email_key: user.email.key(),
            display_name: user.display_name.as_str().to_owned(),
            display_key: user.display_name.search_key().as_str().to_owned(),
            password: user.password.reveal().to_owned(),
            created_at: user.created_at.micros(),
            last_seen: None,
        };
        self.ask(|| self.try_create_user(new)).await
    }

    async fn users(&self, ids: &[UserId]) -> StoreResult<Vec<User>> {
        let users = &self.collection::<UserDoc>(USERS);
        let mut found = Vec::with_capacity(ids.len());
        for chunk in distinct(ids.iter().map(|id| id.uuid())).chunks(BATCH) {
            let ids = &chunk.iter().map(|user| id(*user)).collect::<Vec<_>>();
            let read = || async move { Ok(users.find(doc! { "_id": { "$in": ids } }).await?.try_collect().await?) };
            let page: Vec<UserDoc> = self.ask(read).await?;
            found.extend(page.into_iter().map(UserDoc::user));
        }
        Ok(found)
    }

    async fn account(&self, id: UserId) -> StoreResult<Option<Account>> {
        Ok(self.credentials(id).await?.map(|credentials| credentials.account))
    }

    async fn by_username(&self, username: &Username) -> StoreResult<Option<User>> {
        Ok(self.credentials_by_username(username).await?.map(|credentials| credentials.account.user))
    }

    async fn credentials_by_username(&self, username: &Username) -> StoreResult<Option<Credentials>> {
        self.one_user(doc! { "username": username.as_str() }).await
    }

    async fn credentials_by_email(&self, email: &Email) -> StoreResult<Option<Credentials>> {
        self.one_user(doc! { "email_key": email.key() }).await
    }

    async fn credentials(&self, user: UserId) -> StoreResult<Option<Credentials>> {
        self.one_user(doc! { "_id": id(user.uuid()) }).await
    }

    async fn update_profile(
        &self,
        user: UserId,
        change: &ProfileChange,
    ) -> StoreResult<Option<Result<Account, Taken>>> {
        let mut set = doc! {};
        if let Some(email) = &change.email {
            set.insert("email", email.as_str());
            set.insert("email_key", email.key());
        }
        if let Some(name) = &change.display_name {
            set.insert("display_name", name.as_str());
            set.insert("display_key", name.search_key().as_str());
        }
        if set.is_empty() {
            return Ok(self.account(user).await?.map(Ok));
        }
        let users = &self.collection::<UserDoc>(USERS);
        let (filter, update) = (&doc! { "_id": id(user.uuid()) }, &doc! { "$set": set });
        // Made again, it is as it was.
        let write = || async move {
            match users.find_one_and_update(filter.clone(), update.clone()).return_document(ReturnDocument::After).await
            {
                Ok(user) => Ok(user.map(|user| Ok(user.credentials().account))),
                Err(error) if is_duplicate(&error) => Ok(Some(Err(Taken { email: true, ..Taken::default() }))),
                Err(error) => Err(error.into()),
            }
        };
        self.ask(write).await
    }

    async fn replace_password(&self, user: UserId, expected: &PasswordHash, new: &PasswordHash) -> StoreResult<bool> {
        let users = &self.collection::<UserDoc>(USERS);
        let filter = &doc! { "_id": id(user.uuid()), "password": { "$in": [expected.reveal(), new.reveal()] } };
        let update = &doc! { "$set": { "password": new.reveal() } };
        let write = || async move { Ok(users.update_one(filter.clone(), update.clone()).await?.matched_count > 0) };
        self.ask(write).await
    }

    async fn touch_seen(&self, seen: &[(UserId, Timestamp)]) -> StoreResult<()> {
        if seen.is_empty() {
            return Ok(());
        }
        let (store, seen) = (self.clone(), seen.to_vec());
        self.step(move || {
            let (store, seen) = (store.clone(), seen.clone());
            async move { store.try_touch_seen(&seen).await }
        })
        .await
    }

    async fn search(&self, prefix: &SearchKey, after: Option<&SearchPosition>, limit: u32) -> StoreResult<Vec<User>> {
        let (from, to) = (prefix.as_str(), after_prefix(prefix.as_str()));
        let limit = limit as usize;
        let mut users: Vec<User> = Vec::new();
        if limit > 0 && !matches!(after, Some(SearchPosition::DisplayName(..))) {
            let mut range = doc! { "$gte": from, "$lt": &to };
            if let Some(SearchPosition::Username(last)) = after {
                range.insert("$gt", last.as_str());
            }
            users.extend(self.found(&doc! { "username": range }, &doc! { "username": 1 }, BY_USERNAME, limit).await?);
        }
        if users.len() < limit {
            let after = match after {
                Some(SearchPosition::DisplayName(key, user)) => Some((key.as_str(), *user)),
                _ => None,
            };
            let filter = display_name_search(from, &to, after);
            let sort = doc! { "display_key": 1, "_id": 1 };
            users.extend(self.found(&filter, &sort, BY_DISPLAY_NAME, limit - users.len()).await?);
        }
        Ok(users)
    }
}
