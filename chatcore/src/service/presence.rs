//! Who is told of whose coming and going.

use std::collections::HashSet;
use std::sync::Arc;

use super::Chat;
use super::error::Result;
use crate::hub::{Signal, SignalKind};
use crate::id::{RoomId, UserId};
use crate::model::{Membership, RoomKind};
use crate::view::{Presence, PresenceStatus};

impl Chat {
    /// Who may see this user's presence unasked: friends and direct peers, but for those whom the user has blocked.
    pub(crate) async fn contacts(&self, user: UserId) -> Result<Vec<UserId>> {
        Ok(self.contacts_and_rooms(user).await?.0)
    }

    async fn contacts_and_rooms(&self, user: UserId) -> Result<(Vec<UserId>, Vec<RoomId>)> {
        let storage = &self.inner.storage;
        let (friends, memberships) =
            futures::try_join!(storage.friendships.friend_ids(user), storage.rooms.memberships(user))?;
        let peers = memberships.iter().filter_map(|membership| membership.peer);
        let mut contacts: Vec<UserId> = friends.into_iter().chain(peers).collect();
        contacts.sort_unstable();
        contacts.dedup();
        if !contacts.is_empty() {
            let blocked = storage.friendships.blocked_among(user, &contacts).await?;
            contacts.retain(|contact| !blocked.contains(contact));
        }
        Ok((contacts, memberships.into_iter().map(|membership| membership.room.id).collect()))
    }

    /// The others who get signals of what a member does in a room, but for those whom the member has blocked; sorted.
    pub(crate) async fn audience(&self, user: UserId, membership: &Membership) -> Result<Vec<UserId>> {
        if membership.room.kind == RoomKind::Direct {
            let Some(peer) = membership.peer else { return Ok(Vec::new()) };
            let blocks = self.inner.guard.relation(user, peer).await?.value.blocks;
            return Ok(if blocks { Vec::new() } else { vec![peer] });
        }
        let mut others = self.inner.hub.members_listening(membership.room.id);
        others.retain(|other| *other != user);
        others.sort_unstable();
        others.dedup();
        if !others.is_empty() {
            let blocked = self.inner.storage.friendships.blocked_among(user, &others).await?;
            others.retain(|other| !blocked.contains(other));
        }
        Ok(others)
    }

    /// Tells of a user's coming or going.
    pub(crate) async fn announce_presence(&self, user: UserId, presence: Presence) -> Result<()> {
        let hub = &self.inner.hub;
        let (contacts, rooms) = self.contacts_and_rooms(user).await?;
        let signal = Arc::new(Signal::new(None, Some(user), SignalKind::Presence(presence)));
        for contact in contacts {
            hub.signal_user(contact, &signal);
        }
        let watchers: HashSet<UserId> = rooms.iter().flat_map(|room| hub.room_socket_users(*room)).collect();
        let watchers: Vec<UserId> = watchers.into_iter().collect();
        if !watchers.is_empty() {
            let hidden = self.inner.storage.friendships.blocked_among(user, &watchers).await?;
            for room in rooms {
                hub.signal_room_sockets(room, &hidden, &signal);
            }
        }
        Ok(())
    }

    /// After a block was taken back: the one who was blocked sees the truth again.
    pub(crate) async fn tell_presence_again(&self, user: UserId, to: UserId) {
        let told = async {
            if self.inner.hub.presence(to).is_some()
                && self.contacts(user).await?.contains(&to)
                && let Some(view) = self.user_view(to, user).await?
            {
                let kind = SignalKind::Presence(view.presence);
                self.inner.hub.signal_user(to, &Arc::new(Signal::new(None, Some(user), kind)));
            }
            Ok::<_, super::Error>(())
        };
        if let Err(error) = told.await {
            tracing::warn!(%user, %to, error = &error as &dyn std::error::Error, "not told of a presence");
        }
    }

    /// Notes and tells a change that the hub has seen.
    pub(crate) async fn presence_changed(&self, user: UserId, status: PresenceStatus, gone_for: std::time::Duration) {
        let last_seen = (status == PresenceStatus::Offline).then(|| self.now().minus(gone_for));
        let told = async {
            if let Some(at) = last_seen {
                self.inner.storage.users.touch_seen(&[(user, at)]).await?;
            }
            self.announce_presence(user, Presence { status, last_seen }).await
        };
        if let Err(error) = told.await {
            tracing::warn!(%user, error = &error as &dyn std::error::Error, "a presence was not told");
        }
    }
}
