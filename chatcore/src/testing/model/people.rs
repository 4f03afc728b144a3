//! The naive model of users, sessions and friendships.

use std::time::Duration;

use crate::id::{FriendshipId, SessionId, UserId};
use crate::limits::LIVE_TOKENS;
use crate::model::{
    Account, DisplayName, Email, Friendship, FriendshipStatus, PasswordHash, Relation, SearchKey, Session, TokenHash,
    User,
};
use crate::policy::friendship::{self as policy, Request};
use crate::store::{
    Answered, Blocked, Ended, FriendshipList, NewRequest, NewUser, Requested, Rotated, Rotation, Taken,
};
use crate::time::Timestamp;

/// How long the sessions that are played last, in seconds.
pub(super) const LIFE: u64 = 6;

/// The grace of all refreshes that are played.
pub(super) const GRACE: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Users {
    pub(super) all: Vec<(Account, PasswordHash)>,
}

impl Users {
    pub(super) fn find(&self, is: impl Fn(&Account) -> bool) -> Option<&(Account, PasswordHash)> {
        self.all.iter().find(|(account, _)| is(account))
    }

    pub(super) fn create(&mut self, new: &NewUser) -> Result<(), Taken> {
        if self.find(|account| account.user.id == new.id).is_some() {
            return Ok(());
        }
        let username = self.find(|account| account.user.username == new.username).is_some();
        let email = self.find(|account| account.email.key() == new.email.key()).is_some();
        if username || email {
            return Err(Taken { username, email });
        }
        let user = User {
            id: new.id,
            username: new.username.clone(),
            display_name: new.display_name.clone(),
            created_at: new.created_at,
            last_seen: None,
        };
        self.all.push((Account { user, email: new.email.clone() }, new.password.clone()));
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        id: UserId,
        email: Option<Email>,
        display_name: Option<DisplayName>,
    ) -> Option<Result<Account, Taken>> {
        self.find(|account| account.user.id == id)?;
        let taken = |email: &Email| self.find(|a| a.user.id != id && a.email.key() == email.key()).is_some();
        if email.as_ref().is_some_and(taken) {
            return Some(Err(Taken { username: false, email: true }));
        }
        let (account, _) = self.all.iter_mut().find(|(account, _)| account.user.id == id)?;
        account.email = email.unwrap_or(account.email.clone());
        account.user.display_name = display_name.unwrap_or(account.user.display_name.clone());
        Some(Ok(account.clone()))
    }

    pub(super) fn replace_password(&mut self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> bool {
        let Some((_, password)) = self.all.iter_mut().find(|(account, _)| account.user.id == id) else { return false };
        if password == new {
            return true;
        }
        let right = password == expected;
        if right {
            *password = new.clone();
        }
        right
    }

    pub(super) fn touch(&mut self, id: UserId, at: Timestamp) {
        for (account, _) in &mut self.all {
            if account.user.id == id && account.user.last_seen.is_none_or(|seen| seen < at) {
                account.user.last_seen = Some(at);
            }
        }
    }

    pub(super) fn search(&self, prefix: &SearchKey) -> Vec<User> {
        let users = || self.all.iter().map(|(account, _)| account.user.clone());
        let by_name = |user: &User| user.username.as_str().starts_with(prefix.as_str());
        let by_display = |user: &User| user.display_name.search_key().as_str().starts_with(prefix.as_str());
        let mut first: Vec<_> = users().filter(by_name).collect();
        first.sort_by_key(|user| user.username.to_string());
        let mut then: Vec<_> = users().filter(|user| !by_name(user) && by_display(user)).collect();
        then.sort_by_key(|user| (user.display_name.search_key().to_string(), user.id));
        first.extend(then);
        first
    }
}

#[derive(Default)]
pub(super) struct Sessions {
    pub(super) all: Vec<Kept>,
}

/// A session with its tokens.
pub(super) struct Kept {
    pub(super) session: Session,
    pub(super) live: Vec<TokenHash>,
    pub(super) used: Option<(TokenHash, Timestamp)>,
}

impl Sessions {
    pub(super) fn create(&mut self, session: &Session, token: TokenHash) {
        if self.all.iter().all(|kept| kept.session.id != session.id) {
            self.all.push(Kept { session: session.clone(), live: vec![token], used: None });
        }
    }

    pub(super) fn rotate(&mut self, rotation: &Rotation) -> Rotated {
        let alive = |kept: &&mut Kept| kept.session.id == rotation.session && rotation.at < kept.session.expires_at;
        let Some(kept) = self.all.iter_mut().find(alive) else { return Rotated::Unknown };
        if kept.live.contains(&rotation.presented) {
            kept.live.retain(|token| *token != rotation.presented);
            kept.used = Some((rotation.presented, rotation.at));
        } else if !kept
            .used
            .is_some_and(|(used, at)| used == rotation.presented && rotation.at.micros() <= at.plus(GRACE).micros())
        {
            let user = kept.session.user;
            self.all.retain(|kept| kept.session.id != rotation.session);
            return Rotated::Reused(user);
        }
        if !kept.live.contains(&rotation.next) {
            kept.live.push(rotation.next);
        }
        while kept.live.len() > LIVE_TOKENS {
            kept.live.remove(0);
        }
        kept.session.last_used_at = rotation.at;
        kept.session.expires_at = rotation.expires_at;
        Rotated::Fresh(kept.session.clone())
    }

    pub(super) fn alive(&self, at: Timestamp) -> Vec<Session> {
        let alive = self.all.iter().map(|kept| kept.session.clone());
        let mut alive: Vec<_> = alive.filter(|session| at < session.expires_at).collect();
        alive.sort_by_key(|session| session.id);
        alive
    }

    pub(super) fn list(&self, user: UserId, at: Timestamp) -> Vec<Session> {
        let mut list = self.alive(at);
        list.retain(|session| session.user == user);
        list.sort_by_key(|session| (session.created_at, session.id));
        list.reverse();
        list
    }

    /// Takes out those that are so.
    pub(super) fn end(&mut self, is: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        let mut ended: Vec<_> = self.all.iter().map(|kept| &kept.session).filter(|s| is(s)).map(|s| s.id).collect();
        self.all.retain(|kept| !is(&kept.session));
        ended.sort();
        ended
    }
}

#[derive(Default)]
pub(super) struct Friendships {
    pub(super) rows: Vec<Friendship>,
    blocks: Vec<(UserId, UserId, Timestamp)>,
}

impl Friendships {
    fn row(&mut self, one: UserId, other: UserId) -> Option<&mut Friendship> {
        self.rows.iter_mut().find(|row| row.other(one) == Some(other))
    }

    pub(super) fn relation(&self, user: UserId, other: UserId) -> Relation {
        let blocks = |by, user| self.blocks.iter().any(|block| (block.0, block.1) == (by, user));
        let friendship = self.rows.iter().find(|row| row.other(user) == Some(other)).cloned();
        Relation { friendship, blocks: blocks(user, other), blocked: blocks(other, user) }
    }

    pub(super) fn request(&mut self, new: &NewRequest) -> Requested {
        let NewRequest { id, from, to, at } = *new;
        let what = match policy::request(&self.relation(from, to), from) {
            Ok(what) => what,
            Err(refusal) => return Requested::Refused(refusal),
        };
        let pending = FriendshipStatus::Pending;
        let fresh = Friendship { id, status: pending, requester: from, addressee: to, created_at: at, updated_at: at };
        let Some(row) = self.row(from, to) else {
            self.rows.push(fresh.clone());
            return Requested::Created(fresh);
        };
        match what {
            Request::Keep => return Requested::Pending(row.clone()),
            Request::Accept => {
                row.status = FriendshipStatus::Accepted;
                row.updated_at = at;
                return Requested::Accepted(row.clone());
            }
            Request::Create | Request::Reopen => {
                *row = Friendship { id: row.id, created_at: row.created_at, ..fresh };
            }
        }
        Requested::Created(row.clone())
    }

    pub(super) fn answer(&mut self, id: FriendshipId, by: UserId, accept: bool, at: Timestamp) -> Option<Answered> {
        let row = self.rows.iter_mut().find(|row| row.id == id)?;
        match policy::answer(row, by, accept) {
            Err(refusal) => return Some(Answered::Refused(refusal)),
            Ok(false) => return Some(Answered::Same(row.clone())),
            Ok(true) => {}
        }
        row.status = if accept { FriendshipStatus::Accepted } else { FriendshipStatus::Rejected };
        row.updated_at = at;
        Some(Answered::Changed(row.clone()))
    }

    pub(super) fn end(&mut self, id: FriendshipId, by: UserId) -> Option<Ended> {
        let row = self.rows.iter().find(|row| row.id == id)?.clone();
        if let Err(refusal) = policy::end(&row, by) {
            return Some(Ended::Refused(refusal));
        }
        self.rows.retain(|row| row.id != id);
        Some(Ended::Gone(row))
    }

    pub(super) fn block(&mut self, by: UserId, user: UserId, at: Timestamp) -> Blocked {
        let changed = !self.relation(by, user).blocks;
        if changed {
            self.blocks.push((by, user, at));
        }
        let ended = self.row(by, user).cloned();
        self.rows.retain(|row| row.other(by) != Some(user));
        Blocked { changed, ended: ended.filter(|row| row.status != FriendshipStatus::Rejected) }
    }

    pub(super) fn unblock(&mut self, by: UserId, user: UserId) -> bool {
        let before = self.blocks.len();
        self.blocks.retain(|block| (block.0, block.1) != (by, user));
        self.blocks.len() < before
    }

    pub(super) fn list(&self, user: UserId, list: FriendshipList) -> Vec<Friendship> {
        let on = |row: &&Friendship| match list {
            FriendshipList::Friends => row.status == FriendshipStatus::Accepted && row.other(user).is_some(),
            FriendshipList::Incoming => row.status == FriendshipStatus::Pending && row.addressee == user,
            FriendshipList::Outgoing => row.status == FriendshipStatus::Pending && row.requester == user,
        };
        let mut rows: Vec<_> = self.rows.iter().filter(on).cloned().collect();
        rows.sort_by_key(|row| (row.updated_at, row.id));
        rows.reverse();
        rows
    }

    pub(super) fn blocked(&self, by: UserId) -> Vec<(UserId, Timestamp)> {
        let mut blocked: Vec<_> =
            self.blocks.iter().filter(|block| block.0 == by).map(|(_, user, at)| (*user, *at)).collect();
        blocked.sort_by_key(|(user, at)| (*at, *user));
        blocked.reverse();
        blocked
    }

    pub(super) fn blockers(&self, user: UserId) -> Vec<UserId> {
        let mut by: Vec<_> = self.blocks.iter().filter(|block| block.1 == user).map(|block| block.0).collect();
        by.sort();
        by
    }
}
