//! `berth sim`: the simulator's commands. It is pure; threads, clocks and files are here.

use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use berth_sim::{Coverage, Failure, Options, Outcome, Tally, Verdict, World};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

/// `berth sim …`
#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run one seed
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Run many seeds and say what they found
    #[command(after_help = EXIT_CODES)]
    Search(SearchArgs),
}

const EXIT_CODES: &str = "\
Exit codes:
  0    every rule held
  127  something panicked
  128  a liveness rule did not hold
  129  a safety rule did not hold";

/// `berth sim run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The seed, from which everything follows
    #[arg(long)]
    seed: u64,
    #[command(flatten)]
    world: WorldArgs,
    /// Write every step into this file, a line each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// `berth sim search`
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
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

/// What the world is made of.
#[derive(Debug, Args)]
struct WorldArgs {
    /// Nodes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    nodes: u16,
    /// Workloads that clients play with
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    workloads: u32,
    /// Clients
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Schedulers that compete for leadership
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    schedulers: u16,
    /// How long anything may break, in virtual time; a calm follows
    #[arg(long, default_value = "3m", value_parser = humantime)]
    duration: Duration,
    /// Nothing breaks
    #[arg(long)]
    no_faults: bool,
}

impl WorldArgs {
    fn options(&self, seed: u64) -> Options {
        Options {
            schedulers: self.schedulers.into(),
            nodes: self.nodes.into(),
            workloads: self.workloads as usize,
            clients: self.clients.into(),
            chaos: self.duration,
            faults: !self.no_faults,
            ..Options::small(seed)
        }
    }
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
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

/// A number with a unit: `90s`, `3m`, `1h`.
fn humantime(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected something like 90s, 3m, 1h")?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("expected a unit: s, m or h".to_owned()),
    };
    let whole = number
        .checked_mul(seconds)
        .filter(|seconds| *seconds <= 7 * 86_400);
    whole
        .map(Duration::from_secs)
        .ok_or_else(|| "at most a week".to_owned())
}

/// Runs the command; its result is the process's exit code.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn run(command: SimCommand) -> anyhow::Result<ExitCode> {
    match command {
        SimCommand::Run(args) => run_one(&args),
        SimCommand::Search(args) => search(&args),
    }
}

/// What one seed came to, a panic included.
fn play(options: &Options, keep: bool) -> Result<Outcome, String> {
    let options = options.clone();
    let run = AssertUnwindSafe(|| World::with_trace(options, keep).run());
    catch_unwind(run).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "something that is no text".to_owned())
    })
}

fn run_one(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let options = args.world.options(args.seed);
    let started = Instant::now();
    let outcome = match play(&options, args.trace.is_some()) {
        Ok(outcome) => outcome,
        Err(message) => {
            tell_failure(args.output.output, &Failure::crash(&options, message))?;
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
        Format::Text => {
            let mut out = std::io::stdout().lock();
            match &outcome.violation {
                None => writeln!(out, "seed {}: every rule held", outcome.seed)?,
                Some(violation) => writeln!(out, "seed {}: {violation}", outcome.seed)?,
            }
            writeln!(
                out,
                "{} steps, {} s of virtual time in {:.2} s, trace {}",
                outcome.steps,
                outcome.elapsed.as_secs(),
                took.as_secs_f64(),
                outcome.trace_hash
            )?;
            if verdict != Verdict::Clean {
                writeln!(
                    out,
                    "\nagain, with every step:\n  {} --trace FILE",
                    options.command_line()
                )?;
            }
        }
    }
    Ok(ExitCode::from(verdict.exit_code()))
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

fn write_trace(path: &PathBuf, outcome: &Outcome) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for line in &outcome.trace {
        writeln!(file, "{line}")?;
    }
    if let Some(violation) = &outcome.violation {
        writeln!(file, "{violation}")?;
    }
    file.flush()
}

/// What the threads of a search share.
struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    tally: Mutex<Tally>,
}

fn search(args: &SearchArgs) -> anyhow::Result<ExitCode> {
    let jobs = args.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        usize::from,
    );
    let shared = Shared {
        next: AtomicU64::new(args.seeds.start),
        done: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        tally: Mutex::new(Tally::default()),
    };
    // A panic is a result here: it is told with its seed, not as it happens.
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| scope.spawn(|| work(args, &shared)))
            .collect();
        if std::io::stderr().is_terminal() {
            while workers.iter().any(|worker| !worker.is_finished()) {
                progress(args, &shared, started);
                std::thread::park_timeout(Duration::from_millis(500));
            }
            eprint!("\r\x1b[K");
        }
    });
    drop(std::panic::take_hook());
    let tally = shared
        .tally
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let took = started.elapsed();
    match args.output.output {
        Format::Json => print_json(&tally_json(&tally, took))?,
        Format::Text => print_tally(&tally, took)?,
    }
    Ok(ExitCode::from(tally.verdict().exit_code()))
}

fn work(args: &SearchArgs, shared: &Shared) {
    let mut own = Tally::default();
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= args.seeds.end {
            break;
        }
        let options = args.world.options(seed);
        let before = own.failed;
        match play(&options, false) {
            Ok(outcome) => own.add_outcome(&options, &outcome),
            Err(message) => own.add_crash(&options, message),
        }
        shared
            .failed
            .fetch_add(own.failed - before, Ordering::Relaxed);
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
    let mut all = shared
        .tally
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    all.merge(own);
}

fn progress(args: &SearchArgs, shared: &Shared, started: Instant) {
    let done = shared.done.load(Ordering::Relaxed);
    let failed = shared.failed.load(Ordering::Relaxed);
    let all = args.seeds.end - args.seeds.start;
    let rate = done as f64 / started.elapsed().as_secs_f64().max(0.001);
    eprint!("\r\x1b[K{done} of {all} seeds, {rate:.1} seeds/s, {failed} failed");
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
        "steps": tally.steps,
        "virtual_ms": tally.elapsed_ms,
        "wall_ms": millis(took),
        "coverage": coverage_json(&tally.coverage),
        "holes": tally.holes().iter().map(|mark| mark.name()).collect::<Vec<_>>(),
    })
}

fn coverage_json(coverage: &Coverage) -> Value {
    let reached = coverage.iter().filter(|(_, count)| *count > 0);
    reached
        .map(|(mark, count)| (mark.name().to_owned(), Value::from(count)))
        .collect()
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_and_durations_are_read_as_people_write_them() {
        assert_eq!(seeds("0..2000"), Ok(0..2000));
        for wrong in ["", "5", "5..5", "9..3", "a..b", "1..2..3"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(humantime("3m"), Ok(Duration::from_secs(180)));
        for wrong in ["", "3", "m", "3d", "99999999999999999999s", "200h"] {
            assert!(humantime(wrong).is_err(), "{wrong}");
        }
    }
}
