//! Runs seeds and prints what they came to: `cargo run -p berth-sim --example seeds -- 0 100`, with
//! the numbers of nodes and workloads and the seconds of chaos after that, if wanted. The last line
//! has one hash of all traces: a change that only makes it faster leaves it as it is.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use berth_sim::{Coverage, Options, World};
use sha2::{Digest, Sha256};

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .filter_map(|arg| arg.parse::<u64>().ok());
    let (from, to) = (args.next().unwrap_or(0), args.next().unwrap_or(10));
    let usual = Options::small(0);
    let nodes = args.next().map_or(usual.nodes, |n| n as usize);
    let workloads = args.next().map_or(usual.workloads, |n| n as usize);
    let chaos = args.next().map_or(usual.chaos, Duration::from_secs);
    let (mut coverage, mut failures, mut steps) = (Coverage::default(), 0, 0);
    let (mut hashes, mut elapsed) = (Sha256::new(), Duration::ZERO);
    let started = std::time::Instant::now();
    for seed in from..to {
        let options = Options {
            nodes,
            workloads,
            chaos,
            ..Options::small(seed)
        };
        let outcome = World::with_trace(options, to == from + 1 && nodes < 10).run();
        if to == from + 1 {
            println!("trace {}", outcome.trace_hash);
        }
        outcome.trace.iter().for_each(|line| println!("{line}"));
        hashes.update(&outcome.trace_hash);
        elapsed += outcome.elapsed;
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
    for (mark, why) in coverage.out_of_reach() {
        println!("       not {mark}: {why}");
    }
    let took = started.elapsed().as_secs_f64();
    let digest: String = hashes.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!(
        "{} seeds, {failures} failures, {steps} steps in {took:.2} s: {:.0} steps/s, {:.0} times \
         real time, traces {digest}",
        to - from,
        steps as f64 / took,
        elapsed.as_secs_f64() / took,
    );
}
