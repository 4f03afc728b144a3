//! Logins.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::order::Lists;
use crate::id::{SessionId, UserId};
use crate::limits::LIVE_TOKENS;
use crate::model::{PageKey, Session, TokenHash};
use crate::store::{Rotated, Rotation};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    rows: HashMap<SessionId, Row>,
    by_user: Lists<SessionId>,
    by_expiry: BTreeSet<(Timestamp, SessionId)>,
}

#[derive(Debug)]
struct Row {
    session: Session,
    /// Oldest first.
    live: VecDeque<TokenHash>,
    /// The one used last, and when it was used first.
    used: Option<(TokenHash, Timestamp)>,
}

impl Row {
    fn alive(&self, at: Timestamp) -> bool {
        self.session.expires_at > at
    }

    /// Takes the presented token, if it is good for a refresh.
    fn spend(&mut self, rotation: &Rotation) -> bool {
        if let Some(position) = self.live.iter().position(|token| *token == rotation.presented) {
            self.live.remove(position);
            self.used = Some((rotation.presented, rotation.at));
            return true;
        }
        self.used.is_some_and(|(used, first)| used == rotation.presented && rotation.at.since(first) <= rotation.grace)
    }

    fn keep(&mut self, next: TokenHash) {
        // Live already when the same call is made again.
        if !self.live.contains(&next) {
            self.live.push_back(next);
        }
        if self.live.len() > LIVE_TOKENS {
            self.live.pop_front();
        }
    }
}

fn position(session: &Session) -> PageKey {
    PageKey { at: session.created_at, id: session.id.uuid() }
}

impl Sessions {
    pub(super) fn create(&mut self, session: &Session, token: &TokenHash) {
        if self.rows.contains_key(&session.id) {
            return;
        }
        self.by_user.insert(session.user, position(session), session.id);
        self.by_expiry.insert((session.expires_at, session.id));
        let row = Row { session: session.clone(), live: VecDeque::from([*token]), used: None };
        self.rows.insert(session.id, row);
    }

    pub(super) fn rotate(&mut self, rotation: &Rotation) -> Rotated {
        let Some(row) = self.rows.get_mut(&rotation.session).filter(|row| row.alive(rotation.at)) else {
            return Rotated::Unknown;
        };
        if !row.spend(rotation) {
            let user = row.session.user;
            self.remove(rotation.session);
            return Rotated::Reused(user);
        }
        row.keep(rotation.next);
        self.by_expiry.remove(&(row.session.expires_at, rotation.session));
        self.by_expiry.insert((rotation.expires_at, rotation.session));
        row.session.last_used_at = rotation.at;
        row.session.expires_at = rotation.expires_at;
        Rotated::Fresh(row.session.clone())
    }

    pub(super) fn alive(&self, ids: &[SessionId], at: Timestamp) -> Vec<Session> {
        let ids: HashSet<_> = ids.iter().collect();
        let rows = ids.into_iter().filter_map(|id| self.rows.get(id));
        rows.filter(|row| row.alive(at)).map(|row| row.session.clone()).collect()
    }

    pub(super) fn list(&self, user: UserId, at: Timestamp, after: Option<PageKey>, limit: usize) -> Vec<Session> {
        let rows = self.by_user.newest(user, after).filter_map(|(_, id)| self.rows.get(&id));
        rows.filter(|row| row.alive(at)).take(limit).map(|row| row.session.clone()).collect()
    }

    pub(super) fn end(&mut self, user: UserId, id: SessionId) -> bool {
        let found = self.rows.get(&id).is_some_and(|row| row.session.user == user);
        if found {
            self.remove(id);
        }
        found
    }

    pub(super) fn end_others(&mut self, user: UserId, keep: SessionId) -> Vec<SessionId> {
        let ids = self.by_user.newest(user, None).map(|(_, id)| id);
        let others: Vec<_> = ids.filter(|id| *id != keep).collect();
        for id in &others {
            self.remove(*id);
        }
        others
    }

    pub(super) fn purge(&mut self, at: Timestamp, limit: usize) -> u64 {
        let expired = self.by_expiry.iter().take_while(|(expires_at, _)| *expires_at < at);
        let expired: Vec<_> = expired.take(limit).map(|(_, id)| *id).collect();
        for id in &expired {
            self.remove(*id);
        }
        expired.len() as u64
    }

    fn remove(&mut self, id: SessionId) {
        if let Some(row) = self.rows.remove(&id) {
            self.by_user.remove(row.session.user, position(&row.session));
            self.by_expiry.remove(&(row.session.expires_at, id));
        }
    }
}
