//! Chores of the project: `cargo xtask <chore>`. See the README.

mod bounded;
mod coverage;
mod determinism;
mod simulate;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

const USAGE: &str = "usage: cargo xtask tidy | lint | test | simulate | determinism | coverage";

fn main() -> ExitCode {
    let chore = std::env::args().nth(1).unwrap_or_default();
    let root = root();
    let done = match chore.as_str() {
        "tidy" => tidy::run(&root),
        "lint" => suite::lint(&root),
        "test" => suite::test(&root),
        "simulate" => simulate::run(&root),
        "determinism" => determinism::run(&root),
        "coverage" => coverage::run(&root),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    report(done)
}

fn report(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder: this crate stands right below it.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
