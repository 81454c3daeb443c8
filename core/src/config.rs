//! What can be tuned. Every duration has the default of the design.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The core's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often agents heartbeat; whole seconds on the wire.
    pub heartbeat_interval: Duration,
    /// Missed intervals after which a node is not ready.
    pub heartbeats_missed_max: u32,
    /// How long a node may be not ready before its workloads are placed elsewhere.
    pub eviction_grace: Duration,
    /// How long an accepted apply may go without a trace before it counts as missing.
    pub missing_grace: Duration,
    /// How long a workload may be pending on its node before it is applied again. As long once more,
    /// and it counts as failed.
    pub pending_deadline: Duration,
    /// The same for virtual machines.
    pub pending_deadline_vm: Duration,
    /// The first backoff; doubles with every failure.
    pub retry_backoff_min: Duration,
    /// The longest backoff.
    pub retry_backoff_max: Duration,
    /// Failures until a workload is `Failed`, unless it says otherwise.
    pub retry_attempts_max: u32,
    /// Running for this long resets the attempts.
    pub stable_after: Duration,
    /// Deadline of a status or listing call.
    pub agent_call_timeout: Duration,
    /// Deadline of an apply.
    pub apply_timeout: Duration,
    /// Deadline of an apply of a virtual machine.
    pub apply_timeout_vm: Duration,
    /// How long a deletion may take until it is asked for again.
    pub delete_timeout: Duration,
    /// The periodic pass.
    pub reconcile_interval: Duration,
    /// How often a node is listed in full although nothing happened.
    pub list_interval: Duration,
    /// The first look after an accepted action; doubles up to `confirm_interval_max`.
    pub confirm_interval_min: Duration,
    /// The longest wait between two looks while an action is unconfirmed.
    pub confirm_interval_max: Duration,
    /// How often last heartbeats are written to the store.
    pub heartbeat_flush_interval: Duration,
    /// A transaction of unknown fate that was not there when it was looked for is not carried out
    /// after this. What it would create again is not removed before.
    pub stray_commit_max: Duration,
    /// Agent calls in flight at once.
    pub calls_max: usize,
    /// Agent calls in flight to one node at once.
    pub calls_per_node_max: usize,
    /// Consecutive failed calls after which a node counts as unreachable.
    pub unreachable_after_failures: u32,
    /// How long a node is avoided for a kind of workload that its runtime could not run.
    pub runtime_exclusion: Duration,
    /// Workloads evicted from lost nodes per second at most.
    pub evictions_per_second_max: u32,
    /// Evictions pause when more than this share of the nodes is lost, in percent.
    pub eviction_pause_percent: u32,
    /// ... and at least this many nodes are lost.
    pub eviction_pause_nodes_min: u32,
    /// Events older than this leave.
    pub event_retention: Duration,
    /// Events beyond this many leave, oldest first.
    pub events_max: usize,
    /// Requests that may wait for one workload's transaction.
    pub requests_waiting_max: usize,
    /// A lost node to which nothing is assigned is forgotten after this, with its tombstones.
    pub forget_node_after: Duration,
    /// A retry that an automation service suggests is taken up at most this often per workload.
    pub suggestion_cooldown: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let (seconds, minutes) = (Duration::from_secs, |m: u64| Duration::from_secs(60 * m));
        Self {
            heartbeat_interval: seconds(10),
            heartbeats_missed_max: 3,
            eviction_grace: seconds(60),
            missing_grace: seconds(15),
            pending_deadline: minutes(5),
            pending_deadline_vm: minutes(10),
            retry_backoff_min: seconds(5),
            retry_backoff_max: seconds(120),
            retry_attempts_max: 5,
            stable_after: minutes(5),
            agent_call_timeout: seconds(10),
            apply_timeout: seconds(45),
            apply_timeout_vm: seconds(240),
            delete_timeout: seconds(60),
            reconcile_interval: seconds(5),
            list_interval: seconds(60),
            confirm_interval_min: Duration::from_millis(200),
            confirm_interval_max: seconds(5),
            heartbeat_flush_interval: seconds(300),
            stray_commit_max: seconds(30),
            calls_max: 256,
            calls_per_node_max: 4,
            unreachable_after_failures: 3,
            runtime_exclusion: minutes(5),
            evictions_per_second_max: 50,
            eviction_pause_percent: 55,
            eviction_pause_nodes_min: 3,
            event_retention: minutes(24 * 60),
            events_max: 100_000,
            requests_waiting_max: 64,
            forget_node_after: minutes(24 * 60),
            suggestion_cooldown: minutes(5),
        }
    }
}

impl Config {
    /// How long a node is trusted after a heartbeat.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.heartbeat_interval * self.heartbeats_missed_max
    }
}
