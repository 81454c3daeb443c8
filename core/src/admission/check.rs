//! The judge of every new or changed workload.

use std::collections::BTreeMap;

use super::check_spec::{check_spec, name, one_line};
use super::limits::*;
use crate::io::RequestError;
use crate::io::request::{ApplyWorkload, NewSpec};
use crate::model::spec::{Constraints, Spec};
use crate::model::units::Resources;
use crate::model::workload::DesiredState;
use crate::wire::bound::{entry, quoted};
use crate::wire::vm_blob;

pub(super) type Checked = Result<(), RequestError>;

/// Refuses what must not enter the store or reach an agent. Bounds: [`limits`](super::limits).
///
/// # Errors
/// [`RequestError::Invalid`] with the path of the first field that is wrong, such as
/// `spec.ports[1].container_port`, and with what was expected.
pub fn check_apply(apply: &ApplyWorkload) -> Checked {
    if apply.desired_state == Some(DesiredState::Deleted) {
        let problem = "expected Running or Stopped; a deletion is a request of its own";
        return Err(RequestError::invalid("desired_state", problem));
    }
    if let Some(label) = &apply.revision {
        at_most(
            "revision_id",
            label.as_str().len(),
            REVISION_LABEL_BYTES_MAX,
            "bytes long",
        )?;
    }
    match &apply.spec {
        Some(spec) => check_new_spec(spec),
        None if apply.desired_state.is_none() => {
            let problem = "is absent, and so is desired_state: there is nothing to change";
            Err(RequestError::invalid("spec", problem))
        }
        None => Ok(()),
    }
}

fn check_new_spec(new: &NewSpec) -> Checked {
    // First: what follows may quote a field, and runs over all of them.
    let size = serde_json::to_vec(new).map_or(usize::MAX, |json| json.len());
    if size > SPEC_BYTES_MAX {
        let problem = format!(
            "is {size} bytes as JSON, with its labels; at most {SPEC_BYTES_MAX} are allowed"
        );
        return Err(RequestError::invalid("spec", problem));
    }
    check_spec(&new.spec)?;
    check_resources(new.resources)?;
    check_constraints(&new.constraints)?;
    if !PRIORITY.contains(&new.priority) {
        return Err(out_of_range("priority", new.priority, PRIORITY));
    }
    if let Some(attempts) = new.max_attempts.filter(|n| !ATTEMPTS.contains(n)) {
        return Err(out_of_range("max_attempts", attempts, ATTEMPTS));
    }
    check_user_labels(&new.labels)?;
    check_packed_machine(new)
}

/// An agent gets the machine that the labels hold in place of the spec: they must be the same one,
/// or placement and readers would be told of another than the one that runs.
fn check_packed_machine(new: &NewSpec) -> Checked {
    let (Spec::Vm(spec), Some(packed)) = (&new.spec, new.labels.get(VM_SPEC_KEY)) else {
        return Ok(());
    };
    let wrong = |problem| RequestError::invalid(entry("labels", VM_SPEC_KEY), problem);
    let vm = vm_blob::decode(packed).map_err(wrong)?;
    if vm_blob::summary(&vm) == *spec {
        return Ok(());
    }
    Err(wrong(
        "holds another machine than spec; make them agree, or leave it out",
    ))
}

fn check_resources(asked: Resources) -> Checked {
    let range = |field, amount: u64, max, unit| {
        if amount <= max {
            return Ok(());
        }
        let problem = format!("{amount} {unit} is out of range; expected 0 to {max} {unit}");
        Err(RequestError::invalid(field, problem))
    };
    range(
        "resources.cpu",
        asked.cpu.0,
        CPU_MILLICORES_MAX,
        "millicores",
    )?;
    range(
        "resources.memory_mb",
        asked.memory_mb.0,
        MEMORY_MIB_MAX,
        "MiB",
    )?;
    range("resources.disk_gb", asked.disk_gb.0, DISK_GIB_MAX, "GiB")
}

fn check_constraints(constraints: &Constraints) -> Checked {
    check_match_labels("constraints.labels", &constraints.labels)?;
    if let Some(key) = &constraints.spread_by {
        label_key("constraints.spread_by", key)?;
    }
    constraints
        .anti_affinity
        .as_ref()
        .map_or(Ok(()), |group| name("constraints.anti_affinity", group))
}

/// Refuses labels of a node that could never be matched or would not fit its record.
///
/// # Errors
/// [`RequestError::Invalid`] that names the label.
pub fn check_node_labels(labels: &BTreeMap<String, String>) -> Checked {
    let bytes: usize = labels
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    at_most("labels", bytes, NODE_LABELS_BYTES_MAX, "bytes together")?;
    check_match_labels("labels", labels)
}

fn check_match_labels(field: &str, labels: &BTreeMap<String, String>) -> Checked {
    at_most(field, labels.len(), LABELS_MAX, "entries")?;
    for (key, value) in labels {
        let path = entry(field, key);
        label_key(&path, key)?;
        at_most(&path, value.len(), LABEL_VALUE_BYTES_MAX, "bytes long")?;
        one_line(&path, value)?;
    }
    Ok(())
}

fn check_user_labels(labels: &BTreeMap<String, String>) -> Checked {
    at_most("labels", labels.len(), LABELS_MAX, "entries")?;
    for (key, value) in labels {
        let path = entry("labels", key);
        label_key(&path, key)?;
        if key.starts_with(RESERVED_PREFIX) {
            let problem = format!("keys below {RESERVED_PREFIX} are the scheduler's own");
            return Err(RequestError::invalid(path, problem));
        }
        if key != VM_SPEC_KEY {
            at_most(&path, value.len(), USER_LABEL_VALUE_BYTES_MAX, "bytes long")?;
        }
        no_nul(&path, value)?;
    }
    Ok(())
}

fn label_key(field: &str, key: &str) -> Checked {
    if key.is_empty() {
        return Err(RequestError::invalid(field, "the key is empty"));
    }
    at_most(
        field,
        key.len(),
        LABEL_KEY_BYTES_MAX,
        "bytes long (the key)",
    )?;
    match key.chars().find(|c| c.is_whitespace() || c.is_control()) {
        Some(c) => {
            let problem = format!("the key has {c:?}; blanks and control characters are refused");
            Err(RequestError::invalid(field, problem))
        }
        None => Ok(()),
    }
}

/// Refuses more than `max` of something.
pub(super) fn at_most(field: &str, amount: usize, max: usize, what: &str) -> Checked {
    if amount <= max {
        return Ok(());
    }
    let problem = format!("is {amount} {what}; at most {max} are allowed");
    Err(RequestError::invalid(field, problem))
}

/// Refuses a text that would end early in C, where agents' runtimes read it.
pub(super) fn no_nul(field: &str, text: &str) -> Checked {
    if text.contains('\0') {
        return Err(RequestError::invalid(
            field,
            format!("{} holds a zero byte", quoted(text)),
        ));
    }
    Ok(())
}

pub(super) fn out_of_range<T: std::fmt::Display>(
    field: &str,
    value: T,
    range: std::ops::RangeInclusive<T>,
) -> RequestError {
    let (low, high) = range.into_inner();
    RequestError::invalid(
        field,
        format!("{value} is out of range; expected {low} to {high}"),
    )
}
