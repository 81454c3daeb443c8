//! Histograms and counters as plain atomics; whoever exports them reads a snapshot.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How many bounds a histogram has.
pub const BOUNDS: usize = 16;

/// Upper bounds of durations, in microseconds; what lies above the last is counted apart.
pub const DURATION_BOUNDS_US: [u64; BOUNDS] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 60_000_000,
];

/// Upper bounds of counts (sizes of groups).
pub const COUNT_BOUNDS: [u64; BOUNDS] =
    [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128];

/// A histogram of whole numbers. Recording never waits.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64; BOUNDS],
    buckets: [AtomicU64; BOUNDS],
    above: AtomicU64,
    sum: AtomicU64,
}

/// A histogram's figures at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// The upper bound of each bucket: microseconds, or a plain count.
    pub bounds: &'static [u64; BOUNDS],
    /// How many values fell into each bucket alone (not cumulative); the last is what lies above
    /// every bound.
    pub buckets: [u64; BOUNDS + 1],
    /// The sum of all values.
    pub sum: u64,
}

impl HistogramSnapshot {
    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Histogram {
    /// Of durations.
    #[must_use]
    pub const fn durations() -> Self {
        Self::new(&DURATION_BOUNDS_US)
    }

    /// Of counts.
    #[must_use]
    pub const fn counts() -> Self {
        Self::new(&COUNT_BOUNDS)
    }

    const fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        Self {
            bounds,
            buckets: [const { AtomicU64::new(0) }; BOUNDS],
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    /// Records a value.
    pub fn record(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.buckets
            .get(at)
            .unwrap_or(&self.above)
            .fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Records a duration, in microseconds.
    pub fn record_duration(&self, duration: Duration) {
        self.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The figures now.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut buckets = [0; BOUNDS + 1];
        for (figure, bucket) in buckets.iter_mut().zip(&self.buckets) {
            *figure = bucket.load(Relaxed);
        }
        buckets[BOUNDS] = self.above.load(Relaxed);
        HistogramSnapshot {
            bounds: self.bounds,
            buckets,
            sum: self.sum.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::counts();
        for value in [0, 1, 2, 5, 128, 129, 1_000] {
            histogram.record(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[0], 2, "0 and 1");
        assert_eq!(snapshot.buckets[1], 1, "2");
        assert_eq!(snapshot.buckets[4], 1, "5 is at most 6");
        assert_eq!(snapshot.buckets[BOUNDS - 1], 1, "128");
        assert_eq!(snapshot.buckets[BOUNDS], 2, "129 and 1000");
        assert_eq!(snapshot.count(), 7);
        assert_eq!(snapshot.sum, 1_265);
    }

    #[test]
    fn durations_are_in_microseconds() {
        let histogram = Histogram::durations();
        histogram.record_duration(Duration::from_millis(3));
        assert_eq!(histogram.snapshot().sum, 3_000);
        assert_eq!(histogram.snapshot().buckets[5], 1, "at most 5 ms");
    }
}
