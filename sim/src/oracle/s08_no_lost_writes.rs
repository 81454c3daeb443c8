//! S8: a write that was acknowledged to a client is in the store for ever after, until a later
//! acknowledged write takes its place. Every change of a client counts the generation up, so a
//! lost write shows as a generation that goes back, or as an acknowledged one that never was.

use std::collections::{BTreeMap, VecDeque};

use berth_core::WorkloadId;
use berth_core::io::request::{Request, Response};
use berth_core::io::view::WorkloadView;
use berth_core::model::Extra;
use berth_core::model::workload::{DesiredState, WorkloadRecord};
use berth_core::{Revision, Timestamp};

use super::image::{Commit, Image, Writer};
use super::rule::{Check, Finding};

/// Writes of a workload that are remembered.
const WRITES_MAX: usize = 128;

/// What a client can tell of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    revision: i64,
    created_at: Timestamp,
    generation: u64,
    spec: Revision,
    desired: DesiredState,
}

/// What was written lately.
#[derive(Debug, Default)]
pub(crate) struct Register {
    writes: BTreeMap<WorkloadId, VecDeque<Written>>,
}

fn written(revision: i64, record: &WorkloadRecord) -> Written {
    Written {
        revision,
        created_at: record.metadata.created_at,
        generation: record.metadata.generation,
        spec: record.revision_id.clone(),
        desired: record.desired_state,
    }
}

impl Register {
    pub(crate) fn committed(&mut self, commit: &Commit) -> Check {
        for (id, pair) in &commit.workloads {
            if let Some(after) = &pair.after {
                let writes = self.writes.entry(id.clone()).or_default();
                writes.push_back(written(commit.revision, after));
                if writes.len() > WRITES_MAX {
                    writes.pop_front();
                }
            }
            if commit.writer == Writer::Stranger {
                continue;
            }
            let (Some(before), Some(after)) = (&pair.before, &pair.after) else {
                continue;
            };
            let lineage = before.metadata.created_at == after.metadata.created_at;
            let (was, is) = (before.metadata.generation, after.metadata.generation);
            let same = before.revision_id == after.revision_id
                && before.desired_state == after.desired_state
                && before.resources == after.resources
                && before.labels == after.labels
                && before.constraints == after.constraints
                && before.spec == after.spec
                && before.tenant == after.tenant
                && before.priority == after.priority;
            if !lineage || is < was || is > was + 1 || (is == was && !same) {
                let expected = "one generation for each client's change, and none lost";
                let seen = format!("generation {was} became {is}: {before:?} became {after:?}");
                return Err(Finding::new(expected, seen).of(id));
            }
        }
        later_fields(commit)
    }

    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        self.writes.values().map(VecDeque::len).sum()
    }

    /// A client was told that its write is done.
    pub(crate) fn acknowledged(
        &self,
        image: &Image,
        request: &Request,
        response: &Response,
    ) -> Check {
        let Response::Workload(view) = response else {
            return Ok(());
        };
        let id = &view.record.id;
        let told = written(view.resource_version.0, &view.record);
        let refuse = |expected: &str, seen: String| Err(Finding::new(expected, seen).of(id));
        if let Some(problem) = disagreement(request, view) {
            return refuse("an answer that agrees with the request", problem);
        }
        let writes = self.writes.get(id);
        let oldest = writes
            .and_then(|writes| writes.front())
            .map_or(0, |write| write.revision);
        let known = writes.is_some_and(|writes| writes.contains(&told));
        if !known && told.revision >= oldest {
            return refuse(
                "what was acknowledged to be in the store",
                format!("told {told:?}"),
            );
        }
        let Some(now) = image.workloads.get(id) else {
            return Ok(());
        };
        let now = written(now.revision, &now.record);
        let same = now.created_at == told.created_at;
        if same && (now.generation < told.generation || now.revision < told.revision) {
            return refuse(
                "what was acknowledged to stay",
                format!("told {told:?}, is {now:?}"),
            );
        }
        Ok(())
    }
}

/// What another version of the scheduler wrote into a record stays for as long as the record does.
fn later_fields(commit: &Commit) -> Check {
    let mut lost = Vec::new();
    let mut compare = |of: String, before: &Extra, after: &Extra| {
        if let Some(name) = before.keys().find(|name| !after.contains_key(*name)) {
            lost.push((of, name.clone()));
        }
    };
    for (id, pair) in &commit.workloads {
        if let (Some(was), Some(is)) = (&pair.before, &pair.after) {
            compare(id.to_string(), &was.extra, &is.extra);
            compare(id.to_string(), &was.status.extra, &is.status.extra);
            compare(id.to_string(), &was.metadata.extra, &is.metadata.extra);
        }
    }
    for (id, pair) in &commit.nodes {
        if let (Some(was), Some(is)) = (&pair.before, &pair.after) {
            compare(id.to_string(), &was.extra, &is.extra);
        }
    }
    for (id, pair) in &commit.assignments {
        if let (Some(was), Some(is)) = (&pair.before, &pair.after)
            && was.assigned_at == is.assigned_at
        {
            compare(id.to_string(), &was.extra, &is.extra);
        }
    }
    for (id, pair) in &commit.retries {
        if let (Some(was), Some(is)) = (&pair.before, &pair.after) {
            compare(id.to_string(), &was.extra, &is.extra);
        }
    }
    match lost.first() {
        None => Ok(()),
        Some((of, name)) => {
            let expected = "fields of other versions to survive a rewrite";
            Err(Finding::new(expected, format!("`{name}` is gone")).of(of))
        }
    }
}

/// What the answer says otherwise than the request wanted.
fn disagreement(request: &Request, view: &WorkloadView) -> Option<String> {
    let record = &view.record;
    let problem = match request {
        Request::Apply(apply) => {
            let desired = apply
                .desired_state
                .is_some_and(|wanted| wanted != record.desired_state);
            let spec = apply.spec.as_ref().is_some_and(|spec| {
                spec.spec != *record.spec
                    || spec.resources != record.resources
                    || spec.labels != record.labels
                    || spec.constraints != record.constraints
            });
            desired || spec
        }
        Request::Delete { .. } => record.desired_state != DesiredState::Deleted,
        Request::Retry { .. } => record.desired_state != DesiredState::Running,
        Request::Register(_)
        | Request::Heartbeat(_)
        | Request::SetSchedulable { .. }
        | Request::Drain { .. }
        | Request::CancelDrain { .. }
        | Request::Fence { .. }
        | Request::Purge { .. }
        | Request::Suggest(_)
        | Request::Read(_) => false,
    };
    problem.then(|| format!("asked {request:?}, told {record:?}"))
}

#[cfg(test)]
mod tests {
    use berth_kv as kv;

    use super::super::memo::Memo;
    use super::*;

    /// One put of a retry record, as the store tells of it.
    fn put(revision: i64, more: &str) -> kv::Event {
        let value = format!(
            r#"{{"workload_id": "w", "revision_id": "r", "attempts": {revision}, "max_attempts": 5,
                "last_failure_at": "2026-01-01T00:00:00Z", "last_failure": "runtime_error"{more}}}"#
        );
        kv::Event {
            kind: kv::EventKind::Put,
            kv: kv::KeyValue {
                key: "/retries/w".into(),
                value: value.into(),
                create_revision: 1,
                mod_revision: revision,
                version: revision,
                lease: kv::LeaseId::NONE,
            },
            prev_kv: None,
        }
    }

    #[test]
    fn a_field_of_a_later_version_that_a_rewrite_drops_is_found() {
        let writer = Writer::Scheduler {
            replica: 0,
            epoch: 1,
        };
        let mut image = Image::default();
        let mut write = |revision, more| {
            let commit = image.take(
                revision,
                writer,
                &[put(revision, more)],
                &mut Memo::default(),
            );
            assert!(commit.unreadable.is_empty(), "{:?}", commit.unreadable);
            later_fields(&commit)
        };
        assert_eq!(write(1, r#", "later": 7"#), Ok(()));
        assert_eq!(write(2, r#", "later": 8"#), Ok(()));
        let lost = write(3, "").expect_err("the field is gone");
        assert!(lost.seen.contains("later"), "{lost:?}");
    }
}
