//! What a world keeps follows what is alive and what happened lately, not how long it lives: counts,
//! not bytes.

use std::time::Duration;

use berth_sim::{Options, World};

const MINUTE: u64 = 60;

/// What each part of a small world (4 nodes, 12 workloads, 2 clients) keeps at most.
fn most(part: &str) -> usize {
    match part {
        // Ten minutes of changes; a text is kept for as long as the store has it.
        "store: versions" | "store: texts" => 5_000,
        "store: watches" => 16,
        "store: copies" => 8,
        // Calls that are on their way.
        "store: twists" => 4,
        // Up to 256 starts are remembered on each, one of them a twin.
        "nodes" => 5 * (256 + 50),
        // The last 128 writes of each workload; what was asked in a quarter of an hour.
        "S8" => 12 * 128,
        "S9" => 12 * 200,
        // More than the fewest that are ever removed.
        "views" => 3_000,
        _ => 400,
    }
}

#[test]
fn a_long_life_keeps_no_more_than_a_short_one() {
    for seed in [1, 2] {
        let mut world = World::new(Options {
            chaos: Duration::from_secs(120 * MINUTE),
            ..Options::small(seed)
        });
        for minutes in (5..=120).step_by(5) {
            let violation = world.live_until(Duration::from_secs(minutes * MINUTE));
            assert!(violation.is_none(), "seed {seed}: {}", violation.unwrap());
            for (part, size) in world.sizes() {
                assert!(
                    size <= most(part),
                    "seed {seed}, minute {minutes}: {part}: {size}"
                );
            }
        }
    }
}
