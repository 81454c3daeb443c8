//! The core's figures and health.

use berth_core::model::workload::{Action, DesiredState};
use berth_core::placement::Filter;
use berth_core::{BUCKETS_MS, Stats};
use berth_driver::StoreState;
use serde::Serialize;

use super::LEGACY;
use super::text::{Kind, Text};
use crate::health::{HealthReport, Mode};

/// Milliseconds in a second.
const MS: f64 = 1e3;

/// Health as gauges; every mode is always there.
pub(super) fn write_health(text: &mut Text, health: &HealthReport) {
    let gauge = Kind::Gauge;
    let flag = u64::from;
    text.single(
        "berth_leading",
        gauge,
        "1 while this replica leads.",
        flag(health.leading),
    );
    let epoch = u64::try_from(health.epoch).unwrap_or(0);
    text.single(
        "berth_epoch",
        gauge,
        "The epoch of this replica; 0 before it led.",
        epoch,
    );
    let up = flag(health.store.available);
    text.single(
        "berth_store_available",
        gauge,
        "1 while the store answers.",
        up,
    );
    text.family("berth_mode", gauge, "1 for the mode that the server is in.");
    for mode in Mode::ALL {
        text.sample(&[("mode", mode.name())], flag(mode == health.mode));
    }
    let help = "1 for the state that the store is in, as this replica sees it.";
    text.family("berth_store_state", gauge, help);
    for state in StoreState::ALL {
        let state = state.name();
        text.sample(&[("state", state)], flag(state == health.store.state));
    }
    let waiting = u64::try_from(health.inputs_waiting).unwrap_or(u64::MAX);
    text.single(
        "berth_core_inputs_waiting",
        gauge,
        "Inputs that wait for the core.",
        waiting,
    );
}

/// What the core counted.
pub(super) fn write_stats(text: &mut Text, stats: &Stats) {
    counters(text, stats);
    by_label(text, stats);
    gauges(text, stats);
    states(text, stats);
    let help = "From a client's wish that a workload runs to the confirmation that it does.";
    text.family("berth_start_latency_seconds", Kind::Histogram, help);
    let latency = &stats.start_latency;
    text.histogram(&[], &BUCKETS_MS, &latency.counts, latency.sum_ms, MS);
}

fn counters(text: &mut Text, stats: &Stats) {
    for (name, help, value) in [
        (
            "scheduling_attempts_total",
            "Placements that were tried.",
            stats.scheduling_attempts,
        ),
        (
            "scheduling_failures_total",
            "Placements that found no node.",
            stats.scheduling_failures,
        ),
        (
            "retry_total",
            "Tries after a failure, and those that clients asked for.",
            stats.retries,
        ),
        (
            "node_unhealthy_total",
            "Nodes that became not ready.",
            stats.nodes_lost,
        ),
        (
            "berth_placements_rescued_total",
            "Placements that only the periodic pass made.",
            stats.rescued_by_pass,
        ),
        (
            "berth_workload_failures_total",
            "Failures of workloads.",
            stats.workload_failures,
        ),
        (
            "berth_infrastructure_failures_total",
            "Calls that failed for the infrastructure.",
            stats.infrastructure_failures,
        ),
        (
            "berth_rescheduled_total",
            "Workloads placed elsewhere.",
            stats.rescheduled,
        ),
        (
            "berth_evictions_total",
            "Workloads moved off lost nodes.",
            stats.evictions,
        ),
        (
            "berth_heartbeats_total",
            "Heartbeats of nodes.",
            stats.heartbeats,
        ),
        (
            "berth_commits_total",
            "Transactions that the core ordered.",
            stats.commits,
        ),
        (
            "berth_commit_conflicts_total",
            "Of these, in conflict.",
            stats.commit_conflicts,
        ),
        (
            "berth_commits_unknown_total",
            "Of these, of unknown fate.",
            stats.commits_unknown,
        ),
        (
            "berth_commits_refused_total",
            "Of these, refused by the store.",
            stats.commits_refused,
        ),
        (
            "berth_records_adopted_total",
            "Changes of somebody else in the store that were taken up.",
            stats.records_adopted,
        ),
        (
            "berth_orphans_found_total",
            "Copies where nobody assigned them.",
            stats.orphans_found,
        ),
        ("berth_events_total", "Events written.", stats.events),
    ] {
        text.single(name, Kind::Counter, help, value);
    }
}

fn by_label(text: &mut Text, stats: &Stats) {
    let help = "Actions that were begun on agents.";
    text.family("reconciliation_actions_total", Kind::Counter, help);
    for action in Action::ALL {
        let count = stats.actions.get(&action).copied().unwrap_or(0);
        text.sample(&[("action", &lower(&action))], count);
    }
    let help = "Nodes that refused a workload which then found no node, by filter.";
    text.family("berth_placement_refusals_total", Kind::Counter, help);
    for filter in Filter::ALL {
        let count = stats.refusals.get(&filter).copied().unwrap_or(0);
        text.sample(&[("filter", &lower(&filter))], count);
    }
}

fn gauges(text: &mut Text, stats: &Stats) {
    let revision = u64::try_from(stats.revision).unwrap_or(0);
    for (name, help, value) in [
        (
            "berth_workloads_waiting",
            "Workloads that wait for a node.",
            stats.pending,
        ),
        (
            "berth_agent_calls_in_flight",
            "Calls to agents in flight.",
            stats.calls_in_flight,
        ),
        (
            "berth_agent_calls_queued",
            "Calls that wait for their turn.",
            stats.calls_queued,
        ),
        (
            "berth_commits_in_flight",
            "Transactions in flight.",
            stats.commits_in_flight,
        ),
        (
            "berth_records_quarantined",
            "Records that cannot be read.",
            stats.quarantined,
        ),
        (
            "berth_eviction_paused",
            "1 while evictions are paused.",
            stats.eviction_paused.into(),
        ),
        (
            "berth_store_revision",
            "The newest revision of the store that is known.",
            revision,
        ),
    ] {
        text.single(name, Kind::Gauge, help, value);
    }
}

/// The core has every state in its maps, so that no gauge keeps an old value.
fn states(text: &mut Text, stats: &Stats) {
    text.family(
        &format!("{LEGACY}nodes_status"),
        Kind::Gauge,
        "Nodes by status.",
    );
    for (status, count) in &stats.nodes {
        text.sample(&[("status", &lower(status))], *count);
    }
    text.family(
        &format!("{LEGACY}workloads_status"),
        Kind::Gauge,
        "Workloads by status.",
    );
    for (status, count) in &stats.workloads {
        text.sample(&[("status", &lower(status))], *count);
    }
    let help = "Workloads by desired state.";
    text.family(
        &format!("{LEGACY}workloads_desired_state"),
        Kind::Gauge,
        help,
    );
    for state in [
        DesiredState::Running,
        DesiredState::Stopped,
        DesiredState::Deleted,
    ] {
        let count = stats.desired.get(&state).copied().unwrap_or(0);
        text.sample(&[("desired_state", &lower(&state))], count);
    }
}

/// The name of a value in JSON, in lower case as dashboards have it.
fn lower(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name.to_ascii_lowercase(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use berth_core::{Config, Scheduler};

    use super::*;

    #[test]
    fn every_state_is_there_from_the_start_and_figures_are_told() {
        let mut stats = Scheduler::new(Config::default()).stats();
        stats.scheduling_attempts = 7;
        stats.actions.insert(Action::ApplyStopped, 3);
        stats.start_latency.observe(Duration::from_millis(80));
        let mut text = Text::default();
        write_stats(&mut text, &stats);
        let text = text.finish();
        for line in [
            "scheduling_attempts_total 7",
            "scheduling_failures_total 0",
            "retry_total 0",
            "node_unhealthy_total 0",
            "reconciliation_actions_total{action=\"applystopped\"} 3",
            "reconciliation_actions_total{action=\"recreate\"} 0",
            "berth_placement_refusals_total{filter=\"workload_type\"} 0",
            "persys_scheduler_nodes_status{status=\"ready\"} 0",
            "persys_scheduler_nodes_status{status=\"notready\"} 0",
            "persys_scheduler_nodes_status{status=\"draining\"} 0",
            "persys_scheduler_workloads_status{status=\"retrypending\"} 0",
            "persys_scheduler_workloads_status{status=\"updating\"} 0",
            "persys_scheduler_workloads_desired_state{desired_state=\"deleted\"} 0",
            "berth_start_latency_seconds_bucket{le=\"0.05\"} 0",
            "berth_start_latency_seconds_bucket{le=\"0.1\"} 1",
            "berth_start_latency_seconds_sum 0.08",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
