//! Bugs of many kinds are planted in the product, and each is noticed by the rule that is there
//! for it. Those that are quickly found; `make hunt` hunts all.
//!
//! `cargo test -p berth-sim --features planted`

#![cfg(feature = "planted")]

use berth_sim::Options;
use berth_sim::hunt::{Bug, attempt, is_clean};
use berth_sim::script::draw;

/// Seeds that are tried for each.
const SEEDS: u64 = 40;

const QUICK: [Bug; 14] = [
    Bug::CallBeforeCommit,
    Bug::FenceDropped,
    Bug::GrowthUnchecked,
    Bug::RecordKeepsHome,
    Bug::TieBreak,
    Bug::SecondArtifact,
    Bug::BackoffTooLong,
    Bug::AnswerBeforeCommit,
    Bug::LabelsDropped,
    Bug::EventMissing,
    Bug::TombstoneIgnored,
    Bug::NoGrace,
    Bug::RoomUnnoticed,
    Bug::RandomPause,
];

#[test]
fn quick_bugs_are_noticed_by_the_rules_that_are_there_for_them() {
    for bug in QUICK {
        let noticed = (0..SEEDS).find_map(|seed| {
            let script = draw(&Options::drawn(seed));
            let violation = attempt(bug, &script, seed == 0)?;
            is_clean(&script).then_some(violation)
        });
        let rule = noticed.map(|violation| violation.rule.id());
        assert_eq!(rule, Some(bug.rule()), "{bug}: {}", bug.wrong());
    }
}
