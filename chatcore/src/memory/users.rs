//! Accounts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use uuid::Uuid;

use crate::id::UserId;
use crate::model::{Account, Email, PasswordHash, SearchKey, User, Username};
use crate::store::{Credentials, NewUser, ProfileChange, SearchPosition, Taken};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Users {
    rows: HashMap<UserId, Credentials>,
    by_username: BTreeMap<Username, UserId>,
    by_email: HashMap<String, UserId>,
    by_display_name: BTreeSet<(SearchKey, UserId)>,
}

impl Users {
    pub(super) fn create(&mut self, user: &NewUser) -> Result<(), Taken> {
        if self.rows.contains_key(&user.id) {
            return Ok(());
        }
        let taken = Taken {
            username: self.by_username.contains_key(&user.username),
            email: self.by_email.contains_key(&user.email.key()),
        };
        if taken != Taken::default() {
            return Err(taken);
        }
        self.by_username.insert(user.username.clone(), user.id);
        self.by_email.insert(user.email.key(), user.id);
        self.by_display_name.insert((user.display_name.search_key(), user.id));
        let account = Account {
            user: User {
                id: user.id,
                username: user.username.clone(),
                display_name: user.display_name.clone(),
                created_at: user.created_at,
                last_seen: None,
            },
            email: user.email.clone(),
        };
        self.rows.insert(user.id, Credentials { account, password: user.password.clone() });
        Ok(())
    }

    pub(super) fn users(&self, ids: &[UserId]) -> Vec<User> {
        let ids: HashSet<_> = ids.iter().collect();
        ids.into_iter().filter_map(|id| self.user(*id)).collect()
    }

    fn user(&self, id: UserId) -> Option<User> {
        self.rows.get(&id).map(|row| row.account.user.clone())
    }

    pub(super) fn account(&self, id: UserId) -> Option<Account> {
        self.rows.get(&id).map(|row| row.account.clone())
    }

    pub(super) fn by_username(&self, username: &Username) -> Option<User> {
        self.by_username.get(username).and_then(|id| self.user(*id))
    }

    pub(super) fn credentials_by_username(&self, username: &Username) -> Option<Credentials> {
        self.by_username.get(username).and_then(|id| self.credentials(*id))
    }

    pub(super) fn credentials_by_email(&self, email: &Email) -> Option<Credentials> {
        self.by_email.get(&email.key()).and_then(|id| self.credentials(*id))
    }

    pub(super) fn credentials(&self, id: UserId) -> Option<Credentials> {
        self.rows.get(&id).cloned()
    }

    pub(super) fn update_profile(&mut self, id: UserId, change: &ProfileChange) -> Option<Result<Account, Taken>> {
        let account = &mut self.rows.get_mut(&id)?.account;
        if let Some(email) = &change.email {
            if self.by_email.get(&email.key()).is_some_and(|owner| *owner != id) {
                return Some(Err(Taken { username: false, email: true }));
            }
            self.by_email.remove(&account.email.key());
            self.by_email.insert(email.key(), id);
            account.email = email.clone();
        }
        if let Some(name) = &change.display_name {
            self.by_display_name.remove(&(account.user.display_name.search_key(), id));
            self.by_display_name.insert((name.search_key(), id));
            account.user.display_name = name.clone();
        }
        Some(Ok(account.clone()))
    }

    pub(super) fn replace_password(&mut self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> bool {
        let Some(row) = self.rows.get_mut(&id) else { return false };
        if row.password == *expected {
            row.password = new.clone();
        }
        row.password == *new
    }

    pub(super) fn touch_seen(&mut self, seen: &[(UserId, Timestamp)]) {
        for (id, at) in seen {
            if let Some(row) = self.rows.get_mut(id) {
                let last = &mut row.account.user.last_seen;
                *last = (*last).max(Some(*at));
            }
        }
    }

    pub(super) fn search(&self, prefix: &SearchKey, after: Option<&SearchPosition>, limit: usize) -> Vec<User> {
        let prefix = prefix.as_str();
        let by_username = match after {
            Some(SearchPosition::DisplayName(..)) => None,
            Some(SearchPosition::Username(last)) => Some(Bound::Excluded(last.clone())),
            None => Some(Bound::Included(Username::from_stored(prefix.to_owned()))),
        };
        let by_username = by_username
            .into_iter()
            .flat_map(|start| self.by_username.range((start, Bound::Unbounded)))
            .take_while(|(name, _)| name.as_str().starts_with(prefix))
            .map(|(_, id)| id);
        let start = match after {
            Some(SearchPosition::DisplayName(key, id)) => Bound::Excluded((key.clone(), *id)),
            _ => Bound::Included((SearchKey::from_stored(prefix.to_owned()), UserId::from_uuid(Uuid::nil()))),
        };
        let by_display_name = self
            .by_display_name
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .map(|(_, id)| id)
            .filter(|id| {
                let row = self.rows.get(*id);
                row.is_some_and(|row| !row.account.user.username.as_str().starts_with(prefix))
            });
        by_username.chain(by_display_name).take(limit).filter_map(|id| self.user(*id)).collect()
    }
}
