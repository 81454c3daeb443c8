//! `berth sim`: the simulator's commands. It is pure; threads, clocks and files are here.

mod exhaust;
mod hunt;
mod play;
mod replay;
mod report;
mod run;
mod search;
mod shrink;
mod source;

use std::process::ExitCode;
use std::time::Duration;

use berth_sim::{Coverage, scenarios};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

/// `berth sim …`
#[derive(Debug, Subcommand)]
pub enum SimCommand {
    /// Run one seed, or a scenario
    #[command(after_help = EXIT_CODES)]
    Run(run::RunArgs),
    /// Run one seed, or a scenario, and write what happened as a page for a browser
    #[command(after_help = EXIT_CODES)]
    Report(report::ReportArgs),
    /// Run many seeds and say what they found
    #[command(after_help = EXIT_CODES)]
    Search(search::SearchArgs),
    /// Run a short scenario with every single thing going wrong at every point of it
    #[command(after_help = EXIT_CODES)]
    Exhaust(exhaust::ExhaustArgs),
    /// Take out of a failing run what it does not need, and write the rest as a scenario
    Shrink(shrink::ShrinkArgs),
    /// Plant bugs in the product, and see whether the simulator finds them
    Hunt(hunt::HuntArgs),
    /// List the named scenarios
    Scenarios(OutputArgs),
}

const EXIT_CODES: &str = "\
Exit codes:
  0    every rule held
  127  something panicked
  128  a liveness rule did not hold
  129  a safety rule did not hold";

#[derive(Debug, Args)]
pub struct OutputArgs {
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the command; its result is the process's exit code.
///
/// # Errors
/// A file cannot be read or written, or is not what it should be.
pub fn run(command: SimCommand) -> anyhow::Result<ExitCode> {
    match command {
        SimCommand::Run(args) => run::run(&args),
        SimCommand::Report(args) => report::report(&args),
        SimCommand::Search(args) => search::search(&args),
        SimCommand::Exhaust(args) => exhaust::exhaust(&args),
        SimCommand::Shrink(args) => shrink::shrink(&args),
        SimCommand::Hunt(args) => hunt::hunt(&args),
        SimCommand::Scenarios(args) => list_scenarios(args.output),
    }
}

fn list_scenarios(format: Format) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for (name, _) in scenarios::ALL {
        let script = scenarios::named(name).map_err(anyhow::Error::msg)?;
        all.push((*name, script.about));
    }
    match format {
        Format::Json => {
            let all = all
                .iter()
                .map(|(name, about)| json!({"name": name, "about": about}));
            print_json(&all.collect())?;
        }
        Format::Text => {
            for (name, about) in all {
                println!("{name}\n    {about}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
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

/// At least a microsecond: it is divided by.
fn seconds(took: std::time::Duration) -> f64 {
    took.as_secs_f64().max(1e-6)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
