//! Names: of accounts, of people, of rooms.

use std::fmt;

use email_address::{EmailAddress, Options};
use unicode_normalization::UnicodeNormalization;

use super::field::{FieldCode, ParseError};

macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            /// The text inside.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes text back that a store kept, without parsing it again.
            ///
            /// For stores only: what it is given must have come out of [`Self::as_str`].
            pub fn from_stored(text: String) -> Self {
                Self(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(super) use text_newtype;

/// White space and everything invisible that must not pass for a name: controls, format characters that
/// reorder or hide text (all that Unicode calls `Bidi_Control` among them), and the byte order mark.
pub(super) fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

/// A character without a glyph of its own: white space, joiners and variation selectors, the fillers of Hangul, the
/// empty Braille pattern (what Unicode calls `Default_Ignorable_Code_Point`, and what looks the same).
///
/// They are legal where they join others, as in many emojis; text of nothing else would not show.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(c,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{2800}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// Whether there is nothing to see in it.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

/// A name under NFKC, trimmed, of `1..=max` characters without control characters, with something to see in it.
fn parse_name(input: &str, max: usize) -> Result<String, ParseError> {
    let name: String = input.nfkc().collect();
    let name = name.trim();
    if is_blank(name) {
        return Err(ParseError::new(FieldCode::Blank, "must not be blank"));
    }
    if name.chars().count() > max {
        return Err(ParseError::new(FieldCode::TooLong, format!("has more than {max} characters")));
    }
    if name.chars().any(is_control) {
        return Err(ParseError::new(FieldCode::Characters, "holds control characters"));
    }
    Ok(name.to_owned())
}

/// The unique handle of an account: 3 to 32 of `a-z 0-9 _ .`, starting with a letter.
///
/// Input is folded to lower case. Only ASCII is legal, so that no look-alike from another script passes.
///
/// ```
/// use chatcore::model::Username;
/// assert_eq!(Username::parse("Ada.Lovelace")?.as_str(), "ada.lovelace");
/// assert!(Username::parse("1st").is_err());
/// assert!(Username::parse("аda").is_err(), "a Cyrillic letter");
/// # Ok::<(), chatcore::model::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(String);

text_newtype!(Username);

impl Username {
    /// Least length in characters.
    pub const MIN: usize = 3;
    /// Greatest length in characters.
    pub const MAX: usize = 32;

    /// Parses what somebody typed.
    ///
    /// # Errors
    /// `blank`, `too_short`, `too_long`, `characters` (another than the legal ones) or `format` (does not start
    /// with a letter).
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        if input.is_empty() {
            return Err(ParseError::new(FieldCode::Blank, "must not be blank"));
        }
        let length = input.chars().count();
        if length > Self::MAX {
            return Err(ParseError::new(FieldCode::TooLong, "has more than 32 characters"));
        }
        let name = input.to_ascii_lowercase();
        if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.')) {
            return Err(ParseError::new(FieldCode::Characters, "may hold only a-z, 0-9, _ and ."));
        }
        if length < Self::MIN {
            return Err(ParseError::new(FieldCode::TooShort, "has fewer than 3 characters"));
        }
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(ParseError::new(FieldCode::Format, "must start with a letter"));
        }
        Ok(Self(name))
    }
}

/// What a person is called on screen: 1 to 64 characters after trimming, NFKC, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DisplayName(String);

text_newtype!(DisplayName);

impl DisplayName {
    /// Greatest length in characters.
    pub const MAX: usize = 64;

    /// Parses what somebody typed.
    ///
    /// # Errors
    /// `blank`, `too_long` or `characters`.
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        parse_name(input, Self::MAX).map(Self)
    }

    /// The folded form under which a prefix search finds this name.
    pub fn search_key(&self) -> SearchKey {
        SearchKey::fold(&self.0)
    }
}

impl From<&Username> for DisplayName {
    /// Who gives no display name is called by the username.
    fn from(name: &Username) -> Self {
        Self(name.as_str().to_owned())
    }
}

/// The name of a group: 1 to 80 characters after trimming, NFKC, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoomName(String);

text_newtype!(RoomName);

impl RoomName {
    /// Greatest length in characters.
    pub const MAX: usize = 80;

    /// Parses what somebody typed.
    ///
    /// # Errors
    /// `blank`, `too_long` or `characters`.
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        parse_name(input, Self::MAX).map(Self)
    }
}

/// An e-mail address as RFC 5321 §4.1.2 allows, at most 254 bytes. Kept as typed, unique under [`Email::key`].
///
/// ```
/// use chatcore::model::Email;
/// assert_eq!(Email::parse("Ada@Example.org")?.key(), "ada@example.org");
/// assert!(Email::parse("Ada <ada@example.org>").is_err());
/// assert!(Email::parse("ada").is_err());
/// # Ok::<(), chatcore::model::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

text_newtype!(Email);

impl Email {
    /// Greatest length in bytes (RFC 5321 §4.5.3.1.3 less the angle brackets).
    pub const MAX_BYTES: usize = 254;

    /// Parses what somebody typed.
    ///
    /// # Errors
    /// `blank`, `too_long` or `format`.
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        // NFC can lengthen, and can turn what is legal into what is not: what is kept is what is checked.
        let address: String = input.trim().nfc().collect();
        if address.is_empty() {
            return Err(ParseError::new(FieldCode::Blank, "must not be blank"));
        }
        if address.len() > Self::MAX_BYTES {
            return Err(ParseError::new(FieldCode::TooLong, "has more than 254 bytes"));
        }
        let options = Options::default().without_display_text();
        match EmailAddress::parse_with_options(&address, options) {
            Ok(_) if !address.chars().any(is_control) => Ok(Self(address)),
            _ => Err(ParseError::new(FieldCode::Format, "is not an e-mail address")),
        }
    }

    /// The folded form that is unique among accounts.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

/// Folded text that names are searched by: NFKC, lower case, trimmed. That of a display name has at most 128
/// characters: a few letters become two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchKey(String);

text_newtype!(SearchKey);

impl SearchKey {
    /// Least length in characters of a search.
    pub const MIN: usize = 2;

    /// Parses the prefix that somebody looks for.
    ///
    /// # Errors
    /// `too_short` below two characters, `too_long` above 64.
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        let key = Self::fold(input);
        match key.0.chars().count() {
            0..Self::MIN => Err(ParseError::new(FieldCode::TooShort, "has fewer than 2 characters")),
            length if length > DisplayName::MAX => {
                Err(ParseError::new(FieldCode::TooLong, "has more than 64 characters"))
            }
            _ => Ok(key),
        }
    }

    fn fold(text: &str) -> Self {
        // Lower case can leave NFKC (İ becomes i and a combining dot), so it is normalised again.
        let folded: String = text.nfkc().flat_map(char::to_lowercase).collect();
        let folded: String = folded.nfkc().collect();
        // Trimmed at last, for NFKC makes spaces of its own (an acute accent becomes a space and a combining one).
        Self(folded.trim().to_owned())
    }
}
