//! What must hold in every state between inputs, checked by tests and the simulator.

use crate::model::units::Resources;
use crate::model::workload::{DesiredState, IntentOutcome};

use super::Scheduler;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {problem}")]
pub struct Violation {
    /// The rule's id, such as `S3`.
    pub rule: &'static str,
    /// What was expected and what is.
    pub problem: String,
}

fn require(
    rule: &'static str,
    holds: bool,
    problem: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation {
            rule,
            problem: problem(),
        })
    }
}

impl Scheduler {
    /// Checks what must hold in every state: the image against itself, with another computation
    /// than the one that keeps it up.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        self.check_reservations()?;
        self.check_workloads()?;
        if self.is_leading() {
            let busy = self.dirty.is_empty() && self.dirty_nodes.is_empty() && self.room.is_empty();
            require("L7", busy, || {
                "something was left undecided at the end of a step".into()
            })?;
        }
        Ok(())
    }

    /// What is reserved on a node is the sum of what is assigned, staged or not yet gone (S3).
    fn check_reservations(&self) -> Result<(), Violation> {
        let mut assigned = 0;
        for (node, entity) in &self.nodes {
            let sum = entity
                .holds
                .values()
                .fold(Resources::default(), |sum, hold| sum + hold.resources());
            require("S3", sum == entity.reserved, || {
                format!(
                    "{node}: {:?} reserved, the holds add up to {sum:?}",
                    entity.reserved
                )
            })?;
            assigned += entity.assigned.len();
            for id in entity.tombstones.keys() {
                let indexed = self.tombs.get(id).is_some_and(|nodes| nodes.contains(node));
                require("S10", indexed, || {
                    format!("{node}: the tombstone of {id} is not indexed")
                })?;
            }
        }
        self.check_homes(assigned)
    }

    /// Every home holds those that are assigned to it, and no node holds another: as many as have
    /// a home are held, and each is held at its own.
    fn check_homes(&self, held: usize) -> Result<(), Violation> {
        let mut assigned = 0;
        for (id, workload) in &self.workloads {
            let Some(home) = workload.durable.node() else {
                continue;
            };
            let Some(entity) = self.nodes.get(home) else {
                continue;
            };
            assigned += 1;
            require("S4", entity.assigned.contains(id), || {
                format!("{home}: {id} is assigned, and not held")
            })?;
        }
        require("S4", assigned == held, || {
            format!("{held} workloads are held by nodes, {assigned} assigned to them")
        })
    }

    fn check_workloads(&self) -> Result<(), Violation> {
        for (id, workload) in &self.workloads {
            let Some(record) = workload.record() else {
                continue;
            };
            require(
                "S4",
                record.assigned_node.as_ref() == workload.durable.node()
                    || workload.staged.is_some()
                    || !self.is_leading()
                    || self.is_quarantined(id)
                    || self.now < workload.refused_until,
                || format!("{id}: record and assignment name different nodes"),
            )?;
            require(
                "S7",
                record.retry.attempts <= record.retry.max_attempts,
                || {
                    format!(
                        "{id}: {} attempts of {}",
                        record.retry.attempts, record.retry.max_attempts
                    )
                },
            )?;
            if let Some(call) = workload.call {
                let intent = workload.durable.intent.as_ref();
                require("S1", intent.is_some(), || {
                    format!("{id}: call {call} without an intent")
                })?;
            }
            let open = workload
                .durable
                .intent
                .as_ref()
                .is_some_and(|intent| intent.outcome == IntentOutcome::Open);
            let under_way = workload.phase.is_under_way();
            require(
                "S1",
                !under_way || open || workload.durable.intent.is_some(),
                || format!("{id}: {:?} without an intent", workload.phase),
            )?;
            if self.is_leading()
                && record.desired_state == DesiredState::Running
                && record.assigned_node.is_none()
            {
                let explained = record.status.placement.is_some()
                    || workload.staged.is_some()
                    || self.tombs.contains_key(id);
                require("S21", explained, || {
                    format!("{id}: pending without an explanation")
                })?;
            }
        }
        Ok(())
    }
}
