//! `berth sim shrink`: what a failure needs, as a scenario file.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use berth_sim::shrink::{Shrinker, Symptom};
use berth_sim::{Script, Verdict};
use clap::Args;

use super::play::{Progress, Quiet, play};
use super::source::WorldArgs;

/// `berth sim shrink`
#[derive(Debug, Args)]
pub struct ShrinkArgs {
    /// The seed of the failing run
    #[arg(long, required_unless_present = "scenario")]
    seed: Option<u64>,
    #[command(flatten)]
    world: WorldArgs,
    /// Where the scenario is written; standard output by default
    #[arg(short, long, value_name = "FILE", value_parser = super::output_file)]
    output: Option<PathBuf>,
    /// At most so many runs
    #[arg(long, default_value_t = 5_000)]
    runs: u64,
}

pub(super) fn shrink(args: &ShrinkArgs) -> anyhow::Result<ExitCode> {
    let script = args.world.source()?.script(args.seed);
    let before = script.acts.len();
    let progress = Progress::new(args.runs, "runs at most");
    let attempt = |script: &Script| {
        let outcome = symptom(script);
        progress.step(outcome.is_some());
        progress.show_sometimes();
        outcome
    };
    let quiet = Quiet::new();
    let shrinker = Shrinker::new(script, args.runs, attempt)
        .context("this run breaks no rule: there is nothing to shrink")?;
    let (mut small, symptom, runs) = shrinker.shrink();
    drop(quiet);
    progress.clear();
    let what = match symptom {
        Symptom::Broken(rule, at) => format!("{rule} ({}) breaks at {at}", rule.title()),
        Symptom::Crash => "it panics".to_owned(),
    };
    small.about = format!("What is left of a failing run: {what}.");
    let text = small.to_yaml();
    let name = match &args.output {
        None => {
            write!(super::out::stdout(), "{text}")?;
            "FILE".to_owned()
        }
        Some(path) => {
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
            path.display().to_string()
        }
    };
    let again = super::source::scenario_line(&name);
    super::out::aside(&format!(
        "{what}; {} of {before} acts are left after {runs} runs\n\nagain:\n  {again}\n",
        small.acts.len()
    ));
    Ok(ExitCode::from(Verdict::Clean.exit_code()))
}

/// How a script fails, if it does.
fn symptom(script: &Script) -> Option<Symptom> {
    match play(script.clone(), false) {
        Err(_) => Some(Symptom::Crash),
        Ok(outcome) => {
            let elapsed = outcome.elapsed.into();
            let violation = outcome.violation?;
            Some(Symptom::Broken(violation.rule, elapsed))
        }
    }
}
