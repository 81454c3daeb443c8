//! The `berth` binary: server, agent, dev and client in one. Here everything is put together and
//! nothing is decided.

mod agent;
#[cfg(test)]
mod deploy_tests;
mod dev;
mod logging;
mod server;
mod signals;
mod store;

use std::process::ExitCode;

use berth_client::exit::EXIT_CODES;
use berth_client::{ClientCommand, Console, Exit};
use clap::{CommandFactory, Parser, Subcommand};

use logging::LogArgs;

/// Berth, a cluster scheduler: places workloads on nodes and keeps them as they were asked for
#[derive(Debug, Parser)]
#[command(name = "berth", version, after_help = EXIT_CODES, infer_long_args = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster on this machine: store, scheduler and agents in one process
    Dev(Box<dev::DevArgs>),
    /// Run a scheduler
    Server(Box<berth_server::ServerArgs>),
    /// Run a node's agent
    Agent {
        #[command(flatten)]
        agent: Box<agent::AgentCommand>,
        #[command(flatten)]
        log: LogArgs,
    },
    /// Decide about the store of the cluster
    Store {
        #[command(subcommand)]
        command: Box<store::StoreCommand>,
    },
    #[command(flatten)]
    Client(Box<ClientCommand>),
    /// Simulate whole clusters under faults, from seeds, and check every rule
    Sim {
        #[command(subcommand)]
        command: Box<berth_simcmd::SimCommand>,
    },
    /// Print the completion script of a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("cannot start tokio")),
    };
    let code = match command {
        Command::Client(command) => {
            let exit = runtime.block_on(berth_client::run(*command, Console::process()));
            ExitCode::from(exit.code())
        }
        Command::Completion { shell } => completion(shell),
        Command::Sim { command } => {
            berth_simcmd::run(*command).unwrap_or_else(|error| failed(&error))
        }
        Command::Dev(args) => long_running(&runtime, dev::run(*args)),
        Command::Server(args) => long_running(&runtime, server::run(*args)),
        Command::Store { command } => long_running(&runtime, store::run(*command)),
        Command::Agent { agent, log } => long_running(&runtime, agent::run(*agent, &log)),
    };
    // Blocking calls of libraries that are still under way must not hold the process.
    runtime.shutdown_background();
    code
}

/// Runs a command that ends by a signal.
fn long_running(
    runtime: &tokio::runtime::Runtime,
    command: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    match runtime.block_on(signals::unless_enough(command)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => failed(&error),
        // What a shell shows for an end by SIGINT.
        None => ExitCode::from(130),
    }
}

fn completion(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "berth", &mut script);
    match std::io::Write::write_all(&mut std::io::stdout(), &script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&error.into()),
    }
}

/// What went wrong with the command line, found out after clap: its exit code is clap's.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    let usage = error.is::<Usage>() || error.is::<berth_server::config::ConfigError>();
    let exit = if usage { Exit::Usage } else { Exit::Error };
    ExitCode::from(exit.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_design_is_there() {
        let command = Cli::command();
        let names: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        for name in [
            "dev",
            "server",
            "agent",
            "apply",
            "get",
            "describe",
            "explain",
            "delete",
            "retry",
            "drain",
            "cordon",
            "uncordon",
            "events",
            "top",
            "status",
            "fence",
            "purge",
            "start",
            "stop",
            "restart",
            "sim",
            "completion",
        ] {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "berth",
            "berth frobnicate",
            "berth get pods",
            "berth drain Node",
            "berth apply",
            "berth apply -f a --timeout soon",
            "berth dev --agents 0",
            "berth dev agent stop",
        ] {
            let words = line.split(' ');
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
