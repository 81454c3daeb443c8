//! S14: an agent never changes another node's state. A workload becomes `Running` at its node only
//! if that node's own runtime started it at that revision: what other agents say of it, in listings,
//! statuses and heartbeats, changes nothing. (That nobody is declared lost or back by another's
//! silence or heartbeats is judged with S18.)
//!
//! Not judged: an agent that speaks in another node's name. Nothing tells the two apart before
//! callers have identities. There are no tenants' quotas yet.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::model::workload::{ActualState, DesiredState};
use berth_core::{NodeId, Revision, Timestamp, WorkloadId};

use super::image::{Commit, Image, Writer};
use super::rule::{Check, Finding};

/// Whether a node's runtime ever started a workload at a revision.
pub(crate) type Started<'a> = &'a dyn Fn(&NodeId, &WorkloadId, &Revision) -> bool;

/// What of a machine that was replaced may still be on its way into the store.
const ON_ITS_WAY: Duration = Duration::from_secs(120);

/// Machines whose memory is gone.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    replaced: BTreeMap<String, Timestamp>,
}

impl Isolation {
    /// A node's machine was replaced by an empty one.
    pub(crate) fn replaced(&mut self, now: Timestamp, node: usize) {
        self.replaced.insert(format!("node-{node}"), now);
    }

    pub(crate) fn committed(
        &self,
        now: Timestamp,
        commit: &Commit,
        image: &Image,
        started: Started<'_>,
    ) -> Check {
        if commit.writer == Writer::Stranger {
            return Ok(());
        }
        for (id, pair) in &commit.workloads {
            let Some(after) = &pair.after else { continue };
            let runs = |state: ActualState| state == ActualState::Running;
            // What is to stop runs on at the revision that it has.
            let stops = after.desired_state != DesiredState::Running;
            let ran = pair.before.as_ref().is_some_and(|before| {
                runs(before.status.actual_state)
                    && (stops || before.revision_id == after.revision_id)
            });
            let Some(home) = image.assignments.get(id) else {
                continue;
            };
            if !runs(after.status.actual_state) || ran {
                continue;
            }
            let node = &home.record.node_id;
            let lately = self.replaced.get(node.as_str());
            let forgot = lately.is_some_and(|at| now.since(*at) < ON_ITS_WAY);
            if !forgot && !started(node, id, &after.revision_id) {
                let expected = "running only what its own node started";
                let seen = format!("{node} never started {id} at {}", after.revision_id);
                return Err(Finding::new(expected, seen).of(id).of(node));
            }
        }
        Ok(())
    }
}
