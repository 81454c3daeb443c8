//! Determinism: the outputs for a recorded history of inputs, to the byte.

// The test keeps its recording beside it; the core itself reads no file.
#![allow(clippy::disallowed_methods)]

use berth_core::{Config, Input, Output, Scheduler, Timestamp};
use sha2::{Digest, Sha256};

use crate::cluster::{Cluster, NextCommit, node, seconds};

/// Where the recorded history stands; `BERTH_RECORD=1` writes it anew.
const HISTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scheduler/history.jsonl");
/// The hash of what the core answered when it was recorded.
const ANSWERS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/scheduler/history.sha256"
);

/// A history with some of everything.
fn record() -> Vec<(Timestamp, Input)> {
    let mut cluster = Cluster::with(Config::default());
    cluster.nodes(3);
    for at in 0..12 {
        cluster
            .apply(&format!("w-{at}"), 150 * (at % 5 + 1))
            .unwrap();
    }
    cluster.pass(seconds(20));
    cluster.next_commit = NextCommit::UnknownLost;
    cluster.apply("w-1", 700).unwrap();
    cluster.next_commit = NextCommit::UnknownWritten;
    cluster.delete("w-2").unwrap();
    cluster.agents.get_mut(&node("n-1")).unwrap().heartbeats = false;
    cluster.agents.get_mut(&node("n-1")).unwrap().reachable = false;
    cluster.pass(seconds(120));
    cluster.agents.get_mut(&node("n-1")).unwrap().heartbeats = true;
    cluster.agents.get_mut(&node("n-1")).unwrap().reachable = true;
    cluster.pass(seconds(60));
    cluster.lead(40);
    cluster.pass(seconds(60));
    cluster.journal
}

fn replay(history: &[(Timestamp, Input)]) -> (usize, String) {
    let mut core = Scheduler::new(Config::default());
    let mut outputs: Vec<Output> = Vec::new();
    for (at, input) in history {
        core.handle(*at, input.clone());
        while let Some(output) = core.poll_output() {
            outputs.push(output);
        }
    }
    let bytes = serde_json::to_vec(&outputs).expect("outputs are plain data");
    let hash = Sha256::digest(&bytes);
    (
        outputs.len(),
        hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}

/// The same inputs give the same outputs to the byte, in every process and build profile.
#[test]
fn a_recorded_history_gives_the_recorded_answers() {
    if std::env::var_os("BERTH_RECORD").is_some() {
        let history = record();
        let lines: Vec<String> = history
            .iter()
            .map(|entry| serde_json::to_string(entry).unwrap())
            .collect();
        std::fs::write(HISTORY, lines.join("\n") + "\n").unwrap();
        std::fs::write(ANSWERS, replay(&history).1 + "\n").unwrap();
    }
    let text = std::fs::read_to_string(HISTORY).expect("BERTH_RECORD=1 records a history");
    let history: Vec<(Timestamp, Input)> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("BERTH_RECORD=1 records it anew"))
        .collect();
    let (count, hash) = replay(&history);
    assert!(count > 200, "{count} outputs");
    assert_eq!(replay(&history).1, hash, "two runs differ");
    let recorded = std::fs::read_to_string(ANSWERS).unwrap();
    assert_eq!(
        hash,
        recorded.trim(),
        "the core answers otherwise than recorded: if that is meant, BERTH_RECORD=1 and review"
    );
    println!("{count} outputs {hash}");
}
