//! Positions in a room's log.

use std::fmt;
use std::num::NonZeroU64;

/// The number of an event in its room's log: 1, 2, 3, … below 2^53, so that a JSON number holds it exactly.
///
/// A message is known by its room and its `Seq`; there is no other message id.
///
/// ```
/// use chatcore::model::Seq;
/// assert_eq!(Seq::new(1).map(Seq::number), Some(1));
/// assert_eq!(Seq::new(0), None);
/// assert_eq!(Seq::new(1 << 53), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(NonZeroU64);

impl Seq {
    /// The first event of every room.
    pub const FIRST: Self = Self(NonZeroU64::MIN);
    /// The greatest number that a log can reach: 2^53 - 1 (RFC 8259 §6).
    pub const MAX: u64 = (1 << 53) - 1;

    /// The position, if it is in range.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(n) if number <= Self::MAX => Some(Self(n)),
            _ => None,
        }
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
