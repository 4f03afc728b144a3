//! What is wrong with a field of the input.

use std::borrow::Cow;
use std::fmt;

/// Stable code of what is wrong with a field; part of the wire contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldCode {
    /// Nothing, or only white space.
    Blank,
    /// Below the least length.
    TooShort,
    /// Above the greatest length.
    TooLong,
    /// Holds characters that are not allowed.
    Characters,
    /// Not of the form that it must have.
    Format,
    /// A number out of its range.
    Range,
    /// Names something that does not exist.
    Unknown,
    /// Already in use by somebody else.
    Taken,
    /// Not the secret that was expected.
    Wrong,
    /// Well-formed, but not to be had here or for this caller.
    NotAllowed,
}

impl FieldCode {
    /// The code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Characters => "characters",
            Self::Format => "format",
            Self::Range => "range",
            Self::Unknown => "unknown",
            Self::Taken => "taken",
            Self::Wrong => "wrong",
            Self::NotAllowed => "not_allowed",
        }
    }
}

impl fmt::Display for FieldCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a newtype refused its input; becomes a [`FieldError`] once the field's name is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    code: FieldCode,
    message: Cow<'static, str>,
}

impl ParseError {
    /// A refusal with its code and a sentence that goes on from the field's name: "is too long".
    pub fn new(code: FieldCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The stable code.
    pub fn code(&self) -> FieldCode {
        self.code
    }

    /// Names the field that this input stood in.
    pub fn at(self, field: impl Into<Cow<'static, str>>) -> FieldError {
        FieldError { field: field.into(), code: self.code, message: self.message }
    }
}

/// A field of a request, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct FieldError {
    /// The field's name as the client wrote it; `user_ids[3]` within a list.
    pub field: Cow<'static, str>,
    /// Stable code.
    pub code: FieldCode,
    /// For people; goes on from the field's name.
    pub message: Cow<'static, str>,
}

impl FieldError {
    /// A field error made by hand, where no newtype is involved.
    pub fn new(field: impl Into<Cow<'static, str>>, code: FieldCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), code, message: message.into() }
    }
}
