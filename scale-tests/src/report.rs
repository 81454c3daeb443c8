//! The figures of a run, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use berth_tests::Etcd;
use serde_json::{Value, json};

use crate::usage::Usage;

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) nodes: usize,
    pub(crate) workloads: usize,
    pub(crate) registered: Duration,
    pub(crate) accepted: Duration,
    pub(crate) running: Duration,
    pub(crate) store: Store,
    pub(crate) idle_span: Duration,
    pub(crate) idle_store: Store,
    pub(crate) processes: Vec<Processes>,
}

/// What one process used.
#[derive(Debug)]
pub(crate) struct Processes {
    pub(crate) name: &'static str,
    /// From its start until all ran.
    pub(crate) busy: Usage,
    /// While nothing happened.
    pub(crate) idle: Usage,
}

/// etcd's own counters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Store {
    /// Each write transaction makes one.
    revisions: f64,
    keys_written: f64,
    /// Entries of etcd's log: writes, and the upkeep of leases.
    proposals: f64,
    bytes: f64,
}

impl Store {
    pub(crate) async fn read(etcd: &Etcd) -> Result<Self> {
        let metric = async |name: &str| etcd.metric(name).await.map_err(anyhow::Error::msg);
        #[allow(clippy::cast_precision_loss)]
        let revisions = etcd.revision().await as f64;
        Ok(Self {
            revisions,
            keys_written: metric("etcd_debugging_mvcc_put_total").await?,
            proposals: metric("etcd_server_proposals_committed_total").await?,
            bytes: metric("etcd_mvcc_db_total_size_in_bytes").await?,
        })
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            revisions: self.revisions - earlier.revisions,
            keys_written: self.keys_written - earlier.keys_written,
            proposals: self.proposals - earlier.proposals,
            bytes: self.bytes - earlier.bytes,
        }
    }

    fn json(&self) -> Value {
        json!({
            "transactions": self.revisions,
            "keys_written": self.keys_written,
            "proposals": self.proposals,
            "bytes": self.bytes,
        })
    }
}

impl Report {
    #[allow(clippy::cast_precision_loss)]
    fn per_workload(&self, count: f64) -> f64 {
        count / self.workloads.max(1) as f64
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{} nodes, {} workloads\n\n", self.nodes, self.workloads);
        let mut row = |name: &str, value: String, each: String| {
            let _ = writeln!(text, "  {name:<34}{value:>14}{each:>22}");
        };
        let seconds = |d: Duration| format!("{:.2} s", d.as_secs_f64());
        let rate = |d: Duration| {
            format!(
                "{:.0} per s",
                1.0 / self.per_workload(d.as_secs_f64()).max(1e-9)
            )
        };
        let each = |count: f64| format!("{:.2} per workload", self.per_workload(count));
        row("all nodes ready", seconds(self.registered), String::new());
        row(
            "all workloads accepted",
            seconds(self.accepted),
            rate(self.accepted),
        );
        row(
            "all workloads running",
            seconds(self.running),
            rate(self.running),
        );
        let store = &self.store;
        row(
            "etcd transactions",
            format!("{:.0}", store.revisions),
            each(store.revisions),
        );
        row(
            "etcd keys written",
            format!("{:.0}", store.keys_written),
            each(store.keys_written),
        );
        row(
            "etcd log entries",
            format!("{:.0}", store.proposals),
            each(store.proposals),
        );
        row(
            "etcd database",
            format!("{:.1} MiB", store.bytes / 1_048_576.0),
            String::new(),
        );
        let idle = format!(
            "idle for {}: transactions",
            humantime::format_duration(self.idle_span)
        );
        row(
            &idle,
            format!("{:.0}", self.idle_store.revisions),
            String::new(),
        );

        let _ = writeln!(
            text,
            "\n  {:<12}{:>12}{:>16}{:>18}",
            "process", "CPU", "peak memory", "CPU when idle"
        );
        for process in &self.processes {
            let share = process.idle.cpu.as_secs_f64() / self.idle_span.as_secs_f64().max(1e-9);
            let _ = writeln!(
                text,
                "  {:<12}{:>10.1} s{:>12} MiB{:>16.1} %",
                process.name,
                process.busy.cpu.as_secs_f64(),
                process.idle.rss_kib_max / 1024,
                share * 100.0
            );
        }
        text
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let processes: Vec<_> = self
            .processes
            .iter()
            .map(|p| {
                json!({
                    "process": p.name,
                    "cpu_seconds": p.busy.cpu.as_secs_f64(),
                    "rss_kib_max": p.idle.rss_kib_max,
                    "idle_cpu_seconds": p.idle.cpu.as_secs_f64(),
                })
            })
            .collect();
        json!({
            "nodes": self.nodes,
            "workloads": self.workloads,
            "nodes_ready_seconds": self.registered.as_secs_f64(),
            "accepted_seconds": self.accepted.as_secs_f64(),
            "running_seconds": self.running.as_secs_f64(),
            "etcd": self.store.json(),
            "transactions_per_workload": self.per_workload(self.store.revisions),
            "keys_per_workload": self.per_workload(self.store.keys_written),
            "idle_seconds": self.idle_span.as_secs_f64(),
            "idle_etcd": self.idle_store.json(),
            "processes": processes,
        })
    }
}
