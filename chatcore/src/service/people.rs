//! Users as others see them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Chat;
use super::error::{Error, Fields, Result};
use super::guard::Principal;
use super::work::Cost;
use crate::id::UserId;
use crate::model::{SearchKey, User};
use crate::store::SearchPosition;
use crate::view::{FriendshipView, Page, Presence, Profile, UserView, hides_presence};

impl Chat {
    /// How these users look to `viewer`, who does not see the presence of those who have blocked them.
    pub(crate) async fn user_views(&self, viewer: UserId, ids: &[UserId]) -> Result<HashMap<UserId, UserView>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let storage = &self.inner.storage;
        let (users, hidden) = futures::try_join!(
            async { storage.users.users(ids).await.map_err(Error::from) },
            self.hidden_from(viewer, ids),
        )?;
        Ok(users.into_iter().map(|user| (user.id, self.view(user, &hidden))).collect())
    }

    /// Those of `ids` whose presence `viewer` must not see.
    async fn hidden_from(&self, viewer: UserId, ids: &[UserId]) -> Result<HashSet<UserId>> {
        if ids == [viewer] {
            return Ok(HashSet::new());
        }
        Ok(self.inner.storage.friendships.blockers_among(viewer, ids).await?.into_iter().collect())
    }

    fn view(&self, user: User, hidden: &HashSet<UserId>) -> UserView {
        let presence = if hidden.contains(&user.id) {
            Presence::HIDDEN
        } else {
            self.inner.hub.presence_view(user.id, user.last_seen)
        };
        UserView { user: Arc::new(user), presence }
    }

    pub(crate) async fn user_view(&self, viewer: UserId, id: UserId) -> Result<Option<UserView>> {
        Ok(self.user_views(viewer, &[id]).await?.remove(&id))
    }

    /// Puts users that were read already in view, in their order.
    async fn view_all(&self, viewer: UserId, users: Vec<User>) -> Result<Vec<UserView>> {
        let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let hidden = self.hidden_from(viewer, &ids).await?;
        Ok(users.into_iter().map(|user| self.view(user, &hidden)).collect())
    }

    /// A user, and what is between them and the caller.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn profile(&self, caller: &Principal, id: UserId) -> Result<Profile> {
        self.spend(caller, Cost::READ)?;
        let relation = async {
            if id == caller.user {
                return Ok(crate::model::Relation::default());
            }
            Ok(self.inner.storage.friendships.relation(caller.user, id).await?)
        };
        let ids = [id, caller.user];
        let users = self.inner.storage.users.users(&ids);
        let (users, relation) = futures::try_join!(async { users.await.map_err(Error::from) }, relation)?;
        let hidden = hides_presence(&relation).then_some(id).into_iter().collect();
        let views: HashMap<_, _> = users.into_iter().map(|user| (user.id, self.view(user, &hidden))).collect();
        let user = views.get(&id).cloned().ok_or(Error::NotFound("user"))?;
        let friendship = relation.friendship.and_then(|f| FriendshipView::of(f, caller.user, &views));
        Ok(Profile { user, friendship, blocked: relation.blocks })
    }

    /// The users of these ids, in that order; unknown ones are left out.
    ///
    /// # Errors
    /// Those of the storage alone.
    pub async fn users_by_id(&self, caller: &Principal, ids: &[UserId]) -> Result<Vec<UserView>> {
        self.spend(caller, Cost::rows(ids.len()))?;
        let mut views = self.user_views(caller.user, ids).await?;
        Ok(ids.iter().filter_map(|id| views.remove(id)).collect())
    }

    /// Users whose username or display name starts with `query`, usernames first.
    ///
    /// # Errors
    /// `Invalid` on `q`.
    pub async fn search_users(
        &self,
        caller: &Principal,
        query: &str,
        after: Option<&SearchPosition>,
        limit: u32,
    ) -> Result<Page<UserView, SearchPosition>> {
        self.spend(caller, Cost::rows(limit as usize))?;
        let mut fields = Fields::default();
        let prefix = fields.parse("q", SearchKey::parse(query));
        let prefix = fields.finish(prefix)?;
        let users = self.inner.storage.users.search(&prefix, after, limit.saturating_add(1)).await?;
        let page = Page::cut(users, limit, |last| {
            if last.username.as_str().starts_with(prefix.as_str()) {
                SearchPosition::Username(last.username.clone())
            } else {
                SearchPosition::DisplayName(last.display_name.search_key(), last.id)
            }
        });
        Ok(Page { items: self.view_all(caller.user, page.items).await?, next: page.next })
    }
}

impl FriendshipView {
    /// Puts a row in view, if both users are there.
    pub(crate) fn of(
        friendship: crate::model::Friendship,
        viewer: UserId,
        views: &HashMap<UserId, UserView>,
    ) -> Option<Self> {
        let friend = views.get(&friendship.other(viewer)?)?.clone();
        let requester = views.get(&friendship.requester)?.clone();
        let addressee = views.get(&friendship.addressee)?.clone();
        Some(Self { friendship, requester, addressee, friend })
    }
}
