//! The same seed has the same trace: every segment and every line of our log, in every process.

use std::process::Command;

use berth_turmoil::{Summary, play};

/// Which seed a child process plays.
const CHILD: &str = "BERTH_TURMOIL_CHILD";
const SEEDS: [u64; 3] = [1, 2, 4];

#[test]
fn a_seed_has_one_trace() {
    if let Ok(seed) = std::env::var(CHILD) {
        let Summary { hash, lines } = play(seed.parse().unwrap()).trace;
        println!("trace of seed {seed}: {lines} lines {hash}");
        return;
    }
    for seed in SEEDS {
        // Hash maps are seeded anew, and addresses are others.
        let here = play(seed).trace;
        let [one, other] = [(); 2].map(|()| child(seed));
        assert_eq!(one, other, "seed {seed}, in two processes");
        let ours = format!("trace of seed {seed}: {} lines {}", here.lines, here.hash);
        assert_eq!(ours, one, "seed {seed}, after other seeds and before them");
    }
}

fn child(seed: u64) -> String {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args(["--exact", "a_seed_has_one_trace", "--nocapture"])
        .env(CHILD, seed.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("trace of seed"));
    let line = line.unwrap_or_else(|| panic!("seed {seed}: {text}"));
    let at = line.find("trace of seed").unwrap();
    line[at..].to_owned()
}
