//! Plays an operation against both and compares the answers: who plays, and the people's part.

use std::fmt::Display;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::logs::Logs;
use super::ops::{FEW, Op, USERS};
use super::people::{Friendships, GRACE, LIFE, Sessions, Users};
use super::places::Rooms;
use crate::id::{FriendshipId, IntentId, UserId};
use crate::model::{DisplayName, Email, PageKey, SearchKey, TokenHash, Username};
use crate::store::{FriendshipList, NewRequest, NewRoom, NewUser, ProfileChange, Rotation, SearchPosition, Storage};
use crate::testing::fixtures::{
    at, display_name, email, friendship_id, intent_id, password, session, session_id, token, user_id, username,
};
use crate::testing::tools::Must;

/// What an operation came to.
pub(super) type Played = Result<(), TestCaseError>;

/// Reads on from the last row of each page until a page comes back empty; fails when a row comes twice.
macro_rules! paged {
    ($limit:expr, |$after:ident| $read:expr, |$last:ident| $position:expr) => {{
        let mut all = Vec::new();
        let mut $after = None;
        loop {
            let page = $read.await.must();
            prop_assert!(page.len() <= $limit as usize, "a page of {} is too long for {}", page.len(), $limit);
            let Some($last) = page.last() else { break };
            $after = Some($position);
            for row in page {
                prop_assert!(!all.contains(&row), "{:?} comes twice", row);
                all.push(row);
            }
        }
        all
    }};
}
pub(super) use paged;

/// The store, the model, and what has been made so far.
pub(super) struct Players {
    pub(super) storage: Storage,
    pub(super) users: Users,
    pub(super) sessions: Sessions,
    pub(super) friendships: Friendships,
    pub(super) rooms: Rooms,
    pub(super) logs: Logs,
    /// All creations that were tried, to be tried again.
    pub(super) creations: Vec<NewRoom>,
    /// How many sessions, friendships, intents and tokens there have been. None is ever a second thing.
    made: [u64; 4],
}

impl Players {
    pub(super) fn new(storage: Storage) -> Self {
        Self {
            storage,
            users: Users::default(),
            sessions: Sessions::default(),
            friendships: Friendships::default(),
            rooms: Rooms::default(),
            logs: Logs::default(),
            creations: Vec::new(),
            made: [0; 4],
        }
    }

    /// Plays one operation; `place` says where in the sequence it stands.
    pub(super) async fn play(&mut self, place: impl Display, op: &Op) -> Played {
        let played = match op {
            Op::CreateUser { .. }
            | Op::UpdateProfile { .. }
            | Op::ReplacePassword { .. }
            | Op::TouchSeen { .. }
            | Op::FindUser { .. }
            | Op::Search { .. } => self.play_users(op).await,
            Op::CreateSession { .. }
            | Op::Rotate { .. }
            | Op::EndSession { .. }
            | Op::EndOthers { .. }
            | Op::Purge { .. }
            | Op::ReadSessions { .. } => self.play_sessions(op).await,
            Op::Request { .. }
            | Op::Answer { .. }
            | Op::EndFriendship { .. }
            | Op::Block { .. }
            | Op::Unblock { .. }
            | Op::ReadFriends { .. } => self.play_friendships(op).await,
            Op::Append { .. } | Op::ReadLog { .. } | Op::ReadMessages { .. } | Op::ReadDigests { .. } => {
                self.play_logs(op).await
            }
            _ => self.play_rooms(op).await,
        };
        played.map_err(|error| TestCaseError::fail(format!("{place}: {op:?}: {error}")))
    }

    /// Compares all that can be read, at the end of a sequence.
    pub(super) async fn compare_all(&mut self) -> Played {
        let mut reads = Vec::new();
        for user in 0..USERS {
            reads.push(Op::FindUser { id: user, name: user, email: user });
            reads.push(Op::ReadSessions { user, at: 4, limit: 2 });
            reads.push(Op::ReadFriends { user, other: (user + 1) % USERS, limit: 2 });
            reads.push(Op::ReadRooms { room: user, user, other: (user + 2) % USERS, limit: 2, before: 6 });
            reads.push(Op::ReadDigests { viewer: user, marker: user, cap: 3 });
        }
        for number in 0..FEW {
            reads.push(Op::Search { prefix: number, limit: 2 });
            reads.push(Op::ReadLog { room: number, position: 5, limit: 100 });
            reads.push(Op::ReadMessages { room: number, viewer: number, position: 5, limit: 4 });
        }
        for op in reads {
            self.play("after all", &op).await?;
        }
        Ok(())
    }

    pub(super) fn new_intent(&mut self) -> IntentId {
        self.made[2] += 1;
        intent_id(self.made[2])
    }

    async fn play_users(&mut self, op: &Op) -> Played {
        let store = self.storage.users.clone();
        match *op {
            Op::CreateUser { id, name, email, display } => {
                let new = NewUser {
                    id: user_id(id),
                    username: name_of(name),
                    email: email_of(email),
                    display_name: display_of(display),
                    password: password(0),
                    created_at: at(0),
                };
                prop_assert_eq!(store.create(&new).await.must(), self.users.create(&new));
            }
            Op::UpdateProfile { id, email, display } => {
                let (id, email, display) = (user_id(id), email.map(email_of), display.map(display_of));
                let change = ProfileChange { display_name: display.clone(), email: email.clone() };
                let want = self.users.update(id, email, display);
                prop_assert_eq!(store.update_profile(id, &change).await.must(), want);
            }
            Op::ReplacePassword { id, expected, new } => {
                let (id, expected, new) = (user_id(id), password(expected), password(new));
                let want = self.users.replace_password(id, &expected, &new);
                prop_assert_eq!(store.replace_password(id, &expected, &new).await.must(), want);
            }
            Op::TouchSeen { ref seen } => {
                let seen: Vec<_> = seen.iter().map(|(user, time)| (user_id(*user), time_of(*time))).collect();
                store.touch_seen(&seen).await.must();
                seen.iter().for_each(|(user, time)| self.users.touch(*user, *time));
            }
            Op::FindUser { id, name, email } => {
                let (id, name, email) = (user_id(id), name_of(name), email_of(email));
                let by_id = self.users.find(|account| account.user.id == id);
                prop_assert_eq!(store.account(id).await.must(), by_id.map(|found| found.0.clone()));
                let by_name = self.users.find(|account| account.user.username == name);
                prop_assert_eq!(store.by_username(&name).await.must(), by_name.map(|found| found.0.user.clone()));
                let by_email = self.users.find(|account| account.email.key() == email.key());
                for (got, want) in [
                    (store.credentials(id).await.must(), by_id),
                    (store.credentials_by_username(&name).await.must(), by_name),
                    (store.credentials_by_email(&email).await.must(), by_email),
                ] {
                    prop_assert_eq!(got.map(|found| (found.account, found.password)), want.cloned());
                }
                let ids: Vec<_> = (0..=USERS).map(user_id).collect();
                let mut got = store.users(&ids).await.must();
                got.sort_by_key(|user| user.id);
                let mut want: Vec<_> = self.users.all.iter().map(|(account, _)| account.user.clone()).collect();
                want.sort_by_key(|user| user.id);
                prop_assert_eq!(got, want);
            }
            Op::Search { prefix, limit } => {
                let prefix = SearchKey::parse(["ad", "ada", "bo", "ada l", "zz"][prefix as usize]).expect("a prefix");
                let got = paged!(limit, |after| store.search(&prefix, after.as_ref(), limit as u32), |last| {
                    match last.username.as_str().starts_with(prefix.as_str()) {
                        true => SearchPosition::Username(last.username.clone()),
                        false => SearchPosition::DisplayName(last.display_name.search_key(), last.id),
                    }
                });
                prop_assert_eq!(got, self.users.search(&prefix));
            }
            _ => unreachable!("another family's"),
        }
        Ok(())
    }

    async fn play_sessions(&mut self, op: &Op) -> Played {
        let store = self.storage.sessions.clone();
        match *op {
            Op::CreateSession { user, token: number, at: time, again } => {
                let known = again.and_then(|again| self.sessions.all.get(again as usize));
                let new = match known {
                    Some(kept) => crate::model::Session { expires_at: time_of(99), ..kept.session.clone() },
                    None => {
                        self.made[0] += 1;
                        let (created_at, expires_at) = (time_of(time), time_of(time + LIFE));
                        let id = session_id(self.made[0]);
                        crate::model::Session { id, created_at, expires_at, ..session(0, user_id(user)) }
                    }
                };
                store.create(&new, &token(number)).await.must();
                self.sessions.create(&new, token(number));
            }
            Op::Rotate { session, presented, next, at: time } => {
                let (presented, next) = self.tokens(session, presented, next);
                let rotation = Rotation {
                    session: self.session(session),
                    presented,
                    next,
                    at: time_of(time),
                    expires_at: time_of(time + LIFE),
                    grace: GRACE,
                };
                prop_assert_eq!(store.rotate(&rotation).await.must(), self.sessions.rotate(&rotation));
            }
            Op::EndSession { session, user } => {
                let (user, id) = (user_id(user), self.session(session));
                let want = self.sessions.end(|session| session.user == user && session.id == id);
                prop_assert_eq!(store.end(user, id).await.must(), !want.is_empty());
            }
            Op::EndOthers { session, user } => {
                let (user, id) = (user_id(user), self.session(session));
                let want = self.sessions.end(|session| session.user == user && session.id != id);
                let mut got = store.end_others(user, id).await.must();
                got.sort();
                prop_assert_eq!(got, want);
            }
            Op::Purge { at: time } => {
                let want = self.sessions.end(|session| session.expires_at < time_of(time));
                prop_assert_eq!(store.purge(time_of(time), 1000).await.must(), want.len() as u64);
            }
            Op::ReadSessions { user, at: time, limit } => {
                let ids: Vec<_> = (0..=self.made[0] + 1).map(session_id).collect();
                let mut got = store.alive(&ids, time_of(time)).await.must();
                got.sort_by_key(|session| session.id);
                prop_assert_eq!(got, self.sessions.alive(time_of(time)));
                let (user, time) = (user_id(user), time_of(time));
                let got = paged!(limit, |after| store.list(user, time, after, limit as u32), |last| PageKey {
                    at: last.created_at,
                    id: last.id.uuid(),
                });
                prop_assert_eq!(got, self.sessions.list(user, time));
            }
            _ => unreachable!("another family's"),
        }
        Ok(())
    }

    /// One of those that are kept, or one that never was.
    fn session(&self, number: u64) -> crate::id::SessionId {
        self.sessions.all.get(number as usize).map_or(session_id(9999), |kept| kept.session.id)
    }

    /// Tokens that mean something: one that is live or the one used last, and mostly a new one.
    fn tokens(&mut self, session: u64, presented: u64, next: u64) -> (TokenHash, TokenHash) {
        self.made[3] += 1;
        let (strange, new) = (token(99), token(100 + self.made[3]));
        let Some(kept) = self.sessions.all.get(session as usize) else { return (strange, new) };
        let presented = match presented {
            0..=2 => kept.live.get(presented as usize).copied(),
            3..=6 => kept.used.map(|(used, _)| used),
            _ => None,
        };
        let next = if next == 0 { kept.live.last().copied() } else { None };
        (presented.unwrap_or(strange), next.unwrap_or(new))
    }

    /// One of those that are kept, or one that never was.
    fn row(&self, number: u64) -> FriendshipId {
        self.friendships.rows.get(number as usize).map_or(friendship_id(9999), |row| row.id)
    }

    async fn play_friendships(&mut self, op: &Op) -> Played {
        let store = self.storage.friendships.clone();
        match *op {
            // Nobody asks or blocks themselves: the service sees to that.
            Op::Request { from, to, at: time } => {
                self.made[1] += 1;
                let (from, to) = two(from, to);
                let new = NewRequest { id: friendship_id(self.made[1]), from, to, at: time_of(time) };
                prop_assert_eq!(store.request(&new).await.must(), self.friendships.request(&new));
            }
            Op::Answer { row, by, accept, at: time } => {
                let (id, by) = (self.row(row), user_id(by));
                let want = self.friendships.answer(id, by, accept, time_of(time));
                prop_assert_eq!(store.answer(id, by, accept, time_of(time)).await.must(), want);
            }
            Op::EndFriendship { row, by } => {
                let (id, by) = (self.row(row), user_id(by));
                prop_assert_eq!(store.end(id, by).await.must(), self.friendships.end(id, by));
            }
            Op::Block { by, user, at: time } => {
                let (by, user) = two(by, user);
                let want = self.friendships.block(by, user, time_of(time));
                prop_assert_eq!(store.block(by, user, time_of(time)).await.must(), want);
            }
            Op::Unblock { by, user } => {
                let (by, user) = two(by, user);
                prop_assert_eq!(store.unblock(by, user).await.must(), self.friendships.unblock(by, user));
            }
            Op::ReadFriends { user, other, limit } => {
                let (user, other) = two(user, other);
                prop_assert_eq!(store.relation(user, other).await.must(), self.friendships.relation(user, other));
                for list in [FriendshipList::Friends, FriendshipList::Incoming, FriendshipList::Outgoing] {
                    let got = paged!(limit, |after| store.list(user, list, after, limit as u32), |last| PageKey {
                        at: last.updated_at,
                        id: last.id.uuid(),
                    });
                    prop_assert_eq!(got, self.friendships.list(user, list), "{:?}", list);
                }
                let friends = self.friendships.list(user, FriendshipList::Friends);
                let friends = friends.iter().filter_map(|row| row.other(user));
                prop_assert_eq!(sorted(store.friend_ids(user).await.must()), sorted(friends.collect()));
                let got = paged!(limit, |after| store.blocked(user, after, limit as u32), |last| PageKey {
                    at: last.1,
                    id: last.0.uuid(),
                });
                prop_assert_eq!(&got, &self.friendships.blocked(user));
                let everybody: Vec<_> = (0..=USERS).map(user_id).collect();
                let among = sorted(store.blocked_among(user, &everybody).await.must());
                prop_assert_eq!(among, sorted(got.iter().map(|blocked| blocked.0).collect()));
                let among = sorted(store.blockers_among(user, &everybody).await.must());
                prop_assert_eq!(among, self.friendships.blockers(user));
            }
            _ => unreachable!("another family's"),
        }
        Ok(())
    }
}

/// Two different users.
pub(super) fn two(one: u64, other: u64) -> (UserId, UserId) {
    (user_id(one), user_id(if one == other { (other + 1) % USERS } else { other }))
}

pub(super) fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

pub(super) fn time_of(number: u64) -> crate::time::Timestamp {
    at(number as u32)
}

/// A username, some of which are found by the prefixes that are searched.
fn name_of(number: u64) -> Username {
    username(["ada", "ada.l", "bob", "zoe", "adam"][number as usize])
}

/// An address, two of which are the same to everybody.
fn email_of(number: u64) -> Email {
    email(["a@example.org", "A@example.org", "b@example.org", "c@example.org", "d@example.org"][number as usize])
}

fn display_of(number: u64) -> DisplayName {
    display_name(["Ada Lovelace", "ADA", "Bobby"][number as usize])
}
