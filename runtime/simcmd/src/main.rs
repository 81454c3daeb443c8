//! `berth-sim`: what `berth sim` does, alone, so that it is built quickly.

use std::process::ExitCode;

use berth_simcmd::SimCommand;
use clap::Parser;

/// A simulated cluster makes and drops millions of small records in one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The simulator
#[derive(Debug, Parser)]
#[command(name = "berth-sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: SimCommand,
}

fn main() -> ExitCode {
    match berth_simcmd::run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
