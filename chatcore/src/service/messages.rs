//! Writing: posting, editing, deleting, reacting.

use super::Chat;
use super::committer::{Committed, Pending};
use super::error::{Error, Fields, Result, Rule};
use super::guard::{Claim, Need, Principal, Ticket};
use super::work::Cost;
use crate::defect::defect;
use crate::id::{RoomId, UserId};
use crate::model::{
    Body, ClientId, Draft, DraftKey, Emoji, EventKind, FieldCode, FieldError, Message, MessageKind, Posted, Seq,
};
use crate::store::{Rejection, StoreError};
use crate::view::ChangeReceipt;

/// A message as typed.
#[derive(Debug, Clone, Copy)]
pub struct PostInput<'a> {
    /// See [`Body::parse`].
    pub body: &'a str,
    /// See [`ClientId::parse`].
    pub client_id: Option<&'a str>,
    /// The number of a message of the room.
    pub reply_to: Option<u64>,
}

/// What came of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostReceipt {
    /// The message's number.
    pub seq: Seq,
    /// Whether the same `client_id` had been posted before; `seq` is then the first one's.
    pub duplicate: bool,
    /// The message as it was posted now; `None` for a duplicate.
    pub message: Option<Message>,
}

/// A post that is in the writer's queue, in its place.
#[derive(Debug)]
pub struct PendingPost {
    draft: Draft,
    pending: Pending,
    keyed: bool,
}

impl Chat {
    /// Posts a message.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Invalid` with every wrong field.
    pub async fn post(&self, caller: &Principal, room: RoomId, input: PostInput<'_>) -> Result<PostReceipt> {
        self.submit_post(caller, room, input).await?.wait().await
    }

    /// Posts a message in two steps: when this one has answered, the message has its place behind all that were submitted before
    /// it. A caller need not wait for one before it submits the next.
    ///
    /// # Errors
    /// Like [`Chat::post`].
    pub async fn submit_post(&self, caller: &Principal, room: RoomId, input: PostInput<'_>) -> Result<PendingPost> {
        self.spend(caller, Cost::text(input.body.len()))?;
        let mut fields = Fields::default();
        let body = fields.parse("body", Body::parse(input.body));
        let client_id = fields.parse_optional("client_id", input.client_id, ClientId::parse);
        let reply_to = match input.reply_to {
            Some(number) => {
                let seq = Seq::new(number);
                if seq.is_none() {
                    fields.push(FieldError::new("reply_to", FieldCode::Range, "is not a position"));
                }
                seq
            }
            None => None,
        };
        let access = self.writer(caller, room).await?;
        let body = fields.finish(body)?;
        let key = match &client_id {
            Some(client_id) => DraftKey::from_client(client_id),
            None => DraftKey::from_uuid(self.new_id()),
        };
        let key = defect!(DedupForgotten, DraftKey::from_uuid(self.new_id()), key);
        let keyed = client_id.is_some();
        let posted = Posted { kind: MessageKind::Text, body: Some(body), client_id, reply_to };
        let kind = EventKind::Posted(posted);
        let draft = Draft { room, key, actor: Some(caller.user), at: self.now(), kind };
        let pending = self.inner.committer.submit(draft.clone(), Some(access.ticket)).await?;
        Ok(PendingPost { draft, pending, keyed })
    }

    /// Posts a message of the host, which nobody has sent and nobody need read. The same key again answers the first.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` with every wrong field.
    pub async fn post_system(&self, room: RoomId, body: &str, client_id: Option<&str>) -> Result<Seq> {
        let mut fields = Fields::default();
        let body = fields.parse("body", Body::parse(body));
        let client_id = fields.parse_optional("client_id", client_id, ClientId::parse);
        let body = fields.finish(body)?;
        // Anybody's standing tells whether there is such a room.
        let nobody = UserId::from_uuid(uuid::Uuid::nil());
        if self.standing_now(room, nobody).await? == crate::model::Standing::NoRoom {
            return Err(Error::NotFound("room"));
        }
        let key = match &client_id {
            Some(client_id) => DraftKey::from_client(client_id),
            None => DraftKey::from_uuid(self.new_id()),
        };
        let kind = EventKind::Posted(Posted { kind: MessageKind::System, body: Some(body), client_id, reply_to: None });
        let draft = Draft { room, key, actor: None, at: self.now(), kind };
        match self.inner.committer.submit(draft, None).await?.wait().await? {
            Committed::Appended(seq) | Committed::Duplicate(seq) => Ok(seq),
            _ => Err(StoreError::corrupt("the log refused a message of the host").into()),
        }
    }

    /// Replaces the body of one's own message. The same body changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Rule` (`deleted`), `Invalid` on `body`.
    pub async fn edit(&self, caller: &Principal, room: RoomId, seq: Seq, body: &str) -> Result<ChangeReceipt> {
        self.spend(caller, Cost::text(body.len()))?;
        let mut fields = Fields::default();
        let body = fields.parse("body", Body::parse(body));
        let access = self.writer(caller, room).await?;
        let message = self.message_at(caller.user, room, seq).await?;
        if message.sender != Some(caller.user) {
            return Err(Error::Forbidden("only its sender edits a message"));
        }
        let body = fields.finish(body)?;
        self.change(access.ticket, EventKind::Edited { target: seq, body: Some(body) }).await
    }

    /// Turns a message into a tombstone: by its sender, or by an owner or admin of the group. Again: changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn delete(&self, caller: &Principal, room: RoomId, seq: Seq) -> Result<ChangeReceipt> {
        self.spend(caller, Cost::WRITE)?;
        self.member(caller, room).await?;
        let message = self.message_at(caller.user, room, seq).await?;
        let own = message.sender == Some(caller.user);
        // Which is checked again at the moment of the append: a role may be taken while the deletion waits.
        let need = if own { Need::Member } else { Need::Moderator };
        let access = self.authorise(caller, room, need).await?;
        self.change(access.ticket, EventKind::Deleted { target: seq }).await
    }

    /// Reacts to a message, or takes a reaction back. What is so already changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Rule` (`deleted`, `too_many_reactions`), `Invalid` on `emoji`.
    pub async fn react(
        &self,
        caller: &Principal,
        room: RoomId,
        seq: Seq,
        emoji: &str,
        on: bool,
    ) -> Result<ChangeReceipt> {
        self.spend(caller, Cost::WRITE)?;
        let mut fields = Fields::default();
        let emoji = fields.parse("emoji", Emoji::parse(emoji));
        let access = if on { self.writer(caller, room).await? } else { self.member(caller, room).await? };
        let emoji = fields.finish(emoji)?;
        let kind = match on {
            true => EventKind::ReactionAdded { target: seq, emoji },
            false => EventKind::ReactionRemoved { target: seq, emoji },
        };
        self.change(access.ticket, kind).await
    }

    /// Appends a change of a message.
    async fn change(&self, ticket: Ticket, kind: EventKind) -> Result<ChangeReceipt> {
        let Claim { caller, room, .. } = ticket.claim();
        let key = DraftKey::from_uuid(self.new_id());
        let draft = Draft { room, key, actor: Some(caller.user), at: self.now(), kind };
        match self.inner.committer.submit(draft, Some(ticket)).await?.wait().await? {
            // A duplicate is this very draft, whose first append was in doubt.
            Committed::Appended(seq) | Committed::Duplicate(seq) => Ok(ChangeReceipt { seq: Some(seq) }),
            Committed::Unchanged => Ok(ChangeReceipt { seq: None }),
            Committed::Rejected(rejection) => Err(rejected(rejection, Error::NotFound("message"))),
        }
    }
}

fn rejected(rejection: Rejection, no_target: Error) -> Error {
    match rejection {
        Rejection::NoTarget => no_target,
        Rejection::Deleted => Rule::Deleted.into(),
        Rejection::TooManyReactions => Rule::TooManyReactions.into(),
        Rejection::Full => Rule::Full.into(),
    }
}

impl PendingPost {
    /// Waits until the message is durable.
    ///
    /// # Errors
    /// Like [`Chat::post`].
    pub async fn wait(self) -> Result<PostReceipt> {
        let Self { draft, pending, keyed } = self;
        match pending.wait().await? {
            Committed::Appended(seq) => {
                let message = draft.into_event(seq).posted_message();
                Ok(PostReceipt { seq, duplicate: false, message })
            }
            Committed::Duplicate(seq) => {
                // Under a key of our own it is this very draft, whose first append was in doubt.
                let message = if keyed { None } else { draft.into_event(seq).posted_message() };
                Ok(PostReceipt { seq, duplicate: keyed, message })
            }
            Committed::Rejected(Rejection::NoTarget) => {
                Err(Error::field("reply_to", FieldCode::Unknown, "is no message of this room"))
            }
            Committed::Rejected(rejection) => Err(rejected(rejection, Error::NotFound("message"))),
            Committed::Unchanged => Err(StoreError::corrupt("a post was answered as if it were an edit").into()),
        }
    }
}
