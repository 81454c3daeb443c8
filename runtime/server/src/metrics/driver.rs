//! The driver's figures: the store and the agents.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use berth_driver::metrics::{AgentRpc, Category, DriverMetrics, FateKind, Histogram};

use super::text::{Kind, Text};
use super::{DriverSource, LEGACY};

/// Microseconds in a second.
const US: f64 = 1e6;

impl From<Arc<DriverMetrics>> for DriverSource {
    fn from(metrics: Arc<DriverMetrics>) -> Self {
        Self::new(move |text| write(text, &metrics))
    }
}

fn write(text: &mut Text, metrics: &DriverMetrics) {
    histograms(text, metrics);
    counters(text, metrics);
    agents(text, metrics);
    let name = format!("{LEGACY}state_store_writes_total");
    text.family(
        &name,
        Kind::Counter,
        "Keys that were written to the store, by category.",
    );
    for category in Category::ALL {
        text.sample(
            &[("category", category.name())],
            metrics.keys_written(category),
        );
    }
    text.family(
        "berth_store_commits_total",
        Kind::Counter,
        "Transactions of the core by fate.",
    );
    for fate in FateKind::ALL {
        text.sample(&[("fate", fate.name())], metrics.fates(fate));
    }
}

fn histograms(text: &mut Text, metrics: &DriverMetrics) {
    let mut one = |name: &str, help: &str, histogram: &Histogram, unit: f64| {
        let figures = histogram.snapshot();
        text.family(name, Kind::Histogram, help);
        text.histogram(&[], figures.bounds, &figures.buckets, figures.sum, unit);
    };
    one(
        "berth_commit_latency_seconds",
        "From the core's order to the fate of a transaction, waiting included.",
        &metrics.commit_latency,
        US,
    );
    one(
        "berth_commit_group_size",
        "Transactions of the core in one transaction of the store.",
        &metrics.group_size,
        1.0,
    );
    one(
        "berth_core_step_seconds",
        "One turn of the core, placements and all: the inputs that were ready, and what came of \
         them.",
        &metrics.step_time,
        US,
    );
    one(
        "berth_core_step_inputs",
        "Inputs in one turn.",
        &metrics.step_inputs,
        1.0,
    );
    one(
        "berth_store_load_seconds",
        "Loads of the whole store.",
        &metrics.load_time,
        US,
    );
    let name = format!("{LEGACY}reconciliation_cycle_duration_seconds");
    one(&name, "One turn of the core.", &metrics.step_time, US);
    let cycles = metrics.step_time.snapshot().count();
    text.family(
        &format!("{LEGACY}reconciliation_cycles_total"),
        Kind::Counter,
        "Turns of the core.",
    );
    text.sample(&[("result", "success")], cycles);
}

fn counters(text: &mut Text, metrics: &DriverMetrics) {
    let mut one = |name: &str, kind: Kind, help: &str, value: &AtomicU64| {
        text.single(name, kind, help, value.load(Relaxed));
    };
    let counter = Kind::Counter;
    one(
        "berth_store_txns_total",
        counter,
        "Transactions sent to the store.",
        &metrics.store_txns,
    );
    one(
        "berth_store_groups_split_total",
        counter,
        "Groups split.",
        &metrics.groups_split,
    );
    one(
        "berth_store_read_backs_total",
        counter,
        "Read-backs answered.",
        &metrics.read_backs,
    );
    one(
        "berth_elections_won_total",
        counter,
        "Elections won.",
        &metrics.elections_won,
    );
    one(
        "berth_store_watch_resumes_total",
        counter,
        "Watches resumed.",
        &metrics.watch_resumes,
    );
    one(
        "berth_store_compactions_total",
        counter,
        "Compactions.",
        &metrics.compactions,
    );
}

fn agents(text: &mut Text, metrics: &DriverMetrics) {
    let calls = metrics.agent_calls();
    text.family(
        &format!("{LEGACY}agent_rpc_requests_total"),
        Kind::Counter,
        "Calls to agents by method and code.",
    );
    for (rpc, code, figures) in &calls {
        text.sample(&[("rpc", rpc.name()), ("code", code)], figures.count());
    }
    for name in [
        &format!("{LEGACY}agent_rpc_duration_seconds"),
        "berth_agent_call_seconds",
    ] {
        text.family(
            name,
            Kind::Histogram,
            "How long calls to agents took, by method and code.",
        );
        for (rpc, code, figures) in &calls {
            let labels = [("rpc", rpc.name()), ("code", *code)];
            text.histogram(&labels, figures.bounds, &figures.buckets, figures.sum, US);
        }
    }
    text.family(
        &format!("{LEGACY}reconciliation_results_total"),
        Kind::Counter,
        "Actions on agents that were answered, and whether the agent took them.",
    );
    for (rpc, action) in [(AgentRpc::Apply, "apply"), (AgentRpc::Delete, "delete")] {
        for success in [true, false] {
            let wanted = calls
                .iter()
                .filter(|(r, code, _)| *r == rpc && (*code == "OK") == success);
            let count = wanted.map(|(_, _, figures)| figures.count()).sum();
            let success = if success { "true" } else { "false" };
            text.sample(&[("action", action), ("success", success)], count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_names_that_dashboards_read() {
        let metrics = Arc::new(DriverMetrics::default());
        metrics
            .commit_latency
            .record_duration(Duration::from_millis(3));
        metrics.step_time.record_duration(Duration::from_millis(3));
        let DriverSource(source) = DriverSource::from(metrics);
        let mut text = Text::default();
        source(&mut text);
        let text = text.finish();
        for line in [
            "berth_commit_latency_seconds_sum 0.003",
            "berth_commit_latency_seconds_bucket{le=\"0.0025\"} 0",
            "berth_commit_latency_seconds_bucket{le=\"0.005\"} 1",
            "persys_scheduler_reconciliation_cycles_total{result=\"success\"} 1",
            "persys_scheduler_reconciliation_cycle_duration_seconds_count 1",
            "persys_scheduler_state_store_writes_total{category=\"assignment\"} 0",
            "persys_scheduler_reconciliation_results_total{action=\"apply\",success=\"false\"} 0",
            "berth_store_commits_total{fate=\"unknown\"} 0",
            "# TYPE persys_scheduler_agent_rpc_requests_total counter",
            "# TYPE persys_scheduler_agent_rpc_duration_seconds histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
