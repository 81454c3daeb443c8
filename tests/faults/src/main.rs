//! Fault runs and takeovers on real processes. See the README.

use std::path::PathBuf;
use std::process::ExitCode;

use berth_faults::run::{Plan, run};
use berth_faults::takeover;
use clap::{Parser, Subcommand};

/// Faults on real processes
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Break a cluster again and again from a seed while clients write, then judge what is left
    Run {
        /// The first seed
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many runs, each with the next seed
        #[arg(long, default_value_t = 1)]
        runs: u64,
        /// Faults of a run
        #[arg(long, default_value_t = 55)]
        faults: usize,
    },
    /// Kill leaders, and measure how long it takes until the next one has acted
    Takeover {
        /// How many leaders die
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// Workloads that there are meanwhile
        #[arg(long, default_value_t = 0)]
        workloads: usize,
        /// Write the figures to this file, as JSON
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { seed, runs, faults } => {
            let mut outcomes = Vec::new();
            for seed in seed..seed + runs {
                let plan = Plan {
                    faults,
                    ..Plan::long(seed)
                };
                println!("to repeat: make faults ARGS=\"--seed {seed} --faults {faults}\"");
                outcomes.push((seed, run(&plan).await));
            }
            println!("\n{} runs, none failed", outcomes.len());
            for (seed, outcome) in outcomes {
                println!("seed {seed}: {outcome:?}");
            }
        }
        Command::Takeover {
            runs,
            workloads,
            json,
        } => {
            let figures = takeover::measure(takeover::Plan { runs, workloads }).await;
            if let Some(file) = json
                && let Err(error) = std::fs::write(&file, format!("{figures:#}\n"))
            {
                eprintln!("error: {}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
