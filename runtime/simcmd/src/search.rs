//! `berth sim search`: many seeds.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use berth_sim::{Failure, Tally};
use clap::Args;
use serde_json::{Value, json};

use super::play::{Progress, each, play, threads};
use super::source::WorldArgs;
use super::{Format, OutputArgs, coverage_json, millis, print_json};

/// `berth sim search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// The seeds: from the first to the one before the last
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: std::ops::Range<u64>,
    /// Threads; all processors by default
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let wrong = || "expected two numbers with two dots between, such as 0..2000".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (
        from.parse().map_err(|_| wrong())?,
        to.parse().map_err(|_| wrong())?,
    );
    if from < to {
        Ok(from..to)
    } else {
        Err("the second number must be greater".to_owned())
    }
}

pub(super) fn search(args: &SearchArgs) -> anyhow::Result<ExitCode> {
    let source = args.world.source()?;
    let progress = Progress::new(args.seeds.end - args.seeds.start, "seeds");
    let work = |tally: &mut Tally, number: u64| {
        let seed = args.seeds.start + number;
        let again = || source.command_line(seed);
        let failed = match play(source.script(Some(seed)), false) {
            Ok(outcome) => tally.add_outcome(&outcome, again),
            Err(message) => {
                tally.add_crash(Failure::crash(seed, message, again()));
                true
            }
        };
        progress.step(failed);
    };
    let tally = each(threads(args.jobs), &progress, work, Tally::merge);
    let took = progress.elapsed();
    match args.output.output {
        Format::Json => print_json(&tally_json(&tally, took))?,
        Format::Text => print_tally(&tally, took)?,
    }
    Ok(ExitCode::from(tally.verdict().exit_code()))
}

fn print_tally(tally: &Tally, took: Duration) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:>12}  reached", "times")?;
    for (mark, count) in tally.coverage.iter().filter(|(_, count)| *count > 0) {
        writeln!(out, "{count:>12}  {mark}")?;
    }
    let holes = tally.holes();
    if !holes.is_empty() {
        writeln!(out, "\nnever reached (holes in the simulation):")?;
        for hole in holes {
            writeln!(out, "              {hole}")?;
        }
    }
    for (mark, why) in tally.coverage.out_of_reach() {
        writeln!(out, "\ncannot be reached yet: {mark}: {why}")?;
    }
    let seconds = took.as_secs_f64().max(0.001);
    writeln!(
        out,
        "\n{} seeds, {} failed; {:.1} s, {:.1} seeds/s, {:.0} steps/s, {:.0} times real time",
        tally.seeds,
        tally.failed,
        seconds,
        tally.seeds as f64 / seconds,
        tally.steps as f64 / seconds,
        tally.elapsed_ms as f64 / 1_000.0 / seconds,
    )?;
    writeln!(out, "traces {}", tally.hash())?;
    for failure in &tally.failures {
        writeln!(
            out,
            "\nseed {}: {}\n  {}",
            failure.seed, failure.message, failure.reproduce
        )?;
    }
    Ok(())
}

fn tally_json(tally: &Tally, took: Duration) -> Value {
    json!({
        "seeds": tally.seeds,
        "failed": tally.failed,
        "verdict": tally.verdict(),
        "failures": tally.failures,
        "trace_hash": tally.hash(),
        "steps": tally.steps,
        "virtual_ms": tally.elapsed_ms,
        "wall_ms": millis(took),
        "steps_per_second": (tally.steps as f64 / super::seconds(took)).round(),
        "times_real_time": (tally.elapsed_ms as f64 / 1e3 / super::seconds(took)).round(),
        "coverage": coverage_json(&tally.coverage),
        "holes": tally.holes().iter().map(|mark| mark.name()).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_as_people_write_them() {
        assert_eq!(seeds("0..2000"), Ok(0..2000));
        for wrong in ["", "5", "5..5", "9..3", "a..b", "1..2..3"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }
}
