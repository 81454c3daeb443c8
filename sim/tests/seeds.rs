//! A handful of seeds, and the same seed twice.

use berth_sim::{Options, World};

fn run(seed: u64, faults: bool) -> berth_sim::Outcome {
    World::new(Options {
        faults,
        ..Options::small(seed)
    })
    .run()
}

#[test]
fn a_world_without_faults_converges() {
    for seed in 0..5 {
        let outcome = run(seed, false);
        assert!(
            outcome.violation.is_none(),
            "seed {seed}: {}",
            outcome.violation.unwrap()
        );
        assert!(
            outcome
                .coverage
                .count(berth_sim::Mark::EventWorkloadRunning)
                > 0,
            "seed {seed}"
        );
    }
}

#[test]
fn a_world_with_faults_holds_every_rule() {
    for seed in 0..60 {
        let outcome = run(seed, true);
        assert!(
            outcome.violation.is_none(),
            "seed {seed}: {}",
            outcome.violation.unwrap()
        );
    }
}

/// S22: one seed, one trace.
#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    for seed in [1, 17] {
        let (first, second) = (run(seed, true), run(seed, true));
        assert!(first.steps > 1_000);
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_ne!(first.trace_hash, run(seed + 1, true).trace_hash);
    }
}
