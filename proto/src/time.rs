//! Timestamps of the wire to and from Unix milliseconds.
//!
//! All functions are total: whatever a peer sends becomes some time, clamped to what the other
//! side can hold. Times from outside are shown and compared; no decision may need them exact.

use prost_types::Timestamp;

const MILLIS_PER_SECOND: i64 = 1_000;
const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The timestamp at `millis` milliseconds after the Unix epoch, or before it when negative.
#[must_use]
pub fn timestamp_from_unix_ms(millis: i64) -> Timestamp {
    let nanos = millis.rem_euclid(MILLIS_PER_SECOND) * NANOS_PER_MILLI;
    Timestamp {
        seconds: millis.div_euclid(MILLIS_PER_SECOND),
        nanos: i32::try_from(nanos).expect("below 10^9 by the remainder"),
    }
}

/// The timestamp at `millis` milliseconds after the Unix epoch; beyond `i64::MAX` milliseconds
/// (292 million years) it is clamped.
#[must_use]
pub fn timestamp_from_unix_ms_u64(millis: u64) -> Timestamp {
    timestamp_from_unix_ms(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Milliseconds since the Unix epoch, rounded down, negative before it, clamped to `i64`.
///
/// Nanoseconds outside `0..1_000_000_000`, which a well-formed timestamp does not have, are
/// carried into the seconds.
#[must_use]
pub fn unix_ms(timestamp: &Timestamp) -> i64 {
    let nanos = i64::from(timestamp.nanos);
    let seconds = timestamp
        .seconds
        .saturating_add(nanos.div_euclid(NANOS_PER_SECOND));
    let millis = nanos.rem_euclid(NANOS_PER_SECOND) / NANOS_PER_MILLI;
    // Widened: the product of a time near i64::MIN overflows although the sum may not.
    let total = i128::from(seconds) * i128::from(MILLIS_PER_SECOND) + i128::from(millis);
    i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
}

/// Milliseconds since the Unix epoch, rounded down; 0 for a time before it.
#[must_use]
pub fn unix_ms_u64(timestamp: &Timestamp) -> u64 {
    u64::try_from(unix_ms(timestamp)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn milliseconds_become_seconds_and_nanoseconds() {
        assert_eq!(timestamp_from_unix_ms(0), at(0, 0));
        assert_eq!(
            timestamp_from_unix_ms(1_771_286_400_123),
            at(1_771_286_400, 123_000_000)
        );
        assert_eq!(timestamp_from_unix_ms(-1), at(-1, 999_000_000));
        assert_eq!(timestamp_from_unix_ms(-1_000), at(-1, 0));
    }

    #[test]
    fn every_millisecond_survives_the_round_trip() {
        let picked = [
            i64::MIN,
            i64::MIN + 1,
            -1_001,
            -1_000,
            -999,
            -1,
            0,
            1,
            999,
            1_000,
            i64::MAX,
        ];
        for millis in picked.into_iter().chain(-2_500..2_500) {
            assert_eq!(unix_ms(&timestamp_from_unix_ms(millis)), millis);
        }
    }

    #[test]
    fn fractions_of_a_millisecond_round_down() {
        assert_eq!(unix_ms(&at(1, 999_999)), 1_000);
        assert_eq!(unix_ms(&at(1, 1_000_000)), 1_001);
        assert_eq!(unix_ms(&at(-1, 999_999_999)), -1);
        assert_eq!(unix_ms(&at(-1, 1)), -1_000);
    }

    #[test]
    fn malformed_nanoseconds_are_carried() {
        assert_eq!(unix_ms(&at(5, -1)), 4_999);
        assert_eq!(unix_ms(&at(5, 1_500_000_000)), 6_500);
        assert_eq!(unix_ms(&at(0, i32::MIN)), -2_148);
        assert_eq!(unix_ms(&at(0, i32::MAX)), 2_147);
    }

    #[test]
    fn what_does_not_fit_is_clamped() {
        assert_eq!(unix_ms(&at(i64::MAX, i32::MAX)), i64::MAX);
        assert_eq!(unix_ms(&at(i64::MIN, i32::MIN)), i64::MIN);
        assert_eq!(unix_ms(&at(i64::MAX / 1_000 + 1, 0)), i64::MAX);
        assert_eq!(unix_ms(&at(i64::MIN / 1_000 - 1, 0)), i64::MIN);
        assert_eq!(
            timestamp_from_unix_ms_u64(u64::MAX),
            timestamp_from_unix_ms(i64::MAX)
        );
    }

    #[test]
    fn unsigned_times_start_at_the_epoch() {
        assert_eq!(unix_ms_u64(&at(-1, 999_999_999)), 0);
        assert_eq!(unix_ms_u64(&at(i64::MIN, 0)), 0);
        assert_eq!(unix_ms_u64(&at(2, 7_000_000)), 2_007);
        assert_eq!(timestamp_from_unix_ms_u64(2_007), at(2, 7_000_000));
    }
}
