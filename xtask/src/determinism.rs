//! The contract of the core: the outputs for a recorded history of inputs are the same to the
//! byte, in every run and in every build profile. And that of the simulator: the same seed has the
//! same trace (S22).
//!
//! The history and the test that plays it stand in `core/tests/scheduler/`; the test compares with
//! the recorded hash and prints it: `<count> outputs <hash>`.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::{bounded, simulate};

/// The test that plays the history.
const TEST: &str = "history::a_recorded_history_gives_the_recorded_answers";

/// A build profile, as it is named and as cargo is asked for it.
struct Profile {
    name: &'static str,
    flags: &'static [&'static str],
}

const DEBUG: Profile = Profile {
    name: "debug",
    flags: &[],
};
const RELEASE: Profile = Profile {
    name: "release",
    flags: &["--release"],
};

/// Plays the history twice in debug and twice in release, and compares all four; then the traces
/// of the simulator.
///
/// # Errors
/// When a run fails, or two runs differ.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut first: Option<Vec<String>> = None;
    for profile in [DEBUG, DEBUG, RELEASE, RELEASE] {
        let transcripts = play(root, &profile)?;
        let expected = first.get_or_insert_with(|| transcripts.clone());
        ensure!(
            *expected == transcripts,
            "the outputs differ from those of the first run"
        );
    }
    println!("the outputs of all four runs are equal");
    simulate::traces(root)
}

/// Plays the history once in release. The test itself compares with the recorded hash, and so it
/// does in debug among all the other tests: both together say that debug and release are equal.
///
/// # Errors
/// When the run fails, or the outputs are not the recorded ones.
pub(crate) fn optimised(root: &Path) -> Result<()> {
    play(root, &RELEASE).map(drop)
}

/// One run, in a process of its own: what the test says of its outputs.
fn play(root: &Path, profile: &Profile) -> Result<Vec<String>> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--quiet", "-p", "berth-core", "--test", "scheduler"])
        .args(profile.flags)
        .args(["--", "--exact", TEST, "--nocapture"])
        .current_dir(root);
    let mut text = String::new();
    let stage = format!("the recorded history in {}", profile.name);
    let played = bounded::run(&stage, bounded::STAGE, &mut command, |line| {
        text.push_str(line);
        text.push('\n');
    });
    if played.is_err() {
        print!("{text}");
    }
    played?;
    let found = transcripts(&text);
    ensure!(
        !found.is_empty(),
        "no `<count> outputs <hash>` in the test's output:\n{text}"
    );
    println!("{:>8}  {}", profile.name, found.join("  "));
    Ok(found)
}

/// Every `<count> outputs <hash>` in the output of the test.
fn transcripts(output: &str) -> Vec<String> {
    let words: Vec<_> = output.split_whitespace().collect();
    let named = words.windows(3).filter(|w| {
        w[0].parse::<u64>().is_ok()
            && w[1] == "outputs"
            && w[2].len() == 64
            && w[2].bytes().all(|b| b.is_ascii_hexdigit())
    });
    named.map(|w| w.join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_found_among_cargos_lines() {
        let hash = "ab".repeat(32);
        let output = format!("running 1 test\n321 outputs {hash}\n.\ntest result: ok. 1 passed\n");
        assert_eq!(transcripts(&output), [format!("321 outputs {hash}")]);
        assert!(transcripts("some outputs abc").is_empty());
    }
}
