//! `berth sim run`: one seed, or a scenario.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use berth_sim::{Coverage, Outcome, Verdict, World};
use clap::Args;
use serde_json::{Value, json};

use super::out::{aside, json as print_json, stdout};
use super::play::live;
use super::replay::{self, ReplayArgs};
use super::source::WorldArgs;
use super::{Format, OutputArgs, coverage_json, millis, seconds, windows_json};

/// `berth sim run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The seed, from which everything follows
    #[arg(long, required_unless_present_any = ["scenario", "trace_nodes"])]
    seed: Option<u64>,
    #[command(flatten)]
    world: WorldArgs,
    /// Write every step into this file, a line each: its number, the time since the beginning, the
    /// time as records have it, what happened
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    // Last: its heading goes on to the end.
    #[command(flatten)]
    replay: ReplayArgs,
}

/// What came of a run, whether it came to its end, broke a rule or panicked.
struct Ran {
    scenario: Option<String>,
    outcome: Outcome,
    panic: Option<String>,
    took: Duration,
    /// The command that runs it again.
    again: String,
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let keep = args.trace.is_some();
    let (world, again) = if let Some(replay) = args.replay.replay(args.seed, &args.world)? {
        let seed = replay.script.world.seed;
        let again = args.replay.command_line(seed, &args.world);
        let world = World::play(replay.script, keep).measured(replay.plan);
        (world, again)
    } else {
        let source = args.world.source()?;
        let script = source.script(args.seed);
        let again = source.command_line(script.world.seed);
        (World::play(script, keep), again)
    };
    let started = Instant::now();
    let (outcome, panic) = live(world);
    let ran = Ran {
        scenario: args.world.scenario.clone(),
        outcome,
        panic,
        took: started.elapsed(),
        again,
    };
    if let Some(path) = &args.trace {
        write_trace(path, &ran).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(twist) = args.world.missed_twist(&ran.outcome.counters) {
        aside(&format!(
            "this run has no such point: {twist} did not happen\n"
        ));
    }
    match args.output.output {
        Format::Json => print_json(&ran.json())?,
        Format::Text => ran.tell(&args.world.what(ran.outcome.seed), &mut stdout())?,
    }
    Ok(ExitCode::from(ran.verdict().exit_code()))
}

impl Ran {
    fn verdict(&self) -> Verdict {
        match self.panic {
            Some(_) => Verdict::Crash,
            None => Verdict::of(self.outcome.violation.as_ref()),
        }
    }

    /// What went wrong, for people.
    fn message(&self) -> Option<String> {
        let panicked = self.panic.as_ref().map(|text| format!("panicked: {text}"));
        panicked.or_else(|| self.outcome.violation.as_ref().map(ToString::to_string))
    }

    /// The same fields however it ended.
    fn json(&self) -> Value {
        let Self { outcome, took, .. } = self;
        json!({
            "scenario": self.scenario,
            "seed": outcome.seed,
            "verdict": self.verdict(),
            "message": self.message(),
            "violation": outcome.violation,
            "reproduce": self.again,
            "trace_hash": outcome.trace_hash,
            "steps": outcome.steps,
            "virtual_ms": millis(outcome.elapsed),
            "wall_ms": millis(*took),
            "steps_per_second": (outcome.steps as f64 / seconds(*took)).round(),
            "times_real_time": (outcome.elapsed.as_secs_f64() / seconds(*took)).round(),
            "coverage": coverage_json(&outcome.coverage),
            "windows": windows_json(outcome.windows),
            "replay": outcome.measures,
        })
    }

    fn tell(&self, what: &str, out: &mut impl Write) -> std::io::Result<()> {
        let Self { outcome, took, .. } = self;
        let message = self.message();
        let ended = message.as_deref().unwrap_or("every rule held");
        writeln!(out, "{what}: {ended}")?;
        let (virtually, seconds) = (outcome.elapsed.as_secs_f64(), seconds(*took));
        writeln!(
            out,
            "{} steps, {virtually:.0} s of virtual time in {seconds:.2} s ({:.0} times real time, \
             {:.0} steps/s), trace {}",
            outcome.steps,
            virtually / seconds,
            outcome.steps as f64 / seconds,
            outcome.trace_hash
        )?;
        writeln!(out, "S15: {}", outcome.windows)?;
        for line in reached(&outcome.coverage) {
            writeln!(out, "{line}")?;
        }
        if let Some(measures) = &outcome.measures {
            replay::tell(out, measures)?;
        }
        if message.is_some() {
            writeln!(
                out,
                "\nagain, with every step:\n  {} --trace FILE",
                self.again
            )?;
        }
        Ok(())
    }
}

/// Columns of a line.
const WIDTH: usize = 100;

/// What a run reached and how often, each kind of mark in a paragraph of its own.
fn reached(coverage: &Coverage) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut last = "";
    for (mark, times) in coverage.iter().filter(|(_, times)| *times > 0) {
        let (kind, what) = mark.name().split_once(' ').unwrap_or(("", mark.name()));
        let one = format!("{what} {times}");
        match lines.last_mut() {
            Some(line) if kind == last && line.chars().count() + one.len() + 2 <= WIDTH => {
                *line += &format!(", {one}");
            }
            // What goes on below it has the kind's width in front.
            Some(line) if kind == last => {
                line.push(',');
                lines.push(format!("{:<10}{one}", ""));
            }
            _ => lines.push(format!("{kind:<10}{one}")),
        }
        last = kind;
    }
    lines
}

fn write_trace(path: &Path, ran: &Ran) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in &ran.outcome.trace {
        writeln!(file, "{line}")?;
    }
    if let Some(message) = ran.message() {
        writeln!(file, "{message}")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use berth_sim::{Mark, scenarios};

    use super::*;

    fn ran(panic: Option<&str>) -> Ran {
        let script = scenarios::named("agent-amnesia").expect("a scenario");
        let mut world = World::play(script, false);
        let violation = world.live_until(Duration::from_secs(1));
        Ran {
            scenario: Some("agent-amnesia".to_owned()),
            outcome: world.outcome(violation),
            panic: panic.map(str::to_owned),
            took: Duration::from_secs(1),
            again: "berth sim run --scenario agent-amnesia --seed 1".to_owned(),
        }
    }

    #[test]
    fn a_run_has_the_same_fields_however_it_ended() {
        let fields = |ran: &Ran| -> BTreeSet<String> {
            let json = ran.json();
            let fields = json.as_object().expect("an object");
            fields.keys().cloned().collect()
        };
        let (clean, crash) = (ran(None), ran(Some("so it goes")));
        assert_eq!(fields(&clean), fields(&crash));
        assert!(fields(&clean).contains("reproduce"));
        assert_eq!(clean.json()["verdict"], "clean");
        let crash = crash.json();
        assert_eq!(crash["verdict"], "crash");
        assert_eq!(crash["message"], "panicked: so it goes");
        assert_eq!(crash["virtual_ms"], clean.json()["virtual_ms"]);
    }

    #[test]
    fn what_is_told_names_the_scenario_and_the_line_to_paste() {
        let told = |ran: &Ran| {
            let mut text = Vec::new();
            ran.tell("scenario agent-amnesia, seed 1", &mut text)
                .expect("memory takes it");
            String::from_utf8(text).expect("text")
        };
        let clean = told(&ran(None));
        assert!(clean.starts_with("scenario agent-amnesia, seed 1: every rule held\n"));
        assert!(!clean.contains("again"));
        let crash = told(&ran(Some("so it goes")));
        assert!(crash.contains(": panicked: so it goes\n"));
        assert!(crash.ends_with(" --scenario agent-amnesia --seed 1 --trace FILE\n"));
    }

    #[test]
    fn what_was_reached_is_a_short_table() {
        let mut coverage = Coverage::default();
        assert!(reached(&coverage).is_empty());
        coverage.reach(Mark::SchedulerCrash);
        coverage.reach(Mark::SchedulerCrash);
        coverage.reach(Mark::AgentHang);
        coverage.reach(Mark::EventNodeLost);
        assert_eq!(
            reached(&coverage),
            [
                "fault     scheduler crash 2, agent hang 1",
                "event     NodeLost 1",
            ]
        );
        for mark in Mark::ALL {
            coverage.reach(*mark);
        }
        assert!(
            reached(&coverage)
                .iter()
                .all(|line| line.len() <= WIDTH + 1)
        );
    }
}
