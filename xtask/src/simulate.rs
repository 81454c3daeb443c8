//! The simulator's short forms for every run of the tests: a search over seeds, every single fault
//! at every point of a few scenarios, and every planted bug. And that one seed has one trace,
//! however it is run.

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
/// And in every run of the tests: a debug build is slow.
const TRACED_SHORT: &str = "0..20";

/// S22: the same seeds have the same traces in debug and optimised, on one thread and on two, with
/// assertions and overflow checks and, in `release`, without.
///
/// # Errors
/// They have not, or a run fails.
pub(crate) fn traces(root: &Path) -> Result<()> {
    let runs = [
        ("dev", "1"),
        ("simulation", "1"),
        ("simulation", "2"),
        ("release", "1"),
    ];
    let runs = runs.map(|(profile, jobs)| (profile, built(root, profile), jobs));
    compare(runs, TRACED)
}

/// S22 in every run of the tests, with what is built there anyway: a few seeds by the debug binary
/// of the workspace, which stands beside this one, and by the one of the profile `simulation`. What
/// a build without assertions and overflow checks does is compared by [`traces`] alone: nothing
/// else in a run of the tests needs the simulator in `release`.
///
/// # Errors
/// They differ, a run fails, or the workspace's binaries are not built.
pub(crate) fn traces_in_short(root: &Path) -> Result<()> {
    let here = std::env::current_exe().context("this program has a path")?;
    let debug = here.with_file_name("berth-sim");
    ensure!(debug.exists(), "{} is not built", debug.display());
    let runs = [
        ("dev", Command::new(debug), "1"),
        ("simulation", built(root, "simulation"), "2"),
    ];
    compare(runs, TRACED_SHORT)
}

/// The simulator's binary of this profile, built if it is not.
fn built(root: &Path, profile: &str) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(["run", "--quiet", "--profile", profile])
        .args(["-p", "berth-simcmd", "--"])
        .current_dir(root);
    command
}

fn compare<const N: usize>(runs: [(&str, Command, &str); N], seeds: &str) -> Result<()> {
    let mut first: Option<String> = None;
    for (profile, command, jobs) in runs {
        let hash = traced(profile, command, jobs, seeds)?;
        println!("{profile:>10}  {jobs} job(s)  seeds {seeds}  traces {hash}");
        let expected = first.get_or_insert_with(|| hash.clone());
        ensure!(
            *expected == hash,
            "the traces differ from those of the first run"
        );
    }
    println!("the traces of all {N} runs are equal");
    Ok(())
}

/// The hash of all traces of a search.
fn traced(profile: &str, mut command: Command, jobs: &str, seeds: &str) -> Result<String> {
    command.args(["search", "--seeds", seeds, "--jobs", jobs]);
    let mut hash = None;
    let stage = format!("the traces in {profile} on {jobs} thread(s)");
    bounded::run(&stage, bounded::STAGE, &mut command, |line| {
        if let Some(found) = line.strip_prefix("traces ") {
            hash = Some(found.to_owned());
        }
    })?;
    hash.with_context(|| format!("{stage}: no line `traces <hash>`"))
}

/// Runs the search, the exhaustion and the hunt.
///
/// # Errors
/// A rule does not hold, something that can be reached is not, a planted bug is not noticed, or
/// the simulator does not build.
pub(crate) fn run(root: &Path) -> Result<()> {
    simulate(
        root,
        "search",
        &["search", "--seeds", SEEDS, "--holes-fail"],
    )?;
    let mut exhaust = vec!["exhaust"];
    for name in EXHAUSTED {
        exhaust.extend(["--scenario", name]);
    }
    simulate(root, "exhaust", &exhaust)?;
    hunt(root)
}

/// Plants every bug in the product: the simulator must notice each, and each rule that can must
/// be the first to notice one. And the quick ones once more: by the rules that are there for them.
fn hunt(root: &Path) -> Result<()> {
    let planted = [
        "--quiet",
        "--profile",
        "simulation",
        "--features",
        "planted",
    ];
    let mut all = Command::new("cargo");
    all.arg("run")
        .args(planted)
        .args(["-p", "berth-simcmd", "--", "hunt"])
        .current_dir(root);
    let mut quick = Command::new("cargo");
    quick
        .arg("test")
        .args(planted)
        .args(["-p", "berth-sim", "--test", "planted"])
        .current_dir(root);
    for mut command in [all, quick] {
        bounded::run("hunt", bounded::STAGE, &mut command, |line| {
            println!("{line}")
        })?;
    }
    Ok(())
}

fn simulate(root: &Path, stage: &str, args: &[&str]) -> Result<()> {
    let mut command = built(root, "simulation");
    command.args(args);
    bounded::run(stage, bounded::STAGE, &mut command, |line| {
        println!("{line}")
    })
}
