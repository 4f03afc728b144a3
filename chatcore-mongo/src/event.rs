//! Events and intents as documents.

use chatcore::id::{IntentId, RoomId, UserId};
use chatcore::model::{
    Body, ClientId, Draft, Emoji, Event, EventKind, Intent, LeaveReason, Message, MessageKind, Posted, RoomChange,
    RoomName, Seq,
};
use chatcore::store::{StoreError, StoreResult};
use mongodb::bson::{Binary, Uuid as Id};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::{id, role, role_code, seq, seq_number, time, uuid};
use crate::error::corrupt;
use crate::keys::{joined, log_key, split_log_key};

pub(crate) const POSTED: i32 = 1;
const EDITED: i32 = 2;

/// An event, and of a post also the message's present state. The event itself never changes, but for the bodies that a
/// deletion takes out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LogDoc {
    /// [`log_key`].
    pub(crate) _id: Binary,
    /// [`dedup_key`]; unique for ever.
    pub(crate) key: Binary,
    pub(crate) at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<Id>,
    #[serde(flatten)]
    pub(crate) what: Flat,
    /// Of an edit: the key of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) edits: Option<Binary>,
    #[serde(flatten)]
    pub(crate) post: PostDoc,
}

/// What only a post has, and what its indexes are made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PostDoc {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) room: Option<Id>,
    /// 1: may be unread, for it is a text and not deleted; 0: any other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) open: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<i64>,
    /// The room and the user; none for the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sender: Option<Binary>,
    /// The message as it is, once something has changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) now: Option<NowDoc>,
}

/// What has become of a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NowDoc {
    pub(crate) rev: i64,
    /// The body after an edit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) edited_at: Option<i64>,
}

/// What happened, spread over the fields that events and intents share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flat {
    /// 1 posted, 2 edited, 3 deleted, 4 reaction added, 5 reaction removed, 6 joined, 7 left, 8 role changed, 9 renamed.
    pub(crate) kind: i32,
    /// The message; of a post: what it replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<i64>,
    /// The member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Id>,
    /// Role, reason, kind of message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<i32>,
    /// Body, emoji, name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
}

/// A change of a room that its log does not hold yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IntentDoc {
    pub(crate) _id: Id,
    pub(crate) room: Id,
    /// The order of their recording, in the room.
    pub(crate) ordinal: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<Id>,
    pub(crate) at: i64,
    #[serde(flatten)]
    pub(crate) what: Flat,
}

/// Room, owner and key. The owner is the actor, or zeros for the host.
pub(crate) fn dedup_key(draft: &Draft) -> Binary {
    let owner = draft.actor.map_or(Uuid::nil(), |actor| actor.uuid());
    let mut key = joined(draft.room.uuid(), owner);
    key.bytes.extend(draft.key.as_str().as_bytes());
    key
}

impl LogDoc {
    /// The event that a draft becomes under that number.
    pub(crate) fn new(draft: &Draft, key: Binary, number: Seq) -> StoreResult<Self> {
        let what = flatten(&draft.kind).ok_or_else(|| StoreError::corrupt("an event of an unknown kind"))?;
        let edits = match &draft.kind {
            EventKind::Edited { target, .. } => Some(log_key(draft.room, target.number())),
            _ => None,
        };
        let post = match &draft.kind {
            EventKind::Posted(posted) => PostDoc {
                room: Some(id(draft.room.uuid())),
                open: Some(i32::from(posted.kind == MessageKind::Text && posted.body.is_some())),
                seq: Some(seq_number(number)),
                sender: draft.actor.map(|actor| joined(draft.room.uuid(), actor.uuid())),
                now: None,
            },
            _ => PostDoc::default(),
        };
        Ok(Self {
            _id: log_key(draft.room, number.number()),
            key,
            at: draft.at.micros(),
            actor: draft.actor.map(|actor| id(actor.uuid())),
            what,
            edits,
            post,
        })
    }

    pub(crate) fn event(self) -> StoreResult<Event> {
        let (room, seq) = split_log_key(&self._id)?;
        let client_id = self.client_id()?;
        Ok(Event {
            room,
            seq,
            at: time(self.at),
            actor: self.actor.map(|actor| UserId::from_uuid(uuid(actor))),
            kind: unflatten(self.what, client_id)?,
        })
    }

    /// The message as it is, without its reactions.
    pub(crate) fn message(self) -> StoreResult<Message> {
        let now = self.post.now.clone();
        let event = self.event()?;
        let Some(mut message) = event.posted_message() else { return Err(corrupt()) };
        if let Some(now) = now {
            message.rev = seq(now.rev)?;
            message.edited_at = now.edited_at.map(time);
            // A deletion has taken out both bodies.
            message.body = now.body.map(Body::from_stored).or(message.body);
            message.deleted = message.body.is_none();
        }
        Ok(message)
    }

    /// The sender's own key, if there is one.
    fn client_id(&self) -> StoreResult<Option<ClientId>> {
        let key = self.key.bytes.get(32..).ok_or_else(corrupt)?;
        let Some(client_id) = key.strip_prefix(b"c:") else { return Ok(None) };
        let text = std::str::from_utf8(client_id).map_err(|_| corrupt())?;
        Ok(Some(ClientId::from_stored(text.to_owned())))
    }
}

impl IntentDoc {
    pub(crate) fn new(intent: &Intent, ordinal: i64) -> StoreResult<Self> {
        let kind: EventKind = intent.change.clone().into();
        Ok(Self {
            _id: id(intent.id.uuid()),
            room: id(intent.room.uuid()),
            ordinal,
            actor: intent.actor.map(|actor| id(actor.uuid())),
            at: intent.at.micros(),
            what: flatten(&kind).ok_or_else(|| StoreError::corrupt("a change of an unknown kind"))?,
        })
    }

    pub(crate) fn intent(self) -> StoreResult<Intent> {
        let change = match unflatten(self.what, None)? {
            EventKind::Joined { user, role } => RoomChange::Joined { user, role },
            EventKind::Left { user, reason } => RoomChange::Left { user, reason },
            EventKind::RoleChanged { user, role } => RoomChange::RoleChanged { user, role },
            EventKind::Renamed { name } => RoomChange::Renamed { name },
            _ => return Err(corrupt()),
        };
        Ok(Intent {
            id: IntentId::from_uuid(uuid(self._id)),
            room: RoomId::from_uuid(uuid(self.room)),
            actor: self.actor.map(|actor| UserId::from_uuid(uuid(actor))),
            at: time(self.at),
            change,
        })
    }
}

const fn message_kind_code(kind: MessageKind) -> i32 {
    match kind {
        MessageKind::Text => 0,
        MessageKind::System => 1,
    }
}

fn message_kind(code: i32) -> StoreResult<MessageKind> {
    match code {
        0 => Ok(MessageKind::Text),
        1 => Ok(MessageKind::System),
        _ => Err(corrupt()),
    }
}

const fn reason_code(reason: LeaveReason) -> i32 {
    match reason {
        LeaveReason::Left => 0,
        LeaveReason::Removed => 1,
    }
}

fn reason(code: i32) -> StoreResult<LeaveReason> {
    match code {
        0 => Ok(LeaveReason::Left),
        1 => Ok(LeaveReason::Removed),
        _ => Err(corrupt()),
    }
}

/// `None` for a kind that this version does not know how to keep.
fn flatten(kind: &EventKind) -> Option<Flat> {
    let text = |text: &str| Some(text.to_owned());
    let of = |kind, target: &Seq| Flat { kind, target: Some(seq_number(*target)), ..Flat::default() };
    let about = |kind, user: &UserId, detail| Flat {
        kind,
        subject: Some(id(user.uuid())),
        detail: Some(detail),
        ..Flat::default()
    };
    Some(match kind {
        EventKind::Posted(posted) => Flat {
            kind: POSTED,
            target: posted.reply_to.map(seq_number),
            detail: Some(message_kind_code(posted.kind)),
            body: posted.body.as_ref().and_then(|body| text(body.as_str())),
            ..Flat::default()
        },
        EventKind::Edited { target, body } => {
            Flat { body: body.as_ref().and_then(|body| text(body.as_str())), ..of(EDITED, target) }
        }
        EventKind::Deleted { target } => of(3, target),
        EventKind::ReactionAdded { target, emoji } => Flat { body: text(emoji.as_str()), ..of(4, target) },
        EventKind::ReactionRemoved { target, emoji } => Flat { body: text(emoji.as_str()), ..of(5, target) },
        EventKind::Joined { user, role } => about(6, user, role_code(*role)),
        EventKind::Left { user, reason } => about(7, user, reason_code(*reason)),
        EventKind::RoleChanged { user, role } => about(8, user, role_code(*role)),
        EventKind::Renamed { name } => Flat { kind: 9, body: text(name.as_str()), ..Flat::default() },
        _ => return None,
    })
}

/// Back from the fields. `client_id` is the sender's own key, which stands elsewhere.
fn unflatten(flat: Flat, client_id: Option<ClientId>) -> StoreResult<EventKind> {
    let Flat { kind, target, subject, detail, body } = flat;
    let target_seq = || target.ok_or_else(corrupt).and_then(seq);
    let user = || subject.map(|subject| UserId::from_uuid(uuid(subject))).ok_or_else(corrupt);
    let code = || detail.ok_or_else(corrupt);
    let emoji = |body: Option<String>| body.map(Emoji::from_stored).ok_or_else(corrupt);
    Ok(match kind {
        POSTED => EventKind::Posted(Posted {
            kind: message_kind(code()?)?,
            body: body.map(Body::from_stored),
            client_id,
            reply_to: target.map(seq).transpose()?,
        }),
        EDITED => EventKind::Edited { target: target_seq()?, body: body.map(Body::from_stored) },
        3 => EventKind::Deleted { target: target_seq()? },
        4 => EventKind::ReactionAdded { target: target_seq()?, emoji: emoji(body)? },
        5 => EventKind::ReactionRemoved { target: target_seq()?, emoji: emoji(body)? },
        6 => EventKind::Joined { user: user()?, role: role(code()?)? },
        7 => EventKind::Left { user: user()?, reason: reason(code()?)? },
        8 => EventKind::RoleChanged { user: user()?, role: role(code()?)? },
        9 => EventKind::Renamed { name: RoomName::from_stored(body.ok_or_else(corrupt)?) },
        _ => return Err(corrupt()),
    })
}

#[cfg(test)]
mod tests {
    use chatcore::model::{DraftKey, Role};
    use chatcore::store::StoreErrorKind;
    use mongodb::bson::{Document, deserialize_from_document, doc, serialize_to_document};

    use super::*;
    use crate::keys::binary;

    fn kinds() -> Vec<EventKind> {
        let user = UserId::from_uuid(Uuid::from_u128(7));
        let target = Seq::FIRST;
        let emoji = Emoji::from_stored("👍".into());
        let posted = Posted {
            kind: MessageKind::Text,
            body: Some(Body::from_stored("hi".into())),
            client_id: Some(ClientId::from_stored("a".into())),
            reply_to: Some(target),
        };
        vec![
            EventKind::Posted(posted),
            EventKind::Edited { target, body: None },
            EventKind::Edited { target, body: Some(Body::from_stored("ho".into())) },
            EventKind::Deleted { target },
            EventKind::ReactionAdded { target, emoji: emoji.clone() },
            EventKind::ReactionRemoved { target, emoji },
            EventKind::Joined { user, role: Role::Owner },
            EventKind::Left { user, reason: LeaveReason::Removed },
            EventKind::RoleChanged { user, role: Role::Admin },
            EventKind::Renamed { name: RoomName::from_stored("x".into()) },
        ]
    }

    fn draft(kind: EventKind) -> Draft {
        Draft {
            room: RoomId::from_uuid(Uuid::from_u128(1)),
            key: DraftKey::from_client(&ClientId::from_stored("a".into())),
            actor: Some(UserId::from_uuid(Uuid::from_u128(2))),
            at: time(3),
            kind,
        }
    }

    fn document(kind: EventKind) -> Document {
        let draft = draft(kind);
        let number = Seq::new(9).unwrap();
        serialize_to_document(&LogDoc::new(&draft, dedup_key(&draft), number).unwrap()).unwrap()
    }

    #[test]
    fn every_kind_comes_back() {
        for kind in kinds() {
            let log: LogDoc = deserialize_from_document(document(kind.clone())).unwrap();
            assert_eq!(log.event().unwrap(), draft(kind).into_event(Seq::new(9).unwrap()));
        }
    }

    #[test]
    fn a_message_is_what_has_become_of_it() {
        let mut document = document(kinds().swap_remove(0));
        let read = |document: &Document| {
            let log: LogDoc = deserialize_from_document(document.clone()).unwrap();
            log.message().unwrap()
        };
        let posted = read(&document);
        assert_eq!((posted.rev.number(), posted.edited_at, posted.deleted), (9, None, false));
        document.insert("now", doc! { "rev": 10_i64, "body": "ho", "edited_at": 5_i64 });
        let edited = read(&document);
        assert_eq!(edited.body.as_ref().map(Body::as_str), Some("ho"));
        assert_eq!((edited.rev.number(), edited.edited_at, edited.deleted), (10, Some(time(5)), false));
        document.insert("now", doc! { "rev": 11_i64 });
        assert_eq!(read(&document).body.as_ref().map(Body::as_str), Some("hi"), "a reaction leaves the body");
        document.remove("body");
        assert!(read(&document).deleted);
    }

    #[test]
    fn what_was_never_written_is_corrupt() {
        let good = document(kinds().swap_remove(0));
        let spoilt = |field: &str, value: mongodb::bson::Bson| {
            let mut document = good.clone();
            document.insert(field, value);
            let log: LogDoc = deserialize_from_document(document).unwrap();
            log.event().expect_err(field).kind()
        };
        for (field, value) in [
            ("kind", 0.into()),
            ("detail", 7.into()),
            ("target", 0_i64.into()),
            ("_id", binary(vec![1; 23]).into()),
            ("key", binary(vec![1; 31]).into()),
            ("key", binary([vec![1; 32], b"c:\xFF".to_vec()].concat()).into()),
        ] {
            assert_eq!(spoilt(field, value), StoreErrorKind::Corrupt);
        }
        for flat in [
            Flat { kind: 3, ..Flat::default() },
            Flat { kind: 4, target: Some(1), ..Flat::default() },
            Flat { kind: 6, subject: Some(id(Uuid::nil())), detail: Some(9), ..Flat::default() },
            Flat { kind: 6, detail: Some(0), ..Flat::default() },
            Flat { kind: 9, ..Flat::default() },
        ] {
            assert!(unflatten(flat, None).is_err());
        }
    }

    #[test]
    fn an_intent_comes_back() {
        let change = RoomChange::Renamed { name: RoomName::from_stored("x".into()) };
        let intent = Intent {
            id: IntentId::from_uuid(Uuid::from_u128(4)),
            room: RoomId::from_uuid(Uuid::from_u128(1)),
            actor: None,
            at: time(3),
            change,
        };
        let mut document = IntentDoc::new(&intent, 5).unwrap();
        assert_eq!(document.clone().intent().unwrap(), intent);
        document.what.kind = POSTED;
        assert!(document.intent().is_err());
    }
}
