//! The seeded simulator: a world of clocks, networks, a store, agents, clients and faults around
//! the real core.
//!
//! One seed determines everything. The schedulers are [`berth_core::Scheduler`]s, driven by the
//! same [`berth_core::drive`] as in production; the store is the model of etcd that `berth dev`
//! serves; the agents are the reference agent's machine over its fake runtime; and what they say
//! to each other passes through the wire's own encoding.

pub mod cluster_trace;
pub mod exhaust;
pub mod hunt;
pub mod marks;
mod nearest;
pub mod options;
pub mod oracle;
pub mod process;
pub mod record;
pub mod rng;
pub mod scenarios;
pub mod script;
pub mod search;
pub mod shrink;
pub mod trace;
pub mod world;

pub use marks::{Coverage, Mark};
pub use options::Options;
pub use oracle::{Rule, Violation, Windows};
pub use record::Recording;
pub use script::Script;
pub use search::{Failure, Tally, Verdict};
pub use world::{Outcome, World};

/// Runs one seed.
#[must_use]
pub fn run(options: Options) -> Outcome {
    World::new(options).run()
}
