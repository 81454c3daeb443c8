//! What a run is made of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The options of a run. Everything else follows from the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Schedulers that compete for leadership.
    pub schedulers: usize,
    /// Nodes.
    pub nodes: usize,
    /// Workloads that clients play with.
    pub workloads: usize,
    /// Clients.
    pub clients: usize,
    /// How long anything may break.
    pub chaos: Duration,
    /// How long everything works after that, for liveness to be judged.
    pub calm: Duration,
    /// Whether anything breaks at all.
    pub faults: bool,
}

impl Options {
    /// A small world of this seed.
    #[must_use]
    pub const fn small(seed: u64) -> Self {
        Self {
            seed,
            schedulers: 2,
            nodes: 4,
            workloads: 12,
            clients: 2,
            chaos: Duration::from_secs(180),
            calm: Duration::from_secs(600),
            faults: true,
        }
    }

    /// The command that runs this again: only what differs from a small world is said.
    #[must_use]
    pub fn command_line(&self) -> String {
        let usual = Self::small(self.seed);
        let mut line = format!("berth sim run --seed {}", self.seed);
        let mut say = |name: &str, value: usize, usual: usize| {
            if value != usual {
                line.push_str(&format!(" --{name} {value}"));
            }
        };
        say("schedulers", self.schedulers, usual.schedulers);
        say("nodes", self.nodes, usual.nodes);
        say("workloads", self.workloads, usual.workloads);
        say("clients", self.clients, usual.clients);
        if self.chaos != usual.chaos {
            line.push_str(&format!(" --duration {}s", self.chaos.as_secs()));
        }
        if !self.faults {
            line.push_str(" --no-faults");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_says_what_is_unusual() {
        assert_eq!(Options::small(7).command_line(), "berth sim run --seed 7");
        let options = Options {
            nodes: 9,
            faults: false,
            ..Options::small(7)
        };
        assert_eq!(
            options.command_line(),
            "berth sim run --seed 7 --nodes 9 --no-faults"
        );
    }
}
