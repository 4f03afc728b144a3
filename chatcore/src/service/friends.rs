//! Friendships and blocks.

use std::collections::HashMap;
use std::sync::Arc;

use super::Chat;
use super::error::{Error, Fields, Result, Rule};
use super::guard::Principal;
use super::work::Cost;
use crate::hub::{Signal, SignalKind};
use crate::id::{FriendshipId, UserId};
use crate::model::{Friendship, PageKey, Username};
use crate::store::{Answered, Ended, FriendshipList, NewRequest, Requested};
use crate::view::{FriendshipView, Page, Presence, UserView};

/// Whom somebody asks.
#[derive(Debug, Clone, Copy)]
pub enum FriendRef<'a> {
    /// By id.
    Id(UserId),
    /// By name, as typed.
    Name(&'a str),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestResult {
    /// The pair's row.
    pub friendship: FriendshipView,
    /// Whether it was asked now; not, when it was pending already or the other had asked.
    pub created: bool,
}

/// What the sockets of both are told of a friendship.
#[derive(Debug, Clone, Copy)]
enum News {
    Requested,
    Accepted,
    Removed,
}

impl Chat {
    /// Asks somebody. If they asked already, both are friends now.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` on `username`, `Rule` (`self`, `already_friends`), `Forbidden` when either blocks the other.
    pub async fn request_friend(&self, caller: &Principal, whom: FriendRef<'_>) -> Result<RequestResult> {
        self.spend(caller, Cost::CHANGE)?;
        let to = match whom {
            FriendRef::Id(id) => {
                let known = self.inner.storage.users.users(&[id]).await?;
                known.first().ok_or(Error::NotFound("user"))?.id
            }
            FriendRef::Name(name) => {
                let mut fields = Fields::default();
                let name = fields.parse("username", Username::parse(name));
                let name = fields.finish(name)?;
                self.inner.storage.users.by_username(&name).await?.ok_or(Error::NotFound("user"))?.id
            }
        };
        if to == caller.user {
            return Err(Rule::Itself.into());
        }
        let id = FriendshipId::from_uuid(self.new_id());
        let request = NewRequest { id, from: caller.user, to, at: self.now() };
        let chat = self.clone();
        self.to_its_end(async move { chat.request(&request).await }).await
    }

    async fn request(&self, request: &NewRequest) -> Result<RequestResult> {
        let requested = self.inner.storage.friendships.request(request).await?;
        self.inner.caches.invalidate_pair(request.from, request.to);
        let (row, news) = match requested {
            Requested::Created(row) => (row, Some(News::Requested)),
            Requested::Accepted(row) => (row, Some(News::Accepted)),
            Requested::Pending(row) => (row, None),
            Requested::Refused(refusal) => return Err(refusal.into()),
        };
        if let Some(news) = news {
            self.tell_pair(&row, news).await;
        }
        let friendship = self.friendship_view(request.from, row).await?;
        Ok(RequestResult { friendship, created: matches!(news, Some(News::Requested)) })
    }

    /// Accepts or refuses a request. The same answer again changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` for others than the pair, `Rule` (`own_request`, `not_pending`).
    pub async fn answer_friend(&self, caller: &Principal, id: FriendshipId, accept: bool) -> Result<FriendshipView> {
        self.spend(caller, Cost::CHANGE)?;
        let (chat, by) = (self.clone(), caller.user);
        self.to_its_end(async move { chat.answer(id, by, accept).await }).await
    }

    async fn answer(&self, id: FriendshipId, by: UserId, accept: bool) -> Result<FriendshipView> {
        let answered = self.inner.storage.friendships.answer(id, by, accept, self.now()).await?;
        let row = match answered.ok_or(Error::NotFound("friendship"))? {
            Answered::Same(row) => row,
            Answered::Changed(row) => {
                self.inner.caches.invalidate_pair(row.requester, row.addressee);
                self.tell_pair(&row, if accept { News::Accepted } else { News::Removed }).await;
                row
            }
            Answered::Refused(refusal) => return Err(refusal.into()),
        };
        self.friendship_view(by, row).await
    }

    /// Ends a friendship, or takes a request back.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` for others than the pair, `Rule` (`not_friends`).
    pub async fn end_friendship(&self, caller: &Principal, id: FriendshipId) -> Result<()> {
        self.spend(caller, Cost::CHANGE)?;
        let (chat, by) = (self.clone(), caller.user);
        self.to_its_end(async move {
            match chat.inner.storage.friendships.end(id, by).await?.ok_or(Error::NotFound("friendship"))? {
                Ended::Gone(row) => {
                    chat.inner.caches.invalidate_pair(row.requester, row.addressee);
                    chat.tell_pair(&row, News::Removed).await;
                    Ok(())
                }
                Ended::Refused(refusal) => Err(refusal.into()),
            }
        })
        .await
    }

    /// One of the caller's lists, newest first.
    ///
    /// # Errors
    /// Those of the storage alone.
    pub async fn friendships(
        &self,
        caller: &Principal,
        list: FriendshipList,
        after: Option<PageKey>,
        limit: u32,
    ) -> Result<Page<FriendshipView>> {
        self.spend(caller, Cost::rows(limit as usize))?;
        let store = &self.inner.storage.friendships;
        let rows = store.list(caller.user, list, after, limit.saturating_add(1)).await?;
        let page = Page::cut(rows, limit, |last| PageKey { at: last.updated_at, id: last.id.uuid() });
        let mut ids: Vec<UserId> = page.items.iter().filter_map(|row| row.other(caller.user)).collect();
        ids.push(caller.user);
        let views = self.user_views(caller.user, &ids).await?;
        Ok(page.with(|rows| rows.into_iter().filter_map(|row| FriendshipView::of(row, caller.user, &views)).collect()))
    }

    /// Blocks somebody: ends the friendship and any request, and nothing new comes from either to the other.
    ///
    /// # Errors
    /// `NotFound`, `Rule` (`self`).
    pub async fn block(&self, caller: &Principal, user: UserId) -> Result<()> {
        self.spend(caller, Cost::CHANGE)?;
        if user == caller.user {
            return Err(Rule::Itself.into());
        }
        if self.inner.storage.users.users(&[user]).await?.is_empty() {
            return Err(Error::NotFound("user"));
        }
        let (chat, by) = (self.clone(), caller.user);
        self.to_its_end(async move {
            let blocked = chat.inner.storage.friendships.block(by, user, chat.now()).await?;
            chat.inner.caches.invalidate_pair(by, user);
            if blocked.changed {
                if let Some(row) = blocked.ended {
                    chat.tell_pair(&row, News::Removed).await;
                }
                let kind = SignalKind::Presence(Presence::HIDDEN);
                chat.inner.hub.signal_user(user, &Signal::new(None, Some(by), kind).into());
            }
            Ok(())
        })
        .await
    }

    /// Takes a block back, if there is one.
    ///
    /// # Errors
    /// `NotFound`, `Rule` (`self`).
    pub async fn unblock(&self, caller: &Principal, user: UserId) -> Result<()> {
        self.spend(caller, Cost::CHANGE)?;
        if user == caller.user {
            return Err(Rule::Itself.into());
        }
        if self.inner.storage.users.users(&[user]).await?.is_empty() {
            return Err(Error::NotFound("user"));
        }
        let (chat, by) = (self.clone(), caller.user);
        self.to_its_end(async move {
            let changed = chat.inner.storage.friendships.unblock(by, user).await?;
            chat.inner.caches.invalidate_pair(by, user);
            if changed {
                chat.tell_presence_again(by, user).await;
            }
            Ok(())
        })
        .await
    }

    /// Whom the caller has blocked, newest first.
    ///
    /// # Errors
    /// Those of the storage alone.
    pub async fn blocked_users(
        &self,
        caller: &Principal,
        after: Option<PageKey>,
        limit: u32,
    ) -> Result<Page<UserView>> {
        self.spend(caller, Cost::rows(limit as usize))?;
        let store = &self.inner.storage.friendships;
        let rows = store.blocked(caller.user, after, limit.saturating_add(1)).await?;
        let page = Page::cut(rows, limit, |(user, at)| PageKey { at: *at, id: user.uuid() });
        let ids: Vec<UserId> = page.items.iter().map(|(user, _)| *user).collect();
        let mut views = self.user_views(caller.user, &ids).await?;
        Ok(page.with(|rows| rows.iter().filter_map(|(user, _)| views.remove(user)).collect()))
    }

    async fn friendship_view(&self, viewer: UserId, row: Friendship) -> Result<FriendshipView> {
        let views: HashMap<UserId, UserView> = self.user_views(viewer, &[row.requester, row.addressee]).await?;
        FriendshipView::of(row, viewer, &views).ok_or(Error::NotFound("user"))
    }

    /// Best effort, as signals are: after every `hello` clients load the lists again.
    async fn tell_pair(&self, row: &Friendship, news: News) {
        for (viewer, other) in [(row.requester, row.addressee), (row.addressee, row.requester)] {
            if self.inner.hub.presence(viewer).is_none() {
                continue;
            }
            match self.friendship_view(viewer, row.clone()).await {
                Ok(view) => {
                    let view = Box::new(view);
                    let kind = match news {
                        News::Requested => SignalKind::FriendRequested(view),
                        News::Accepted => SignalKind::FriendAccepted(view),
                        News::Removed => SignalKind::FriendRemoved(view),
                    };
                    self.inner.hub.signal_user(viewer, &Arc::new(Signal::new(None, Some(other), kind)));
                }
                Err(error) => {
                    tracing::warn!(%viewer, error = &error as &dyn std::error::Error, "not told of a friendship");
                }
            }
        }
    }
}
