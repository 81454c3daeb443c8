//! Commands on workloads: apply, delete, retry.

use berth_proto::control::v1 as control;

use super::metadata::take_policy;
use super::spec::{resources, spec};
use super::{WireError, invalid, malformed};
use crate::admission::check_apply;
use crate::io::request::{ApplyWorkload, NewSpec, Request};
use crate::model::id::{NodeId, Revision, WorkloadId};
use crate::model::workload::DesiredState;
use crate::wire::bound::quoted;

/// An apply: a new spec, or without one a change of the desired state only. The desired state
/// `Deleted` makes it a [`Request::Delete`], and the spec is not looked at.
///
/// Stricter than the predecessor in one point: a desired state that is none of those known is
/// refused; it took any text for `Running`, so that a misspelt stop started the workload.
///
/// # Errors
/// [`WireError::Malformed`] for an id that is none; [`WireError::InvalidSpec`] for the rest, with
/// the path of the field.
pub fn apply_request(message: control::ApplyWorkloadRequest) -> Result<Request, WireError> {
    let workload = workload_id("workload_id", &message.workload_id)?;
    let wanted = desired_state("desired_state", &message.desired_state)?;
    let wanted = wanted.unwrap_or(DesiredState::Running);
    if wanted == DesiredState::Deleted {
        return Ok(Request::Delete {
            workload,
            if_match: None,
        });
    }
    let apply = ApplyWorkload {
        workload,
        spec: message.spec.map(new_spec).transpose()?,
        revision: revision(&message.revision_id)?,
        desired_state: Some(wanted),
        if_match: None,
        dry_run: false,
    };
    check_apply(&apply).map_err(WireError::InvalidSpec)?;
    Ok(Request::Apply(apply))
}

/// A deletion.
///
/// # Errors
/// [`WireError::Malformed`] for an id that is none.
pub fn delete_request(message: &control::DeleteWorkloadRequest) -> Result<Request, WireError> {
    let workload = workload_id("workload_id", &message.workload_id)?;
    Ok(Request::Delete {
        workload,
        if_match: None,
    })
}

/// A manual retry.
///
/// # Errors
/// [`WireError::Malformed`] for an id that is none.
pub fn retry_request(message: &control::RetryWorkloadRequest) -> Result<Request, WireError> {
    let workload = workload_id("workload_id", &message.workload_id)?;
    Ok(Request::Retry { workload })
}

/// A workload's id.
///
/// # Errors
/// [`WireError::Malformed`] with the rule of ids.
pub fn workload_id(field: &str, text: &str) -> Result<WorkloadId, WireError> {
    text.parse().map_err(|error| malformed(field, error))
}

/// A node's id.
///
/// # Errors
/// [`WireError::Malformed`] with the rule of ids.
pub fn node_id(field: &str, text: &str) -> Result<NodeId, WireError> {
    text.parse().map_err(|error| malformed(field, error))
}

/// A desired state in any case of letters: `run`, `running`, `start`, `started`; `stop`, `stopped`;
/// `delete`, `deleted`. `None`: the text is blank.
///
/// # Errors
/// [`WireError::InvalidSpec`] for any other text.
pub fn desired_state(field: &str, text: &str) -> Result<Option<DesiredState>, WireError> {
    let word = text.trim();
    let is = |words: &[&str]| words.iter().any(|w| word.eq_ignore_ascii_case(w));
    if word.is_empty() {
        Ok(None)
    } else if is(&["run", "running", "start", "started"]) {
        Ok(Some(DesiredState::Running))
    } else if is(&["stop", "stopped"]) {
        Ok(Some(DesiredState::Stopped))
    } else if is(&["delete", "deleted"]) {
        Ok(Some(DesiredState::Deleted))
    } else {
        let problem = format!("{} is none of Running, Stopped, Deleted", quoted(text));
        Err(invalid(field, problem))
    }
}

fn revision(text: &str) -> Result<Option<Revision>, WireError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|error| invalid("revision_id", error))
}

fn new_spec(message: control::WorkloadSpec) -> Result<NewSpec, WireError> {
    let control::WorkloadSpec {
        r#type,
        resources: asked,
        metadata,
        workload,
    } = message;
    let (policy, labels) = take_policy(metadata)?;
    Ok(NewSpec {
        spec: spec(&r#type, workload, &labels)?,
        resources: resources(asked.unwrap_or_default())?,
        constraints: policy.constraints,
        tenant: policy.tenant,
        priority: policy.priority,
        max_attempts: policy.max_attempts,
        labels,
    })
}
