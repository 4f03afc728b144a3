//! The list of one's rooms, latest message first.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::Chat;
use super::error::Result;
use super::guard::Principal;
use super::work::Cost;
use crate::id::RoomId;
use crate::model::{Membership, PageKey};
use crate::time::Timestamp;
use crate::view::{Page, RoomSummary};

/// A place in the list: (`updated_at`, room id), falling.
pub type RoomListKey = PageKey;

impl Chat {
    /// The caller's rooms, latest message first.
    ///
    /// Three reads, however many rooms there are: the memberships, where their logs end, and what a page of them shows; beside
    /// those the peers of the page.
    ///
    /// # Errors
    /// Those of the storage alone.
    pub async fn rooms(&self, caller: &Principal, after: Option<RoomListKey>, limit: u32) -> Result<Page<RoomSummary>> {
        self.spend(caller, Cost::rooms(limit as usize))?;
        let storage = &self.inner.storage;
        let memberships = storage.rooms.memberships(caller.user).await?;
        // The whole list is read, whichever page of it is shown.
        self.spend(caller, Cost::list(memberships.len()))?;
        let ids: Vec<RoomId> = memberships.iter().map(|m| m.room.id).collect();
        let heads = if ids.is_empty() { Vec::new() } else { storage.messages.heads(&ids).await? };
        let posts: HashMap<RoomId, Timestamp> =
            heads.iter().filter_map(|head| Some((head.room, head.last_post?.1))).collect();
        let mut keyed: Vec<(PageKey, Membership)> = memberships
            .into_iter()
            .map(|m| {
                let at = posts.get(&m.room.id).copied().unwrap_or(m.room.created_at);
                (PageKey { at, id: m.room.id.uuid() }, m)
            })
            .filter(|(key, _)| after.is_none_or(|after| *key < after))
            .collect();
        keyed.sort_unstable_by_key(|(key, _)| Reverse(*key));
        keyed.truncate(limit as usize + 1);
        let page = Page::cut(keyed, limit, |(key, _)| *key);
        let memberships = page.items.into_iter().map(|(_, membership)| membership).collect();
        Ok(Page { items: self.summaries(caller.user, memberships).await?, next: page.next })
    }
}
