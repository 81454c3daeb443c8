//! A handful of seeds, and the same seed twice.

use berth_sim::{Options, Windows, World};

fn run(seed: u64, faults: bool) -> berth_sim::Outcome {
    World::new(Options {
        faults,
        ..Options::drawn(seed)
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

/// S15 looks away from what somebody else edits and from what is too wide: neither may be much.
#[test]
fn most_of_what_clients_are_told_is_judged() {
    let mut windows = Windows::default();
    for seed in 0..20 {
        let of_one = run(seed, true).windows;
        assert!(of_one.judged > 0, "seed {seed}: {of_one}");
        windows.add(of_one);
    }
    assert!(windows.judged * 10 >= windows.all() * 8, "{windows}");
    assert!(windows.gave_up * 50 <= windows.all(), "{windows}");
    assert!(windows.muted > 0, "somebody edits: {windows}");
    let calm = run(1, false).windows;
    assert_eq!((calm.muted, calm.all()), (0, calm.judged + calm.gave_up));
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
