//! A login on one device.

use std::fmt;

use super::field::{FieldCode, ParseError};
use super::names::{is_control, text_newtype};
use crate::id::{SessionId, UserId};
use crate::time::Timestamp;

/// What the client calls the device that logs in: 1 to 100 characters after trimming, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceName(String);

text_newtype!(DeviceName);

impl DeviceName {
    /// Greatest length in characters.
    pub const MAX: usize = 100;

    /// Parses the name that the client gave.
    ///
    /// # Errors
    /// `blank`, `too_long` or `characters`.
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        let name = input.trim();
        if name.is_empty() {
            return Err(ParseError::new(FieldCode::Blank, "must not be blank"));
        }
        if name.chars().count() > Self::MAX {
            return Err(ParseError::new(FieldCode::TooLong, "has more than 100 characters"));
        }
        if name.chars().any(is_control) {
            return Err(ParseError::new(FieldCode::Characters, "holds control characters"));
        }
        Ok(Self(name.to_owned()))
    }
}

/// A session: from a login until a logout, its expiry or the reuse of a spent refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id, which access tokens carry.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The device's name, if the client gave one.
    pub device: Option<DeviceName>,
    /// The login.
    pub created_at: Timestamp,
    /// The login or the latest refresh.
    pub last_used_at: Timestamp,
    /// From here on it is as if it had ended; moves with every refresh.
    pub expires_at: Timestamp,
}
