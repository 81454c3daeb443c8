//! Runs seeds and prints what they came to: `cargo run -p berth-sim --example seeds -- 0 100`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use berth_sim::{Coverage, Options, World};

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .filter_map(|arg| arg.parse::<u64>().ok());
    let (from, to) = (args.next().unwrap_or(0), args.next().unwrap_or(10));
    let (mut coverage, mut failures, mut steps) = (Coverage::default(), 0, 0);
    let started = std::time::Instant::now();
    for seed in from..to {
        let outcome = World::with_trace(Options::small(seed), to == from + 1).run();
        outcome.trace.iter().for_each(|line| println!("{line}"));
        steps += outcome.steps;
        coverage.add(&outcome.coverage);
        if let Some(violation) = outcome.violation {
            failures += 1;
            println!(
                "seed {seed}: {}",
                violation.to_string().chars().take(4000).collect::<String>()
            );
        }
    }
    for (mark, count) in coverage.iter().filter(|(_, count)| *count > 0) {
        println!("{count:>10} {mark}");
    }
    for hole in coverage.holes() {
        println!("      hole {hole}");
    }
    println!(
        "{} seeds, {failures} failures, {steps} steps, {:?}",
        to - from,
        started.elapsed()
    );
}
