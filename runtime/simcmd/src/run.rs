//! `berth sim run`: one seed, or a scenario.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use berth_sim::{Failure, Outcome, Verdict};
use clap::Args;
use serde_json::json;

use super::play::play;
use super::source::WorldArgs;
use super::{Format, OutputArgs, coverage_json, millis, print_json};

/// `berth sim run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The seed, from which everything follows
    #[arg(long, required_unless_present = "scenario")]
    seed: Option<u64>,
    #[command(flatten)]
    world: WorldArgs,
    /// Write every step into this file, a line each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let source = args.world.source()?;
    let script = source.script(args.seed);
    let again = source.command_line(script.world.seed);
    let seed = script.world.seed;
    let started = Instant::now();
    let outcome = match play(script, args.trace.is_some()) {
        Ok(outcome) => outcome,
        Err(message) => {
            tell_failure(args.output.output, &Failure::crash(seed, message, again))?;
            return Ok(ExitCode::from(Verdict::Crash.exit_code()));
        }
    };
    let took = started.elapsed();
    if let Some(path) = &args.trace {
        write_trace(path, &outcome).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let verdict = Verdict::of(outcome.violation.as_ref());
    match args.output.output {
        Format::Json => print_json(&json!({
            "seed": outcome.seed,
            "verdict": verdict,
            "violation": outcome.violation,
            "trace_hash": outcome.trace_hash,
            "steps": outcome.steps,
            "virtual_ms": millis(outcome.elapsed),
            "wall_ms": millis(took),
            "coverage": coverage_json(&outcome.coverage),
        }))?,
        Format::Text => tell(&outcome, took, &again)?,
    }
    Ok(ExitCode::from(verdict.exit_code()))
}

fn tell(outcome: &Outcome, took: std::time::Duration, again: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match &outcome.violation {
        None => writeln!(out, "seed {}: every rule held", outcome.seed)?,
        Some(violation) => writeln!(out, "seed {}: {violation}", outcome.seed)?,
    }
    let (virtually, seconds) = (outcome.elapsed.as_secs_f64(), took.as_secs_f64().max(1e-6));
    writeln!(
        out,
        "{} steps, {virtually:.0} s of virtual time in {seconds:.2} s ({:.0} times real time, \
         {:.0} steps/s), trace {}",
        outcome.steps,
        virtually / seconds,
        outcome.steps as f64 / seconds,
        outcome.trace_hash
    )?;
    if outcome.violation.is_some() {
        writeln!(out, "\nagain, with every step:\n  {again} --trace FILE")?;
    }
    Ok(())
}

fn tell_failure(format: Format, failure: &Failure) -> anyhow::Result<()> {
    match format {
        Format::Json => print_json(&serde_json::to_value(failure)?),
        Format::Text => {
            println!(
                "seed {}: {}\n\nagain:\n  {}",
                failure.seed, failure.message, failure.reproduce
            );
            Ok(())
        }
    }
}

fn write_trace(path: &Path, outcome: &Outcome) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in &outcome.trace {
        writeln!(file, "{line}")?;
    }
    if let Some(violation) = &outcome.violation {
        writeln!(file, "{violation}")?;
    }
    file.flush()
}
