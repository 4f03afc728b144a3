//! Friendships and blocks.

use std::collections::HashMap;

use super::order::Lists;
use crate::id::{FriendshipId, UserId};
use crate::model::{Friendship, FriendshipStatus, PageKey, Relation};
use crate::policy::friendship::{self as policy, Request};
use crate::store::{Answered, Blocked, Ended, FriendshipList, NewRequest, Requested};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Friendships {
    rows: HashMap<FriendshipId, Friendship>,
    by_pair: HashMap<(UserId, UserId), FriendshipId>,
    friends: Lists<FriendshipId>,
    incoming: Lists<FriendshipId>,
    outgoing: Lists<FriendshipId>,
    blocks: HashMap<(UserId, UserId), Timestamp>,
    blocked: Lists<UserId>,
}

/// The same for both orders.
fn pair(one: UserId, other: UserId) -> (UserId, UserId) {
    if one < other { (one, other) } else { (other, one) }
}

fn position(friendship: &Friendship) -> PageKey {
    PageKey { at: friendship.updated_at, id: friendship.id.uuid() }
}

impl Friendships {
    pub(super) fn request(&mut self, request: &NewRequest) -> Requested {
        let NewRequest { id, from, to, at } = *request;
        let relation = self.relation(from, to);
        let decision = match policy::request(&relation, from) {
            Ok(decision) => decision,
            Err(refusal) => return Requested::Refused(refusal),
        };
        let Some(mut row) = relation.friendship else {
            let status = FriendshipStatus::Pending;
            let row = Friendship { id, status, requester: from, addressee: to, created_at: at, updated_at: at };
            self.insert(row.clone());
            return Requested::Created(row);
        };
        match decision {
            Request::Keep => Requested::Pending(row),
            Request::Accept => {
                row.status = FriendshipStatus::Accepted;
                row.updated_at = at;
                self.insert(row.clone());
                Requested::Accepted(row)
            }
            Request::Create | Request::Reopen => {
                row.status = FriendshipStatus::Pending;
                row.requester = from;
                row.addressee = to;
                row.updated_at = at;
                self.insert(row.clone());
                Requested::Created(row)
            }
        }
    }

    pub(super) fn answer(&mut self, id: FriendshipId, by: UserId, accept: bool, at: Timestamp) -> Option<Answered> {
        let mut row = self.rows.get(&id)?.clone();
        Some(match policy::answer(&row, by, accept) {
            Err(refusal) => Answered::Refused(refusal),
            Ok(false) => Answered::Same(row),
            Ok(true) => {
                row.status = if accept { FriendshipStatus::Accepted } else { FriendshipStatus::Rejected };
                row.updated_at = at;
                self.insert(row.clone());
                Answered::Changed(row)
            }
        })
    }

    pub(super) fn end(&mut self, id: FriendshipId, by: UserId) -> Option<Ended> {
        let row = self.rows.get(&id)?.clone();
        Some(match policy::end(&row, by) {
            Err(refusal) => Ended::Refused(refusal),
            Ok(()) => {
                self.remove(id);
                Ended::Gone(row)
            }
        })
    }

    pub(super) fn list(
        &self,
        user: UserId,
        list: FriendshipList,
        after: Option<PageKey>,
        limit: usize,
    ) -> Vec<Friendship> {
        let list = match list {
            FriendshipList::Friends => &self.friends,
            FriendshipList::Incoming => &self.incoming,
            FriendshipList::Outgoing => &self.outgoing,
        };
        list.newest(user, after).take(limit).filter_map(|(_, id)| self.rows.get(&id).cloned()).collect()
    }

    pub(super) fn friend_ids(&self, user: UserId) -> Vec<UserId> {
        let rows = self.friends.newest(user, None).filter_map(|(_, id)| self.rows.get(&id));
        rows.filter_map(|row| row.other(user)).collect()
    }

    pub(super) fn relation(&self, user: UserId, other: UserId) -> Relation {
        let id = self.by_pair.get(&pair(user, other));
        Relation {
            friendship: id.and_then(|id| self.rows.get(id)).cloned(),
            blocks: self.blocks.contains_key(&(user, other)),
            blocked: self.blocks.contains_key(&(other, user)),
        }
    }

    pub(super) fn block(&mut self, by: UserId, user: UserId, at: Timestamp) -> Blocked {
        let changed = !self.blocks.contains_key(&(by, user));
        if changed {
            self.blocks.insert((by, user), at);
            self.blocked.insert(by, PageKey { at, id: user.uuid() }, user);
        }
        let row = self.by_pair.get(&pair(by, user)).copied().and_then(|id| self.remove(id));
        Blocked { changed, ended: row.filter(|row| row.status != FriendshipStatus::Rejected) }
    }

    pub(super) fn unblock(&mut self, by: UserId, user: UserId) -> bool {
        let Some(at) = self.blocks.remove(&(by, user)) else { return false };
        self.blocked.remove(by, PageKey { at, id: user.uuid() });
        true
    }

    pub(super) fn blocked(&self, by: UserId, after: Option<PageKey>, limit: usize) -> Vec<(UserId, Timestamp)> {
        self.blocked.newest(by, after).take(limit).map(|(key, user)| (user, key.at)).collect()
    }

    pub(super) fn blockers_among(&self, user: UserId, users: &[UserId]) -> Vec<UserId> {
        users.iter().copied().filter(|by| self.blocks.contains_key(&(*by, user))).collect()
    }

    pub(super) fn blocked_among(&self, by: UserId, users: &[UserId]) -> Vec<UserId> {
        users.iter().copied().filter(|user| self.blocks.contains_key(&(by, *user))).collect()
    }

    /// Keeps the row, in place of the one of the same id, and puts it on the lists where it belongs.
    fn insert(&mut self, row: Friendship) {
        self.remove(row.id);
        self.by_pair.insert(pair(row.requester, row.addressee), row.id);
        let at = position(&row);
        match row.status {
            FriendshipStatus::Accepted => {
                self.friends.insert(row.requester, at, row.id);
                self.friends.insert(row.addressee, at, row.id);
            }
            FriendshipStatus::Pending => {
                self.outgoing.insert(row.requester, at, row.id);
                self.incoming.insert(row.addressee, at, row.id);
            }
            FriendshipStatus::Rejected => {}
        }
        self.rows.insert(row.id, row);
    }

    fn remove(&mut self, id: FriendshipId) -> Option<Friendship> {
        let row = self.rows.remove(&id)?;
        self.by_pair.remove(&pair(row.requester, row.addressee));
        let at = position(&row);
        for user in [row.requester, row.addressee] {
            self.friends.remove(user, at);
            self.incoming.remove(user, at);
            self.outgoing.remove(user, at);
        }
        Some(row)
    }
}
