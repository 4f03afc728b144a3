//! Read markers and unread counts.

use std::sync::Arc;

use super::Chat;
use super::error::{Error, Fields, Result};
use super::guard::Principal;
use super::work::Cost;
use crate::defect::defect;
use crate::hub::{Signal, SignalKind};
use crate::id::{RoomId, UserId};
use crate::limits::UNREAD_CAP;
use crate::model::{FieldCode, FieldError, Membership, Seq};
use crate::store::MarkerWrite;
use crate::view::ReadState;

impl Chat {
    /// Moves the caller's read marker; never back. The room and the caller's other sockets are told.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Invalid` on `seq` (beyond the head).
    pub async fn mark_read(&self, caller: &Principal, room: RoomId, seq: u64) -> Result<ReadState> {
        self.spend(caller, Cost::rows(self.inner.hub.members_listening(room).len()))?;
        let membership = self.member(caller, room).await?.membership;
        let mut fields = Fields::default();
        if seq > self.inner.hub.known_head(room) {
            let head = self.inner.storage.messages.heads(&[room]).await?.pop();
            if seq > head.map_or(0, |head| head.seq.number()) {
                fields.push(FieldError::new("seq", FieldCode::Range, "is beyond the last event"));
            }
        }
        let seq = fields.parse(
            "seq",
            Seq::new(seq).ok_or_else(|| crate::model::ParseError::new(FieldCode::Range, "is not a position")),
        );
        let seq = fields.finish(seq)?;
        let user = caller.user;
        let moves = seq.number() > membership.marker();
        if defect!(MarkerLost, false, moves) {
            self.inner.markers.mark(MarkerWrite { room, user, seq }).await?;
            self.inner.caches.standings.forget(&(room, user));
        }
        let state = self.read_state(user, room, membership.marker().max(seq.number())).await?;
        if moves {
            let hub = &self.inner.hub;
            let to_room = SignalKind::Read { seq: state.read, unread: None };
            // Best effort, as signals are: the marker has been moved.
            match self.audience(user, &membership).await {
                Ok(to) => hub.signal_room(room, &to, &Arc::new(Signal::new(Some(room), Some(user), to_room))),
                Err(error) => {
                    tracing::warn!(%user, %room, error = &error as &dyn std::error::Error, "a room was not told of a marker");
                }
            }
            let to_self = SignalKind::Read { seq: state.read, unread: Some(state.unread) };
            hub.signal_user_in(room, user, &Arc::new(Signal::new(Some(room), Some(user), to_self)));
        }
        Ok(state)
    }

    /// Where somebody stands who has this marker.
    pub(crate) async fn read_state(&self, user: UserId, room: RoomId, marker: u64) -> Result<ReadState> {
        let digest = self.inner.storage.messages.digests(user, &[(room, marker)], UNREAD_CAP).await?.pop();
        Ok(match digest {
            Some(digest) => ReadState { head: digest.head.number(), read: digest.read, unread: digest.unread },
            None => ReadState { head: 0, read: marker, unread: 0 },
        })
    }

    /// What a member has read of several rooms.
    pub(crate) async fn read_states(
        &self,
        user: UserId,
        memberships: &[Membership],
    ) -> Result<std::collections::HashMap<RoomId, ReadState>> {
        if memberships.is_empty() {
            return Ok(std::collections::HashMap::new());
        }
        let rooms: Vec<_> = memberships.iter().map(|m| (m.room.id, m.marker())).collect();
        let digests = self.inner.storage.messages.digests(user, &rooms, UNREAD_CAP).await.map_err(Error::from)?;
        let state = |d: crate::store::Digest| ReadState { head: d.head.number(), read: d.read, unread: d.unread };
        Ok(digests.into_iter().map(|digest| (digest.room, state(digest))).collect())
    }
}
