//! Runs cargo's checks and tests and adds the totals of all suites up.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{bounded, determinism, simulate, tidy};

/// What proptest reads its seed from.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// Formatting, the project's own rules, clippy.
///
/// # Errors
/// When one of them finds something.
pub(crate) fn lint(root: &Path) -> Result<()> {
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    // Bugs on purpose are no part of any other build: here it is seen that they compile.
    let planted = [
        "clippy",
        "-p=berth-core",
        "-p=berth-agent",
        "-p=berth-sim",
        "-p=berth-simcmd",
        "--features=planted",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    // All of them, so that one run says everything.
    let done = [
        step("cargo fmt --all --check", || {
            cargo(root, &["fmt", "--all", "--check", "--", "-l"])
        }),
        step("cargo xtask tidy", || tidy::run(root)),
        step("cargo clippy", || cargo(root, &clippy)),
        step("cargo clippy with planted bugs", || cargo(root, &planted)),
    ];
    done.into_iter().collect()
}

/// [`lint`], then every test of the workspace, the black-box tests among them, then the core's
/// recorded history once more in an optimised build: its recorded answers hold in both. Last, the
/// simulator's short forms, and a few of its traces in both.
///
/// # Errors
/// When a check or a test fails, or has no end.
pub(crate) fn test(root: &Path) -> Result<()> {
    lint(root)?;
    // The black-box tests start the `berth` binary: build it with the same features as the
    // tests, so that nothing is compiled twice.
    let build = ["build", "--workspace", "--bins", "--tests", "--quiet"];
    step("cargo build", || cargo(root, &build))?;
    let mut total = Total::default();
    let tested = step("cargo test", || {
        let mut tests = Command::new("cargo");
        tests.args(["test", "--workspace", "--no-fail-fast"]);
        // One seed for every property test: a run can be repeated. A search for new cases names
        // other seeds: PROPTEST_RNG_SEED=7 make test.
        if std::env::var_os(PROPERTY_SEED).is_none() {
            tests.env(PROPERTY_SEED, "2026");
        }
        bounded::run(
            "cargo test",
            bounded::STAGE,
            tests.current_dir(root),
            |line| {
                println!("{line}");
                total.take(line);
            },
        )
    });
    println!("{}", total.line());
    tested?;
    ensure!(
        total.failed == 0 && total.passed > 0,
        "{} tests failed",
        total.failed
    );
    step("determinism of the core, optimised", || {
        determinism::optimised(root)
    })?;
    step("simulation", || simulate::run(root))?;
    step("traces, debug and optimised", || {
        simulate::traces_in_short(root)
    })
}

/// Runs a step under a heading, and says how long it took.
fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let started = Instant::now();
    let done = run();
    println!(
        "== {name}: {} in {:.0} s",
        if done.is_ok() { "done" } else { "FAILED" },
        seconds(started)
    );
    done
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

fn cargo(root: &Path, args: &[&str]) -> Result<()> {
    let status = Command::new("cargo").args(args).current_dir(root).status();
    let status = status.context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} failed", args.join(" "));
    }
    Ok(())
}

/// What cargo's lines `test result: …` add up to.
#[derive(Debug, Default, PartialEq)]
struct Total {
    suites: u32,
    passed: u64,
    failed: u64,
    ignored: u64,
    took: Duration,
    failures: Vec<String>,
}

impl Total {
    /// Takes a line of cargo's output.
    fn take(&mut self, line: &str) {
        if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|l| l.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        self.suites += 1;
        let (_, counts) = result.split_once(". ").unwrap_or_default();
        for part in counts.split("; ") {
            let (first, rest) = part.split_once(' ').unwrap_or_default();
            let count = first.parse().unwrap_or(0);
            match rest {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ if part.starts_with("finished in ") => {
                    let number = part
                        .trim_start_matches("finished in ")
                        .trim_end_matches('s');
                    let took = number.parse().unwrap_or_default();
                    self.took += Duration::try_from_secs_f64(took).unwrap_or_default();
                }
                _ => {}
            }
        }
    }

    /// The total, in the words of cargo.
    fn line(&self) -> String {
        let mut text: String = self
            .failures
            .iter()
            .map(|name| format!("FAILED: {name}\n"))
            .collect();
        let result = if self.failed == 0 { "ok" } else { "FAILED" };
        text.push_str(&format!(
            "total of {} suites: test result: {result}. {} passed; {} failed; {} ignored; \
             finished in {:.2}s",
            self.suites,
            self.passed,
            self.failed,
            self.ignored,
            self.took.as_secs_f64()
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_add_up() {
        let mut total = Total::default();
        for line in [
            "test a::b ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 1.50s",
            "test c::d ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 0.25s",
        ] {
            total.take(line);
        }
        assert_eq!(
            total.line(),
            "FAILED: c::d\ntotal of 2 suites: test result: FAILED. 5 passed; 1 failed; 1 ignored; \
             finished in 1.75s"
        );
    }
}
