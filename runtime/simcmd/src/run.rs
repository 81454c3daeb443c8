//! `berth sim run`: one seed, or a scenario.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use berth_sim::{Failure, Outcome, Verdict};
use clap::Args;
use serde_json::json;

use super::play::{play, play_replay};
use super::replay::{self, ReplayArgs};
use super::source::WorldArgs;
use super::{Format, OutputArgs, coverage_json, millis, print_json, seconds};

/// `berth sim run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The seed, from which everything follows
    #[arg(long, required_unless_present_any = ["scenario", "trace_nodes"])]
    seed: Option<u64>,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    replay: ReplayArgs,
    /// Write every step into this file, a line each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let keep = args.trace.is_some();
    let started;
    let (seed, again, played) = if let Some(replay) = args.replay.replay(args.seed, &args.world)? {
        let seed = replay.script.world.seed;
        started = Instant::now();
        let again = args.replay.command_line(seed, &args.world);
        (seed, again, play_replay(replay, keep))
    } else {
        let source = args.world.source()?;
        let script = source.script(args.seed);
        let seed = script.world.seed;
        started = Instant::now();
        (seed, source.command_line(seed), play(script, keep))
    };
    let outcome = match played {
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
            "steps_per_second": (outcome.steps as f64 / seconds(took)).round(),
            "times_real_time": (outcome.elapsed.as_secs_f64() / seconds(took)).round(),
            "coverage": coverage_json(&outcome.coverage),
            "replay": outcome.measures,
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
    let (virtually, seconds) = (outcome.elapsed.as_secs_f64(), seconds(took));
    writeln!(
        out,
        "{} steps, {virtually:.0} s of virtual time in {seconds:.2} s ({:.0} times real time, \
         {:.0} steps/s), trace {}",
        outcome.steps,
        virtually / seconds,
        outcome.steps as f64 / seconds,
        outcome.trace_hash
    )?;
    if let Some(measures) = &outcome.measures {
        replay::tell(&mut out, measures)?;
    }
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
