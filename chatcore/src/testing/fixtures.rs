//! Makers of ids, times, users, rooms and drafts, all of them known by a small number.
//!
//! The same number gives the same value, in every run. Ids of different kinds differ under the same number, so that a
//! store that mixes them up is found out.

use std::time::Duration;

use uuid::{Builder, Uuid};

use crate::id::{FriendshipId, IntentId, RoomId, SessionId, UserId};
use crate::model::{
    Body, ClientId, DisplayName, Draft, DraftKey, Email, Emoji, EventKind, MessageKind, PasswordHash, Posted, Role,
    RoomKind, RoomName, Seq, Session, TokenHash, Username,
};
use crate::store::{NewMember, NewRequest, NewRoom, NewUser};
use crate::time::Timestamp;

/// Time 0 of the fixtures, with all six digits, so that a store that rounds is found out.
const EPOCH: i64 = 1_790_000_000_123_457;

/// That many seconds after the fixtures' time 0.
pub fn at(seconds: u32) -> Timestamp {
    Timestamp::from_micros(EPOCH).plus(Duration::from_secs(seconds.into()))
}

/// Rises with `number` within a `kind`.
fn uuid(kind: u8, number: u64) -> Uuid {
    let mut rest = [0; 10];
    rest[1] = kind;
    Builder::from_unix_timestamp_millis(1_790_000_000_000 + number, &rest).into_uuid()
}

/// A user's id; rises with the number.
pub fn user_id(number: u64) -> UserId {
    UserId::from_uuid(uuid(1, number))
}

/// A room's id; rises with the number.
pub fn room_id(number: u64) -> RoomId {
    RoomId::from_uuid(uuid(2, number))
}

/// A friendship's id; rises with the number.
pub fn friendship_id(number: u64) -> FriendshipId {
    FriendshipId::from_uuid(uuid(3, number))
}

/// A session's id; rises with the number.
pub fn session_id(number: u64) -> SessionId {
    SessionId::from_uuid(uuid(4, number))
}

/// An intent's id; rises with the number. Those of [`group`] and [`direct`] begin at a million.
pub fn intent_id(number: u64) -> IntentId {
    IntentId::from_uuid(uuid(5, number))
}

/// A key as the service makes it for a draft without a `client_id`.
pub fn service_key(number: u64) -> DraftKey {
    DraftKey::from_uuid(uuid(6, number))
}

/// A position.
///
/// # Panics
/// When it is not in range.
pub fn seq(number: u64) -> Seq {
    Seq::new(number).expect("a position of a log")
}

/// A username.
///
/// # Panics
/// When it is none. So do the other makers here that take a text.
pub fn username(text: &str) -> Username {
    Username::parse(text).expect("a username")
}

/// A name to show.
pub fn display_name(text: &str) -> DisplayName {
    DisplayName::parse(text).expect("a display name")
}

/// An address.
pub fn email(text: &str) -> Email {
    Email::parse(text).expect("an address")
}

/// A group's name.
pub fn room_name(text: &str) -> RoomName {
    RoomName::parse(text).expect("a room's name")
}

/// A message's text.
pub fn body(text: &str) -> Body {
    Body::parse(text).expect("a body")
}

/// A client's key.
pub fn client_id(text: &str) -> ClientId {
    ClientId::parse(text).expect("a client's key")
}

/// A reaction.
pub fn emoji(text: &str) -> Emoji {
    Emoji::parse(text).expect("an emoji")
}

/// Something in the form of a password hash; nothing hashes to it.
pub fn password(number: u64) -> PasswordHash {
    PasswordHash::from_phc(format!("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ${number:043}"))
}

/// The hash of a refresh token.
pub fn token(number: u64) -> TokenHash {
    let mut digest = [0xA5; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    TokenHash::from_bytes(digest)
}

/// An account: `user{n}`, `user{n}@example.org`, "User {n}", made at [`at`]`(n)`.
pub fn new_user(number: u32) -> NewUser {
    NewUser {
        id: user_id(number.into()),
        username: username(&format!("user{number}")),
        email: email(&format!("user{number}@example.org")),
        display_name: display_name(&format!("User {number}")),
        password: password(number.into()),
        created_at: at(number),
    }
}

/// A session made at [`at`]`(n)` that lasts for 1000 seconds.
pub fn session(number: u32, user: UserId) -> Session {
    Session {
        id: session_id(number.into()),
        user,
        device: None,
        created_at: at(number),
        last_used_at: at(number),
        expires_at: at(number + 1000),
    }
}

/// A request made at [`at`]`(n)`.
pub fn request(number: u32, from: UserId, to: UserId) -> NewRequest {
    NewRequest { id: friendship_id(number.into()), from, to, at: at(number) }
}

/// Somebody who comes in.
pub fn new_member(user: UserId, role: Role, intent: u64) -> NewMember {
    NewMember { user, role, intent: intent_id(intent) }
}

/// A group made at [`at`]`(n)` by its first member, who owns it; the others are plain members.
///
/// The intent of its member `i`, counted from 0, is `intent_id((n + 1) * 1_000_000 + i)`.
///
/// # Panics
/// Without members.
pub fn group(number: u32, members: &[UserId]) -> NewRoom {
    let role = |index| if index == 0 { Role::Owner } else { Role::Member };
    room(number, RoomKind::Group, members, role)
}

/// A direct room made at [`at`]`(n)` by the first of the two. Intents like those of [`group`].
pub fn direct(number: u32, one: UserId, other: UserId) -> NewRoom {
    room(number, RoomKind::Direct, &[one, other], |_| Role::Member)
}

fn room(number: u32, kind: RoomKind, members: &[UserId], role: impl Fn(usize) -> Role) -> NewRoom {
    let intent = |index: usize| u64::from(number + 1) * 1_000_000 + index as u64;
    let member = |(index, user): (usize, &UserId)| new_member(*user, role(index), intent(index));
    NewRoom {
        id: room_id(number.into()),
        kind,
        name: (kind == RoomKind::Group).then(|| room_name(&format!("Room {number}"))),
        created_by: *members.first().expect("a room has members"),
        created_at: at(number),
        client_id: None,
        members: members.iter().enumerate().map(member).collect(),
    }
}

/// A draft of any kind under a client's key, made at time 0.
pub fn draft(room: RoomId, actor: Option<UserId>, key: &str, kind: EventKind) -> Draft {
    Draft { room, key: DraftKey::from_client(&client_id(key)), actor, at: at(0), kind }
}

/// A message under a client's key.
pub fn post(room: RoomId, sender: UserId, key: &str, text: &str) -> Draft {
    let posted =
        Posted { kind: MessageKind::Text, body: Some(body(text)), client_id: Some(client_id(key)), reply_to: None };
    draft(room, Some(sender), key, EventKind::Posted(posted))
}

/// A message that answers another.
pub fn reply(room: RoomId, sender: UserId, key: &str, text: &str, target: Seq) -> Draft {
    let mut draft = post(room, sender, key, text);
    if let EventKind::Posted(posted) = &mut draft.kind {
        posted.reply_to = Some(target);
    }
    draft
}

/// A message of the host.
pub fn system(room: RoomId, key: &str, text: &str) -> Draft {
    let posted =
        Posted { kind: MessageKind::System, body: Some(body(text)), client_id: Some(client_id(key)), reply_to: None };
    draft(room, None, key, EventKind::Posted(posted))
}

/// An edit.
pub fn edit(room: RoomId, actor: UserId, key: &str, target: Seq, text: &str) -> Draft {
    draft(room, Some(actor), key, EventKind::Edited { target, body: Some(body(text)) })
}

/// A deletion.
pub fn delete(room: RoomId, actor: UserId, key: &str, target: Seq) -> Draft {
    draft(room, Some(actor), key, EventKind::Deleted { target })
}

/// A reaction.
pub fn react(room: RoomId, actor: UserId, key: &str, target: Seq, with: &str) -> Draft {
    draft(room, Some(actor), key, EventKind::ReactionAdded { target, emoji: emoji(with) })
}

/// A reaction taken back.
pub fn unreact(room: RoomId, actor: UserId, key: &str, target: Seq, with: &str) -> Draft {
    draft(room, Some(actor), key, EventKind::ReactionRemoved { target, emoji: emoji(with) })
}

/// A name for the room: an event that is no message and changes none.
pub fn rename(room: RoomId, actor: UserId, key: &str, name: &str) -> Draft {
    draft(room, Some(actor), key, EventKind::Renamed { name: room_name(name) })
}
