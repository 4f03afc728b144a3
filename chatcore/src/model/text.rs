//! What people write: bodies, reactions, and the keys that make sending repeatable.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::field::{FieldCode, ParseError};
use super::names::{is_blank, is_control, text_newtype};

/// The text of a message: 1 to 4000 characters under NFC, line ends trimmed at both ends, no NUL.
///
/// ```
/// use chatcore::model::Body;
/// assert_eq!(Body::parse("\n hi \r\n")?.as_str(), " hi ");
/// assert!(Body::parse("\n\n").is_err());
/// # Ok::<(), chatcore::model::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Body(String);

text_newtype!(Body);

impl Body {
    /// Greatest length in characters.
    pub const MAX: usize = 4000;

    /// Parses what somebody typed.
    ///
    /// # Errors
    /// `blank` (nothing but white space), `too_long` or `characters` (a NUL).
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        let text: String = input.trim_matches(['\r', '\n']).nfc().collect();
        if text.trim().is_empty() {
            return Err(ParseError::new(FieldCode::Blank, "must not be blank"));
        }
        if text.chars().count() > Self::MAX {
            return Err(ParseError::new(FieldCode::TooLong, "has more than 4000 characters"));
        }
        if text.contains('\0') {
            return Err(ParseError::new(FieldCode::Characters, "holds a NUL character"));
        }
        Ok(Self(text))
    }
}

/// The client's own key for something that it sends: 1 to 64 printable ASCII characters.
///
/// Sending again under the same key changes nothing and answers the first result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientId(String);

text_newtype!(ClientId);

impl ClientId {
    /// Greatest length in characters.
    pub const MAX: usize = 64;

    /// Parses the client's key.
    ///
    /// # Errors
    /// `blank`, `too_long` or `characters` (outside U+0020..U+007E).
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        if input.is_empty() {
            return Err(ParseError::new(FieldCode::Blank, "must not be blank"));
        }
        if !input.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return Err(ParseError::new(FieldCode::Characters, "may hold only printable ASCII"));
        }
        if input.len() > Self::MAX {
            return Err(ParseError::new(FieldCode::TooLong, "has more than 64 characters"));
        }
        Ok(Self(input.to_owned()))
    }
}

/// A reaction: one extended grapheme cluster (UAX #29) of at most 32 bytes under NFC, with something to see in it.
///
/// ```
/// use chatcore::model::Emoji;
/// assert!(Emoji::parse("👍🏽").is_ok());
/// assert!(Emoji::parse("👩‍👩‍👧").is_ok());
/// assert!(Emoji::parse("👍👍").is_err());
/// # Ok::<(), chatcore::model::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Emoji(String);

text_newtype!(Emoji);

impl Emoji {
    /// Greatest length in bytes.
    pub const MAX_BYTES: usize = 32;

    /// Parses a reaction.
    ///
    /// # Errors
    /// `blank` (nothing, or nothing to see), `too_long` (over 32 bytes), `format` (more than one grapheme) or
    /// `characters` (white space or controls).
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        let text: String = input.nfc().collect();
        if text.is_empty() {
            return Err(ParseError::new(FieldCode::Blank, "must not be blank"));
        }
        if text.graphemes(true).count() != 1 {
            return Err(ParseError::new(FieldCode::Format, "is not one grapheme"));
        }
        if text.len() > Self::MAX_BYTES {
            return Err(ParseError::new(FieldCode::TooLong, "has more than 32 bytes"));
        }
        if text.chars().any(|c| is_control(c) || c.is_whitespace()) {
            return Err(ParseError::new(FieldCode::Characters, "holds white space or control characters"));
        }
        if is_blank(&text) {
            return Err(ParseError::new(FieldCode::Blank, "must have something to see in it"));
        }
        Ok(Self(text))
    }
}
