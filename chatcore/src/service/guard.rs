//! Whether somebody may: sessions, memberships and blocks, from caches that are invalidated at once on this node.

use std::sync::Arc;
use std::time::Duration;

use super::Chat;
use super::cache::{Cache, Mark};
use super::error::{AuthFailure, Error, Result};
use crate::id::{RoomId, SessionId, UserId};
use crate::model::{Membership, Relation, RoomKind, Session, Standing};
use crate::time::Timestamp;

/// A caller who is known: whose access token it was, and which session it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub user: UserId,
    /// The session of the token.
    pub session: SessionId,
    /// The end of the token.
    pub expires_at: Timestamp,
}

pub(crate) struct Caches {
    pub(crate) sessions: Cache<SessionId, Option<Arc<Session>>>,
    pub(crate) standings: Cache<(RoomId, UserId), Arc<Standing>>,
    pub(crate) relations: Cache<(UserId, UserId), Arc<Relation>>,
}

/// By what something was allowed, to be checked once more at the moment of the commit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ticket {
    session: Option<Mark>,
    standing: Option<Mark>,
    relation: Option<Mark>,
}

impl Caches {
    pub(crate) fn new(trust: Duration) -> Self {
        Self { sessions: Cache::new(trust), standings: Cache::new(trust), relations: Cache::new(trust) }
    }

    pub(crate) fn hold(&self, ticket: &Ticket) -> bool {
        ticket.session.is_none_or(|mark| self.sessions.holds(mark))
            && ticket.standing.is_none_or(|mark| self.standings.holds(mark))
            && ticket.relation.is_none_or(|mark| self.relations.holds(mark))
    }

    pub(crate) fn invalidate_pair(&self, one: UserId, other: UserId) {
        self.relations.invalidate(&(one, other));
        self.relations.invalidate(&(other, one));
    }
}

/// A member who may act in a room, and by what.
pub(crate) struct Access {
    pub(crate) membership: Membership,
    pub(crate) ticket: Ticket,
}

impl Chat {
    /// Whom an access token stands for.
    ///
    /// # Errors
    /// `Unauthenticated` when the token is not one of ours, has expired, or its session has ended.
    pub async fn authenticate(&self, token: &str) -> Result<Principal> {
        let bearer = self.inner.tokens.verify(token, self.now())?;
        let principal = Principal { user: bearer.user, session: bearer.session, expires_at: bearer.expires_at };
        self.check_session(&principal).await?;
        Ok(principal)
    }

    /// Whether the caller's session still lives.
    pub(crate) async fn check_session(&self, caller: &Principal) -> Result<Mark> {
        let read = async {
            let alive = self.inner.storage.sessions.alive(&[caller.session], self.now()).await?;
            Ok::<_, Error>(alive.into_iter().next().map(Arc::new))
        };
        let (session, mark) = self.inner.caches.sessions.get(&caller.session, read).await?;
        match session {
            Some(session) if session.user == caller.user && session.expires_at > self.now() => Ok(mark),
            _ => Err(AuthFailure::Ended.into()),
        }
    }

    async fn standing(&self, room: RoomId, user: UserId) -> Result<(Arc<Standing>, Mark)> {
        let key = (room, user);
        let read = async {
            let standing = self.inner.storage.rooms.standings(&[key]).await?.pop();
            Ok::<_, Error>(Arc::new(standing.unwrap_or(Standing::NoRoom)))
        };
        self.inner.caches.standings.get(&key, read).await
    }

    /// The caller's part in a room, whose own coming the log holds.
    ///
    /// # Errors
    /// `NotFound` without such a room, `Forbidden` for one who is not in it.
    pub(crate) async fn member(&self, caller: &Principal, room: RoomId) -> Result<Access> {
        let session = self.check_session(caller).await?;
        let (standing, mark) = self.settled_standing(room, caller.user).await?;
        match &*standing {
            Standing::NoRoom => Err(Error::NotFound("room")),
            Standing::Outsider => Err(Error::Forbidden("not a member of the room")),
            Standing::Member(membership) => Ok(Access {
                membership: membership.clone(),
                ticket: Ticket { session: Some(session), standing: Some(mark), relation: None },
            }),
        }
    }

    async fn settled_standing(&self, room: RoomId, user: UserId) -> Result<(Arc<Standing>, Mark)> {
        let (standing, mark) = self.standing(room, user).await?;
        match &*standing {
            Standing::Member(membership) if membership.member.joined_seq.is_none() => {
                // Somebody was stopped half-way through adding this member. Whoever meets that finishes it.
                self.settle(room).await?;
                self.inner.caches.standings.invalidate(&(room, user));
                self.standing(room, user).await
            }
            _ => Ok((standing, mark)),
        }
    }

    /// Like [`Chat::member`], for one who wants to write: in a direct room neither may have blocked the other.
    pub(crate) async fn writer(&self, caller: &Principal, room: RoomId) -> Result<Access> {
        let mut access = self.member(caller, room).await?;
        if access.membership.room.kind == RoomKind::Direct
            && let Some(peer) = access.membership.peer
        {
            let (relation, mark) = self.relation(caller.user, peer).await?;
            if relation.any_block() {
                return Err(Error::Forbidden("one of the two has blocked the other"));
            }
            access.ticket.relation = Some(mark);
        }
        Ok(access)
    }

    pub(crate) async fn relation(&self, user: UserId, other: UserId) -> Result<(Arc<Relation>, Mark)> {
        let read = async {
            let relation = self.inner.storage.friendships.relation(user, other).await?;
            Ok::<_, Error>(Arc::new(relation))
        };
        self.inner.caches.relations.get(&(user, other), read).await
    }
}
