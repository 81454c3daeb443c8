//! Many seeds, summed up. Threads belong to whoever runs them: here is only what can be added.

use serde::Serialize;

use crate::marks::{Coverage, Mark};
use crate::oracle::{Violation, Windows};
use crate::trace::Mixer;
use crate::world::Outcome;

/// How a run ended; the process's exit code tells the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every rule held.
    Clean,
    /// Something panicked.
    Crash,
    /// A liveness rule did not hold.
    Liveness,
    /// A safety rule did not hold.
    Safety,
}

impl Verdict {
    /// What a violation means; `None`: there was none.
    #[must_use]
    pub fn of(violation: Option<&Violation>) -> Self {
        match violation {
            None => Self::Clean,
            Some(violation) if violation.rule.is_liveness() => Self::Liveness,
            Some(_) => Self::Safety,
        }
    }

    /// The exit code: 0 clean, 127 crash, 128 liveness, 129 safety.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Crash => 127,
            Self::Liveness => 128,
            Self::Safety => 129,
        }
    }
}

/// A seed that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// The rule that did not hold, if one did not.
    pub violation: Option<Violation>,
    /// What happened, for people.
    pub message: String,
    /// The command line that shows it again.
    pub reproduce: String,
}

impl Failure {
    /// A run that broke a rule; `None`: it broke none. `again`: the command line that shows it.
    #[must_use]
    pub fn of(outcome: &Outcome, again: impl FnOnce() -> String) -> Option<Self> {
        let violation = outcome.violation.clone()?;
        Some(Self {
            seed: outcome.seed,
            verdict: Verdict::of(Some(&violation)),
            message: violation.to_string(),
            reproduce: again(),
            violation: Some(violation),
        })
    }

    /// A run that panicked.
    #[must_use]
    pub fn crash(seed: u64, message: impl std::fmt::Display, again: String) -> Self {
        Self {
            seed,
            verdict: Verdict::Crash,
            violation: None,
            message: format!("panicked: {message}"),
            reproduce: again,
        }
    }
}

/// What a search came to; the same whatever the number of threads and the order of the seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Seeds run.
    pub seeds: u64,
    /// Steps taken in all of them.
    pub steps: u64,
    /// Virtual time of all of them, milliseconds.
    pub elapsed_ms: u64,
    /// Seeds that did not end well.
    pub failed: u64,
    /// The first of these, by seed.
    pub failures: Vec<Failure>,
    /// What was reached, and how often.
    pub coverage: Coverage,
    /// How many seeds reached it.
    pub reached_by: Coverage,
    /// How much of what clients were told was judged (S15).
    pub windows: Windows,
    hashes: u128,
}

/// Failures that are told in full.
pub const FAILURES_MAX: usize = 10;

impl Tally {
    /// Adds a run that came to its end; answers whether it failed. `again`: the command line that
    /// shows it.
    pub fn add_outcome(&mut self, outcome: &Outcome, again: impl FnOnce() -> String) -> bool {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.elapsed_ms += u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX);
        self.coverage.add(&outcome.coverage);
        self.reached_by.add_once(&outcome.coverage);
        self.windows.add(outcome.windows);
        let failure = Failure::of(outcome, again);
        let failed = failure.is_some();
        self.failed += u64::from(failed);
        self.failures.extend(failure);
        self.take_hash(outcome.seed, &outcome.trace_hash);
        self.trim();
        failed
    }

    /// Adds the hash of a seed's run, mixed with the seed: which run took which way counts, the
    /// order of the runs does not.
    fn take_hash(&mut self, seed: u64, trace: &str) {
        let mut mixer = Mixer::default();
        mixer.word(seed);
        mixer.bytes(trace.as_bytes());
        self.hashes = self.hashes.wrapping_add(mixer.sum());
    }

    /// The hash of all traces, hexadecimal (S22).
    #[must_use]
    pub fn hash(&self) -> String {
        format!("{:032x}", self.hashes)
    }

    /// Adds a run that panicked.
    pub fn add_crash(&mut self, crash: Failure) {
        self.seeds += 1;
        self.failed += 1;
        self.take_hash(crash.seed, &crash.message);
        self.failures.push(crash);
        self.trim();
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.elapsed_ms += other.elapsed_ms;
        self.failed += other.failed;
        self.coverage.add(&other.coverage);
        self.reached_by.add(&other.reached_by);
        self.windows.add(other.windows);
        self.hashes = self.hashes.wrapping_add(other.hashes);
        self.failures.extend(other.failures);
        self.trim();
    }

    fn trim(&mut self) {
        self.failures.sort_by_key(|failure| failure.seed);
        self.failures.truncate(FAILURES_MAX);
    }

    /// The worst that was found.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let found = self.failures.iter().map(|failure| failure.verdict);
        found.max().unwrap_or(Verdict::Clean)
    }

    /// Marks that no seed reached.
    #[must_use]
    pub fn holes(&self) -> Vec<Mark> {
        self.coverage.holes().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_does_not_depend_on_its_order() {
        let crash = |seed| {
            let mut tally = Tally::default();
            tally.add_crash(Failure::crash(seed, "x", String::new()));
            tally
        };
        let sum = |seeds: &[u64]| {
            let mut all = Tally::default();
            seeds.iter().for_each(|seed| all.merge(crash(*seed)));
            all
        };
        let up: Vec<u64> = (0..20).collect();
        let down: Vec<u64> = (0..20).rev().collect();
        assert_eq!(sum(&up), sum(&down));
        assert_eq!(sum(&up).failures.len(), FAILURES_MAX);
        assert_eq!((sum(&up).failed, sum(&up).verdict()), (20, Verdict::Crash));
        assert_eq!(Tally::default().verdict().exit_code(), 0);
        assert_ne!(sum(&up).hash(), sum(&up[1..]).hash());
    }

    #[test]
    fn the_hash_tells_which_seed_took_which_way() {
        let hash = |runs: [(u64, &str); 2]| {
            let mut tally = Tally::default();
            runs.iter()
                .for_each(|(seed, trace)| tally.take_hash(*seed, trace));
            tally.hash()
        };
        assert_eq!(hash([(1, "a"), (2, "b")]), hash([(2, "b"), (1, "a")]));
        assert_ne!(hash([(1, "a"), (2, "b")]), hash([(1, "b"), (2, "a")]));
        assert_ne!(hash([(1, "a"), (2, "a")]), hash([(1, "b"), (2, "b")]));
    }
}
