//! Who is in a room: adding, removing, leaving, roles; and the last step of every change of a room.

use std::collections::HashMap;
use std::sync::Arc;

use super::Chat;
use super::committer::Committed;
use super::error::{Error, Fields, Result};
use super::guard::Principal;
use super::work::Cost;
use crate::defect::defect;
use crate::hub::{Signal, SignalKind};
use crate::id::{IntentId, RoomId, UserId};
use crate::model::{Intent, PageKey, Role, RoomChange, Seq, Standing};
use crate::store::{Removal, RoleChange, StoreError};
use crate::view::{MemberView, Page, RoomView};

impl Chat {
    /// A room's members, oldest first.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn members(
        &self,
        caller: &Principal,
        room: RoomId,
        after: Option<PageKey>,
        limit: u32,
    ) -> Result<Page<MemberView>> {
        self.spend(caller, Cost::rows(limit as usize))?;
        self.member(caller, room).await?;
        self.member_views(caller, room, after, limit).await
    }

    pub(crate) async fn member_views(
        &self,
        caller: &Principal,
        room: RoomId,
        after: Option<PageKey>,
        limit: u32,
    ) -> Result<Page<MemberView>> {
        let storage = &self.inner.storage;
        let rows = storage.rooms.members(room, after, limit.saturating_add(1)).await?;
        let page = Page::cut(rows, limit, |last| PageKey { at: last.joined_at, id: last.user.uuid() });
        let ids: Vec<UserId> = page.items.iter().map(|member| member.user).collect();
        let posts = async { storage.messages.last_posts(room, &ids).await.map_err(Error::from) };
        let (mut views, posts) = futures::try_join!(self.user_views(caller.user, &ids), posts)?;
        let posts: HashMap<UserId, Seq> = posts.into_iter().collect();
        Ok(page.with(|rows| {
            let members = rows.into_iter().filter_map(|member| {
                let user = views.remove(&member.user)?;
                let read = [member.read, member.joined_seq, posts.get(&member.user).copied()];
                let read = read.into_iter().flatten().map(Seq::number).max().unwrap_or(0);
                Some(MemberView { user, member, read })
            });
            members.collect()
        }))
    }

    /// Adds users to a group: all of them or none.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Invalid` (`user_ids[i]` for each who cannot be added), `Rule` (`direct_room`, `full`).
    pub async fn add_members(&self, caller: &Principal, room: RoomId, users: &[UserId]) -> Result<RoomView> {
        self.spend(caller, Cost::members(users.len()))?;
        self.member(caller, room).await?;
        let mut fields = Fields::default();
        let users = self.addable(caller, "user_ids", users, &mut fields).await?;
        fields.done()?;
        if users.is_empty() {
            return self.room_view(caller, room).await;
        }
        let members: Vec<_> = users.into_iter().map(|user| self.new_member(user, Role::Member)).collect();
        let (chat, by) = (self.clone(), caller.user);
        self.to_its_end(async move {
            let max = chat.inner.settings.max_members;
            let changed = chat.inner.storage.rooms.add(room, by, &members, max, chat.now()).await?;
            for member in &members {
                chat.inner.caches.standings.invalidate(&(room, member.user));
            }
            chat.conclude_change(room, changed).await
        })
        .await?;
        self.room_view(caller, room).await
    }

    /// Removes somebody, or leaves. Who is not in the room need not be removed: that is a success too.
    ///
    /// # Errors
    /// `NotFound` (no such room), `Forbidden`, `Rule` (`direct_room`, `last_owner`).
    pub async fn remove_member(&self, caller: &Principal, room: RoomId, user: UserId) -> Result<()> {
        self.spend(caller, Cost::CHANGE)?;
        self.check_session(caller).await?;
        let (chat, by) = (self.clone(), caller.user);
        self.to_its_end(async move {
            let intent = IntentId::from_uuid(chat.new_id());
            let removal = Removal { room, by, user, intent, at: chat.now() };
            let changed = chat.inner.storage.rooms.remove(&removal).await?;
            // From here on they can post nothing more; what they had queued stands before their leaving.
            defect!(RemovalForgotten, (), chat.inner.caches.standings.invalidate(&(room, user)));
            chat.conclude_change(room, changed).await
        })
        .await
    }

    /// Gives a member another role.
    ///
    /// # Errors
    /// `NotFound` (room or member), `Forbidden`, `Rule` (`direct_room`, `last_owner`).
    pub async fn change_role(&self, caller: &Principal, room: RoomId, user: UserId, role: Role) -> Result<RoomView> {
        self.spend(caller, Cost::CHANGE)?;
        self.check_session(caller).await?;
        let (chat, by) = (self.clone(), caller.user);
        self.to_its_end(async move {
            let intent = IntentId::from_uuid(chat.new_id());
            let change = RoleChange { room, by, user, role, intent, at: chat.now() };
            let changed = chat.inner.storage.rooms.change_role(&change).await?;
            chat.inner.caches.standings.invalidate(&(room, user));
            chat.conclude_change(room, changed).await
        })
        .await?;
        self.room_view(caller, room).await
    }

    /// Appends what the room store has recorded and the log does not hold yet, and tells those whom it concerns.
    ///
    /// Any number of nodes may do so at once: an intent's id is its event's key, so it is appended once, and only the one
    /// whose append it was tells of it. That one goes on to the end, also when its caller stops waiting: nobody else would tell.
    pub(crate) async fn settle(&self, room: RoomId) -> Result<()> {
        let chat = self.clone();
        self.to_its_end(async move { chat.settle_now(room).await }).await
    }

    async fn settle_now(&self, room: RoomId) -> Result<()> {
        // Whoever meets an unsettled change settles it. Of many at once the first one does the work, and the others find it done.
        let _turn = self.inner.settling.take(room).await;
        let intents = self.inner.storage.rooms.intents(room).await?;
        if intents.is_empty() {
            return Ok(());
        }
        let mut pending = Vec::with_capacity(intents.len());
        for intent in &intents {
            pending.push(self.inner.committer.submit(intent.draft(), None).await?);
        }
        let mut settled = Vec::with_capacity(intents.len());
        let mut fresh = Vec::new();
        for (intent, pending) in intents.iter().zip(pending) {
            let seq = match pending.wait().await? {
                Committed::Appended(seq) => {
                    fresh.push((intent, seq));
                    seq
                }
                Committed::Duplicate(seq) => seq,
                Committed::Unchanged | Committed::Rejected(_) => {
                    return Err(StoreError::corrupt("the log refused a change of its room").into());
                }
            };
            settled.push((intent.id, seq));
        }
        self.inner.storage.rooms.settle(&settled).await?;
        for intent in &intents {
            if let RoomChange::Joined { user, .. } = intent.change {
                self.inner.caches.standings.invalidate(&(room, user));
            }
        }
        for (intent, seq) in fresh {
            self.tell_change(intent, seq).await;
        }
        Ok(())
    }

    /// Tells whom a change of membership concerns. What fails here is made good by reconciling.
    async fn tell_change(&self, intent: &Intent, seq: Seq) {
        match intent.change {
            RoomChange::Joined { user, .. } => {
                if self.inner.hub.presence(user).is_some() {
                    self.inner.hub.joined(user, intent.room, seq.number());
                    if let Err(error) = self.tell_room_added(user, intent.room).await {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(%user, room = %intent.room, error, "not told of a new room");
                    }
                }
            }
            RoomChange::Left { user, reason } => {
                let kind = SignalKind::RoomRemoved(reason);
                let signal = Arc::new(Signal::new(Some(intent.room), Some(user), kind));
                self.inner.hub.left(user, intent.room, &signal);
            }
            RoomChange::RoleChanged { .. } | RoomChange::Renamed { .. } => {}
        }
    }

    async fn tell_room_added(&self, user: UserId, room: RoomId) -> Result<()> {
        if let Standing::Member(membership) = self.standing_now(room, user).await? {
            let summary = self.summary(user, membership).await?;
            let kind = SignalKind::RoomAdded(Box::new(summary));
            self.inner.hub.signal_user(user, &Arc::new(Signal::new(Some(room), Some(user), kind)));
        }
        Ok(())
    }
}
