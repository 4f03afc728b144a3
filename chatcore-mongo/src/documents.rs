//! The schema: every collection, its documents, and how values become fields and come back.
//!
//! Ids are UUIDs (binary, subtype 4), times are microseconds since the Unix epoch (BSON dates keep only milliseconds), text
//! is compared by bytes. What is optional and absent has no field.

use chatcore::id::{FriendshipId, RoomId, SessionId, UserId};
use chatcore::model::{
    Account, DeviceName, DisplayName, Email, Friendship, FriendshipStatus, Member, PasswordHash, Role, Room, RoomKind,
    RoomName, Seq, Session, User, Username,
};
use chatcore::store::{Credentials, StoreResult};
use chatcore::time::Timestamp;
use mongodb::bson::{Binary, Uuid as Id};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::corrupt;
use crate::keys::split;

pub(crate) const USERS: &str = "chat_users";
pub(crate) const SESSIONS: &str = "chat_sessions";
pub(crate) const PAIRS: &str = "chat_pairs";
pub(crate) const ROOMS: &str = "chat_rooms";
pub(crate) const MEMBERS: &str = "chat_members";
pub(crate) const INTENTS: &str = "chat_intents";
pub(crate) const LOG: &str = "chat_log";
pub(crate) const HEADS: &str = "chat_heads";
pub(crate) const REACTIONS: &str = "chat_reactions";
/// The version of all this.
pub(crate) const SCHEMA: &str = "chat_schema";

/// An account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UserDoc {
    pub(crate) _id: Id,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) email_key: String,
    pub(crate) display_name: String,
    pub(crate) display_key: String,
    pub(crate) password: String,
    pub(crate) created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen: Option<i64>,
}

impl UserDoc {
    pub(crate) fn user(self) -> User {
        self.credentials().account.user
    }

    pub(crate) fn credentials(self) -> Credentials {
        Credentials {
            account: Account {
                user: User {
                    id: UserId::from_uuid(uuid(self._id)),
                    username: Username::from_stored(self.username),
                    display_name: DisplayName::from_stored(self.display_name),
                    created_at: time(self.created_at),
                    last_seen: self.last_seen.map(time),
                },
                email: Email::from_stored(self.email),
            },
            password: PasswordHash::from_phc(self.password),
        }
    }
}

/// A login.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SessionDoc {
    pub(crate) _id: Id,
    pub(crate) user: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) last_used_at: i64,
    pub(crate) expires_at: i64,
    /// Hashes of the live refresh tokens, 32 bytes each, oldest first.
    pub(crate) live: Binary,
    /// The hash of the one used last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<Binary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used_at: Option<i64>,
    /// Another one after every rotation.
    pub(crate) rev: i64,
}

impl SessionDoc {
    pub(crate) fn session(self) -> Session {
        Session {
            id: SessionId::from_uuid(uuid(self._id)),
            user: UserId::from_uuid(uuid(self.user)),
            device: self.device.map(DeviceName::from_stored),
            created_at: time(self.created_at),
            last_used_at: time(self.last_used_at),
            expires_at: time(self.expires_at),
        }
    }
}

/// All that stands between two users, in one document, so that a request and a block never miss each other. It stays
/// when nothing does any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PairDoc {
    /// Both ids, the smaller one first.
    pub(crate) _id: Binary,
    pub(crate) low: Id,
    pub(crate) high: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) friendship: Option<FriendshipDoc>,
    /// When the one with the smaller id blocked the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) low_blocks: Option<i64>,
    /// When the one with the greater id blocked the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) high_blocks: Option<i64>,
    /// Another one after every write.
    pub(crate) rev: i64,
}

/// The row of a pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FriendshipDoc {
    pub(crate) id: Id,
    /// 0 pending, 1 accepted, 2 rejected.
    pub(crate) status: i32,
    pub(crate) requester: Id,
    pub(crate) addressee: Id,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

impl FriendshipDoc {
    pub(crate) fn new(row: &Friendship) -> Self {
        Self {
            id: id(row.id.uuid()),
            status: status_code(row.status),
            requester: id(row.requester.uuid()),
            addressee: id(row.addressee.uuid()),
            created_at: row.created_at.micros(),
            updated_at: row.updated_at.micros(),
        }
    }

    pub(crate) fn friendship(&self) -> StoreResult<Friendship> {
        Ok(Friendship {
            id: FriendshipId::from_uuid(uuid(self.id)),
            status: match self.status {
                0 => FriendshipStatus::Pending,
                1 => FriendshipStatus::Accepted,
                2 => FriendshipStatus::Rejected,
                _ => return Err(corrupt()),
            },
            requester: UserId::from_uuid(uuid(self.requester)),
            addressee: UserId::from_uuid(uuid(self.addressee)),
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
        })
    }
}

pub(crate) const fn status_code(status: FriendshipStatus) -> i32 {
    match status {
        FriendshipStatus::Pending => 0,
        FriendshipStatus::Accepted => 1,
        FriendshipStatus::Rejected => 2,
    }
}

/// A room. Every change of its members counts up its `clock` in the same transaction, so that two of them never pass
/// each other unseen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoomDoc {
    pub(crate) _id: Id,
    /// 0 direct, 1 group.
    pub(crate) kind: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) created_by: Id,
    pub(crate) created_at: i64,
    pub(crate) members: i64,
    pub(crate) owners: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// Of a direct room: both ids, the smaller one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pair: Option<Binary>,
    /// The ordinal of the next intent.
    pub(crate) clock: i64,
}

impl RoomDoc {
    pub(crate) fn room(&self) -> StoreResult<Room> {
        Ok(Room {
            id: RoomId::from_uuid(uuid(self._id)),
            kind: match self.kind {
                0 => RoomKind::Direct,
                1 => RoomKind::Group,
                _ => return Err(corrupt()),
            },
            name: self.name.clone().map(RoomName::from_stored),
            created_by: UserId::from_uuid(uuid(self.created_by)),
            created_at: time(self.created_at),
            member_count: u32::try_from(self.members).map_err(|_| corrupt())?,
        })
    }

    /// The other one of a direct room.
    pub(crate) fn peer(&self, user: UserId) -> StoreResult<Option<UserId>> {
        let Some(pair) = &self.pair else { return Ok(None) };
        match split(pair)? {
            (low, high) if low == user => Ok(Some(high)),
            (low, high) if high == user => Ok(Some(low)),
            _ => Err(corrupt()),
        }
    }
}

pub(crate) const fn room_kind_code(kind: RoomKind) -> i32 {
    match kind {
        RoomKind::Direct => 0,
        RoomKind::Group => 1,
    }
}

/// A member of a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MemberDoc {
    /// The room and the user.
    pub(crate) _id: Binary,
    pub(crate) room: Id,
    pub(crate) user: Id,
    /// 0 member, 1 admin, 2 owner.
    pub(crate) role: i32,
    pub(crate) joined_at: i64,
    /// The intent of their coming.
    pub(crate) joined_by: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) joined_seq: Option<i64>,
    /// The read marker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read: Option<i64>,
}

impl MemberDoc {
    pub(crate) fn member(&self) -> StoreResult<Member> {
        Ok(Member {
            user: UserId::from_uuid(uuid(self.user)),
            role: role(self.role)?,
            joined_at: time(self.joined_at),
            joined_seq: self.joined_seq.map(seq).transpose()?,
            read: self.read.map(seq).transpose()?,
        })
    }
}

pub(crate) const fn role_code(role: Role) -> i32 {
    match role {
        Role::Member => 0,
        Role::Admin => 1,
        Role::Owner => 2,
    }
}

pub(crate) fn role(code: i32) -> StoreResult<Role> {
    match code {
        0 => Ok(Role::Member),
        1 => Ok(Role::Admin),
        2 => Ok(Role::Owner),
        _ => Err(corrupt()),
    }
}

/// Where a room's log ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeadDoc {
    /// The room.
    pub(crate) _id: Id,
    pub(crate) head: i64,
    /// The key of the last post in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) post: Option<Binary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) post_at: Option<i64>,
}

/// One user's emoji on one message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReactionDoc {
    /// The message, the user, the emoji.
    pub(crate) _id: Binary,
    /// The message's key in the log.
    pub(crate) of: Binary,
    pub(crate) emoji: String,
    pub(crate) user: Id,
    /// The number of the event that gave it.
    pub(crate) given: i64,
}

pub(crate) fn id(uuid: Uuid) -> Id {
    Id::from_bytes(uuid.into_bytes())
}

pub(crate) fn uuid(id: Id) -> Uuid {
    Uuid::from_bytes(id.bytes())
}

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn seq(number: i64) -> StoreResult<Seq> {
    u64::try_from(number).ok().and_then(Seq::new).ok_or_else(corrupt)
}

/// A position as a number of BSON. All of them are below 2^53.
pub(crate) fn number(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

pub(crate) fn seq_number(seq: Seq) -> i64 {
    number(seq.number())
}

/// A number that no earlier version of a document has had: what was read is still so where it is still there.
pub(crate) fn fresh_rev() -> StoreResult<i64> {
    let random = getrandom::u64().map_err(|error| {
        chatcore::store::StoreError::failed("the operating system gives no randomness", std::io::Error::other(error))
    })?;
    Ok(random.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn ids_and_codes_come_back() {
        assert_eq!(uuid(id(Uuid::from_u128(9))), Uuid::from_u128(9));
        for value in [Role::Member, Role::Admin, Role::Owner] {
            assert_eq!(role(role_code(value)).unwrap(), value);
        }
        assert!(role(3).is_err());
        assert!(seq(0).is_err() && seq(-1).is_err() && seq(1).is_ok());
        let mut row = FriendshipDoc {
            id: id(Uuid::from_u128(1)),
            status: 1,
            requester: id(Uuid::from_u128(2)),
            addressee: id(Uuid::from_u128(3)),
            created_at: 4,
            updated_at: 5,
        };
        let friendship = row.friendship().unwrap();
        assert_eq!(FriendshipDoc::new(&friendship).friendship().unwrap(), friendship);
        row.status = 3;
        assert!(row.friendship().is_err());
    }

    #[test]
    fn a_direct_room_knows_the_other_one() {
        let mut room = RoomDoc {
            _id: id(Uuid::from_u128(1)),
            kind: 0,
            name: None,
            created_by: id(Uuid::from_u128(2)),
            created_at: 0,
            members: 2,
            owners: 0,
            client_id: None,
            pair: Some(crate::keys::pair(user(2), user(3))),
            clock: 2,
        };
        assert_eq!(room.peer(user(2)).unwrap(), Some(user(3)));
        assert_eq!(room.peer(user(3)).unwrap(), Some(user(2)));
        assert!(room.peer(user(4)).is_err());
        room.kind = 2;
        assert!(room.room().is_err());
    }
}
