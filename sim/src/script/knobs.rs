//! The scheduler's own times and bounds, where they are not those of production.

use berth_core::Config;
use serde::{Deserialize, Serialize};

use super::span::Span;

/// What a run may have otherwise than others. As it is by default everything is so short that a
/// short run sees many of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// How often nodes are to be heard.
    pub heartbeat: Span,
    /// How long a node may be lost before its workloads move.
    pub grace: Span,
    /// How long what is missing may come back.
    pub missing: Span,
    /// How often a node is listed on which nothing is open.
    pub listing: Span,
    /// What runs for so long has its tries forgotten.
    pub stable: Span,
    /// How often heartbeats are written.
    pub flush: Span,
    /// The first wait after a failure.
    pub backoff: Span,
    /// Tries of a workload.
    pub tries: u32,
    /// Calls that a node has to do at once, at most.
    pub calls_per_node: usize,
    /// Heartbeats that a node may miss.
    pub missed: u32,
    /// Calls that fail in a row before a node counts as unreachable.
    pub unreachable: u32,
    /// How long a node is avoided whose runtime was not there.
    pub exclusion: Span,
    /// Workloads that leave lost nodes in a second, at most.
    pub evictions: u32,
    /// Events that are kept.
    pub events: usize,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            heartbeat: Span::secs(2),
            grace: Span::secs(10),
            missing: Span::secs(15),
            listing: Span::secs(20),
            stable: Span::secs(60),
            flush: Span::secs(60),
            backoff: Span::of(Config::default().retry_backoff_min),
            tries: Config::default().retry_attempts_max,
            calls_per_node: 2,
            missed: Config::default().heartbeats_missed_max,
            unreachable: Config::default().unreachable_after_failures,
            exclusion: Span::of(Config::default().runtime_exclusion),
            // So few that a node's loss uses them up.
            evictions: 1,
            events: 100,
        }
    }
}

impl Knobs {
    /// Makes one of them as usual, each.
    pub(crate) const RESETS: [fn(&mut Self); 14] = [
        |knobs| knobs.heartbeat = Self::default().heartbeat,
        |knobs| knobs.grace = Self::default().grace,
        |knobs| knobs.missing = Self::default().missing,
        |knobs| knobs.listing = Self::default().listing,
        |knobs| knobs.stable = Self::default().stable,
        |knobs| knobs.flush = Self::default().flush,
        |knobs| knobs.backoff = Self::default().backoff,
        |knobs| knobs.tries = Self::default().tries,
        |knobs| knobs.calls_per_node = Self::default().calls_per_node,
        |knobs| knobs.missed = Self::default().missed,
        |knobs| knobs.unreachable = Self::default().unreachable,
        |knobs| knobs.exclusion = Self::default().exclusion,
        |knobs| knobs.evictions = Self::default().evictions,
        |knobs| knobs.events = Self::default().events,
    ];

    /// Whether nothing is otherwise.
    #[must_use]
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Whether each is something that a scheduler can be configured with, and that the bounds of
    /// the oracle are made for.
    ///
    /// # Errors
    /// What is wrong, with the field's name.
    pub fn check(&self) -> Result<(), String> {
        let between = |name: &str, found: Span, most: u64| {
            if (1_000..=most * 1_000).contains(&found.as_millis()) {
                Ok(())
            } else {
                Err(format!("{name}: expected 1s to {most}s, found {found}"))
            }
        };
        between("heartbeat", self.heartbeat, 10)?;
        between("grace", self.grace, 60)?;
        between("missing", self.missing, 60)?;
        between("listing", self.listing, 60)?;
        between("stable", self.stable, 120)?;
        between("flush", self.flush, 120)?;
        between("backoff", self.backoff, 30)?;
        between("exclusion", self.exclusion, 600)?;
        let count = |name: &str, found: usize, most: usize| {
            if (1..=most).contains(&found) {
                Ok(())
            } else {
                Err(format!("{name}: expected 1 to {most}, found {found}"))
            }
        };
        count("tries", self.tries as usize, 10)?;
        count("calls_per_node", self.calls_per_node, 64)?;
        count("missed", self.missed as usize, 10)?;
        count("unreachable", self.unreachable as usize, 10)?;
        count("evictions", self.evictions as usize, 100)?;
        count("events", self.events, 100_000)
    }

    /// The core's configuration.
    #[must_use]
    pub fn config(&self) -> Config {
        let seconds = std::time::Duration::from_secs;
        Config {
            heartbeat_interval: self.heartbeat.duration(),
            heartbeats_missed_max: self.missed,
            unreachable_after_failures: self.unreachable,
            runtime_exclusion: self.exclusion.duration(),
            eviction_grace: self.grace.duration(),
            missing_grace: self.missing.duration(),
            pending_deadline: seconds(60),
            pending_deadline_vm: seconds(60),
            stable_after: self.stable.duration(),
            list_interval: self.listing.duration(),
            heartbeat_flush_interval: self.flush.duration(),
            retry_backoff_min: self.backoff.duration(),
            retry_attempts_max: self.tries,
            events_max: self.events,
            // A node that takes no calls is seen to be one, and calls wait for each other.
            agent_call_timeout: seconds(4),
            apply_timeout: seconds(8),
            calls_per_node_max: self.calls_per_node,
            evictions_per_second_max: self.evictions,
            ..Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_usual_and_what_is_wrong_is_named() {
        let knobs: Knobs = serde_json::from_str(r#"{"heartbeat": "3s"}"#).unwrap();
        assert_eq!(knobs.heartbeat, Span::secs(3));
        assert_eq!(knobs.grace, Knobs::default().grace);
        assert!(!knobs.are_usual() && knobs.check().is_ok());
        for (text, name) in [
            (r#"{"grace": "0s"}"#, "grace"),
            (r#"{"heartbeat": "11s"}"#, "heartbeat"),
            (r#"{"tries": 0}"#, "tries"),
            (r#"{"events": 100001}"#, "events"),
        ] {
            let knobs: Knobs = serde_json::from_str(text).unwrap();
            let problem = knobs.check().unwrap_err();
            assert!(
                problem.starts_with(&format!("{name}: expected")),
                "{problem}"
            );
        }
        assert!(serde_json::from_str::<Knobs>(r#"{"heart": "3s"}"#).is_err());
    }
}
