//! S1: no agent receives an apply or a delete whose intent was not committed before the call left.

use berth_core::WorkloadId;
use berth_core::io::{AgentCall, AgentOp};
use berth_core::model::workload::{Action, DesiredState, IntentOutcome};

use super::image::Image;
use super::rule::{Check, Finding};
use super::view::View;

/// A call leaves a scheduler.
pub(crate) fn call_leaves(image: &Image, replica: usize, call: &AgentCall) -> Check {
    // A deposed leader's call may leave after another's intent took the place of its own; the
    // agent refuses it by its epoch.
    let Some(workload) = call.op.workload().filter(|_| image.leader == call.epoch.0) else {
        return Ok(());
    };
    let intent = image.intents.get(workload).map(|held| &held.record);
    let here = intent.filter(|intent| intent.node_id == call.node);
    let covered = match &call.op {
        AgentOp::Apply {
            revision, running, ..
        } => here.is_some_and(|intent| {
            let action = if *running {
                Action::Apply
            } else {
                Action::ApplyStopped
            };
            intent.action == action && intent.revision_id == *revision
        }),
        AgentOp::Delete { .. } => {
            let buried = (call.node.clone(), workload.clone());
            here.is_some_and(|intent| matches!(intent.action, Action::Delete | Action::Recreate))
                || image.tombstones.contains_key(&buried)
        }
        AgentOp::Status { .. } | AgentOp::List => true,
    };
    if covered {
        return Ok(());
    }
    let seen = format!(
        "scheduler-{replica} sends {:?}; the store has {intent:?}",
        call.op
    );
    Err(Finding::new(
        "a committed intent for every call that changes a node",
        seen,
    )
    .of(workload)
    .of(&call.node))
}

/// What waited for its turn is wanted still, as far as its caller was told.
pub(crate) fn is_wanted(view: &View, image: &Image, call: &AgentCall) -> Check {
    let (workload, revision, running) = match &call.op {
        AgentOp::Apply {
            workload,
            revision,
            running,
            ..
        } => (workload, revision, running),
        AgentOp::Delete { workload } => return delete_is_wanted(view, image, call, workload),
        AgentOp::Status { .. } | AgentOp::List => return Ok(()),
    };
    let record = view.workloads.get(workload);
    let wanted = record.is_some_and(|record| {
        record.revision_id == *revision
            && match record.desired_state {
                DesiredState::Running => *running,
                DesiredState::Stopped => !*running,
                DesiredState::Deleted => false,
            }
    });
    if wanted {
        return Ok(());
    }
    let seen = format!("{:?} leaves; wanted is {record:?}", call.op);
    let expected = "no call that was overtaken while it waited";
    Err(Finding::new(expected, seen).of(workload).of(&call.node))
}

/// A delete is wanted by an open intent there, or by what is left of a former home.
fn delete_is_wanted(view: &View, image: &Image, call: &AgentCall, workload: &WorkloadId) -> Check {
    let intent = image.intents.get(workload).map(|held| &held.record);
    let open = intent.is_some_and(|intent| {
        matches!(intent.action, Action::Delete | Action::Recreate)
            && intent.outcome == IntentOutcome::Open
            && intent.node_id == call.node
    });
    let buried = (call.node.clone(), workload.clone());
    // What its caller has not been told yet may have taken it back.
    let untold = image.leader != call.epoch.0 || view.awaits_word_of(workload);
    if open || untold || view.tombstones.contains_key(&buried) {
        return Ok(());
    }
    let seen = format!("{:?} leaves; the intent is {intent:?}", call.op);
    let expected = "no delete that was taken back while it waited";
    Err(Finding::new(expected, seen).of(workload).of(&call.node))
}
