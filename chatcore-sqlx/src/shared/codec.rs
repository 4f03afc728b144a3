//! Rows to values and back. What cannot be read is a corrupt row, never a panic.

use chatcore::id::{IntentId, RoomId, UserId};
use chatcore::model::{
    Body, Emoji, Event, EventKind, FriendshipStatus, LeaveReason, MessageKind, Posted, Role, RoomChange, RoomKind,
    RoomName, Seq,
};
use chatcore::model::{ClientId, Intent};
use chatcore::store::{StoreError, StoreResult};
use chatcore::time::Timestamp;
use uuid::Uuid;

pub(super) fn corrupt() -> StoreError {
    StoreError::corrupt("a column holds a value that was never written")
}

pub(super) fn seq(number: i64) -> StoreResult<Seq> {
    u64::try_from(number).ok().and_then(Seq::new).ok_or_else(corrupt)
}

pub(super) fn optional_seq(number: Option<i64>) -> StoreResult<Option<Seq>> {
    number.map(seq).transpose()
}

/// A position as a number of SQL. All of them are below 2^53.
pub(super) fn number(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

pub(super) fn seq_number(seq: Seq) -> i64 {
    number(seq.number())
}

pub(super) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(super) fn count(number: i64) -> StoreResult<u32> {
    u32::try_from(number).map_err(|_| corrupt())
}

pub(super) const fn role_code(role: Role) -> i64 {
    match role {
        Role::Member => 0,
        Role::Admin => 1,
        Role::Owner => 2,
    }
}

pub(super) fn role(code: i64) -> StoreResult<Role> {
    match code {
        0 => Ok(Role::Member),
        1 => Ok(Role::Admin),
        2 => Ok(Role::Owner),
        _ => Err(corrupt()),
    }
}

pub(super) const fn room_kind_code(kind: RoomKind) -> i64 {
    match kind {
        RoomKind::Direct => 0,
        RoomKind::Group => 1,
    }
}

pub(super) fn room_kind(code: i64) -> StoreResult<RoomKind> {
    match code {
        0 => Ok(RoomKind::Direct),
        1 => Ok(RoomKind::Group),
        _ => Err(corrupt()),
    }
}

pub(super) const fn status_code(status: FriendshipStatus) -> i64 {
    match status {
        FriendshipStatus::Pending => 0,
        FriendshipStatus::Accepted => 1,
        FriendshipStatus::Rejected => 2,
    }
}

pub(super) fn status(code: i64) -> StoreResult<FriendshipStatus> {
    match code {
        0 => Ok(FriendshipStatus::Pending),
        1 => Ok(FriendshipStatus::Accepted),
        2 => Ok(FriendshipStatus::Rejected),
        _ => Err(corrupt()),
    }
}

pub(super) const fn message_kind_code(kind: MessageKind) -> i64 {
    match kind {
        MessageKind::Text => 0,
        MessageKind::System => 1,
    }
}

pub(super) fn message_kind(code: i64) -> StoreResult<MessageKind> {
    match code {
        0 => Ok(MessageKind::Text),
        1 => Ok(MessageKind::System),
        _ => Err(corrupt()),
    }
}

const fn reason_code(reason: LeaveReason) -> i64 {
    match reason {
        LeaveReason::Left => 0,
        LeaveReason::Removed => 1,
    }
}

fn reason(code: i64) -> StoreResult<LeaveReason> {
    match code {
        0 => Ok(LeaveReason::Left),
        1 => Ok(LeaveReason::Removed),
        _ => Err(corrupt()),
    }
}

/// What happened, spread over the columns that the log and `chat_intents` share.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Flat {
    pub(super) kind: i64,
    pub(super) target: Option<i64>,
    pub(super) subject: Option<Uuid>,
    pub(super) detail: Option<i64>,
    pub(super) body: Option<String>,
}

pub(super) const POSTED: i64 = 1;
pub(super) const EDITED: i64 = 2;

/// `None` for a kind that this version does not know how to keep.
pub(super) fn flatten(kind: &EventKind) -> Option<Flat> {
    let text = |text: &str| Some(text.to_owned());
    Some(match kind {
        EventKind::Posted(posted) => Flat {
            kind: POSTED,
            target: posted.reply_to.map(seq_number),
            detail: Some(message_kind_code(posted.kind)),
            body: posted.body.as_ref().and_then(|body| text(body.as_str())),
            ..Flat::default()
        },
        EventKind::Edited { target, body } => Flat {
            kind: EDITED,
            target: Some(seq_number(*target)),
            body: body.as_ref().and_then(|body| text(body.as_str())),
            ..Flat::default()
        },
        EventKind::Deleted { target } => Flat { kind: 3, target: Some(seq_number(*target)), ..Flat::default() },
        EventKind::ReactionAdded { target, emoji } => {
            Flat { kind: 4, target: Some(seq_number(*target)), body: text(emoji.as_str()), ..Flat::default() }
        }
        EventKind::ReactionRemoved { target, emoji } => {
            Flat { kind: 5, target: Some(seq_number(*target)), body: text(emoji.as_str()), ..Flat::default() }
        }
        EventKind::Joined { user, role } => {
            Flat { kind: 6, subject: Some(user.uuid()), detail: Some(role_code(*role)), ..Flat::default() }
        }
        EventKind::Left { user, reason } => {
            Flat { kind: 7, subject: Some(user.uuid()), detail: Some(reason_code(*reason)), ..Flat::default() }
        }
        EventKind::RoleChanged { user, role } => {
            Flat { kind: 8, subject: Some(user.uuid()), detail: Some(role_code(*role)), ..Flat::default() }
        }
        EventKind::Renamed { name } => Flat { kind: 9, body: text(name.as_str()), ..Flat::default() },
        _ => return None,
    })
}

/// Back from the columns. `client_id` is the sender's own key.
pub(super) fn unflatten(flat: Flat, client_id: Option<ClientId>) -> StoreResult<EventKind> {
    let Flat { kind, target, subject, detail, body } = flat;
    let target_seq = || target.ok_or_else(corrupt).and_then(seq);
    let user = || subject.map(UserId::from_uuid).ok_or_else(corrupt);
    let code = || detail.ok_or_else(corrupt);
    let emoji = || body.clone().map(Emoji::from_stored).ok_or_else(corrupt);
    Ok(match kind {
        POSTED => EventKind::Posted(Posted {
            kind: message_kind(code()?)?,
            body: body.map(Body::from_stored),
            client_id,
            reply_to: optional_seq(target)?,
        }),
        EDITED => EventKind::Edited { target: target_seq()?, body: body.map(Body::from_stored) },
        3 => EventKind::Deleted { target: target_seq()? },
        4 => EventKind::ReactionAdded { target: target_seq()?, emoji: emoji()? },
        5 => EventKind::ReactionRemoved { target: target_seq()?, emoji: emoji()? },
        6 => EventKind::Joined { user: user()?, role: role(code()?)? },
        7 => EventKind::Left { user: user()?, reason: reason(code()?)? },
        8 => EventKind::RoleChanged { user: user()?, role: role(code()?)? },
        9 => EventKind::Renamed { name: RoomName::from_stored(body.ok_or_else(corrupt)?) },
        _ => return Err(corrupt()),
    })
}

/// A row of the log: seq, time, actor, client id, kind, target, subject, detail, body.
pub(super) type LogRow =
    (i64, i64, Option<Uuid>, Option<String>, i64, Option<i64>, Option<Uuid>, Option<i64>, Option<String>);

pub(super) fn event(room: RoomId, row: LogRow) -> StoreResult<Event> {
    let (number, at, actor, client_id, kind, target, subject, detail, body) = row;
    let client_id = client_id.map(ClientId::from_stored);
    let kind = unflatten(Flat { kind, target, subject, detail, body }, client_id)?;
    Ok(Event { room, seq: seq(number)?, at: time(at), actor: actor.map(UserId::from_uuid), kind })
}

/// A row of `chat_intents`: id, actor, time, kind, subject, detail, body.
pub(super) type IntentRow = (Uuid, Option<Uuid>, i64, i64, Option<Uuid>, Option<i64>, Option<String>);

pub(super) fn intent(room: RoomId, row: IntentRow) -> StoreResult<Intent> {
    let (id, actor, at, kind, subject, detail, body) = row;
    let change = match unflatten(Flat { kind, target: None, subject, detail, body }, None)? {
        EventKind::Joined { user, role } => RoomChange::Joined { user, role },
        EventKind::Left { user, reason } => RoomChange::Left { user, reason },
        EventKind::RoleChanged { user, role } => RoomChange::RoleChanged { user, role },
        EventKind::Renamed { name } => RoomChange::Renamed { name },
        _ => return Err(corrupt()),
    };
    let actor = actor.map(UserId::from_uuid);
    Ok(Intent { id: IntentId::from_uuid(id), room, actor, at: time(at), change })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        let user = UserId::from_uuid(Uuid::from_u128(7));
        let target = Seq::FIRST;
        let emoji = Emoji::from_stored("👍".into());
        let posted = Posted {
            kind: MessageKind::Text,
            body: Some(Body::from_stored("hi".into())),
            client_id: Some(ClientId::from_stored("a".into())),
            reply_to: Some(target),
        };
        for kind in [
            EventKind::Posted(posted.clone()),
            EventKind::Posted(Posted { body: None, client_id: None, kind: MessageKind::System, reply_to: None }),
            EventKind::Edited { target, body: None },
            EventKind::Deleted { target },
            EventKind::ReactionAdded { target, emoji: emoji.clone() },
            EventKind::ReactionRemoved { target, emoji },
            EventKind::Joined { user, role: Role::Owner },
            EventKind::Left { user, reason: LeaveReason::Removed },
            EventKind::RoleChanged { user, role: Role::Admin },
            EventKind::Renamed { name: RoomName::from_stored("x".into()) },
        ] {
            let client_id = match &kind {
                EventKind::Posted(posted) => posted.client_id.clone(),
                _ => None,
            };
            assert_eq!(unflatten(flatten(&kind).unwrap(), client_id).unwrap(), kind);
        }
    }

    #[test]
    fn a_corrupt_row_is_an_error() {
        for flat in [
            Flat { kind: 0, ..Flat::default() },
            Flat { kind: 3, target: None, ..Flat::default() },
            Flat { kind: 3, target: Some(0), ..Flat::default() },
            Flat { kind: 6, subject: Some(Uuid::nil()), detail: Some(9), ..Flat::default() },
            Flat { kind: 6, subject: None, detail: Some(0), ..Flat::default() },
            Flat { kind: 9, ..Flat::default() },
        ] {
            let text = format!("{flat:?}");
            let error = unflatten(flat, None).expect_err(&text);
            assert_eq!(error.kind(), chatcore::store::StoreErrorKind::Corrupt);
        }
    }
}
