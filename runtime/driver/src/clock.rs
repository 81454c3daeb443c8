//! The core's time: never goes back, whatever happens to the wall clock.

use std::time::{Duration, SystemTime};

use berth_core::Timestamp;
use tokio::time::Instant;

/// The wall clock as it was when this was made, plus what the monotonic clock counted since.
///
/// The monotonic clock is tokio's, so that paused time and simulated networks steer it. Cheap to
/// copy; all copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    start: Instant,
}

impl Clock {
    /// Starts at the wall clock's time. To be called inside a tokio runtime.
    #[must_use]
    pub fn system() -> Self {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self::starting_at(Timestamp::ZERO + since)
    }

    /// Starts at a given time, for simulated worlds. To be called inside a tokio runtime.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            start: Instant::now(),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.wall + self.start.elapsed()
    }

    /// When the monotonic clock will have reached `at`; an instant that has passed may be early.
    /// One millisecond is added because [`Self::now`] rounds down: a sleeper that wakes up at the
    /// instant returned finds that `at` was reached.
    #[must_use]
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        /// Far enough not to matter, near enough for every platform's clock.
        const FAR: Duration = Duration::from_secs(365 * 86_400);
        let ahead = at.since(self.wall).min(self.start.elapsed() + FAR);
        self.start + ahead + Duration::from_millis(u64::from(!ahead.is_zero()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_the_monotonic_clock() {
        let clock = Clock::starting_at(Timestamp::from_millis(1_000));
        assert_eq!(clock.now().as_millis(), 1_000);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(clock.now().as_millis(), 1_250);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleeper_wakes_when_its_time_has_come() {
        let clock = Clock::starting_at(Timestamp::from_millis(1_000));
        tokio::time::advance(Duration::from_micros(700)).await;
        let at = Timestamp::from_millis(1_300);
        tokio::time::sleep_until(clock.instant_of(at)).await;
        assert!(clock.now() >= at);
        assert!(clock.now() <= at + Duration::from_millis(2));
    }

    #[tokio::test]
    async fn the_end_of_time_is_an_instant() {
        let clock = Clock::system();
        let _ = clock.instant_of(Timestamp::from_millis(u64::MAX));
        assert!(clock.instant_of(Timestamp::ZERO) <= Instant::now());
    }
}
