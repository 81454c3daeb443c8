//! What is run: the world of a seed, or a scenario by name or from a file.

use std::path::Path;

use anyhow::Context;
use berth_sim::script::{Span, draw};
use berth_sim::{Options, Script, scenarios};
use clap::Args;

/// What the world is made of.
#[derive(Debug, Args)]
pub(super) struct WorldArgs {
    /// A named scenario, or a file that holds one, instead of what a seed draws
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = [
        "nodes", "workloads", "clients", "schedulers", "duration", "no_faults",
    ])]
    pub(super) scenario: Option<String>,
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
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) schedulers: u16,
    /// How long anything may break, in virtual time; a calm follows
    #[arg(long, default_value = "3m")]
    duration: Span,
    /// Nothing breaks
    #[arg(long)]
    no_faults: bool,
}

/// Where scripts come from.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// Each seed draws its own.
    Drawn(&'a WorldArgs),
    /// One script; a seed decides its delays and losses.
    Scenario { name: &'a str, script: Box<Script> },
}

impl WorldArgs {
    /// A scenario, and nothing else.
    pub(super) fn scenario(name: &str) -> Self {
        Self {
            scenario: Some(name.to_owned()),
            nodes: 1,
            workloads: 1,
            clients: 1,
            schedulers: 1,
            duration: Span::secs(1),
            no_faults: false,
        }
    }

    /// Where scripts come from.
    ///
    /// # Errors
    /// The scenario is not there, or is none.
    pub(super) fn source(&self) -> anyhow::Result<Source<'_>> {
        match &self.scenario {
            None => Ok(Source::Drawn(self)),
            Some(name) => Ok(Source::Scenario {
                name,
                script: Box::new(read(name)?),
            }),
        }
    }

    fn options(&self, seed: u64) -> Options {
        Options {
            schedulers: self.schedulers.into(),
            nodes: self.nodes.into(),
            workloads: self.workloads as usize,
            clients: self.clients.into(),
            chaos: self.duration.duration(),
            faults: !self.no_faults,
            ..Options::small(seed)
        }
    }
}

fn read(name: &str) -> anyhow::Result<Script> {
    if !Path::new(name).exists() {
        return scenarios::named(name).map_err(anyhow::Error::msg);
    }
    let text = std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
    Script::from_yaml(&text).map_err(|e| anyhow::anyhow!("{name}: {e}"))
}

impl Source<'static> {
    /// The scenario of this name.
    pub(super) fn scenario(name: &'static str) -> anyhow::Result<Self> {
        Ok(Self::Scenario {
            name,
            script: Box::new(scenarios::named(name).map_err(anyhow::Error::msg)?),
        })
    }
}

impl Source<'_> {
    /// The script of a seed; a scenario has one of its own, for those who do not say.
    pub(super) fn script(&self, seed: Option<u64>) -> Script {
        match self {
            Self::Drawn(args) => draw(&args.options(seed.unwrap_or_default())),
            Self::Scenario { script, .. } => {
                let mut script = Script::clone(script);
                script.world.seed = seed.unwrap_or(script.world.seed);
                script
            }
        }
    }

    /// The command that runs this again.
    pub(super) fn command_line(&self, seed: u64) -> String {
        match self {
            Self::Drawn(args) => args.options(seed).command_line(),
            Self::Scenario { name, .. } => {
                format!("berth sim run --scenario {name} --seed {seed}")
            }
        }
    }
}
