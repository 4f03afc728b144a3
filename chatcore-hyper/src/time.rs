//! Times on the wire: RFC 3339, UTC, milliseconds.

use chatcore::time::Timestamp;

/// `2026-11-22T10:15:30.123Z`
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let stamp = jiff::Timestamp::from_millisecond(at.micros().div_euclid(1_000));
    // Out of the range of years that RFC 3339 has, only a broken clock can lie.
    format!("{:.3}", stamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_and_utc() {
        assert_eq!(rfc3339(Timestamp::from_micros(1_795_342_530_123_999)), "2026-11-22T10:15:30.123Z");
        assert_eq!(rfc3339(Timestamp::from_micros(0)), "1970-01-01T00:00:00.000Z");
    }
}
