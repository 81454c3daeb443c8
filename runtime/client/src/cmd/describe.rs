//! `berth describe`: everything about a workload or a node, for people.

use std::fmt::Write as _;

use berth_core::io::request::Freshness;
use berth_core::io::view::{NodeView, WorkloadView};
use berth_core::placement::Explanation;
use berth_core::{EventRecord, Timestamp};
use clap::{Args, ValueEnum};
use serde_yaml_ng::Value;

use super::list::Page;
use super::{Format, Session, events, explain, freshness, list};
use crate::api::Connection;
use crate::exit::Failure;
use crate::output::table::Table;
use crate::output::{Tone, text};

/// What `describe` can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// What runs
    #[value(name = "workload", alias = "workloads", alias = "wl")]
    Workload,
    /// Where it runs
    #[value(name = "node", alias = "nodes", alias = "no")]
    Node,
}

/// Arguments of `berth describe`.
#[derive(Debug, Clone, Args)]
pub struct DescribeArgs {
    /// What it is
    #[arg(value_enum)]
    pub kind: Kind,
    /// Which one
    pub id: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Ask the leader: it has every write that was acknowledged before, and what nodes tell
    #[arg(long)]
    pub strong: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Runs `berth describe`.
///
/// # Errors
/// Those of the requests.
pub async fn run(session: &mut Session<'_>, args: &DescribeArgs) -> Result<(), Failure> {
    if args.strong {
        session.api.read_strongly();
    }
    let path = match args.kind {
        Kind::Workload => "workloads",
        Kind::Node => "nodes",
    };
    if matches!(args.output, Format::Json | Format::Yaml) {
        let value: Value = session.api.read(&[path, &args.id], &[]).await?;
        return list::print_raw(session, &value, args.output == Format::Yaml);
    }
    let (text, freshness) = match args.kind {
        Kind::Node => node(session, &args.id).await?,
        Kind::Workload => workload(session, &args.id).await?,
    };
    session.console.text(&text)?;
    freshness::note(session, freshness).await
}

async fn workload(session: &Session<'_>, id: &str) -> Result<(String, Freshness), Failure> {
    let view: WorkloadView = session.api.read(&["workloads", id], &[]).await?;
    let path = ["workloads", id, "explain"];
    // Beside the record; what the record says does not hang on it.
    let explanation = session.api.read::<Explanation>(&path, &[]).await.ok();
    let happened = recent(session, "workload", id).await;
    let (now, colored) = (session.console.now(), session.console.colored());
    let mut out = render_workload(&view, now, colored);
    if let Some(explanation) = explanation {
        let _ = writeln!(out, "{}", Tone::Strong.paint("Placement:", colored));
        for line in explain::render(&explanation, colored).lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out.push_str(&render_events(happened, now, colored));
    Ok((out, view.freshness))
}

async fn node(session: &Session<'_>, id: &str) -> Result<(String, Freshness), Failure> {
    let view: NodeView = session.api.read(&["nodes", id], &[]).await?;
    let query = [("node", id.to_owned())];
    let holds: Page<WorkloadView> = list::all(session, "workloads", &query, None).await?;
    let happened = recent(session, "node", id).await;
    let (now, colored) = (session.console.now(), session.console.colored());
    let mut out = render_node(&view, now, colored);
    if !holds.items.is_empty() {
        let _ = writeln!(out, "{}", Tone::Strong.paint("Workloads:", colored));
        let mut table = Table::new(&["ID", "STATUS", "CPU", "MEMORY", "DISK"]);
        for held in &holds.items {
            let wants = held.record.resources;
            table.row(vec![
                held.record.id.to_string().into(),
                held.display_status.name().into(),
                text::cores(wants.cpu).into(),
                text::memory(wants.memory_mb).into(),
                text::disk(wants.disk_gb).into(),
            ]);
        }
        out.push_str(&table.render(2, colored));
    }
    out.push_str(&render_events(happened, now, colored));
    Ok((out, view.freshness))
}

/// The last events about something; none when they cannot be read.
async fn recent(session: &Session<'_>, kind: &'static str, id: &str) -> Vec<EventRecord> {
    let query = [(kind, id.to_owned()), ("limit", "10".to_owned())];
    let page = session
        .api
        .read::<Page<EventRecord>>(&["events"], &query)
        .await;
    page.map_or_else(|_| Vec::new(), |page| page.items)
}

fn render_events(happened: Vec<EventRecord>, now: Timestamp, colored: bool) -> String {
    if happened.is_empty() {
        return String::new();
    }
    let title = Tone::Strong.paint("Events:", colored);
    let table = events::table(&happened, now);
    format!("{title}\n{}", table.render(2, colored))
}

/// Names and values, the values aligned.
struct Facts {
    out: String,
    colored: bool,
}

impl Facts {
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        if value.is_empty() {
            return;
        }
        let name = format!("{:<15}", format!("{name}:"));
        // What comes from elsewhere must not write over the terminal; lines may stay lines.
        let clean = value.replace(|c: char| c.is_control() && c != '\n', " ");
        let clean = clean.trim_end().replace('\n', "\n                ");
        // Several lines begin below the name.
        let gap = if clean.starts_with('\n') { "" } else { " " };
        let name = if gap.is_empty() {
            name.trim_end()
        } else {
            &name
        };
        let name = Tone::Strong.paint(name, self.colored);
        let _ = writeln!(self.out, "{name}{gap}{clean}");
    }
}

fn render_workload(view: &WorkloadView, now: Timestamp, colored: bool) -> String {
    let record = &view.record;
    let mut facts = Facts {
        out: String::new(),
        colored,
    };
    facts.add("Id", record.id.as_str());
    facts.add("Type", record.workload_type().name());
    let tone = text::workload_tone(view.display_status);
    facts.add("Status", view.display_status.name());
    if tone == Tone::Bad || !record.status.failure_reason.is_empty() {
        facts.add("Reason", &record.status.failure_reason);
    }
    facts.add("Desired", format!("{:?}", record.desired_state));
    let node = record.assigned_node.as_ref().map(ToString::to_string);
    facts.add("Node", node.unwrap_or_else(|| "none".to_owned()));
    facts.add("Revision", record.revision_id.as_str());
    facts.add("Requests", text::resources(record.resources));
    let constraints = &record.constraints;
    if !constraints.labels.is_empty() {
        facts.add("Node labels", text::labels(&constraints.labels));
    }
    facts.add(
        "Spread by",
        constraints.spread_by.as_deref().unwrap_or_default(),
    );
    facts.add(
        "Anti-affinity",
        constraints.anti_affinity.as_deref().unwrap_or_default(),
    );
    facts.add(
        "Tenant",
        record.tenant.as_ref().map_or("", |tenant| tenant.as_str()),
    );
    facts.add("Priority", record.priority.to_string());
    if !record.labels.is_empty() {
        facts.add("Labels", text::labels(&record.labels));
    }
    let retry = &record.retry;
    let next = match retry.next_retry_at {
        Some(at) if at > now => format!(", next in {}", text::duration(at.since(now))),
        Some(_) => ", next now".to_owned(),
        None if retry.exhausted => ", no more".to_owned(),
        None => String::new(),
    };
    let tries = format!("{} of {}{next}", retry.attempts, retry.max_attempts);
    facts.add("Failures", tries);
    facts.add("Last error", &record.metadata.last_error);
    if let Some(since) = record.status.running_since {
        facts.add("Running for", text::age(since, now));
    }
    let created = record.metadata.created_at;
    facts.add(
        "Created",
        format!("{created} ({} ago)", text::age(created, now)),
    );
    facts.add("Store revision", view.resource_version.to_string());
    let spec = serde_json::to_value(&*record.spec)
        .ok()
        .and_then(|value| serde_yaml_ng::to_string(value.get("spec")?).ok());
    facts.add("Spec", format!("\n{}", spec.unwrap_or_default()));
    facts.out
}

fn render_node(view: &NodeView, now: Timestamp, colored: bool) -> String {
    let record = &view.record;
    let mut facts = Facts {
        out: String::new(),
        colored,
    };
    facts.add("Id", record.id.as_str());
    let since = text::age(record.status_changed_at, now);
    let status = format!(
        "{:?} for {since} ({:?})",
        record.status, record.status_reason
    );
    facts.add("Status", status);
    facts.add(
        "Schedulable",
        if record.schedulable {
            "yes"
        } else {
            "no: cordoned"
        },
    );
    if let Some(drain) = record.drain {
        let ends = match drain.completed_at {
            Some(at) => format!("completed {at}"),
            None => format!("until {}, {} at once", drain.deadline, drain.parallelism),
        };
        facts.add("Drain", ends);
    }
    facts.add(
        "Agent",
        format!("{} {}", record.agent_endpoint, record.agent_version),
    );
    facts.add(
        "Last heartbeat",
        format!("{} ago", text::age(record.last_heartbeat, now)),
    );
    let types: Vec<&str> = record
        .supported_workload_types
        .iter()
        .map(|t| t.name())
        .collect();
    facts.add("Runs", text::dash(types.join(", ")));
    let drivers: Vec<&str> = record
        .supported_storage_drivers
        .iter()
        .map(String::as_str)
        .collect();
    facts.add("Storage", text::dash(drivers.join(", ")));
    facts.add("Labels", text::labels(&record.labels));
    let tombstones = match view.tombstones {
        0 => String::new(),
        n => format!(", {n} copies not yet confirmed gone"),
    };
    facts.add("Holds", format!("{} workloads{tombstones}", view.workloads));
    match view.strangers {
        Some(0) => {}
        Some(n) => {
            let note = "that this scheduler never assigned; left alone";
            facts.add("Strangers", format!("{n} {note}"));
        }
        None => facts.add("Strangers", "- (the leader knows: --strong asks it)"),
    }
    facts.add(
        "Created",
        format!("{} ago", text::age(record.created_at, now)),
    );
    facts.add("Store revision", view.resource_version.to_string());
    let table = resources_of(view).render(2, colored);
    format!("{}{table}", facts.out)
}

/// Capacity, and what became of it.
fn resources_of(view: &NodeView) -> Table {
    let record = &view.record;
    let mut table = Table::new(&[
        "RESOURCE",
        "TOTAL",
        "ALLOCATED",
        "AVAILABLE",
        "USED BY HOST",
    ]);
    let (amounts, left) = (&record.resources, view.available);
    let not_told = || ["-", "-", "-"].map(ToOwned::to_owned);
    let [cpu_used, memory_used, disk_used] = text::used(view).unwrap_or_else(not_told);
    table.row(vec![
        "CPU".into(),
        text::cores(amounts.cpu_total).into(),
        text::cores(amounts.cpu_allocated).into(),
        text::cores(left.cpu).into(),
        cpu_used.into(),
    ]);
    table.row(vec![
        "memory".into(),
        text::memory(amounts.memory_total).into(),
        text::memory(amounts.memory_allocated).into(),
        text::memory(left.memory_mb).into(),
        memory_used.into(),
    ]);
    let known = amounts.disk_total.is_some();
    let unknown = || "unknown".to_owned();
    table.row(vec![
        "disk".into(),
        amounts.disk_total.map_or_else(unknown, text::disk).into(),
        text::disk(amounts.disk_allocated).into(),
        if known {
            text::disk(left.disk_gb)
        } else {
            unknown()
        }
        .into(),
        disk_used.into(),
    ]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::sample;

    #[test]
    fn a_workload_in_words() {
        let mut view = sample::workload("web-1");
        view.record.metadata.last_error = "exit\x1b[2J 1".into();
        let text = render_workload(&view, sample::now(), false);
        let golden = "\
Id:             web-1
Type:           container
Status:         Running
Desired:        Running
Node:           node-1
Revision:       rev-1
Requests:       0.5 CPU, 64Mi memory
Priority:       0
Failures:       1 of 5
Last error:     exit [2J 1
Created:        2026-02-17T00:00:00.000Z (1m ago)
Store revision: 7
Spec:
                image: nginx
                restart_policy: no
";
        assert_eq!(text, golden);
    }

    /// What only the leader knows is not shown as none.
    #[test]
    fn what_a_follower_does_not_know_is_no_number() {
        let mut view = sample::node("node-1");
        view.strangers = None;
        view.freshness.stale = true;
        let text = render_node(&view, sample::now(), false);
        for line in [
            "Strangers:      - (the leader knows: --strong asks it)",
            "  CPU       4      1          3          -",
        ] {
            assert!(text.contains(line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn a_node_in_words() {
        let text = render_node(&sample::node("node-1"), sample::now(), false);
        for line in [
            "Status:         Ready for 1m (Registered)",
            "Labels:         zone=a",
            "Holds:          2 workloads",
            "  RESOURCE  TOTAL  ALLOCATED  AVAILABLE  USED BY HOST",
            "  CPU       4      1          3          0.2",
            "  disk      50Gi   0Gi        50Gi       3Gi",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line}\nin\n{text}"
            );
        }
    }
}
