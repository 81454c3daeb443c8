//! How the store does, as one of a few states that last: a single late answer is no trouble, and a
//! single good one does not end it. Pure: times come in.

use std::time::Duration;

use tokio::time::Instant;

/// How the store does, as this replica sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreState {
    /// It answers, and takes writes as far as is known.
    #[default]
    Fine,
    /// It answers late.
    Slow,
    /// Changes were compacted away before they were seen: everything is read anew.
    Resync,
    /// It has no leader of its own.
    NoLeader,
    /// It does not answer.
    Unreachable,
    /// It refuses writes: it has no space, or no permission.
    ReadOnly,
    /// It is not the store that was seen before: nothing is done until the operator decides.
    Refused,
}

impl StoreState {
    /// All, in order.
    pub const ALL: [Self; 7] = [
        Self::Fine,
        Self::Slow,
        Self::Resync,
        Self::NoLeader,
        Self::Unreachable,
        Self::ReadOnly,
        Self::Refused,
    ];

    /// The name in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Slow => "slow",
            Self::Resync => "resync",
            Self::NoLeader => "no-leader",
            Self::Unreachable => "unreachable",
            Self::ReadOnly => "read-only",
            Self::Refused => "refused",
        }
    }

    /// Whether a leader can have writes carried out in it.
    #[must_use]
    pub const fn takes_writes(self) -> bool {
        match self {
            Self::Fine | Self::Slow | Self::Resync | Self::NoLeader | Self::Unreachable => true,
            Self::ReadOnly | Self::Refused => false,
        }
    }
}

/// The state of the store with its reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreCondition {
    /// The state.
    pub state: StoreState,
    /// Why, with what to do about it; empty when it is fine.
    pub why: String,
}

/// So many failures in a row, or failures for so long, are an outage.
const FAILURES: u32 = 3;
const FAILING_FOR: Duration = Duration::from_secs(2);
/// An outage is over after so long without a failure, answers coming in.
const WELL_FOR: Duration = Duration::from_secs(3);
/// So many answers in a row that are later than this are a slow store.
const LATE: Duration = Duration::from_millis(500);
const LATE_ANSWERS: u32 = 3;
/// It is slow no more when for so long no answer took longer than this.
const PROMPT: Duration = Duration::from_millis(250);
const PROMPT_FOR: Duration = Duration::from_secs(5);

/// Draws the state from what happens.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    refused: Option<String>,
    read_only: Option<String>,
    outage: Option<(StoreState, String)>,
    failures: u32,
    failing_since: Option<Instant>,
    well_since: Option<Instant>,
    slow: bool,
    late: u32,
    prompt_since: Option<Instant>,
    resync: Option<String>,
    /// It answered at some time.
    known: bool,
}

impl Condition {
    /// The worst that is the case.
    pub(crate) fn now(&self) -> StoreCondition {
        let (state, why) = if let Some(why) = &self.refused {
            (StoreState::Refused, why.clone())
        } else if let Some(why) = &self.read_only {
            (StoreState::ReadOnly, why.clone())
        } else if let Some((state, why)) = &self.outage {
            (*state, why.clone())
        } else if let Some(why) = &self.resync {
            (StoreState::Resync, why.clone())
        } else if self.slow {
            let why = format!("the store takes longer than {LATE:?} for its answers");
            (StoreState::Slow, why)
        } else {
            (StoreState::Fine, String::new())
        };
        StoreCondition { state, why }
    }

    /// It answered; `took`: how long that was, if it is known.
    pub(crate) fn answered(&mut self, now: Instant, took: Option<Duration>) {
        let first = !std::mem::replace(&mut self.known, true);
        self.failures = 0;
        self.failing_since = None;
        let well_since = *self.well_since.get_or_insert(now);
        if first || now - well_since >= WELL_FOR {
            self.outage = None;
        }
        let Some(took) = took else { return };
        if took > LATE {
            self.late += 1;
            self.slow |= self.late >= LATE_ANSWERS;
        } else {
            self.late = 0;
        }
        if took > PROMPT {
            self.prompt_since = None;
        } else if now - *self.prompt_since.get_or_insert(now) >= PROMPT_FOR {
            self.slow = false;
        }
    }

    /// It did not answer, or not as it should.
    pub(crate) fn failed(&mut self, now: Instant, why: &str) {
        self.failures += 1;
        self.well_since = None;
        let since = *self.failing_since.get_or_insert(now);
        let lasts = self.failures >= FAILURES || now - since >= FAILING_FOR || !self.known;
        if lasts || self.outage.is_some() {
            let leaderless = why.contains("no leader") || why.contains("leader changed");
            let state = match leaderless {
                true => StoreState::NoLeader,
                false => StoreState::Unreachable,
            };
            self.outage = Some((state, why.to_owned()));
        }
    }

    /// It refused a write that any store takes: it takes none until one is carried out.
    pub(crate) fn refused_write(&mut self, why: &str) {
        self.read_only = Some(why.to_owned());
    }

    /// It carried out a write.
    pub(crate) fn wrote(&mut self) {
        self.read_only = None;
    }

    /// Everything is being read anew; an empty text: that is done.
    pub(crate) fn resync(&mut self, why: &str) {
        self.resync = (!why.is_empty()).then(|| why.to_owned());
    }

    /// It is not the one that was seen before; an empty text: it is, or the operator believes it.
    pub(crate) fn refuse(&mut self, why: &str) {
        self.refused = (!why.is_empty()).then(|| why.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well(condition: &mut Condition, now: &mut Instant, seconds: u64) {
        for _ in 0..seconds * 4 {
            *now += Duration::from_millis(250);
            condition.answered(*now, Some(Duration::from_millis(2)));
        }
    }

    #[test]
    fn a_single_failure_is_no_outage_and_a_single_answer_is_no_end_of_one() {
        let (mut condition, mut now) = (Condition::default(), Instant::now());
        condition.answered(now, None);
        for _ in 0..20 {
            now += Duration::from_millis(500);
            condition.failed(now, "timeout");
            condition.answered(now, None);
            assert_eq!(condition.now().state, StoreState::Fine);
        }
        for _ in 0..3 {
            condition.failed(now, "timeout");
        }
        assert_eq!(condition.now().state, StoreState::Unreachable);
        condition.failed(now, "etcdserver: no leader");
        assert_eq!(condition.now().state, StoreState::NoLeader);
        well(&mut condition, &mut now, 2);
        assert_eq!(condition.now().state, StoreState::NoLeader, "not yet");
        condition.failed(now, "etcdserver: no leader");
        well(&mut condition, &mut now, 2);
        assert_eq!(condition.now().state, StoreState::NoLeader, "begun anew");
        well(&mut condition, &mut now, 2);
        assert_eq!(condition.now(), StoreCondition::default());
    }

    #[test]
    fn a_store_that_never_answered_is_out_of_reach_at_once_and_back_at_once() {
        let (mut condition, now) = (Condition::default(), Instant::now());
        condition.failed(now, "refused");
        assert_eq!(condition.now().state, StoreState::Unreachable);
        condition.answered(now, None);
        assert_eq!(condition.now().state, StoreState::Fine);
    }

    #[test]
    fn slowness_begins_and_ends_late() {
        let (mut condition, mut now) = (Condition::default(), Instant::now());
        let late = Some(Duration::from_millis(600));
        for _ in 0..2 {
            condition.answered(now, late);
        }
        condition.answered(now, Some(Duration::from_millis(3)));
        condition.answered(now, late);
        assert_eq!(condition.now().state, StoreState::Fine);
        for _ in 0..3 {
            condition.answered(now, late);
        }
        assert_eq!(condition.now().state, StoreState::Slow);
        well(&mut condition, &mut now, 4);
        condition.answered(now, Some(Duration::from_millis(300)));
        well(&mut condition, &mut now, 4);
        assert_eq!(condition.now().state, StoreState::Slow);
        well(&mut condition, &mut now, 2);
        assert_eq!(condition.now().state, StoreState::Fine);
    }

    #[test]
    fn read_only_ends_by_a_write_alone() {
        let (mut condition, mut now) = (Condition::default(), Instant::now());
        condition.refused_write("database space exceeded");
        well(&mut condition, &mut now, 60);
        assert_eq!(condition.now().state, StoreState::ReadOnly);
        condition.failed(now, "timeout");
        assert_eq!(condition.now().state, StoreState::ReadOnly, "the worst");
        condition.refuse("another one");
        assert_eq!(condition.now().state, StoreState::Refused);
        condition.refuse("");
        condition.wrote();
        assert_eq!(condition.now().state, StoreState::Fine);
    }
}
