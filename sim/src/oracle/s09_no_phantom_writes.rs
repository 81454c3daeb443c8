//! S9: what the store holds was asked for by some client or decided by some recorded decision.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::io::request::Request;
use berth_core::model::workload::{DesiredState, WorkloadRecord};
use berth_core::{Timestamp, WorkloadId};

use super::image::{Commit, Writer};
use super::rule::{Check, Finding};

/// How many requests of a workload are remembered in any case.
const KEPT_MIN: usize = 64;
/// For how long all are: whatever is asked is decided long before.
const KEPT_FOR: Duration = Duration::from_secs(900);

/// What clients asked of each workload, and when they did so last.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    requests: BTreeMap<WorkloadId, Vec<(Request, Timestamp)>>,
}

impl Asked {
    pub(crate) fn asked(&mut self, now: Timestamp, request: &Request) {
        let workload = match request {
            Request::Apply(apply) => &apply.workload,
            Request::Delete { workload, .. } | Request::Retry { workload } => workload,
            Request::Register(_)
            | Request::Heartbeat(_)
            | Request::SetSchedulable { .. }
            | Request::Drain { .. }
            | Request::CancelDrain { .. }
            | Request::Fence { .. }
            | Request::Purge { .. }
            | Request::Suggest(_)
            | Request::Read(_) => return,
        };
        let known = self.requests.entry(workload.clone()).or_default();
        if known.len() >= KEPT_MIN {
            known.retain(|(_, at)| now.since(*at) < KEPT_FOR);
        }
        match known.iter_mut().find(|(known, _)| known == request) {
            Some((_, at)) => *at = now,
            None => known.push((request.clone(), now)),
        }
    }

    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        self.requests.values().map(Vec::len).sum()
    }

    pub(crate) fn committed(&self, commit: &Commit) -> Check {
        if commit.writer == Writer::Stranger {
            return Ok(());
        }
        if let Some(text) = commit.unreadable.first() {
            return Err(Finding::new(
                "readable records of the layout",
                text.as_str(),
            ));
        }
        for (id, pair) in &commit.workloads {
            let Some(after) = &pair.after else { continue };
            let was = pair
                .before
                .as_ref()
                .map(|before| before.metadata.generation);
            if was == Some(after.metadata.generation) {
                continue;
            }
            let asked = self.requests.get(id).map(Vec::as_slice).unwrap_or_default();
            if !asked
                .iter()
                .any(|(request, _)| explains(request, pair.before.as_deref(), after))
            {
                let expected = "every change of a client to have been asked for";
                return Err(Finding::new(expected, format!("nobody asked for {after:?}")).of(id));
            }
        }
        Ok(())
    }
}

/// Whether the request may have made the record what it is.
fn explains(request: &Request, before: Option<&WorkloadRecord>, after: &WorkloadRecord) -> bool {
    match request {
        Request::Apply(apply) if apply.dry_run => false,
        Request::Apply(apply) => match &apply.spec {
            Some(spec) => {
                spec.spec == *after.spec
                    && spec.resources == after.resources
                    && spec.labels == after.labels
                    && spec.constraints == after.constraints
                    && spec.tenant == after.tenant
                    && spec.priority == after.priority
                    && after.desired_state != DesiredState::Deleted
            }
            None => {
                apply.desired_state == Some(after.desired_state)
                    && before.is_some_and(|before| is_as_it_was(before, after))
            }
        },
        Request::Delete { .. } => {
            after.desired_state == DesiredState::Deleted
                && before.is_some_and(|before| is_as_it_was(before, after))
        }
        Request::Retry { .. }
        | Request::Register(_)
        | Request::Heartbeat(_)
        | Request::SetSchedulable { .. }
        | Request::Drain { .. }
        | Request::CancelDrain { .. }
        | Request::Fence { .. }
        | Request::Purge { .. }
        | Request::Suggest(_)
        | Request::Read(_) => false,
    }
}

/// Nothing of what clients say of a workload is another, but for whether it should run.
fn is_as_it_was(before: &WorkloadRecord, after: &WorkloadRecord) -> bool {
    before.spec == after.spec
        && before.revision_id == after.revision_id
        && before.resources == after.resources
        && before.labels == after.labels
        && before.constraints == after.constraints
        && before.tenant == after.tenant
        && before.priority == after.priority
}
