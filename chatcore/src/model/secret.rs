//! Secrets. None of them shows itself in `Debug`.

use std::fmt;

use zeroize::Zeroizing;

use super::field::{FieldCode, ParseError};

/// A password as somebody typed it: 8 to 128 characters, nothing else asked (NIST SP 800-63B §5.1.1.2). Overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Least length in characters.
    pub const MIN: usize = 8;
    /// Greatest length in characters.
    pub const MAX: usize = 128;

    /// Parses a new password.
    ///
    /// # Errors
    /// `blank`, `too_short` or `too_long`.
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        match input.chars().count() {
            0 => Err(ParseError::new(FieldCode::Blank, "must not be blank")),
            n if n < Self::MIN => Err(ParseError::new(FieldCode::TooShort, "has fewer than 8 characters")),
            n if n > Self::MAX => Err(ParseError::new(FieldCode::TooLong, "has more than 128 characters")),
            _ => Ok(Self(Zeroizing::new(input.to_owned()))),
        }
    }

    /// The characters, for hashing only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A password hash in PHC string format.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Wraps a PHC string.
    pub fn from_phc(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string, for storing and verifying.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a refresh token. The token itself is random and long, so no salt is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Wraps the digest.
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest, for storing and comparing.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The key that access tokens are signed with: at least 32 bytes (RFC 7518 §3.2).
#[derive(Clone, PartialEq, Eq)]
pub struct AccessSecret(Vec<u8>);

impl AccessSecret {
    /// Least length in bytes.
    pub const MIN: usize = 32;

    /// Takes the key's bytes.
    ///
    /// # Errors
    /// `too_short` below 32 bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, ParseError> {
        let bytes = bytes.into();
        if bytes.len() < Self::MIN {
            return Err(ParseError::new(FieldCode::TooShort, "has fewer than 32 bytes"));
        }
        Ok(Self(bytes))
    }

    /// The bytes, for signing.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

macro_rules! hidden {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}
hidden!(Password, PasswordHash, TokenHash, AccessSecret);
