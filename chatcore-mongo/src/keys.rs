//! Keys of several parts: their bytes one behind the other, so that one index of one field serves, and what belongs
//! together lies together.

use chatcore::id::{RoomId, UserId};
use chatcore::model::Seq;
use chatcore::store::StoreResult;
use mongodb::bson::Binary;
use mongodb::bson::spec::BinarySubtype;
use uuid::Uuid;

use crate::error::corrupt;

pub(crate) fn binary(bytes: impl Into<Vec<u8>>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.into() }
}

/// Two ids one behind the other.
pub(crate) fn joined(first: Uuid, second: Uuid) -> Binary {
    binary([*first.as_bytes(), *second.as_bytes()].concat())
}

/// The key of a pair: both ids, the smaller one first.
pub(crate) fn pair(one: UserId, other: UserId) -> Binary {
    joined(one.min(other).uuid(), one.max(other).uuid())
}

pub(crate) fn member_key(room: RoomId, user: UserId) -> Binary {
    joined(room.uuid(), user.uuid())
}

/// The key of an event: its room and, the greatest byte first, its number. So a room's log is a range.
pub(crate) fn log_key(room: RoomId, position: u64) -> Binary {
    let mut bytes = room.uuid().as_bytes().to_vec();
    bytes.extend(position.to_be_bytes());
    binary(bytes)
}

/// Room and number of an event's key.
pub(crate) fn split_log_key(key: &Binary) -> StoreResult<(RoomId, Seq)> {
    let (room, position) = key.bytes.split_first_chunk::<16>().ok_or_else(corrupt)?;
    let position: [u8; 8] = position.try_into().map_err(|_| corrupt())?;
    let seq = Seq::new(u64::from_be_bytes(position)).ok_or_else(corrupt)?;
    Ok((RoomId::from_uuid(Uuid::from_bytes(*room)), seq))
}

pub(crate) fn reaction_key(message: &Binary, user: UserId, emoji: &str) -> Binary {
    let mut bytes = message.bytes.clone();
    bytes.extend(user.uuid().as_bytes());
    bytes.extend(emoji.as_bytes());
    binary(bytes)
}

/// The two ids of [`joined`].
pub(crate) fn split(key: &Binary) -> StoreResult<(UserId, UserId)> {
    let (ids, rest) = key.bytes.as_chunks::<16>();
    match (ids, rest) {
        ([one, other], []) => {
            Ok((UserId::from_uuid(Uuid::from_bytes(*one)), UserId::from_uuid(Uuid::from_bytes(*other))))
        }
        _ => Err(corrupt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn keys_come_apart_again() {
        let room = RoomId::from_uuid(Uuid::from_u128(7));
        for position in [1, 255, 256, Seq::MAX] {
            assert_eq!(split_log_key(&log_key(room, position)).unwrap(), (room, Seq::new(position).unwrap()));
        }
        assert!(log_key(room, 255).bytes < log_key(room, 256).bytes, "in the order of their numbers");
        assert_eq!(split(&pair(user(2), user(1))).unwrap(), (user(1), user(2)));
        for bytes in [vec![], vec![0; 16], vec![0; 24], vec![0; 25], vec![255; 24]] {
            assert!(split_log_key(&binary(bytes)).is_err());
        }
        assert!(split(&binary(vec![0; 33])).is_err());
    }
}
