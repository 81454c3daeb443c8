//! A process's own time: off from the world's, and running at another rate.
//!
//! A clock of a living process never jumps: the driver reads the wall clock once, at the start,
//! and counts on with the monotonic one. What the wall clock does meanwhile is seen by the next
//! life, which begins with an error of its own.

use berth_core::Timestamp;

/// A clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    /// How far it is from the world's at `since`, milliseconds.
    off_ms: i64,
    /// Faster by so many millionths from then on.
    ppm: i64,
    since: Timestamp,
}

const MILLION: i64 = 1_000_000;

impl Clock {
    /// A clock that is so far off, and keeps its distance.
    pub(super) const fn off_by(off_ms: i64) -> Self {
        Self {
            off_ms,
            ppm: 0,
            since: Timestamp::ZERO,
        }
    }

    /// What it shows at an instant of the world.
    pub(super) fn at(&self, now: Timestamp) -> Timestamp {
        let gained = (self.since_then(now) * self.ppm).div_euclid(MILLION);
        Timestamp::from_millis(now.as_millis().saturating_add_signed(self.off_ms + gained))
    }

    /// The first instant of the world at which it shows `at`.
    pub(super) fn instant_of(&self, at: Timestamp) -> Timestamp {
        let straight = at.as_millis().saturating_add_signed(-self.off_ms);
        let straight = Timestamp::from_millis(straight);
        let ahead = self.since_then(straight);
        if self.ppm == 0 || ahead <= 0 {
            return straight;
        }
        let world = ahead * MILLION / (MILLION + self.ppm);
        let mut instant = Timestamp::from_millis(self.since.as_millis() + world.unsigned_abs());
        while self.at(instant) < at {
            instant = Timestamp::from_millis(instant.as_millis() + 1);
        }
        instant
    }

    /// It runs at another rate from now on, and shows the same now.
    pub(super) fn drift(&mut self, now: Timestamp, ppm: i64) {
        let shows = self.at(now).as_millis().cast_signed();
        self.off_ms = shows - now.as_millis().cast_signed();
        self.ppm = ppm;
        self.since = now;
    }

    fn since_then(&self, now: Timestamp) -> i64 {
        if self.ppm == 0 {
            return 0;
        }
        now.as_millis().cast_signed() - self.since.as_millis().cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp::from_millis;

    #[test]
    fn it_drifts_without_a_jump_and_never_goes_back() {
        for ppm in [-50_000, -3, 0, 7, 50_000] {
            let mut clock = Clock::off_by(-250);
            let begin = clock.at(AT(10_000));
            clock.drift(AT(10_000), ppm);
            assert_eq!(clock.at(AT(10_000)), begin, "{ppm}");
            for ms in 10_000..12_000 {
                assert!(clock.at(AT(ms)) <= clock.at(AT(ms + 1)), "{ppm} at {ms}");
                let shown = clock.at(AT(ms));
                let first = clock.instant_of(shown);
                assert!(first <= AT(ms), "{ppm} at {ms}");
                assert!(clock.at(first) >= shown, "{ppm} at {ms}");
            }
            let gained = clock.at(AT(110_000)).as_millis().cast_signed() - 110_000 + 250;
            assert_eq!(gained, ppm.div_euclid(10), "{ppm}");
            clock.drift(AT(110_000), 0);
            assert_eq!(
                clock.at(AT(210_000)).as_millis().cast_signed() - 210_000 + 250,
                ppm.div_euclid(10)
            );
        }
    }
}
