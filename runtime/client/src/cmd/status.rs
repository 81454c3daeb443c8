//! `berth status`: the cluster, its leader and its store, for people.

use std::fmt::Write as _;

use berth_core::io::view::ClusterSummary;
use clap::Args;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::freshness::{self, Health};
use super::{Format, Session, list};
use crate::api::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Tone, text};

/// Arguments of `berth status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// What is read of `/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Scheduler {
    eviction_paused: bool,
    revision: i64,
    pending: u32,
    commits_in_flight: u32,
    calls_in_flight: u32,
    calls_queued: u32,
    quarantined: u32,
}

/// Runs `berth status`. Exits with [`Exit::Unavailable`] when the store is out of reach.
///
/// # Errors
/// Those of the requests.
pub async fn run(session: &mut Session<'_>, args: &StatusArgs) -> Result<(), Failure> {
    if matches!(args.output, Format::Json | Format::Yaml) {
        let value: Value = session.api.read(&["status"], &[]).await?;
        return list::print_raw(session, &value, args.output == Format::Yaml);
    }
    let summary: ClusterSummary = session.api.read(&["summary"], &[]).await?;
    let scheduler: Scheduler = session.api.read(&["status"], &[]).await?;
    let health: Health = session.api.read(&["health"], &[]).await?;
    let text = render(&summary, &scheduler, &health, session.console.colored());
    session.console.text(&text)?;
    if let Some(doubt) = freshness::doubt(summary.freshness, &health) {
        let caution = freshness::caution(summary.freshness, &doubt);
        session.console.note(&caution)?;
    }
    if health.store.available {
        Ok(())
    } else {
        Err(Failure::said(Exit::Unavailable))
    }
}

/// Names and values, one a line.
struct Lines {
    out: String,
    colored: bool,
}

impl Lines {
    fn add(&mut self, name: &str, value: &str, tone: Tone) {
        let name = Tone::Strong.paint(&format!("{name:<11}"), self.colored);
        let value = tone.paint(value, self.colored);
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{name} {value}");
    }
}

/// `tone` if something is to be seen to.
const fn when(something: bool, tone: Tone) -> Tone {
    if something { tone } else { Tone::Plain }
}

fn render(
    summary: &ClusterSummary,
    scheduler: &Scheduler,
    health: &Health,
    colored: bool,
) -> String {
    let mut lines = Lines {
        out: String::new(),
        colored,
    };
    add_health(&mut lines, health, scheduler.revision);
    add_counts(&mut lines, summary);
    add_work(&mut lines, scheduler);
    lines.out
}

fn add_health(lines: &mut Lines, health: &Health, revision: i64) {
    let mode = &health.mode;
    let (said, tone) = match (health.leading, health.reason.as_str()) {
        (true, _) => {
            let said = format!("{mode}, leads with epoch {}", health.epoch);
            (said, Tone::Good)
        }
        (false, "") => (format!("{mode}, does not lead"), Tone::Busy),
        (false, reason) => (format!("{mode}: {reason}"), Tone::Busy),
    };
    lines.add("Scheduler:", &said, tone);
    let (said, tone) = if health.store.available {
        (format!("available, revision {revision}"), Tone::Good)
    } else {
        let error = text::dash(health.store.error.clone());
        (format!("out of reach: {error}"), Tone::Bad)
    };
    lines.add("Store:", &said, tone);
}

fn add_counts(lines: &mut Lines, summary: &ClusterSummary) {
    let nodes = counted(&[
        (summary.total_nodes, "in all"),
        (summary.ready_nodes, "ready"),
        (summary.not_ready_nodes, "not ready"),
        (summary.draining_nodes, "draining"),
    ]);
    let tone = when(summary.not_ready_nodes > 0, Tone::Busy);
    lines.add("Nodes:", &nodes, tone);
    let workloads = counted(&[
        (summary.total_workloads, "in all"),
        (summary.running_workloads, "running"),
        (summary.pending_workloads, "pending"),
        (summary.failed_workloads, "failed"),
        (summary.stopped_workloads, "stopped"),
        (summary.deleted_workloads, "being deleted"),
    ]);
    let tone = when(summary.failed_workloads > 0, Tone::Bad);
    lines.add("Workloads:", &workloads, tone);
    let (taken, all) = (summary.allocated, summary.capacity);
    let allocated = format!(
        "CPU {} of {}, memory {} of {}, disk {} of {}",
        text::cores(taken.cpu),
        text::cores(all.cpu),
        text::memory(taken.memory_mb),
        text::memory(all.memory_mb),
        text::disk(taken.disk_gb),
        text::disk(all.disk_gb)
    );
    lines.add("Allocated:", &allocated, Tone::Plain);
}

fn add_work(lines: &mut Lines, scheduler: &Scheduler) {
    if scheduler.pending > 0 {
        let note = format!("{} workloads wait for a node that fits", scheduler.pending);
        lines.add("Waiting:", &note, Tone::Busy);
    }
    let busy = counted(&[
        (scheduler.commits_in_flight, "commits"),
        (scheduler.calls_in_flight, "agent calls"),
        (scheduler.calls_queued, "agent calls queued"),
    ]);
    lines.add("In flight:", &busy, Tone::Plain);
    if scheduler.eviction_paused {
        let note = "paused: many nodes vanished at once, and the scheduler may be the one cut off";
        lines.add("Evictions:", note, Tone::Bad);
    }
    if scheduler.quarantined > 0 {
        let records = scheduler.quarantined;
        let note = format!("{records} records cannot be read; they are left alone");
        lines.add("Quarantine:", &note, Tone::Bad);
    }
}

/// `3 in all, 2 ready`; zeros are left out after the first.
fn counted(parts: &[(u32, &str)]) -> String {
    let shown = parts
        .iter()
        .enumerate()
        .filter(|(at, (n, _))| *at == 0 || *n > 0);
    let texts: Vec<String> = shown.map(|(_, (n, name))| format!("{n} {name}")).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_core::model::units::Resources;

    #[test]
    fn all_is_well_and_all_is_not() {
        let summary = ClusterSummary {
            total_nodes: 3,
            ready_nodes: 2,
            not_ready_nodes: 1,
            total_workloads: 10,
            running_workloads: 9,
            pending_workloads: 1,
            capacity: Resources::new(12_000, 24_576, 150),
            allocated: Resources::new(1_000, 640, 0),
            ..ClusterSummary::default()
        };
        let mut health: Health = serde_json::from_str(
            r#"{"status":"ok","mode":"normal","reason":"","leading":true,"epoch":4,
                "store":{"available":true,"error":""}}"#,
        )
        .unwrap();
        let mut scheduler: Scheduler =
            serde_json::from_str(r#"{"leading":true,"revision":88,"pending":1}"#).unwrap();
        let golden = "\
Scheduler:  normal, leads with epoch 4
Store:      available, revision 88
Nodes:      3 in all, 2 ready, 1 not ready
Workloads:  10 in all, 9 running, 1 pending
Allocated:  CPU 1 of 12, memory 640Mi of 24Gi, disk 0Gi of 150Gi
Waiting:    1 workloads wait for a node that fits
In flight:  0 commits
";
        assert_eq!(render(&summary, &scheduler, &health, false), golden);
        health.leading = false;
        health.mode = "degraded".into();
        health.reason = "no answer".into();
        health.store.available = false;
        health.store.error = "no answer".into();
        scheduler.eviction_paused = true;
        let text = render(&summary, &scheduler, &health, false);
        assert!(text.contains("Scheduler:  degraded: no answer\n"), "{text}");
        assert!(
            text.contains("Store:      out of reach: no answer\n"),
            "{text}"
        );
        assert!(text.contains("Evictions:  paused"), "{text}");
    }
}
