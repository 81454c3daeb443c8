//! The simulator's short forms for every run of the tests: a search over seeds, and every single
//! fault at every point of a few scenarios. And that one seed has one trace, however it is run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bounded;

/// What is searched. `make search` takes more.
const SEEDS: &str = "0..2000";
/// Scenarios that are run with every single fault. `make exhaust` takes all.
const EXHAUSTED: [&str; 3] = ["delete-during-apply", "there-and-back", "paused-leader"];

/// Seeds whose traces are compared.
const TRACED: &str = "0..40";

/// S22: the same seeds have the same traces in debug and optimised, on one thread and on two.
///
/// # Errors
/// They have not, or a run fails.
pub(crate) fn traces(root: &Path) -> Result<()> {
    let runs = [("dev", "1"), ("simulation", "1"), ("simulation", "2")];
    let mut first: Option<String> = None;
    for (profile, jobs) in runs {
        let hash = traced(root, profile, jobs)?;
        println!("{profile:>10}  {jobs} job(s)  seeds {TRACED}  traces {hash}");
        let expected = first.get_or_insert_with(|| hash.clone());
        ensure!(
            *expected == hash,
            "the traces differ from those of the first run"
        );
    }
    println!("the traces of all three runs are equal");
    Ok(())
}

/// The hash of all traces of a search.
fn traced(root: &Path, profile: &str, jobs: &str) -> Result<String> {
    let mut command = Command::new("cargo");
    command
        .args(["run", "--quiet", "--profile", profile, "-p", "berth-simcmd"])
        .args(["--", "search", "--seeds", TRACED, "--jobs", jobs])
        .current_dir(root);
    let mut hash = None;
    let stage = format!("the traces in {profile} on {jobs} thread(s)");
    bounded::run(&stage, bounded::STAGE, &mut command, |line| {
        if let Some(found) = line.strip_prefix("traces ") {
            hash = Some(found.to_owned());
        }
    })?;
    hash.with_context(|| format!("{stage}: no line `traces <hash>`"))
}

/// Runs the search, the exhaustion and a short hunt.
///
/// # Errors
/// A rule does not hold, or the simulator does not build.
pub(crate) fn run(root: &Path) -> Result<()> {
    simulate(root, "search", &["search", "--seeds", SEEDS])?;
    let mut exhaust = vec!["exhaust"];
    for name in EXHAUSTED {
        exhaust.extend(["--scenario", name]);
    }
    simulate(root, "exhaust", &exhaust)?;
    hunt(root)
}

/// Plants the quickly found bugs in the product: the simulator must notice each.
fn hunt(root: &Path) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--quiet", "--profile", "simulation"])
        .args(["-p", "berth-sim", "--features", "planted"])
        .args(["--test", "planted"])
        .current_dir(root);
    bounded::run("hunt", bounded::STAGE, &mut command, |line| {
        println!("{line}")
    })
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
