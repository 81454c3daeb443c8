//! The contract of the core: the outputs for a recorded history of inputs are the same to the
//! byte, in every run and in every build profile.
//!
//! The history and the test that plays it live in `core/tests/determinism.rs`; the test prints
//! one line `transcript: …` that names its outputs (their hash and length).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const MARK: &str = "transcript: ";

/// Plays the history twice in debug and twice in release.
///
/// # Errors
/// When a run fails, or two runs differ.
pub(crate) fn run(root: &Path) -> Result<()> {
    let test = root.join("core/tests/determinism.rs");
    ensure!(
        test.exists(),
        "{} does not exist: no history was recorded",
        test.display()
    );
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
        .args(["--", "--nocapture", "--test-threads=1"])
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
        "the test printed no line that begins with `{MARK}`"
    );
    Ok(found)
}

fn transcripts(output: &str) -> Vec<String> {
    let marked = output.lines().filter_map(|line| line.split_once(MARK));
    marked
        .map(|(_, transcript)| transcript.trim().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_are_found_among_cargos_lines() {
        let output = "running 1 test\n.transcript: 12 bytes ab\nother\ntranscript: 3 bytes cd\n";
        assert_eq!(transcripts(output), ["12 bytes ab", "3 bytes cd"]);
    }
}
