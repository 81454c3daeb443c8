//! The contract of the core: the outputs for a recorded history of inputs are the same to the
//! byte, in every run and in every build profile.
//!
//! The history and the test that plays it stand in `core/tests/scheduler/`; the test compares with
//! the recorded hash and prints it: `<count> outputs <hash>`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The test that plays the history.
const TEST: &str = "history::a_recorded_history_gives_the_recorded_answers";

/// Plays the history twice in debug and twice in release.
///
/// # Errors
/// When a run fails, or two runs differ.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut first: Option<Vec<String>> = None;
    for profile in [&[][..], &[], &["--release"], &["--release"]] {
        let transcripts = play(root, profile)?;
        let name = profile
            .first()
            .copied()
            .unwrap_or("debug")
            .trim_start_matches('-');
        println!("{name:>8}  {}", transcripts.join("  "));
        let expected = first.get_or_insert_with(|| transcripts.clone());
        ensure!(
            *expected == transcripts,
            "the outputs differ from those of the first run"
        );
    }
    println!("the outputs of all four runs are equal");
    Ok(())
}

/// One run, in a process of its own: what the test says of its outputs.
fn play(root: &Path, profile: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("cargo")
        .args([
            "test",
            "--quiet",
            "-p",
            "berth-core",
            "--test",
            "determinism",
        ])
        .args(profile)
        .args(["--", "--exact", TEST, "--nocapture"])
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the test failed:\n{text}{complaint}"
    );
    let found = transcripts(&text);
    ensure!(
        !found.is_empty(),
        "no `<count> outputs <hash>` in the test's output:\n{text}"
    );
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
