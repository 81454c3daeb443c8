//! The simulator's short forms for every run of the tests: a search over seeds, and every single
//! fault at every point of a few scenarios.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::bounded;

/// What is searched. `make search` takes more.
const SEEDS: &str = "0..2000";
/// Scenarios that are run with every single fault. `make exhaust` takes all.
const EXHAUSTED: [&str; 3] = ["delete-during-apply", "there-and-back", "paused-leader"];

/// Runs both.
///
/// # Errors
/// A rule does not hold, or the simulator does not build.
pub(crate) fn run(root: &Path) -> Result<()> {
    simulate(root, "search", &["search", "--seeds", SEEDS])?;
    let mut exhaust = vec!["exhaust"];
    for name in EXHAUSTED {
        exhaust.extend(["--scenario", name]);
    }
    simulate(root, "exhaust", &exhaust)
}

fn simulate(root: &Path, stage: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["run", "--quiet", "--profile", "simulation"])
        .args(["-p", "berth-simcmd", "--"])
        .args(args)
        .current_dir(root);
    bounded::run(stage, bounded::STAGE, &mut command, |line| {
        println!("{line}")
    })
}
