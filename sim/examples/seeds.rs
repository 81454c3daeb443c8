//! Runs seeds and prints what they came to: `cargo run -p berth-sim --example seeds -- 0 100`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use berth_sim::{Options, World};

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let (from, to) = (args.next().unwrap_or(0), args.next().unwrap_or(10));
    let (mut coverage, mut failures, mut steps) = (BTreeMap::<&str, u64>::new(), 0, 0);
    let started = std::time::Instant::now();
    for seed in from..to {
        let outcome = World::with_trace(Options::small(seed), to == from + 1).run();
        outcome.trace.iter().for_each(|line| println!("{line}"));
        steps += outcome.steps;
        for (mark, count) in outcome.coverage {
            *coverage.entry(mark).or_default() += count;
        }
        if let Some(violation) = outcome.violation {
            failures += 1;
            println!("seed {seed}: {}", violation.to_string().chars().take(1500).collect::<String>());
        }
    }
    for (mark, count) in coverage {
        println!("{count:>10} {mark}");
    }
    println!("{} seeds, {failures} failures, {steps} steps, {:?}", to - from, started.elapsed());
}
