//! `berth sim search`: many seeds.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use berth_sim::{Failure, Mark, Tally, Verdict};
use clap::Args;
use serde_json::{Value, json};

use super::out::{aside, json as print_json, stdout};
use super::play::{Progress, each, play, threads};
use super::source::WorldArgs;
use super::{Format, OutputArgs, coverage_json, millis, windows_json};

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
    /// Fail, with exit code 1, if no seed reached something that can be reached
    #[arg(long, conflicts_with_all = ["scenario", "no_faults"])]
    holes_fail: bool,
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
        let failure = match play(source.script(Some(seed)), false) {
            Ok(outcome) => {
                tally.add_outcome(&outcome, again);
                Failure::of(&outcome, again)
            }
            Err(message) => {
                let crash = Failure::crash(seed, message, again());
                tally.add_crash(crash.clone());
                Some(crash)
            }
        };
        progress.step(failure.is_some());
        if let Some(failure) = failure {
            progress.tell(&args.world.what(seed), &failure);
        }
    };
    let tally = each(threads(args.jobs), &progress, work, Tally::merge);
    let took = progress.elapsed();
    let found = Found {
        tally,
        took,
        complete: args.world.should_reach_all(),
    };
    match args.output.output {
        Format::Json => print_json(&found.json())?,
        Format::Text => found.tell(&mut stdout())?,
    }
    let holes = found.holes();
    if args.holes_fail && !holes.is_empty() {
        let names: Vec<_> = holes.iter().map(|mark| mark.name()).collect();
        aside(&format!(
            "error: no seed of {}..{} reached: {}\n",
            args.seeds.start,
            args.seeds.end,
            names.join("; ")
        ));
    }
    Ok(ExitCode::from(found.exit_code(args.holes_fail)))
}

/// What a search found.
struct Found {
    tally: Tally,
    took: Duration,
    /// What no seed reached is a hole.
    complete: bool,
}

impl Found {
    fn holes(&self) -> Vec<Mark> {
        if self.complete {
            self.tally.holes()
        } else {
            Vec::new()
        }
    }

    /// A rule that does not hold is worse than a hole.
    fn exit_code(&self, holes_fail: bool) -> u8 {
        match self.tally.verdict() {
            Verdict::Clean => u8::from(holes_fail && !self.holes().is_empty()),
            verdict => verdict.exit_code(),
        }
    }

    fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        let tally = &self.tally;
        writeln!(out, "{:>12} {:>8}  reached", "times", "seeds")?;
        for (mark, times) in tally.coverage.iter().filter(|(_, times)| *times > 0) {
            let seeds = tally.reached_by.count(mark);
            writeln!(out, "{times:>12} {seeds:>8}  {mark}")?;
        }
        if self.complete {
            tell_holes(&self.holes(), tally, out)?;
        }
        tell_sums(tally, self.took, out)
    }

    fn json(&self) -> Value {
        let Self { tally, took, .. } = self;
        let holes = self.holes();
        let holes: Vec<_> = holes.iter().map(|mark| mark.name()).collect();
        json!({
            "seeds": tally.seeds,
            "failed": tally.failed,
            "verdict": tally.verdict(),
            "failures": tally.failures,
            "trace_hash": tally.hash(),
            "steps": tally.steps,
            "virtual_ms": tally.elapsed_ms,
            "wall_ms": millis(*took),
            "seeds_per_second": tally.seeds as f64 / super::seconds(*took),
            "steps_per_second": (tally.steps as f64 / super::seconds(*took)).round(),
            "times_real_time": (tally.elapsed_ms as f64 / 1e3 / super::seconds(*took)).round(),
            "coverage": coverage_json(&tally.coverage),
            "coverage_seeds": coverage_json(&tally.reached_by),
            "windows": windows_json(tally.windows),
            // Of a scenario, or without faults, most cannot be reached: nothing is said.
            "holes": self.complete.then_some(holes),
        })
    }
}

fn tell_holes(holes: &[Mark], tally: &Tally, out: &mut impl Write) -> std::io::Result<()> {
    if !holes.is_empty() {
        writeln!(out, "\nnever reached (holes in the simulation):")?;
        for hole in holes {
            writeln!(out, "{:>23}{hole}", "")?;
        }
    }
    for (mark, why) in tally.coverage.out_of_reach() {
        writeln!(out, "\ncannot be reached yet: {mark}: {why}")?;
    }
    Ok(())
}

fn tell_sums(tally: &Tally, took: Duration, out: &mut impl Write) -> std::io::Result<()> {
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
    writeln!(out, "S15: {}", tally.windows)?;
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

    fn found(complete: bool, crashes: u64) -> Found {
        let script = berth_sim::scenarios::named("agent-amnesia").expect("a scenario");
        let outcome = play(script, false).expect("it does not panic");
        let mut tally = Tally::default();
        for _ in 0..2 {
            tally.add_outcome(&outcome, String::new);
        }
        for seed in 0..crashes {
            tally.add_crash(Failure::crash(seed, "x", "again".to_owned()));
        }
        Found {
            tally,
            took: Duration::from_secs(1),
            complete,
        }
    }

    fn told(found: &Found) -> String {
        let mut text = Vec::new();
        found.tell(&mut text).expect("memory takes it");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn holes_are_told_where_everything_should_be_reached_and_fail_if_they_should() {
        let all = found(true, 0);
        assert!(told(&all).contains("holes in the simulation"));
        assert!(
            all.json()["holes"]
                .as_array()
                .is_some_and(|it| it.len() > 20)
        );
        assert_eq!((all.exit_code(false), all.exit_code(true)), (0, 1));
        let scene = found(false, 0);
        assert!(!told(&scene).contains("reached yet"));
        assert!(!told(&scene).contains("holes in the simulation"));
        assert!(scene.json()["holes"].is_null());
        assert_eq!(scene.exit_code(true), 0);
        assert_eq!(found(true, 1).exit_code(true), Verdict::Crash.exit_code());
    }

    #[test]
    fn a_mark_is_told_with_its_times_and_its_seeds() {
        let found = found(false, 0);
        let mark = Mark::EventWorkloadRunning;
        let times = found.tally.coverage.count(mark);
        assert!(times >= 2, "it is reached in both runs");
        let line = format!("{times:>12} {:>8}  {mark}\n", 2);
        assert!(told(&found).contains(&line));
        let json = found.json();
        assert_eq!(json["coverage"][mark.name()], times);
        assert_eq!(json["coverage_seeds"][mark.name()], 2);
        assert_eq!(json["seeds_per_second"], 2.0);
        assert!(json["windows"]["judged"].as_u64() > Some(0));
    }
}
