//! S16: no new placement on a draining, cordoned or not-ready node; a drain never moves more than
//! its parallelism at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::workload::{ActualState, AssignmentRecord, DesiredState};
use berth_core::{NodeId, Timestamp, WorkloadId};

use super::image::{Commit, Image, Pair, Writer};
use super::rule::{Check, Finding};

/// What drains have moved and is not settled yet.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    moving: BTreeMap<NodeId, BTreeSet<WorkloadId>>,
    /// Nodes that take nothing any more: under which epoch that was decided, and when, by that
    /// leader's clock. A placement of the same leader that was decided before may land after, if
    /// its transaction was held up on the way.
    closed: BTreeMap<NodeId, (i64, Timestamp)>,
}

/// Takes new workloads.
fn is_open(record: &NodeRecord) -> bool {
    record.status == NodeStatus::Ready && record.schedulable
}

impl Drains {
    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        self.moving.values().map(BTreeSet::len).sum()
    }

    pub(crate) fn committed(&mut self, now: Timestamp, commit: &Commit, image: &Image) -> Check {
        if commit.writer == Writer::Stranger {
            return Ok(());
        }
        for moving in self.moving.values_mut() {
            moving.retain(|id| !settled(image, id));
        }
        self.note_closed(now, commit);
        // A drain ends when the operator ends it, or with the record of its node: one that begins
        // later owes nothing of what was moved before.
        let over = |record: &Arc<NodeRecord>| record.drain.is_none();
        let ended = |pair: &Pair<NodeRecord>| pair.after.as_ref().is_none_or(over);
        for (node, _) in commit.nodes.iter().filter(|(_, pair)| ended(pair)) {
            self.moving.remove(node);
        }
        for (id, pair) in &commit.assignments {
            let from = pair.before.as_ref().map(|before| &before.node_id);
            let to = pair.after.as_ref().map(|after| &after.node_id);
            if from == to {
                continue;
            }
            if let Some(record) = to
                .and_then(|to| image.nodes.get(to))
                .map(|held| &held.record)
                && !is_open(record)
                && !pair
                    .after
                    .as_ref()
                    .is_some_and(|home| self.was_open_to(home))
            {
                let seen = format!("{:?}, schedulable: {}", record.status, record.schedulable);
                let expected = "new placements on ready and schedulable nodes only";
                return Err(Finding::new(expected, seen).of(id).of(&record.id));
            }
            let drained = commit.events.iter().any(|event| {
                event.workload_id.as_ref() == Some(id) && event.reason.contains("is drained")
            });
            if !drained {
                continue;
            }
            let now = commit
                .events
                .iter()
                .map(|event| event.timestamp)
                .max()
                .unwrap_or(now);
            self.left(now, image, id, from)?;
        }
        Ok(())
    }

    fn note_closed(&mut self, now: Timestamp, commit: &Commit) {
        let Writer::Scheduler { epoch, .. } = commit.writer else {
            return;
        };
        for (node, pair) in &commit.nodes {
            let was_open = pair.before.as_deref().is_some_and(is_open);
            match pair.after.as_deref() {
                Some(record) if !is_open(record) => {
                    if was_open {
                        let decided = commit.events.iter().map(|event| event.timestamp).max();
                        self.closed
                            .insert(node.clone(), (epoch, decided.unwrap_or(now)));
                    }
                }
                Some(_) | None => {
                    self.closed.remove(node);
                }
            }
        }
    }

    fn was_open_to(&self, home: &AssignmentRecord) -> bool {
        self.closed
            .get(&home.node_id)
            .is_some_and(|(epoch, at)| home.epoch.0 == *epoch && home.assigned_at <= *at)
    }

    fn left(
        &mut self,
        now: Timestamp,
        image: &Image,
        id: &WorkloadId,
        from: Option<&NodeId>,
    ) -> Check {
        let Some(record) = from
            .and_then(|from| image.nodes.get(from))
            .map(|held| &held.record)
        else {
            return Ok(());
        };
        let Some(drain) = record
            .drain
            .filter(|_| record.status == NodeStatus::Draining)
        else {
            return Ok(());
        };
        let wanted = image
            .workloads
            .get(id)
            .map(|held| held.record.desired_state);
        // The writer's own clock tells whether the deadline is over.
        if now >= drain.deadline || wanted != Some(DesiredState::Running) {
            return Ok(());
        }
        let moving = self.moving.entry(record.id.clone()).or_default();
        moving.insert(id.clone());
        if moving.len() > drain.parallelism as usize {
            let expected = format!("at most {} on the move", drain.parallelism);
            let finding = Finding::new(expected, format!("{moving:?}")).of(&record.id);
            return Err(moving.iter().fold(finding, Finding::of));
        }
        Ok(())
    }
}

fn settled(image: &Image, id: &WorkloadId) -> bool {
    image.workloads.get(id).is_none_or(|held| {
        let record = &held.record;
        record.desired_state != DesiredState::Running
            || record.assigned_node.is_none()
            || matches!(
                record.status.actual_state,
                ActualState::Running | ActualState::Failed
            )
    })
}
