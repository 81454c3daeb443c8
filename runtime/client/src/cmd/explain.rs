//! `berth explain`: why a workload is where it is, or nowhere.

use std::fmt::Write as _;

use berth_core::WorkloadId;
use berth_core::io::view::{DisplayStatus, WorkloadView};
use berth_core::placement::Explanation;
use clap::Args;
use serde_yaml_ng::Value;

use super::{Format, Session, freshness, list};
use crate::api::Connection;
use crate::exit::Failure;
use crate::output::table::{Cell, Table};
use crate::output::{Tone, text};

/// Arguments of `berth explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The workload
    #[arg(value_name = "WORKLOAD")]
    pub id: WorkloadId,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub connection: Connection,
}

/// Runs `berth explain`.
///
/// # Errors
/// Those of the request.
pub async fn run(session: &mut Session<'_>, args: &ExplainArgs) -> Result<(), Failure> {
    let path = ["workloads", args.id.as_str(), "explain"];
    if matches!(args.output, Format::Json | Format::Yaml) {
        let value: Value = session.api.read(&path, &[]).await?;
        return list::print_raw(session, &value, args.output == Format::Yaml);
    }
    let explanation: Explanation = session.api.read(&path, &[]).await?;
    // Beside the explanation, which says nothing of what became of the placement.
    let view = session.api.read::<WorkloadView>(&path[..2], &[]).await.ok();
    let head = view.as_ref().and_then(headline).unwrap_or_default();
    let text = render(&explanation, session.console.colored());
    session.console.text(&format!("{head}{text}"))?;
    freshness::note(session, explanation.freshness).await
}

/// What a workload is, when its place does not say it all.
fn headline(view: &WorkloadView) -> Option<String> {
    let (id, status) = (&view.record.id, view.display_status);
    match status {
        DisplayStatus::Pending | DisplayStatus::Scheduled | DisplayStatus::Running => return None,
        DisplayStatus::Updating
        | DisplayStatus::Stopped
        | DisplayStatus::Failed
        | DisplayStatus::Unknown
        | DisplayStatus::RetryPending
        | DisplayStatus::Deleting => {}
    }
    let node = view.record.assigned_node.as_ref();
    let place = node.map_or_else(String::new, |node| format!(" on {node}"));
    let reasons = [
        &view.record.status.failure_reason,
        &view.record.metadata.last_error,
    ];
    let failed = matches!(status, DisplayStatus::Failed | DisplayStatus::RetryPending);
    let reason = reasons.into_iter().find(|text| failed && !text.is_empty());
    let reason = reason.map_or_else(String::new, |text| format!(": {}", text::short(text, 200)));
    let then = if status == DisplayStatus::Stopped && node.is_none() {
        "\nWere it started now:"
    } else {
        ""
    };
    Some(format!("{id} is {}{place}{reason}{then}\n", status.name()))
}

/// The explanation for people.
#[must_use]
pub fn render(explanation: &Explanation, colored: bool) -> String {
    let mut out = String::new();
    let head = |title: &str| Tone::Strong.paint(title, colored);
    let decision = &explanation.decision;
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", explanation.summary);
    let _ = writeln!(
        out,
        "{} {}; {} nodes, {} fit (decided {}, store revision {})",
        head("Requested:"),
        text::resources(decision.requested),
        decision.nodes,
        decision.candidates,
        decision.decided_at,
        decision.at_revision,
    );
    if let Some(score) = decision.score_ppm {
        let _ = writeln!(
            out,
            "{} {score} before this placement",
            head("Utilization:")
        );
    }
    if !decision.refused.is_empty() {
        let _ = writeln!(out, "{}", head("Refused, by the first filter that did:"));
        let mut table = Table::new(&["FILTER", "NODES"]);
        for (filter, nodes) in &decision.refused {
            table.row(vec![filter_name(*filter).into(), nodes.to_string().into()]);
        }
        out.push_str(&table.render(2, colored));
    }
    if !explanation.nearest.is_empty() {
        let _ = writeln!(out, "{}", head("Nearest:"));
        let mut table = Table::new(&["NODE", "IN THE WAY"]);
        for miss in &explanation.nearest {
            for (at, refusal) in miss.refusals.iter().enumerate() {
                let node = if at == 0 {
                    miss.node.to_string()
                } else {
                    String::new()
                };
                table.row(vec![node.into(), Cell::from(refusal.to_string())]);
            }
        }
        out.push_str(&table.render(2, colored));
    }
    if !explanation.would_help.is_empty() {
        let _ = writeln!(out, "{}", head("Would help:"));
        for line in &explanation.would_help {
            let _ = writeln!(out, "  - {line}");
        }
    }
    out
}

/// A filter's name as it stands in JSON.
fn filter_name(filter: berth_core::placement::Filter) -> String {
    serde_json::to_value(filter)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{filter:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::sample;

    #[test]
    fn what_its_place_does_not_say_stands_first() {
        let mut view = sample::workload("bad");
        assert_eq!(headline(&view), None);
        view.display_status = DisplayStatus::RetryPending;
        view.record.status.failure_reason = "ended with exit code 1".into();
        let expected = "bad is RetryPending on node-1: ended with exit code 1\n";
        assert_eq!(headline(&view).as_deref(), Some(expected));
        view.display_status = DisplayStatus::Stopped;
        assert_eq!(
            headline(&view).as_deref(),
            Some("bad is Stopped on node-1\n")
        );
    }

    #[test]
    fn nowhere_is_explained_with_counts_and_near_misses() {
        let json = r#"{
            "workload": "big", "assigned_node": null,
            "summary": "big is pending: none of 3 nodes fits.",
            "decision": {
                "node": null, "nodes": 3, "examined": 3, "candidates": 0,
                "refused": {"ready": 1, "cpu": 2},
                "requested": {"cpu": 6, "memory_mb": 64, "disk_gb": 0},
                "at_revision": 7, "decided_at": "2026-02-17T00:00:00Z"
            },
            "nearest": [{"node": "node-1", "refusals": [
                {"filter": "cpu", "requested": 6000, "available": 4000, "total": 4000},
                {"filter": "labels", "missing": ["zone=x"]}
            ]}],
            "would_help": ["a node with 6 CPU"],
            "freshness": {"revision": 7, "stale": false}
        }"#;
        let explanation: Explanation = serde_json::from_str(json).unwrap();
        let golden = "\
big is pending: none of 3 nodes fits.
Requested: 6 CPU, 64Mi memory; 3 nodes, 0 fit (decided 2026-02-17T00:00:00.000Z, store revision 7)
Refused, by the first filter that did:
  FILTER  NODES
  ready   1
  cpu     2
Nearest:
  NODE    IN THE WAY
  node-1  6000 millicores of CPU requested, 4000 of 4000 available
          the node lacks the labels zone=x
Would help:
  - a node with 6 CPU
";
        assert_eq!(render(&explanation, false), golden);
    }
}
