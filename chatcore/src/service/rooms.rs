//! Making rooms, looking at one, renaming it.

use super::Chat;
use super::error::{Error, Fields, Result, Rule};
use super::guard::Principal;
use super::work::Cost;
use crate::id::{IntentId, RoomId, UserId};
use crate::limits::{ROOM_VIEW_MEMBERS, UNREAD_CAP};
use crate::model::{ClientId, FieldCode, FieldError, Membership, Role, Room, RoomKind, RoomName, Standing};
use crate::store::{Changed, Created, NewMember, NewRoom};
use crate::view::{RoomSummary, RoomView};

/// What a group is made from, as typed.
#[derive(Debug, Clone, Copy)]
pub struct GroupInput<'a> {
    /// See [`RoomName::parse`].
    pub name: &'a str,
    /// Whom to add from the start; the maker need not be named.
    pub members: &'a [UserId],
    /// See [`ClientId::parse`].
    pub client_id: Option<&'a str>,
}

/// A room that was asked for.
#[derive(Debug, Clone)]
pub struct CreatedRoom {
    /// The room.
    pub room: RoomView,
    /// Whether it is new.
    pub created: bool,
}

/// Who of a room is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomStatus {
    /// The room.
    pub room: RoomId,
    /// Members who are online or away, but for those who have blocked the caller.
    pub online: Vec<UserId>,
    /// Sockets that listen to the room on this node.
    pub connections: usize,
}

impl Chat {
    /// Runs a change to its end, also when the caller stops waiting: the steps after the first one must not be left to a sweep
    /// because somebody closed a browser. [`Chat::shutdown`] waits for it.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.inner.changes.spawn(change).await.map_err(Error::internal)?
    }

    /// The direct room of the caller and another; made if there is none yet, one a pair under any race.
    ///
    /// # Errors
    /// `NotFound`, `Rule` (`self`; `not_friends` where only friends may open one), `Forbidden` when either blocks the other.
    pub async fn open_direct(&self, caller: &Principal, user: UserId) -> Result<CreatedRoom> {
        self.spend(caller, Cost::members(2))?;
        if user == caller.user {
            return Err(Rule::Itself.into());
        }
        if self.inner.storage.users.users(&[user]).await?.is_empty() {
            return Err(Error::NotFound("user"));
        }
        let relation = self.inner.storage.friendships.relation(caller.user, user).await?;
        if relation.any_block() {
            return Err(Error::Forbidden("one of the two has blocked the other"));
        }
        if let Some(room) = self.inner.storage.rooms.direct(caller.user, user).await? {
            return self.created(caller, &room, false).await;
        }
        if self.inner.settings.friends_only && !relation.are_friends() {
            return Err(Rule::NotFriends.into());
        }
        let members = [caller.user, user].map(|user| self.new_member(user, Role::Member));
        self.create_room(caller, RoomKind::Direct, None, None, members.into()).await
    }

    /// Makes a group of which the caller is the owner. The same `client_id` again answers the first one.
    ///
    /// # Errors
    /// `Invalid` with every wrong field (`member_ids[i]` for one who cannot be added), `Rule` (`full`).
    pub async fn create_group(&self, caller: &Principal, input: GroupInput<'_>) -> Result<CreatedRoom> {
        self.spend(caller, Cost::members(input.members.len()))?;
        let mut fields = Fields::default();
        let name = fields.parse("name", RoomName::parse(input.name));
        let client_id = fields.parse_optional("client_id", input.client_id, ClientId::parse);
        let others = self.addable(caller, "member_ids", input.members, &mut fields).await?;
        let name = fields.finish(name)?;
        let mut members = vec![self.new_member(caller.user, Role::Owner)];
        members.extend(others.into_iter().filter(|id| *id != caller.user).map(|id| self.new_member(id, Role::Member)));
        if members.len() > self.inner.settings.max_members as usize {
            return Err(Rule::Full.into());
        }
        self.create_room(caller, RoomKind::Group, Some(name), client_id, members).await
    }

    pub(crate) fn new_member(&self, user: UserId, role: Role) -> NewMember {
        NewMember { user, role, intent: IntentId::from_uuid(self.new_id()) }
    }

    /// The given users, each once; those who cannot be added become errors of that field.
    pub(crate) async fn addable(
        &self,
        caller: &Principal,
        field: &'static str,
        ids: &[UserId],
        fields: &mut Fields,
    ) -> Result<Vec<UserId>> {
        // More can never be added, so nothing is asked of the store about them.
        if ids.len() > self.inner.settings.max_members as usize {
            return Err(Rule::Full.into());
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.inner.storage.users.users(ids).await?;
        let known: std::collections::HashSet<UserId> = known.into_iter().map(|user| user.id).collect();
        let blockers = self.inner.storage.friendships.blockers_among(caller.user, ids).await?;
        let friends = if self.inner.settings.friends_only {
            let friends = self.inner.storage.friendships.friend_ids(caller.user).await?;
            Some(friends.into_iter().collect::<std::collections::HashSet<UserId>>())
        } else {
            None
        };
        let strange = |id: &UserId| *id != caller.user && friends.as_ref().is_some_and(|friends| !friends.contains(id));
        let mut addable = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            if !known.contains(id) {
                fields.push(FieldError::new(format!("{field}[{index}]"), FieldCode::Unknown, "is no user"));
            } else if blockers.contains(id) || strange(id) {
                let message = "cannot be added by you";
                fields.push(FieldError::new(format!("{field}[{index}]"), FieldCode::NotAllowed, message));
            } else if !addable.contains(id) {
                addable.push(*id);
            }
        }
        Ok(addable)
    }

    async fn create_room(
        &self,
        caller: &Principal,
        kind: RoomKind,
        name: Option<RoomName>,
        client_id: Option<ClientId>,
        members: Vec<NewMember>,
    ) -> Result<CreatedRoom> {
        let new = NewRoom {
            id: RoomId::from_uuid(self.new_id()),
            kind,
            name,
            created_by: caller.user,
            created_at: self.now(),
            client_id,
            members,
        };
        let chat = self.clone();
        let (room, created) = self
            .to_its_end(async move {
                let (room, created) = match chat.inner.storage.rooms.create(&new).await? {
                    Created::New(room) => (room, true),
                    Created::Existing(room) => (room, false),
                };
                for member in &new.members {
                    chat.inner.caches.standings.invalidate(&(room.id, member.user));
                }
                chat.settle(room.id).await?;
                Ok((room, created))
            })
            .await?;
        self.created(caller, &room, created).await
    }

    async fn created(&self, caller: &Principal, room: &Room, created: bool) -> Result<CreatedRoom> {
        Ok(CreatedRoom { room: self.room_view(caller, room.id).await?, created })
    }

    /// A room, with its first members.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn room(&self, caller: &Principal, room: RoomId) -> Result<RoomView> {
        self.spend(caller, Cost::rows(ROOM_VIEW_MEMBERS as usize))?;
        self.room_view(caller, room).await
    }

    /// Returns a room for an answer to a change of it, which has been paid for.
    pub(crate) async fn room_view(&self, caller: &Principal, room: RoomId) -> Result<RoomView> {
        let membership = self.fresh_membership(caller, room).await?;
        let summary = self.summary(caller.user, membership).await?;
        let members = self.member_views(caller, room, None, ROOM_VIEW_MEMBERS).await?.items;
        Ok(RoomView { summary, members })
    }

    /// The caller's part in a room, past the caches: counts and names must be those of now.
    async fn fresh_membership(&self, caller: &Principal, room: RoomId) -> Result<Membership> {
        self.inner.caches.standings.forget(&(room, caller.user));
        Ok(self.member(caller, room).await?.membership)
    }

    pub(crate) async fn summary(&self, viewer: UserId, membership: Membership) -> Result<RoomSummary> {
        self.summaries(viewer, vec![membership]).await?.pop().ok_or(Error::NotFound("room"))
    }

    /// Memberships with what their logs add, in their order.
    pub(crate) async fn summaries(&self, viewer: UserId, memberships: Vec<Membership>) -> Result<Vec<RoomSummary>> {
        let rooms: Vec<_> = memberships.iter().map(|m| (m.room.id, m.marker())).collect();
        let mut peers: Vec<UserId> = memberships.iter().filter_map(|m| m.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        let digests = self.inner.storage.messages.digests(viewer, &rooms, UNREAD_CAP);
        let (digests, views) =
            futures::try_join!(async { digests.await.map_err(Error::from) }, self.user_views(viewer, &peers))?;
        let mut digests: std::collections::HashMap<_, _> = digests.into_iter().map(|d| (d.room, d)).collect();
        let summaries = memberships.into_iter().map(|membership| {
            let marker = membership.marker();
            let Membership { room, member, peer } = membership;
            let digest = digests.remove(&room.id);
            let (head, read, unread, last_message) = match digest {
                Some(digest) => (digest.head.number(), digest.read, digest.unread, digest.last_message),
                None => (0, marker, 0, None),
            };
            RoomSummary {
                peer: peer.and_then(|peer| views.get(&peer).cloned()),
                role: member.role,
                head,
                read,
                unread,
                updated_at: last_message.as_ref().map_or(room.created_at, |message| message.created_at),
                last_message,
                room,
            }
        });
        Ok(summaries.collect())
    }

    /// Renames a group.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Rule` (`direct_room`), `Invalid` on `name`.
    pub async fn rename_room(&self, caller: &Principal, room: RoomId, name: &str) -> Result<RoomView> {
        self.spend(caller, Cost::CHANGE)?;
        let mut fields = Fields::default();
        let name = fields.parse("name", RoomName::parse(name));
        let name = fields.finish(name)?;
        self.check_session(caller).await?;
        let (chat, by) = (self.clone(), caller.user);
        self.to_its_end(async move {
            let intent = IntentId::from_uuid(chat.new_id());
            let changed = chat.inner.storage.rooms.rename(room, by, &name, intent, chat.now()).await?;
            chat.conclude_change(room, changed).await
        })
        .await?;
        self.room_view(caller, room).await
    }

    /// Goes on after a change of a room: refused, or appended to its log.
    pub(crate) async fn conclude_change(&self, room: RoomId, changed: Changed) -> Result<()> {
        match changed {
            Changed::Refused(refusal) => Err(refusal.into()),
            // Also after `Same`: the one who made it so may have been stopped half-way.
            Changed::Done | Changed::Same => self.settle(room).await,
        }
    }

    /// Who of a room is there.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn room_status(&self, caller: &Principal, room: RoomId) -> Result<RoomStatus> {
        self.spend(caller, Cost::rows(self.inner.settings.max_members as usize / 10))?;
        self.member(caller, room).await?;
        let mut online = self.inner.storage.rooms.member_ids(room).await?;
        online.retain(|user| self.inner.hub.presence(*user).is_some());
        let hiding = self.inner.storage.friendships.blockers_among(caller.user, &online).await?;
        online.retain(|user| !hiding.contains(user));
        online.sort_unstable();
        // Whose presence is hidden, their sockets are too.
        let connections = self.inner.hub.listener_count(room, &online);
        Ok(RoomStatus { room, online, connections })
    }

    /// Where a user stands, from the store.
    pub(crate) async fn standing_now(&self, room: RoomId, user: UserId) -> Result<Standing> {
        Ok(self.inner.storage.rooms.standings(&[(room, user)]).await?.pop().unwrap_or(Standing::NoRoom))
    }
}
