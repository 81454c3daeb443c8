//! `berth sim`: the simulator's commands. It is pure; threads, clocks and files are here.

mod exhaust;
mod hunt;
mod out;
mod play;
mod replay;
mod report;
mod run;
mod search;
mod shrink;
mod source;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use berth_sim::{Coverage, Windows, scenarios};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use out::json as print_json;

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
    #[command(after_help = EXIT_CODES_SHRINK)]
    Shrink(shrink::ShrinkArgs),
    /// Plant bugs in the product, and see whether the simulator finds them
    #[command(after_help = EXIT_CODES_HUNT)]
    Hunt(hunt::HuntArgs),
    /// List the named scenarios, or print one as a file to begin with
    Scenarios(ScenariosArgs),
}

const EXIT_CODES: &str = "\
Exit codes:
  0    every rule held
  1    it could not be done: a file cannot be read or written, a scenario is none, and the like
  2    the arguments are wrong
  127  something panicked
  128  a liveness rule did not hold
  129  a safety rule did not hold";

const EXIT_CODES_SHRINK: &str = "\
Exit codes:
  0    the scenario is written
  1    the run breaks no rule, or a file cannot be read or written
  2    the arguments are wrong";

const EXIT_CODES_HUNT: &str = "\
Exit codes:
  0    every bug was noticed; of the whole list, each rule that can noticed one first
  1    a bug or a rule is left, or this build can plant none
  2    the arguments are wrong";

#[derive(Debug, Args)]
pub struct OutputArgs {
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// `berth sim scenarios`
#[derive(Debug, Args)]
pub struct ScenariosArgs {
    /// Print the file of this one
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
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
        SimCommand::Scenarios(args) => list_scenarios(&args),
    }
}

fn list_scenarios(args: &ScenariosArgs) -> anyhow::Result<ExitCode> {
    let format = args.output.output;
    if let Some(name) = &args.name {
        print_scenario(name, format)?;
        return Ok(ExitCode::SUCCESS);
    }
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
            let mut out = out::stdout();
            for (name, about) in all {
                writeln!(out, "{name}\n    {about}")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of a scenario, as it was written.
fn print_scenario(name: &str, format: Format) -> anyhow::Result<()> {
    let about = scenarios::named(name).map_err(anyhow::Error::msg)?.about;
    let file = scenarios::ALL.iter().find(|(known, _)| *known == name);
    let (_, text) = file.context("a scenario that is read has a text")?;
    match format {
        Format::Json => print_json(&json!({"name": name, "about": about, "file": text})),
        Format::Text => {
            write!(out::stdout(), "{text}")?;
            Ok(())
        }
    }
}

/// A file to write, for commands that have no formats: their `-o` takes a path.
fn output_file(text: &str) -> Result<PathBuf, String> {
    match <Format as ValueEnum>::from_str(text, true) {
        Ok(_) => Err(format!(
            "here -o names the file to write, and `{text}` is a format of other commands; if the \
             file is called so: ./{text}"
        )),
        Err(_) => Ok(PathBuf::from(text)),
    }
}

fn coverage_json(coverage: &Coverage) -> Value {
    let reached = coverage.iter().filter(|(_, count)| *count > 0);
    reached
        .map(|(mark, count)| (mark.name().to_owned(), Value::from(count)))
        .collect()
}

/// How much of what clients were told S15 judged.
fn windows_json(windows: Windows) -> Value {
    json!({"judged": windows.judged, "muted": windows.muted, "given_up": windows.gave_up})
}

/// At least a microsecond: it is divided by.
fn seconds(took: std::time::Duration) -> f64 {
    took.as_secs_f64().max(1e-6)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Whole {
        #[command(subcommand)]
        command: SimCommand,
    }

    fn parsed(line: &str) -> Result<SimCommand, String> {
        let matches = Whole::command()
            .try_get_matches_from(line.split(' '))
            .map_err(|e| e.to_string())?;
        let whole = Whole::from_arg_matches(&matches).map_err(|e| e.to_string())?;
        Ok(whole.command)
    }

    #[test]
    fn only_options_of_a_replay_stand_under_its_heading() {
        for command in Whole::command().get_subcommands() {
            for option in command.get_arguments() {
                let id = option.get_id().as_str();
                let of_replay = id.starts_with("trace_") || id == "faults";
                let heading = option.get_help_heading();
                assert_eq!(heading.is_some(), of_replay, "{} {id}", command.get_name());
            }
        }
    }

    #[test]
    fn every_command_that_judges_tells_its_exit_codes() {
        for command in Whole::command().get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            let tells = help.contains("\n  1  ") && help.contains("\n  2  ");
            assert_eq!(tells, name != "scenarios", "{name}");
        }
    }

    #[test]
    fn a_format_is_no_file() {
        for line in [
            "sim shrink --seed 1 -o json",
            "sim report --seed 1 -o text",
            "sim report --seed 1 --output JSON",
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains("./"), "{line}: {error}");
        }
        for line in [
            "sim shrink --seed 1 -o ./json",
            "sim shrink --seed 1 -o small.yaml",
            "sim report --seed 1 -o page.html",
            "sim run --seed 1 -o json",
        ] {
            assert!(parsed(line).is_ok(), "{line}");
        }
    }
}
