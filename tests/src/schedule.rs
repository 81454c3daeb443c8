//! A schedule of faults from a seed: the same seed, the same schedule.

use std::time::Duration;

/// Draws from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Schedule {
    state: u64,
}

impl Schedule {
    /// The seed of `BERTH_TEST_SEED`, or `default`; printed, so that a failure can be played again.
    #[must_use]
    pub fn from_environment(default: u64) -> Self {
        let given = std::env::var("BERTH_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(default);
        println!("the schedule's seed: BERTH_TEST_SEED={seed}");
        Self::of(seed)
    }

    /// The draws of a seed.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// A duration between the two.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low).as_micros().max(1);
        low + Duration::from_micros(self.below(u64::try_from(span).unwrap_or(u64::MAX)))
    }
}
