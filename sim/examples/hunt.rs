//! Hunts planted bugs on one thread: `cargo run -p berth-sim --profile simulation --features
//! planted --example hunt -- 0 200 tie-break`; all of them without names. `berth sim hunt` does the
//! same on many threads.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use berth_core::planted::{AVAILABLE, Bug};
use berth_sim::Options;
use berth_sim::hunt::{Bag, By, Caught, Hunted, attempt, is_clean};

fn main() {
    assert!(AVAILABLE, "build it with --features planted");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual| args.get(at).and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (from, to) = (number(0, 0_u64), number(1, 200));
    let named: Vec<Bug> = args.iter().filter_map(|id| Bug::from_id(id)).collect();
    let bugs = if named.is_empty() {
        Bug::ALL.to_vec()
    } else {
        named
    };
    std::panic::set_hook(Box::new(|_| {}));
    let mut bag = Bag::default();
    for bug in bugs {
        let hunted = hunt(bug, from..to);
        let by = hunted.caught.as_ref().map_or("nobody".to_owned(), |c| {
            format!("{} in seed {}: {}", c.by, c.seed, c.message)
        });
        let by: String = by.chars().take(240).collect();
        let (seeds, cpu, expected) = (hunted.seeds, hunted.cpu.as_secs_f64(), hunted.expected);
        println!("{bug:<24} {seeds:>4} seeds {cpu:>6.1} s  {expected:<4} {by}");
        bag.hunts.push(hunted);
    }
    println!("{bag}");
}

fn hunt(bug: Bug, seeds: std::ops::Range<u64>) -> Hunted {
    let mut hunted = Hunted::new(bug);
    let began = processor_time();
    for seed in seeds {
        let options = Options::small(seed);
        hunted.seeds += 1;
        let twice = hunted.seeds == 1;
        let tried = std::panic::catch_unwind(|| attempt(bug, &options, twice));
        let (by, message) = match tried {
            Ok(None) => continue,
            Ok(Some(violation)) => (By::Rule(violation.rule), violation.to_string()),
            Err(_) => (By::Crash, "it panicked".to_owned()),
        };
        if is_clean(&options) {
            hunted.caught = Some(Caught { by, seed, message });
            break;
        }
    }
    hunted.cpu = processor_time().saturating_sub(began);
    hunted
}

/// The processor time of this thread; the machine may be busy with other things.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
