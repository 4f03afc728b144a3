//! Reading: messages, reactions, the log itself.

use super::Chat;
use super::error::{Error, Fields, Result};
use super::guard::Principal;
use super::work::Cost;
use crate::id::{RoomId, UserId};
use crate::model::{Emoji, LogPage, LogRange, Message, MessagePage, MessageRange, Seq};
use crate::view::{Page, UserView};

/// A page of messages, and those that they answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The page.
    pub page: MessagePage,
    /// What the page's messages reply to and the page does not hold, rising.
    pub replied: Vec<Message>,
}

impl Chat {
    /// A page of messages.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn history(
        &self,
        caller: &Principal,
        room: RoomId,
        range: MessageRange,
        limit: u32,
    ) -> Result<HistoryPage> {
        self.spend(caller, Cost::rows(limit as usize))?;
        self.member(caller, room).await?;
        let messages = &self.inner.storage.messages;
        let page = messages.messages(caller.user, room, range, limit).await?;
        let held = |seq: Seq| page.items.iter().any(|message| message.seq == seq);
        let mut wanted: Vec<Seq> =
            page.items.iter().filter_map(|message| message.reply_to).filter(|seq| !held(*seq)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let replied = match wanted.is_empty() {
            true => Vec::new(),
            false => messages.messages_at(caller.user, room, &wanted).await?,
        };
        Ok(HistoryPage { page, replied })
    }

    /// One message.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn message(&self, caller: &Principal, room: RoomId, seq: Seq) -> Result<Message> {
        self.spend(caller, Cost::READ)?;
        self.member(caller, room).await?;
        self.message_at(caller.user, room, seq).await
    }

    pub(crate) async fn message_at(&self, viewer: UserId, room: RoomId, seq: Seq) -> Result<Message> {
        let found = self.inner.storage.messages.messages_at(viewer, room, &[seq]).await?.pop();
        found.ok_or(Error::NotFound("message"))
    }

    /// A part of the log itself.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn events(&self, caller: &Principal, room: RoomId, range: LogRange, limit: u32) -> Result<LogPage> {
        self.spend(caller, Cost::rows(limit as usize))?;
        self.member(caller, room).await?;
        Ok(self.inner.storage.messages.events(room, range, limit).await?)
    }

    /// Who has that reaction on that message, in the order in which they gave it.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Invalid` on `emoji`.
    pub async fn reactors(
        &self,
        caller: &Principal,
        room: RoomId,
        seq: Seq,
        emoji: &str,
        after: u64,
        limit: u32,
    ) -> Result<Page<UserView, Seq>> {
        self.spend(caller, Cost::rows(limit as usize))?;
        self.member(caller, room).await?;
        let mut fields = Fields::default();
        let emoji = fields.parse("emoji", Emoji::parse(emoji));
        let emoji = fields.finish(emoji)?;
        self.message_at(caller.user, room, seq).await?;
        let messages = &self.inner.storage.messages;
        let rows = messages.reactors(room, seq, &emoji, after, limit.saturating_add(1)).await?;
        let page = Page::cut(rows, limit, |(_, seq)| *seq);
        let ids: Vec<UserId> = page.items.iter().map(|(user, _)| *user).collect();
        let mut views = self.user_views(caller.user, &ids).await?;
        Ok(page.with(|rows| rows.iter().filter_map(|(user, _)| views.remove(user)).collect()))
    }
}
