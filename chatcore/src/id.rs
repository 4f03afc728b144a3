//! Identifiers: UUIDv7 newtypes, and the injected source that makes them.
//!
//! Every id is a UUID of version 7 (RFC 9562), written as a lower-case hyphenated string. The types are
//! distinct, so that a room can never be asked for with a user's id.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use uuid::{ContextV7, Uuid};

use crate::time::Timestamp;

/// Text that is not a UUIDv7 in its lower-case hyphenated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an id")]
pub struct InvalidId;

/// Parses the one spelling that ids have on the wire: 36 characters, lower case, hyphenated, version 7.
fn parse(text: &str) -> Result<Uuid, InvalidId> {
    if text.len() != 36 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(InvalidId);
    }
    let uuid = Uuid::try_parse(text).map_err(|_| InvalidId)?;
    if uuid.get_version_num() == 7 { Ok(uuid) } else { Err(InvalidId) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that a store or an [`IdSource`] gave out.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

ids! {
    /// A user.
    UserId;
    /// A room, and with it its log.
    RoomId;
    /// The one friendship row of a pair of users.
    FriendshipId;
    /// A login on one device, from its creation to its end.
    SessionId;
    /// A live socket.
    ConnectionId;
    /// A recorded change of a room that its log does not hold yet (see [`crate::store::RoomStore`]).
    IntentId;
}

/// Makes the UUIDs of new things. Injected, so that tests can foresee them.
pub trait IdSource: Send + Sync {
    /// A new UUIDv7 for something created `at` that time.
    fn next(&self, at: Timestamp) -> Uuid;
}

/// UUIDv7 from the operating system's randomness, rising within this process also inside one millisecond.
#[derive(Debug, Default)]
pub struct RandomIds {
    context: Mutex<ContextV7>,
}

impl IdSource for RandomIds {
    fn next(&self, at: Timestamp) -> Uuid {
        let micros = at.micros().max(0).unsigned_abs();
        let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        Uuid::new_v7(uuid::Timestamp::from_unix(&self.context, micros / 1_000_000, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wire_spelling_parses() {
        let id = UserId::from_uuid(RandomIds::default().next(Timestamp::from_millis(1_790_000_000_000)));
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        for wrong in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("urn:uuid:{text}"),
            String::new(),
            "67e55044-10b1-426f-9247-bb680e5fe0c8".into(), // version 4
        ] {
            assert_eq!(wrong.parse::<UserId>(), Err(InvalidId), "{wrong}");
        }
    }

    #[test]
    fn ids_rise_within_a_millisecond() {
        let ids = RandomIds::default();
        let at = Timestamp::from_millis(1_790_000_000_000);
        let made: Vec<_> = (0..1_000).map(|_| ids.next(at)).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
