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
}
