//! The composed machine.

use std::collections::VecDeque;

use crate::{Config, Input, Output, Timestamp};

/// Counters of what the core did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {problem}")]
pub struct Violation {
    /// The rule's id, such as `S3`.
    pub rule: &'static str,
    /// What was expected and what is.
    pub problem: String,
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    outputs: VecDeque<Output>,
}

impl Scheduler {
    /// A scheduler that does not lead yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            outputs: VecDeque::new(),
        }
    }
    /// Tells the core what happened.
    pub fn handle(&mut self, _now: Timestamp, _input: Input) {}
    /// Takes what the core wants done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    /// When to wake the core.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Timestamp> {
        None
    }
    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    /// Checks what must hold in every state.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        Ok(())
    }
}
