//! That these checks can fail: bugs that are planted in the core are found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use berth_core::planted::{Bug, plant};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::play;
use crate::transition::histories;

/// After so many histories a bug counts as not found.
const HISTORIES_MAX: usize = 64;

/// How many histories it takes until `bug` shows; `None`: it does not.
fn hunt(bug: Bug) -> Option<usize> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let drawn = histories(40);
    (1..=HISTORIES_MAX).find(|_| {
        let history = drawn.new_tree(&mut runner).expect("a history").current();
        let _planting = plant(bug);
        catch_unwind(AssertUnwindSafe(|| play(&history.0))).is_err()
    })
}

/// Those that few histories show. The others need more histories, or more than this machine has.
const SHOWN: [Bug; 20] = [
    Bug::CallBeforeCommit,
    Bug::GrowthUnchecked,
    Bug::UnknownIsCommitted,
    Bug::AnswerBeforeCommit,
    Bug::RecordKeepsHome,
    Bug::TombstoneNotCounted,
    Bug::ZoneIgnored,
    Bug::CordonIgnored,
    Bug::InfrastructureCounts,
    Bug::BackoffTooLong,
    Bug::TombstoneForgotten,
    Bug::EventMissing,
    Bug::DrainedTooEarly,
    Bug::PendingInSilence,
    Bug::PendingWithoutFigures,
    Bug::RevisionIgnored,
    Bug::RoomUnnoticed,
    Bug::WaitingForgotten,
    Bug::StagedNotCounted,
    Bug::EventTwice,
];

#[test]
fn planted_bugs_are_found() {
    let missed: Vec<_> = SHOWN.iter().filter(|bug| hunt(**bug).is_none()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
