//! What requests, calls and times are in plain words.

use std::time::Duration;

use berth_core::EventRecord;
use berth_core::io::request::Request;
use berth_core::io::{AgentError, AgentOp, AgentReply, AgentState};
use berth_core::model::event::EventType;
use berth_core::model::spec::Spec;
use berth_core::model::units::Resources;
use berth_core::model::workload::DesiredState;

use super::Kind;

/// A virtual time: `mm:ss.mmm`.
pub(crate) fn clock(ms: u64) -> String {
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    format!("{minutes:02}:{:02}.{:03}", rest / 1_000, rest % 1_000)
}

pub(crate) fn amount(of: &Resources) -> String {
    format!("{}, {}, {} disk", of.cpu, of.memory_mb, of.disk_gb)
}

/// A request, and the lines that tell more.
pub(crate) fn request_words(request: &Request) -> (String, String) {
    let seconds = |duration: &Duration| duration.as_secs();
    match request {
        Request::Apply(apply) => {
            let id = &apply.workload;
            let mut detail = String::new();
            if let Some(revision) = &apply.revision {
                detail.push_str(&format!("revision label: {revision}\n"));
            }
            if let Some(at) = apply.if_match {
                detail.push_str(&format!("only at revision: {at}\n"));
            }
            let Some(spec) = &apply.spec else {
                let text = match apply.desired_state {
                    Some(DesiredState::Running) => format!("start {id}"),
                    Some(DesiredState::Stopped) => format!("stop {id}"),
                    Some(DesiredState::Deleted) | None => format!("change {id}"),
                };
                return (text, detail);
            };
            detail.push_str(&format!("asks for: {}\n", amount(&spec.resources)));
            detail.push_str(&format!("runs: {}\n", image(&spec.spec)));
            for (name, value) in &spec.labels {
                detail.push_str(&format!("{name}: {value}\n"));
            }
            for (name, value) in &spec.constraints.labels {
                detail.push_str(&format!("only where: {name} = {value}\n"));
            }
            if let Some(by) = &spec.constraints.spread_by {
                detail.push_str(&format!("spread over: {by}\n"));
            }
            if let Some(group) = &spec.constraints.anti_affinity {
                detail.push_str(&format!("apart from: {group}\n"));
            }
            (format!("apply {id}"), detail)
        }
        Request::Delete { workload, if_match } => {
            let detail = if_match.map(|at| format!("only at revision: {at}\n"));
            (format!("delete {workload}"), detail.unwrap_or_default())
        }
        Request::Retry { workload } => (format!("retry {workload}"), String::new()),
        Request::SetSchedulable { node, schedulable } => {
            let what = if *schedulable { "uncordon" } else { "cordon" };
            (format!("{what} {node}"), String::new())
        }
        Request::Drain {
            node,
            deadline,
            parallelism,
        } => {
            let deadline = seconds(deadline);
            let detail = format!("deadline: {deadline} s\nat once: {parallelism}\n");
            (format!("drain {node}"), detail)
        }
        Request::CancelDrain { node } => (format!("end the drain of {node}"), String::new()),
        Request::Fence { node } => (format!("declare {node} dead"), String::new()),
        Request::Purge { node } => (format!("remove {node} for good"), String::new()),
        Request::Register(register) => (format!("register {}", register.node), String::new()),
        Request::Heartbeat(heartbeat) => (format!("heartbeat {}", heartbeat.node), String::new()),
        Request::Suggest(suggestion) => (format!("suggest {}", suggestion.workload), String::new()),
        Request::Read(query) => ("read".to_owned(), format!("{query:?}")),
    }
}

fn image(spec: &Spec) -> String {
    match spec {
        Spec::Container(container) => container.image.clone(),
        other => other.workload_type().to_string(),
    }
}

/// A call to an agent.
pub(crate) fn call_words(op: &AgentOp) -> (Kind, String) {
    match op {
        AgentOp::Apply {
            workload,
            revision,
            running,
            ..
        } => {
            let how = if *running { "run" } else { "keep stopped" };
            (Kind::CallApply, format!("{how} {workload} at {revision}"))
        }
        AgentOp::Delete { workload } => (Kind::CallDelete, format!("delete {workload}")),
        AgentOp::Status { workload } => (Kind::CallStatus, format!("how is {workload}")),
        AgentOp::List => (Kind::CallList, "list all".to_owned()),
    }
}

/// What a call came to, and whether it went wrong.
pub(crate) fn call_outcome(result: &Result<AgentReply, AgentError>) -> (String, bool) {
    match result {
        Ok(AgentReply::Applied) => ("accepted".to_owned(), false),
        Ok(AgentReply::ApplyRefused { failure, message }) => {
            (format!("refused: {failure:?} {message}"), true)
        }
        Ok(AgentReply::Deleting) => ("accepted".to_owned(), false),
        Ok(AgentReply::Missing) => ("it is not there".to_owned(), false),
        Ok(AgentReply::DeleteRefused { message }) => (format!("refused: {message}"), true),
        Ok(AgentReply::Status(status)) => {
            let failed = status.state == AgentState::Failed;
            (format!("{:?} {}", status.state, status.message), failed)
        }
        Ok(AgentReply::Listing(list)) => (format!("{} workloads", list.len()), false),
        Err(AgentError::Unreachable(why)) => (format!("no connection: {why}"), true),
        Err(AgentError::Timeout) => ("no answer in time".to_owned(), true),
        Err(AgentError::StaleEpoch) => ("refused: it knows a later epoch".to_owned(), true),
        Err(AgentError::Failed(why)) => (format!("failed: {why}"), true),
    }
}

/// An event of the cluster.
pub(super) fn event_words(event: &EventRecord) -> String {
    use EventType as E;
    let node = event.node_id.as_ref().map(ToString::to_string);
    let workload = event.workload_id.as_ref().map(ToString::to_string);
    let on = |what: &str| match &node {
        Some(node) => format!("{what} {node}"),
        None => what.to_owned(),
    };
    let what = match event.event_type {
        E::WorkloadCreated => "created".to_owned(),
        E::WorkloadUpdated => "changed".to_owned(),
        E::WorkloadScheduled => on("gets a home:"),
        E::WorkloadUnschedulable => "fits nowhere".to_owned(),
        E::WorkloadRunning => on("runs on"),
        E::WorkloadStopped => "stopped".to_owned(),
        E::WorkloadFailed => "failed".to_owned(),
        E::WorkloadDeleting => "shall go".to_owned(),
        E::WorkloadDeleted => "gone".to_owned(),
        E::RetryTriggered => "is tried again".to_owned(),
        E::RetriesExhausted => "is tried no more".to_owned(),
        E::Rescheduled => on("moves to"),
        E::DriftDetected => on("differs from what it should be on"),
        E::NodeRegistered => "registered".to_owned(),
        E::NodeReady => "ready".to_owned(),
        E::NodeLost => "lost".to_owned(),
        E::NodeCordoned => "cordoned".to_owned(),
        E::NodeUncordoned => "uncordoned".to_owned(),
        E::NodeDraining => "drains".to_owned(),
        E::NodeDrained => "drained".to_owned(),
        E::NodeFenced => "declared dead".to_owned(),
        E::NodePurged => "removed for good".to_owned(),
        E::EvictionPaused => "evictions pause".to_owned(),
        E::EvictionResumed => "evictions go on".to_owned(),
        E::RecordQuarantined => "record left alone: unreadable".to_owned(),
        E::RecordAdopted => "somebody else's change adopted".to_owned(),
        E::AutomationDecided => "a suggestion was decided".to_owned(),
    };
    match workload.or(node) {
        Some(who) => format!("{who} {what}"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_minutes_seconds_and_milliseconds() {
        assert_eq!(clock(0), "00:00.000");
        assert_eq!(clock(61_007), "01:01.007");
        assert_eq!(clock(6_000_000), "100:00.000");
    }
}
