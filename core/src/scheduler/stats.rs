//! What the core counts. Plain data: whoever drives the core exports it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::io::view::DisplayStatus;
use crate::model::node::NodeStatus;
use crate::model::workload::{Action, DesiredState};
use crate::placement::Filter;

use super::Scheduler;
use super::workload::Durable;

/// The upper bounds of a histogram's buckets, in milliseconds; one more holds the rest.
pub const BUCKETS_MS: [u64; 14] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
];

/// Durations by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each bucket of [`BUCKETS_MS`], then how many were longer.
    pub counts: [u64; BUCKETS_MS.len() + 1],
    /// The sum of all, milliseconds.
    pub sum_ms: u64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&mut self, duration: Duration) {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MS
            .iter()
            .position(|bound| ms <= *bound)
            .unwrap_or(BUCKETS_MS.len());
        self.counts[bucket] += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Counters since the process began, and gauges as of now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Placements that were tried.
    pub scheduling_attempts: u64,
    /// Placements that found no node.
    pub scheduling_failures: u64,
    /// Nodes refused in those, by filter.
    pub refusals: BTreeMap<Filter, u64>,
    /// Placements that only the periodic pass made (L2).
    pub rescued_by_pass: u64,
    /// Agent mutations by action.
    pub actions: BTreeMap<Action, u64>,
    /// Tries after a failure, and those that clients asked for.
    pub retries: u64,
    /// Failures of workloads.
    pub workload_failures: u64,
    /// Calls that failed for the infrastructure.
    pub infrastructure_failures: u64,
    /// Nodes that became not ready.
    pub nodes_lost: u64,
    /// Workloads placed elsewhere.
    pub rescheduled: u64,
    /// Of these, from lost nodes.
    pub evictions: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Looks at single workloads: their number follows what changes, not what exists.
    pub looks: u64,
    /// Transactions emitted.
    pub commits: u64,
    /// Of these, in conflict.
    pub commit_conflicts: u64,
    /// Of these, of unknown fate.
    pub commits_unknown: u64,
    /// Of these, refused by the store.
    pub commits_refused: u64,
    /// Changes of somebody else that were taken up.
    pub records_adopted: u64,
    /// Copies found where nobody assigned them.
    pub orphans_found: u64,
    /// Events written.
    pub events: u64,
    /// From a client's wish to run to the confirmation.
    pub start_latency: Histogram,
    /// Nodes by status; every status is there.
    pub nodes: BTreeMap<NodeStatus, u64>,
    /// Workloads by displayed status; every status is there.
    pub workloads: BTreeMap<DisplayStatus, u64>,
    /// Workloads by desired state; every state is there.
    pub desired: BTreeMap<DesiredState, u64>,
    /// Workloads that wait for a node.
    pub pending: u64,
    /// Agent calls in flight.
    pub calls_in_flight: u64,
    /// Agent calls that wait for their turn.
    pub calls_queued: u64,
    /// Transactions in flight.
    pub commits_in_flight: u64,
    /// Records that cannot be read.
    pub quarantined: u64,
    /// Evictions are paused.
    pub eviction_paused: bool,
    /// This replica leads.
    pub leading: bool,
    /// The newest revision known.
    pub revision: i64,
}

impl Stats {
    pub(super) fn note_action(&mut self, action: Action) {
        *self.actions.entry(action).or_default() += 1;
    }

    pub(super) fn note_unschedulable(&mut self, durable: &Durable) {
        self.scheduling_failures += 1;
        let note = durable
            .record
            .as_ref()
            .and_then(|record| record.status.placement.as_ref());
        for (filter, count) in note.map(|note| &note.refused).into_iter().flatten() {
            *self.refusals.entry(*filter).or_default() += u64::from(*count);
        }
    }
}

impl Scheduler {
    /// The counters alone, at no cost: the gauges in it are not filled in.
    #[must_use]
    pub const fn counters(&self) -> &Stats {
        &self.stats
    }

    /// Counters, and gauges as of now. Its cost follows the number of workloads: not for every step.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.nodes = NodeStatus::ALL.map(|status| (status, 0)).into();
        stats.workloads = DisplayStatus::ALL.map(|status| (status, 0)).into();
        stats.desired = [
            DesiredState::Running,
            DesiredState::Stopped,
            DesiredState::Deleted,
        ]
        .map(|d| (d, 0))
        .into();
        for action in Action::ALL {
            stats.actions.entry(action).or_default();
        }
        for entity in self.nodes.values().filter(|entity| entity.record.is_some()) {
            *stats.nodes.entry(entity.status()).or_default() += 1;
        }
        for workload in self.workloads.values() {
            let Some(desired) = workload.desired() else {
                continue;
            };
            *stats.desired.entry(desired).or_default() += 1;
            *stats.workloads.entry(self.display(workload)).or_default() += 1;
        }
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        stats.pending = count(self.waiting_for_room.len());
        stats.calls_in_flight = count(self.pool.in_flight());
        stats.calls_queued = count(self.pool.waiting());
        stats.commits_in_flight = count(self.in_flight.len());
        stats.quarantined = count(self.quarantined.len());
        stats.eviction_paused = self.eviction.paused;
        stats.leading = self.is_leading();
        stats.revision = self.revision.0;
        stats
    }
}
