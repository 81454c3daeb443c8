//! What a run is made of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rng::Streams;

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

    /// A world of this seed, whose shape the seed draws too: how many there are of everything.
    #[must_use]
    pub fn drawn(seed: u64) -> Self {
        let mut shape = Streams::new(seed).fork("shape");
        let mut one_of = |counts: &[usize]| shape.pick(counts).copied().unwrap_or(1);
        // Not more: agents ask one after another who leads, because nobody sends them on here.
        let schedulers = one_of(&[1, 2, 2, 2, 2, 3, 3]);
        let nodes = one_of(&[1, 2, 3, 3, 4, 4, 4, 5, 6, 8]);
        let clients = one_of(&[1, 2, 2, 3]);
        let workloads = shape.between(3, 6 * nodes as u64) as usize;
        Self {
            schedulers,
            nodes,
            workloads,
            clients,
            ..Self::small(seed)
        }
    }

    /// The command that runs this again: only what differs from what the seed draws is said.
    #[must_use]
    pub fn command_line(&self) -> String {
        let usual = Self::drawn(self.seed);
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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn worlds_of_many_shapes_are_drawn() {
        let drawn: Vec<_> = (0..200).map(Options::drawn).collect();
        let counts = |of: fn(&Options) -> usize| drawn.iter().map(of).collect::<BTreeSet<_>>();
        assert_eq!(counts(|it| it.schedulers), BTreeSet::from([1, 2, 3]));
        assert_eq!(counts(|it| it.nodes), BTreeSet::from([1, 2, 3, 4, 5, 6, 8]));
        assert_eq!(counts(|it| it.clients), BTreeSet::from([1, 2, 3]));
        assert!(drawn.iter().all(|it| (3..=48).contains(&it.workloads)));
    }

    #[test]
    fn the_command_says_what_is_unusual() {
        assert_eq!(Options::drawn(7).command_line(), "berth sim run --seed 7");
        let options = Options {
            nodes: 9,
            faults: false,
            ..Options::drawn(7)
        };
        assert_eq!(
            options.command_line(),
            "berth sim run --seed 7 --nodes 9 --no-faults"
        );
    }
}
