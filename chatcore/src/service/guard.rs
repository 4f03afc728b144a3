//! Authorisation: sessions, memberships and blocks, from caches that are invalidated at once on this node.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Chat;
use super::cache::{Cache, Mark, Seen};
use super::error::{AuthFailure, Error, Result};
use crate::id::{RoomId, SessionId, UserId};
use crate::model::{Membership, Relation, Role, RoomKind, Session, Standing};
use crate::store::Storage;
use crate::time::{Clock, Timestamp};

/// A caller who is known: whose access token it was, and which session it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Who.
    pub user: UserId,
    /// The session of the token.
    pub session: SessionId,
    /// The end of the token.
    pub expires_at: Timestamp,
}

/// What is trusted for a while without asking the store.
pub(crate) struct Caches {
    pub(crate) sessions: Cache<SessionId, Option<Arc<Session>>>,
    pub(crate) standings: Cache<(RoomId, UserId), Arc<Standing>>,
    pub(crate) relations: Cache<(UserId, UserId), Arc<Relation>>,
}

impl Caches {
    pub(crate) fn new(trust: Duration) -> Self {
        Self { sessions: Cache::new(trust), standings: Cache::new(trust), relations: Cache::new(trust) }
    }

    pub(crate) fn invalidate_pair(&self, one: UserId, other: UserId) {
        self.relations.invalidate(&(one, other));
        self.relations.invalidate(&(other, one));
    }

    pub(crate) fn forget_lapsed(&self) {
        self.sessions.forget_lapsed();
        self.standings.forget_lapsed();
        self.relations.forget_lapsed();
    }
}

/// The part that a caller needs in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Need {
    /// A member.
    Member,
    /// A member who may write: in a direct room neither has blocked the other.
    Writer,
    /// An owner or admin of a group.
    Moderator,
}

/// What a caller wants to be allowed. Enough to authorise it again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) caller: Principal,
    pub(crate) room: RoomId,
    pub(crate) need: Need,
}

/// What an authorisation relied on: the cache entries, and the end of the trust in the oldest of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    claim: Claim,
    session: Mark,
    standing: Mark,
    relation: Option<(UserId, Mark)>,
    until: Instant,
}

impl Ticket {
    /// Returns what it allows.
    pub(crate) fn claim(&self) -> Claim {
        self.claim
    }
}

/// A member who may act in a room, and what that relied on.
pub(crate) struct Access {
    pub(crate) membership: Membership,
    pub(crate) ticket: Ticket,
}

/// Answers who may do what.
pub(crate) struct Guard {
    storage: Storage,
    clock: Arc<dyn Clock>,
    caches: Arc<Caches>,
}

impl Guard {
    pub(crate) fn new(storage: Storage, clock: Arc<dyn Clock>, caches: Arc<Caches>) -> Self {
        Self { storage, clock, caches }
    }

    /// Returns whether what the ticket relied on is still trusted.
    pub(crate) fn holds(&self, ticket: &Ticket) -> bool {
        let Ticket { claim: Claim { caller, room, .. }, .. } = ticket;
        Instant::now() < ticket.until
            && self.caches.sessions.holds(&caller.session, ticket.session)
            && self.caches.standings.holds(&(*room, caller.user), ticket.standing)
            && ticket.relation.is_none_or(|(peer, mark)| self.caches.relations.holds(&(caller.user, peer), mark))
    }

    /// Checks that the caller's session lives; returns until when that is trusted.
    pub(crate) async fn check_session(&self, caller: &Principal) -> Result<Seen<()>> {
        let read = async {
            let alive = self.storage.sessions.alive(&[caller.session], self.clock.now()).await?;
            Ok::<_, Error>(alive.into_iter().next().map(Arc::new))
        };
        let seen = self.caches.sessions.get(&caller.session, read).await?;
        match seen.value {
            Some(session) if session.user == caller.user && session.expires_at > self.clock.now() => {
                Ok(Seen { value: (), mark: seen.mark, until: seen.until })
            }
            _ => Err(AuthFailure::Ended.into()),
        }
    }

    pub(crate) async fn standing(&self, room: RoomId, user: UserId) -> Result<Seen<Arc<Standing>>> {
        let key = (room, user);
        let read = async {
            let standing = self.storage.rooms.standings(&[key]).await?.pop();
            Ok::<_, Error>(Arc::new(standing.unwrap_or(Standing::NoRoom)))
        };
        self.caches.standings.get(&key, read).await
    }

    pub(crate) async fn relation(&self, user: UserId, other: UserId) -> Result<Seen<Arc<Relation>>> {
        let read = async {
            let relation = self.storage.friendships.relation(user, other).await?;
            Ok::<_, Error>(Arc::new(relation))
        };
        self.caches.relations.get(&(user, other), read).await
    }

    /// Authorises a claim that was allowed before.
    ///
    /// # Errors
    /// Those of [`Guard::admit`]. A caller who was removed and whose new joining is not in the log yet is refused too: what they asked for
    /// came before.
    pub(crate) async fn authorise_again(&self, claim: Claim) -> Result<Ticket> {
        let session = self.check_session(&claim.caller).await?;
        let standing = self.standing(claim.room, claim.caller.user).await?;
        let access = self.admit(claim, &session, &standing).await?;
        match access.membership.member.joined_seq {
            Some(_) => Ok(access.ticket),
            None => Err(Error::Forbidden(NO_MEMBER)),
        }
    }

    /// Decides a claim by what is known of session and standing.
    ///
    /// # Errors
    /// `NotFound` without such a room; `Forbidden` for a caller who has not the part that is needed.
    async fn admit(&self, claim: Claim, session: &Seen<()>, standing: &Seen<Arc<Standing>>) -> Result<Access> {
        let membership = match &*standing.value {
            Standing::NoRoom => return Err(Error::NotFound("room")),
            Standing::Outsider => return Err(Error::Forbidden(NO_MEMBER)),
            Standing::Member(membership) => membership.clone(),
        };
        let mut ticket = Ticket {
            claim,
            session: session.mark,
            standing: standing.mark,
            relation: None,
            until: session.until.min(standing.until),
        };
        let direct = membership.room.kind == RoomKind::Direct;
        match claim.need {
            Need::Member => {}
            Need::Moderator => {
                if direct || membership.member.role < Role::Admin {
                    return Err(Error::Forbidden("only its sender, an owner or an admin deletes a message"));
                }
            }
            Need::Writer => {
                if let Some(peer) = membership.peer.filter(|_| direct) {
                    let relation = self.relation(claim.caller.user, peer).await?;
                    if relation.value.any_block() {
                        return Err(Error::Forbidden("one of the two has blocked the other"));
                    }
                    ticket.relation = Some((peer, relation.mark));
                    ticket.until = ticket.until.min(relation.until);
                }
            }
        }
        Ok(Access { membership, ticket })
    }
}

const NO_MEMBER: &str = "not a member of the room";

impl Chat {
    /// Returns whom an access token stands for.
    ///
    /// # Errors
    /// `Unauthenticated` when the token is not one of ours, has expired, or its session has ended.
    pub async fn authenticate(&self, token: &str) -> Result<Principal> {
        let bearer = self.inner.tokens.verify(token, self.now())?;
        let principal = Principal { user: bearer.user, session: bearer.session, expires_at: bearer.expires_at };
        self.check_session(&principal).await?;
        Ok(principal)
    }

    /// Checks that the caller's session still lives; returns until when that is trusted.
    pub(crate) async fn check_session(&self, caller: &Principal) -> Result<Instant> {
        Ok(self.inner.guard.check_session(caller).await?.until)
    }

    /// Authorises a caller in a room, whose own joining the log holds.
    ///
    /// # Errors
    /// `Unauthenticated`, `NotFound` without such a room, `Forbidden`.
    pub(crate) async fn authorise(&self, caller: &Principal, room: RoomId, need: Need) -> Result<Access> {
        let session = self.inner.guard.check_session(caller).await?;
        let standing = self.settled_standing(room, caller.user).await?;
        self.inner.guard.admit(Claim { caller: *caller, room, need }, &session, &standing).await
    }

    /// Authorises a member.
    pub(crate) async fn member(&self, caller: &Principal, room: RoomId) -> Result<Access> {
        self.authorise(caller, room, Need::Member).await
    }

    /// Authorises a member who wants to write.
    pub(crate) async fn writer(&self, caller: &Principal, room: RoomId) -> Result<Access> {
        self.authorise(caller, room, Need::Writer).await
    }

    async fn settled_standing(&self, room: RoomId, user: UserId) -> Result<Seen<Arc<Standing>>> {
        let seen = self.inner.guard.standing(room, user).await?;
        match &*seen.value {
            Standing::Member(membership) if membership.member.joined_seq.is_none() => {
                // Somebody was stopped half-way through adding this member. Whoever meets that finishes it.
                self.settle(room).await?;
                self.inner.caches.standings.invalidate(&(room, user));
                self.inner.guard.standing(room, user).await
            }
            _ => Ok(seen),
        }
    }
}
