//! Sessions: beginning one, refreshing, logging out, and the list of one's own.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Chat;
use super::accounts::TokenPair;
use super::error::{AuthFailure, Error, Result};
use super::guard::Principal;
use super::tokens::RefreshToken;
use super::work::Cost;
use crate::defect::defect;
use crate::hub::{CloseReason, Link};
use crate::id::{SessionId, UserId};
use crate::model::{DeviceName, PageKey, PasswordHash, Session};
use crate::store::{Rotated, Rotation};
use crate::view::Page;

/// How long whoever ends a session waits for its sockets to fall silent.
const CLOSE_PATIENCE: Duration = Duration::from_millis(1500);

impl Chat {
    /// Trades a refresh token for fresh tokens. Each works once; the one used last may be repeated within the grace. Any later or
    /// older use ends the session. Without an address, the attempt counts together with all others that have none.
    ///
    /// # Errors
    /// `Unauthenticated`, `RateLimited` by address.
    pub async fn refresh(&self, token: &str, address: Option<IpAddr>) -> Result<TokenPair> {
        self.inner.logins_by_address.check(&address.into())?;
        let presented = RefreshToken::parse(token).ok_or(AuthFailure::Invalid)?;
        let next = RefreshToken::random(presented.session())?;
        let now = self.now();
        let tokens = &self.inner.settings.tokens;
        let rotation = Rotation {
            session: presented.session(),
            presented: presented.hash(),
            next: next.hash(),
            at: now,
            expires_at: now.plus(tokens.refresh_ttl),
            grace: tokens.refresh_grace,
        };
        let chat = self.clone();
        self.to_its_end(async move {
            match chat.inner.storage.sessions.rotate(&rotation).await? {
                Rotated::Fresh(session) => {
                    chat.inner.caches.sessions.forget(&session.id);
                    chat.inner.familiar.note(session.user, address, now);
                    chat.token_pair(&session, &next).await
                }
                Rotated::Unknown => Err(AuthFailure::Ended.into()),
                Rotated::Reused(user) => {
                    tracing::warn!(%user, session = %rotation.session, "a spent refresh token was used: session ended");
                    chat.sessions_ended(user, &[rotation.session]).await;
                    Err(AuthFailure::Ended.into())
                }
            }
        })
        .await
    }

    /// Begins a session of a user whose password has been found to be that of the hash `verified`.
    ///
    /// Hashing takes time, in which the password may have been changed. So the session is made first, then the hash is read again: a change
    /// writes first and ends sessions then, so either it is seen here, or it finds the session. Every hash has a salt of its own, so a hash that
    /// is the same is the same password. No token leaves before that, and a session of which none has left is ended again.
    pub(crate) async fn begin_session(
        &self,
        user: UserId,
        device: Option<DeviceName>,
        verified: &PasswordHash,
        address: Option<IpAddr>,
    ) -> Result<TokenPair> {
        let now = self.now();
        let session = Session {
            id: SessionId::from_uuid(self.new_id()),
            user,
            device,
            created_at: now,
            last_used_at: now,
            expires_at: now.plus(self.inner.settings.tokens.refresh_ttl),
        };
        let refresh = RefreshToken::random(session.id)?;
        let begun = async {
            self.inner.storage.sessions.create(&session, &refresh.hash()).await?;
            let stored = self.inner.storage.users.credentials(user).await?;
            let replaced = stored.is_none_or(|stored| stored.password != *verified);
            if defect!(LoginUnchecked, false, replaced) {
                return Err(AuthFailure::Credentials.into());
            }
            self.end_surplus_sessions(user).await?;
            self.token_pair(&session, &refresh).await
        };
        match begun.await {
            Ok(pair) => {
                self.inner.familiar.note(user, address, now);
                Ok(pair)
            }
            Err(error) => {
                if let Err(error) = self.inner.storage.sessions.end(user, session.id).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%user, session = %session.id, error, "a session without tokens was left");
                }
                Err(error)
            }
        }
    }

    /// All sessions of a user, newest first.
    async fn all_sessions(&self, user: UserId) -> Result<Vec<Session>> {
        let limit = self.inner.settings.max_sessions_per_user.saturating_add(1);
        let (mut sessions, mut after) = (Vec::new(), None);
        loop {
            let page = self.inner.storage.sessions.list(user, self.now(), after, limit).await?;
            let more = page.len() >= limit as usize;
            after = page.last().map(|last| PageKey { at: last.created_at, id: last.id.uuid() });
            sessions.extend(page);
            if !more {
                return Ok(sessions);
            }
        }
    }

    /// Ends the sessions of a user beyond the limit: those that were used longest ago.
    ///
    /// All nodes rank them alike, so logins that race end the same ones.
    async fn end_surplus_sessions(&self, user: UserId) -> Result<()> {
        let most = self.inner.settings.max_sessions_per_user.max(1) as usize;
        let mut sessions = self.all_sessions(user).await?;
        sessions.sort_unstable_by_key(|session| Reverse((session.last_used_at, session.created_at, session.id)));
        let surplus: Vec<SessionId> = sessions.iter().skip(most).map(|session| session.id).collect();
        for session in &surplus {
            self.inner.storage.sessions.end(user, *session).await?;
        }
        self.sessions_ended(user, &surplus).await;
        Ok(())
    }

    /// Ends the caller's session. Once it has answered, nothing more goes to the session's sockets.
    ///
    /// # Errors
    /// Those of the storage alone.
    pub async fn logout(&self, caller: &Principal) -> Result<()> {
        self.end_one(caller.user, caller.session).await.map(drop)
    }

    /// Ends one of the caller's sessions.
    ///
    /// # Errors
    /// `NotFound` when it is not there, or somebody else's.
    pub async fn end_session(&self, caller: &Principal, id: SessionId) -> Result<()> {
        self.spend(caller, Cost::WRITE)?;
        if self.end_one(caller.user, id).await? { Ok(()) } else { Err(Error::NotFound("session")) }
    }

    /// Ends a session of that user; answers whether it was there.
    async fn end_one(&self, user: UserId, id: SessionId) -> Result<bool> {
        let chat = self.clone();
        self.to_its_end(async move {
            let ended = chat.inner.storage.sessions.end(user, id).await?;
            // Also when it was gone already: a call that failed may have ended it.
            chat.sessions_ended(user, &[id]).await;
            Ok(ended)
        })
        .await
    }

    /// Ends all sessions of the caller but the one that calls. For a change that goes on to its end.
    pub(crate) async fn end_other_sessions(&self, caller: &Principal) -> Result<()> {
        // Those that are there, and not only those that the store answers: an earlier call that failed may have ended some of them.
        let mut ended: Vec<SessionId> =
            self.all_sessions(caller.user).await?.iter().map(|session| session.id).collect();
        ended.extend(self.inner.storage.sessions.end_others(caller.user, caller.session).await?);
        ended.retain(|session| *session != caller.session);
        ended.sort_unstable();
        ended.dedup();
        self.sessions_ended(caller.user, &ended).await;
        Ok(())
    }

    /// The caller's sessions, newest first.
    ///
    /// # Errors
    /// Those of the storage alone.
    pub async fn sessions(&self, caller: &Principal, after: Option<PageKey>, limit: u32) -> Result<Page<Session>> {
        self.spend(caller, Cost::rows(limit as usize))?;
        let more = limit.saturating_add(1);
        let sessions = self.inner.storage.sessions.list(caller.user, self.now(), after, more).await?;
        Ok(Page::cut(sessions, limit, |last| PageKey { at: last.created_at, id: last.id.uuid() }))
    }

    /// Sessions have ended: nothing is allowed by them any more, and their sockets close.
    pub(crate) async fn sessions_ended(&self, user: UserId, ended: &[SessionId]) {
        let links = self.forget_sessions(ended.iter().map(|session| (user, *session)));
        if !links.is_empty() {
            self.inner.hub.close(links, CloseReason::Revoked, CLOSE_PATIENCE).await;
        }
    }

    /// Sessions have ended elsewhere: their sockets close, which is not waited for.
    pub(crate) fn close_sessions(&self, ended: &[(UserId, SessionId)]) {
        for link in self.forget_sessions(ended.iter().copied()) {
            link.close(CloseReason::Revoked);
        }
    }

    /// Allows nothing by these sessions any more; returns their connections.
    fn forget_sessions(&self, ended: impl Iterator<Item = (UserId, SessionId)>) -> Vec<Arc<Link>> {
        defect!(SessionSurvives, return Vec::new(), ());
        let mut links = Vec::new();
        for (user, session) in ended {
            self.inner.caches.sessions.invalidate(&session);
            links.extend(self.inner.hub.of_session(user, session));
        }
        links
    }
}
