//! What is run: the world of a seed, or a scenario by name or from a file.

use std::path::Path;

use anyhow::Context;
use berth_sim::exhaust::twisted;
use berth_sim::script::{Counters, Span, Twist, draw};
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
    /// Nodes; the seed draws how many, 1 to 8
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    nodes: Option<u16>,
    /// Workloads that clients play with; the seed draws how many, 3 to 48
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    workloads: Option<u32>,
    /// Clients; the seed draws how many, 1 to 3
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    clients: Option<u16>,
    /// Schedulers that compete for leadership; the seed draws how many, 1 to 3 (2 for a trace)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) schedulers: Option<u16>,
    /// How long anything may break, in virtual time; a calm follows
    #[arg(long, default_value = "3m")]
    duration: Span,
    /// Nothing breaks
    #[arg(long)]
    no_faults: bool,
    /// One thing more goes wrong, at a counted point, and what a scenario expects besides the
    /// rules is not judged: as `exhaust` tells of a failing case, such as drop:17
    #[arg(long, value_name = "KIND:POINT")]
    twist: Option<Twist>,
}

/// Where scripts come from.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// Each seed draws its own.
    Drawn(&'a WorldArgs),
    /// One script; a seed decides its delays and losses.
    Scenario {
        name: &'a str,
        script: Box<Script>,
        twist: Option<Twist>,
    },
}

impl WorldArgs {
    /// A scenario, and nothing else.
    pub(super) fn scenario(name: &str) -> Self {
        Self {
            scenario: Some(name.to_owned()),
            nodes: None,
            workloads: None,
            clients: None,
            schedulers: None,
            duration: Span::secs(1),
            no_faults: false,
            twist: None,
        }
    }

    /// Everything that can be reached should be, by enough seeds: of a scenario, or without
    /// faults, most of it cannot.
    pub(super) const fn should_reach_all(&self) -> bool {
        self.scenario.is_none() && !self.no_faults
    }

    /// The twist, if a run that passed so many points did not come to it.
    pub(super) fn missed_twist(&self, counters: &Counters) -> Option<Twist> {
        self.twist.filter(|twist| !twist.is_reached(counters))
    }

    /// What is run, for people.
    pub(super) fn what(&self, seed: u64) -> String {
        match &self.scenario {
            None => format!("seed {seed}"),
            Some(name) => format!("scenario {name}, seed {seed}"),
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
                twist: self.twist,
            }),
        }
    }

    fn options(&self, seed: u64) -> Options {
        let drawn = Options::drawn(seed);
        let pinned = |count: Option<u16>, drawn| count.map_or(drawn, usize::from);
        Options {
            schedulers: pinned(self.schedulers, drawn.schedulers),
            nodes: pinned(self.nodes, drawn.nodes),
            workloads: self.workloads.map_or(drawn.workloads, |n| n as usize),
            clients: pinned(self.clients, drawn.clients),
            chaos: self.duration.duration(),
            faults: !self.no_faults,
            ..drawn
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
            twist: None,
        })
    }
}

impl Source<'_> {
    /// The script of a seed; a scenario has one of its own, for those who do not say.
    pub(super) fn script(&self, seed: Option<u64>) -> Script {
        match self {
            Self::Drawn(args) => {
                let script = draw(&args.options(seed.unwrap_or_default()));
                with(script, args.twist)
            }
            Self::Scenario { script, twist, .. } => {
                let mut script = Script::clone(script);
                script.world.seed = seed.unwrap_or(script.world.seed);
                with(script, *twist)
            }
        }
    }

    /// The command that runs this again.
    pub(super) fn command_line(&self, seed: u64) -> String {
        match self {
            Self::Drawn(args) => args.options(seed).command_line() + &twist_option(args.twist),
            Self::Scenario { name, twist, .. } => {
                let scenario = scenario_line(name);
                format!("{scenario} --seed {seed}{}", twist_option(*twist))
            }
        }
    }
}

fn with(script: Script, twist: Option<Twist>) -> Script {
    match twist {
        None => script,
        Some(twist) => twisted(&script, twist),
    }
}

/// The command that runs a scenario, with the seed of its own.
pub(super) fn scenario_line(name: &str) -> String {
    format!("berth sim run --scenario {}", word(name))
}

/// The option that twists a run.
pub(super) fn twist_option(twist: Option<Twist>) -> String {
    twist.map_or_else(String::new, |twist| format!(" --twist {twist}"))
}

/// A word as a shell reads it.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        world: WorldArgs,
    }

    /// The command that is told for what these options ran.
    fn again(options: &[&str]) -> String {
        let line = Line::try_parse_from([&["run"], options].concat()).expect("options");
        let source = line.world.source().expect("a source");
        source.command_line(7)
    }

    #[test]
    fn the_line_to_paste_says_what_was_run() {
        assert_eq!(again(&[]), "berth sim run --seed 7");
        assert_eq!(
            again(&["--twist", "drop:17"]),
            "berth sim run --seed 7 --twist drop:17"
        );
        assert_eq!(
            again(&["--scenario", "agent-amnesia", "--twist", "stale-read:4-2"]),
            "berth sim run --scenario agent-amnesia --seed 7 --twist stale-read:4-2"
        );
        assert_eq!(
            scenario_line("/my scenes/it's.yaml"),
            r"berth sim run --scenario '/my scenes/it'\''s.yaml'"
        );
    }

    #[test]
    fn a_twisted_run_is_the_case_that_exhaust_ran() {
        let twist = Twist::Drop(17);
        let options = ["run", "--scenario", "agent-amnesia", "--twist", "drop:17"];
        let line = Line::try_parse_from(options).expect("options");
        let script = line.world.source().expect("a source").script(None);
        let plain = scenarios::named("agent-amnesia").expect("a scenario");
        assert_eq!(script, twisted(&plain, twist));
    }
}
