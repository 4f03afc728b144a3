//! Refreshing, logging out, and the list of one's logins.

use std::net::IpAddr;
use std::time::Duration;

use super::Chat;
use super::accounts::TokenPair;
use super::error::{AuthFailure, Error, Result};
use super::guard::Principal;
use super::tokens::RefreshToken;
use crate::defect::defect;
use crate::hub::CloseReason;
use crate::id::{SessionId, UserId};
use crate::model::{PageKey, Session};
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
        match self.inner.storage.sessions.rotate(&rotation).await? {
            Rotated::Fresh(session) => {
                self.inner.caches.sessions.forget(&session.id);
                self.inner.familiar.note(session.user, address, now);
                self.token_pair(&session, &next).await
            }
            Rotated::Unknown => Err(AuthFailure::Ended.into()),
            Rotated::Reused(user) => {
                tracing::warn!(%user, session = %rotation.session, "a spent refresh token was used: session ended");
                self.sessions_ended(user, &[rotation.session]).await;
                Err(AuthFailure::Ended.into())
            }
        }
    }

    /// Ends the caller's session. Once it has answered, nothing more goes to the session's sockets.
    ///
    /// # Errors
    /// Those of the storage alone.
    pub async fn logout(&self, caller: &Principal) -> Result<()> {
        self.inner.storage.sessions.end(caller.user, caller.session).await?;
        self.sessions_ended(caller.user, &[caller.session]).await;
        Ok(())
    }

    /// Ends one of the caller's sessions.
    ///
    /// # Errors
    /// `NotFound` when it is not there, or somebody else's.
    pub async fn end_session(&self, caller: &Principal, id: SessionId) -> Result<()> {
        if !self.inner.storage.sessions.end(caller.user, id).await? {
            return Err(Error::NotFound("session"));
        }
        self.sessions_ended(caller.user, &[id]).await;
        Ok(())
    }

    /// The caller's sessions, newest first.
    ///
    /// # Errors
    /// Those of the storage alone.
    pub async fn sessions(&self, caller: &Principal, after: Option<PageKey>, limit: u32) -> Result<Page<Session>> {
        let more = limit.saturating_add(1);
        let sessions = self.inner.storage.sessions.list(caller.user, self.now(), after, more).await?;
        Ok(Page::cut(sessions, limit, |last| PageKey { at: last.created_at, id: last.id.uuid() }))
    }

    /// Sessions have ended: nothing is allowed by them any more, and their sockets close.
    pub(crate) async fn sessions_ended(&self, user: UserId, ended: &[SessionId]) {
        let mut links = Vec::new();
        defect!(SessionSurvives, return, ());
        for session in ended {
            self.inner.caches.sessions.invalidate(session);
            links.extend(self.inner.hub.of_session(user, *session));
        }
        if !links.is_empty() {
            self.inner.hub.close(links, CloseReason::Revoked, CLOSE_PATIENCE).await;
        }
    }

    /// Sessions have ended elsewhere: their sockets close, which is not waited for.
    pub(crate) fn close_sessions(&self, ended: &[(UserId, SessionId)]) {
        defect!(SessionSurvives, return, ());
        for (user, session) in ended {
            self.inner.caches.sessions.invalidate(session);
            for link in self.inner.hub.of_session(*user, *session) {
                link.close(CloseReason::Revoked);
            }
        }
    }
}
