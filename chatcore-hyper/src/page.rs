//! Places in lists, as opaque text: base64url of a tag and the place.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chatcore::id::UserId;
use chatcore::model::{PageKey, SearchKey, Seq, Username};
use chatcore::store::SearchPosition;
use chatcore::time::Timestamp;
use uuid::Uuid;

use crate::problem::Problem;

/// A place that can be written into a cursor and read back.
pub(crate) trait Key: Sized {
    fn encode(&self) -> Vec<u8>;
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// The cursor of a place.
pub(crate) fn cursor<K: Key>(key: &K) -> String {
    URL_SAFE_NO_PAD.encode(key.encode())
}

/// The place of a cursor.
pub(crate) fn parse_cursor<K: Key>(text: &str) -> Result<K, Problem> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| K::decode(&bytes))
        .ok_or_else(|| Problem::malformed("cursor is not one that this server gave out"))
}

impl Key for PageKey {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![b'k'];
        bytes.extend_from_slice(&self.at.micros().to_be_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"k")?;
        let (at, id) = rest.split_first_chunk::<8>()?;
        let id = Uuid::from_slice(id).ok()?;
        Some(Self { at: Timestamp::from_micros(i64::from_be_bytes(*at)), id })
    }
}

impl Key for Seq {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![b's'];
        bytes.extend_from_slice(&self.number().to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest: [u8; 8] = bytes.strip_prefix(b"s")?.try_into().ok()?;
        Self::new(u64::from_be_bytes(rest))
    }
}

impl Key for SearchPosition {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Username(name) => [b"u", name.as_str().as_bytes()].concat(),
            Self::DisplayName(key, id) => [b"d".as_slice(), id.uuid().as_bytes(), key.as_str().as_bytes()].concat(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (b'u', name) => Username::parse(std::str::from_utf8(name).ok()?).ok().map(Self::Username),
            (b'd', rest) => {
                let (id, key) = rest.split_first_chunk::<16>()?;
                let key = std::str::from_utf8(key).ok()?.to_owned();
                Some(Self::DisplayName(SearchKey::from_stored(key), UserId::from_uuid(Uuid::from_bytes(*id))))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip<K: Key + PartialEq + std::fmt::Debug>(key: &K) {
        assert_eq!(parse_cursor::<K>(&cursor(key)).as_ref().ok(), Some(key));
    }

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_place(at: i64, id: u128, seq in 1..=Seq::MAX, name in "[a-z][a-z0-9_.]{2,31}", key in ".{2,20}") {
            let id = Uuid::from_u128(id);
            round_trip(&PageKey { at: Timestamp::from_micros(at), id });
            round_trip(&Seq::new(seq).unwrap());
            round_trip(&SearchPosition::Username(Username::parse(&name).unwrap()));
            round_trip(&SearchPosition::DisplayName(SearchKey::from_stored(key), UserId::from_uuid(id)));
        }

        #[test]
        fn any_text_is_a_cursor_or_an_error(text in ".*") {
            let _ = parse_cursor::<PageKey>(&text);
            let _ = parse_cursor::<Seq>(&text);
            let _ = parse_cursor::<SearchPosition>(&text);
        }

        #[test]
        fn any_bytes_are_a_place_or_an_error(bytes: Vec<u8>) {
            if let Some(key) = PageKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes.clone());
            }
            if let Some(key) = Seq::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes.clone());
            }
            let _ = SearchPosition::decode(&bytes);
        }
    }
}
