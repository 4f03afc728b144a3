//! Whole numbers in JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A whole number from 0 on, in any way that JSON can write it: `27` and `27.0` are the same number, and which of them a client's library
/// writes is often not the client's choice. What is too large for a `u64` becomes the largest, which no position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Visit)
    }
}

struct Visit;

impl Visitor<'_> for Visit {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0 on")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
        Ok(Whole(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
        u64::try_from(number).map(Whole).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and not negative; the cast saturates"
    )]
    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
        if number >= 0.0 && number.fract() == 0.0 {
            Ok(Whole(number as u64))
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Option<u64> {
        serde_json::from_str::<Whole>(json).ok().map(|whole| whole.0)
    }

    #[test]
    fn every_way_to_write_it() {
        for (json, number) in [
            ("0", Some(0)),
            ("27", Some(27)),
            ("27.0", Some(27)),
            ("2.7e1", Some(27)),
            ("-0.0", Some(0)),
            ("18446744073709551616", Some(u64::MAX)),
            ("1e300", Some(u64::MAX)),
            ("27.5", None),
            ("-1", None),
            ("-1.0", None),
            ("\"27\"", None),
            ("null", None),
            ("true", None),
        ] {
            assert_eq!(read(json), number, "{json}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64) {
            prop_assert_eq!(read(&number.to_string()), Some(number));
        }

        #[test]
        fn a_position_may_be_written_as_a_float(number in 0..1_u64 << 53) {
            prop_assert_eq!(read(&format!("{number}.0")), Some(number));
        }

        #[test]
        fn any_text_is_a_number_or_an_error(text in ".*") {
            let _ = read(&text);
        }
    }
}
