//! What the driver counts, as plain data: the server exports it.

mod histogram;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use berth_core::Key;
use berth_core::io::{AgentOp, Op, Txn};
use tonic::Code;

pub use histogram::{BOUNDS, COUNT_BOUNDS, DURATION_BOUNDS_US, Histogram, HistogramSnapshot};

use crate::agents::go_code_name;

/// What a key that is written belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// A workload's record.
    Workload,
    /// An assignment.
    Assignment,
    /// An intent.
    Reconciliation,
    /// A retry record.
    Retry,
    /// An event.
    Event,
    /// A node's record.
    Node,
    /// Settings and tombstones.
    Meta,
}

impl Category {
    /// All, in order.
    pub const ALL: [Self; 7] = [
        Self::Workload,
        Self::Assignment,
        Self::Reconciliation,
        Self::Retry,
        Self::Event,
        Self::Node,
        Self::Meta,
    ];

    /// The label's value; those that existing dashboards know are called as they know them.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workload => "spec",
            Self::Assignment => "assignment",
            Self::Reconciliation => "reconciliation",
            Self::Retry => "retry",
            Self::Event => "event",
            Self::Node => "node",
            Self::Meta => "meta",
        }
    }

    fn of(op: &Op) -> Self {
        let key = match op {
            Op::Put { key, .. } | Op::Delete { key } => key,
            Op::DeleteEventsBefore { .. } => return Self::Event,
        };
        match key {
            Key::Node(_) => Self::Node,
            Key::Workload(_) => Self::Workload,
            Key::Assignment(_) => Self::Assignment,
            Key::Intent(_) => Self::Reconciliation,
            Key::Retry(_) => Self::Retry,
            Key::Event(_) => Self::Event,
            Key::Tombstone(..) | Key::Meta(_) | Key::Leader(_) => Self::Meta,
        }
    }
}

/// Which call was made to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentRpc {
    /// `ApplyWorkload`
    Apply,
    /// `DeleteWorkload`
    Delete,
    /// `GetWorkloadStatus`
    Status,
    /// `ListWorkloads`
    List,
}

impl AgentRpc {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Apply, Self::Delete, Self::Status, Self::List];

    /// The call of an operation.
    #[must_use]
    pub const fn of(op: &AgentOp) -> Self {
        match op {
            AgentOp::Apply { .. } => Self::Apply,
            AgentOp::Delete { .. } => Self::Delete,
            AgentOp::Status { .. } => Self::Status,
            AgentOp::List => Self::List,
        }
    }

    /// The name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apply => "ApplyWorkload",
            Self::Delete => "DeleteWorkload",
            Self::Status => "GetWorkloadStatus",
            Self::List => "ListWorkloads",
        }
    }
}

/// gRPC has 17 codes, 0 to 16.
const CODES: usize = 17;

/// What became of a transaction, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FateKind {
    /// It is in the store.
    Committed,
    /// A compare failed.
    Conflict,
    /// The store refused it.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl FateKind {
    /// All, in order.
    pub const ALL: [Self; 4] = [
        Self::Committed,
        Self::Conflict,
        Self::Refused,
        Self::Unknown,
    ];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Everything that the driver counts. Shared; recording never waits.
#[derive(Debug)]
pub struct DriverMetrics {
    /// From the core's order to the fate of a transaction, waiting included.
    pub commit_latency: Histogram,
    /// Transactions of the core in one transaction of the store.
    pub group_size: Histogram,
    /// One turn of the core: the inputs that were ready, and what came of them.
    pub step_time: Histogram,
    /// Inputs in one turn.
    pub step_inputs: Histogram,
    /// How long a load of the whole store took.
    pub load_time: Histogram,
    /// Transactions sent to the store, retries of split groups included.
    pub store_txns: AtomicU64,
    /// Groups that had to be split.
    pub groups_split: AtomicU64,
    /// Read-backs that were answered.
    pub read_backs: AtomicU64,
    /// Times that this replica became the leader.
    pub elections_won: AtomicU64,
    /// Times that the watch of the store had to be resumed.
    pub watch_resumes: AtomicU64,
    /// Compactions that succeeded.
    pub compactions: AtomicU64,
    /// Inputs that wait for the core; a gauge.
    pub inputs_waiting: AtomicU64,
    /// Transactions whose fate is awaited; a gauge.
    pub commits_in_flight: AtomicU64,
    /// Agent calls that are awaited; a gauge.
    pub calls_in_flight: AtomicU64,
    keys_written: [AtomicU64; Category::ALL.len()],
    fates: [AtomicU64; FateKind::ALL.len()],
    calls: [[Histogram; CODES]; AgentRpc::ALL.len()],
}

impl Default for DriverMetrics {
    fn default() -> Self {
        Self {
            commit_latency: Histogram::durations(),
            group_size: Histogram::counts(),
            step_time: Histogram::durations(),
            step_inputs: Histogram::counts(),
            load_time: Histogram::durations(),
            store_txns: AtomicU64::new(0),
            groups_split: AtomicU64::new(0),
            read_backs: AtomicU64::new(0),
            elections_won: AtomicU64::new(0),
            watch_resumes: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            inputs_waiting: AtomicU64::new(0),
            commits_in_flight: AtomicU64::new(0),
            calls_in_flight: AtomicU64::new(0),
            keys_written: Default::default(),
            fates: Default::default(),
            calls: [const { [const { Histogram::durations() }; CODES] }; AgentRpc::ALL.len()],
        }
    }
}

impl DriverMetrics {
    /// Adds one to a counter.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Counts the keys of a transaction that was committed. A range delete counts as one.
    pub(crate) fn written(&self, txn: &Txn) {
        for op in &txn.ops {
            Self::count(&self.keys_written[Category::of(op) as usize]);
        }
    }

    /// Counts a fate.
    pub(crate) fn fate(&self, kind: FateKind) {
        Self::count(&self.fates[kind as usize]);
    }

    /// Records a call to an agent.
    pub(crate) fn call(&self, rpc: AgentRpc, code: Code, took: Duration) {
        self.calls[rpc as usize][code as usize].record_duration(took);
    }

    /// Keys written to the store, retries not counted.
    #[must_use]
    pub fn keys_written(&self, category: Category) -> u64 {
        self.keys_written[category as usize].load(Relaxed)
    }

    /// Transactions by fate.
    #[must_use]
    pub fn fates(&self, kind: FateKind) -> u64 {
        self.fates[kind as usize].load(Relaxed)
    }

    /// Calls to agents that were made so far: the call's name, the code's name as Go writes it,
    /// and the durations.
    #[must_use]
    pub fn agent_calls(&self) -> Vec<(AgentRpc, &'static str, HistogramSnapshot)> {
        let mut calls = Vec::new();
        for rpc in AgentRpc::ALL {
            for (number, histogram) in (0..).zip(&self.calls[rpc as usize]) {
                let snapshot = histogram.snapshot();
                if snapshot.count() > 0 {
                    calls.push((rpc, go_code_name(Code::from_i32(number)), snapshot));
                }
            }
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_by_name_and_code() {
        let metrics = DriverMetrics::default();
        metrics.call(AgentRpc::Apply, Code::Ok, Duration::from_millis(1));
        metrics.call(AgentRpc::Apply, Code::Ok, Duration::from_millis(1));
        metrics.call(
            AgentRpc::List,
            Code::DeadlineExceeded,
            Duration::from_secs(1),
        );
        let calls: Vec<_> = metrics
            .agent_calls()
            .into_iter()
            .map(|(rpc, code, snapshot)| (rpc.name(), code, snapshot.count()))
            .collect();
        assert_eq!(
            calls,
            [
                ("ApplyWorkload", "OK", 2),
                ("ListWorkloads", "DeadlineExceeded", 1)
            ]
        );
    }

    #[test]
    fn enumerations_index_their_arrays() {
        for (at, category) in Category::ALL.into_iter().enumerate() {
            assert_eq!(category as usize, at);
        }
        for (at, rpc) in AgentRpc::ALL.into_iter().enumerate() {
            assert_eq!(rpc as usize, at);
        }
        for (at, kind) in FateKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }
}
