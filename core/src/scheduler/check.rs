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
            // What cannot be read is left as it was when somebody else removed the rest.
            let left = self.is_quarantined(id);
            if let Some(call) = workload.call {
                let intent = workload.durable.intent.as_ref();
                require("S1", intent.is_some() || left, || {
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
                !under_way || open || workload.durable.intent.is_some() || left,
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use super::*;
    use crate::Config;
    use crate::io::request::{ApplyWorkload, NewSpec, Registration, Request};
    use crate::io::{Fate, Input, Output, Snapshot};
    use crate::model::id::{CallId, Epoch, NodeId, RequestId, StoreRevision, WorkloadId};
    use crate::model::spec::{Constraints, ContainerSpec, Spec, WorkloadType};
    use crate::model::time::Timestamp;
    use crate::model::workload::WorkloadRecord;
    use crate::reconcile::Phase;
    use crate::scheduler::Workload;
    use crate::scheduler::node::{Node, Tombstone};

    fn id() -> WorkloadId {
        "w".parse().unwrap()
    }

    fn home() -> NodeId {
        "n".parse().unwrap()
    }

    /// A leader with a node and a workload that is assigned to it; what it asks of the agent has no
    /// answer yet.
    fn leader() -> Scheduler {
        let size = Resources::new(4_000, 8_192, 100);
        let register = Request::Register(Registration {
            node: home(),
            endpoint: "n:50051".to_owned(),
            cpu_total: size.cpu,
            memory_total: size.memory_mb,
            disk_total: Some(size.disk_gb),
            supported_workload_types: WorkloadType::ALL.into(),
            supported_storage_drivers: [].into(),
            labels: [].into(),
            agent_version: String::new(),
            boot_id: String::new(),
            incarnation: String::new(),
        });
        let spec = NewSpec {
            spec: Spec::Container(ContainerSpec {
                image: "i".to_owned(),
                ..ContainerSpec::default()
            }),
            resources: Resources::new(100, 64, 1),
            constraints: Constraints::default(),
            tenant: None,
            priority: 0,
            max_attempts: None,
            labels: [].into(),
        };
        let apply = Request::Apply(ApplyWorkload {
            workload: id(),
            spec: Some(spec),
            revision: None,
            desired_state: None,
            if_match: None,
            dry_run: false,
        });
        let requests = [register, apply].into_iter().zip(1..);
        let mut inputs = VecDeque::from([Input::Lead {
            epoch: Epoch(10),
            snapshot: Snapshot::default(),
        }]);
        inputs.extend(requests.map(|(request, id)| Input::Request {
            id: RequestId(id),
            request,
        }));
        let mut core = Scheduler::new(Config::default());
        let mut revision = 1;
        while let Some(input) = inputs.pop_front() {
            core.handle(Timestamp::from_millis(1_000_000), input);
            while let Some(output) = core.poll_output() {
                if let Output::Commit(txn) = output {
                    revision += 1;
                    let fate = Fate::Committed(StoreRevision(revision));
                    inputs.push_front(Input::Commit { txn: txn.id, fate });
                }
            }
        }
        core
    }

    fn node(core: &mut Scheduler) -> &mut Node {
        core.nodes.get_mut(&home()).unwrap()
    }

    fn workload(core: &mut Scheduler) -> &mut Workload {
        core.workloads.get_mut(&id()).unwrap()
    }

    fn record(core: &mut Scheduler) -> &mut WorkloadRecord {
        Arc::make_mut(workload(core).durable.record.as_mut().unwrap())
    }

    /// It has no home, and nobody holds it.
    fn unplace(core: &mut Scheduler) {
        node(core).holds.clear();
        node(core).reserved = Resources::default();
        node(core).assigned.clear();
        workload(core).durable.assignment = None;
        record(core).assigned_node = None;
    }

    /// The rule, what its violation says, and what breaks it.
    type Break = (&'static str, &'static str, fn(&mut Scheduler));

    const BREAKS: [Break; 11] = [
        ("S3", "the holds add up to", |core| {
            node(core).reserved = Resources::default();
        }),
        ("S10", "is not indexed", |core| {
            let tombstone = Tombstone {
                revision: StoreRevision(1),
                call: None,
                deleted: None,
                confirmed: false,
                staged: None,
            };
            node(core).tombstones.insert(id(), tombstone);
        }),
        ("S4", "assigned, and not held", |core| {
            node(core).assigned.clear();
        }),
        ("S4", "2 workloads are held by nodes, 1", |core| {
            node(core).assigned.insert("other".parse().unwrap());
        }),
        ("S4", "name different nodes", |core| {
            record(core).assigned_node = None;
        }),
        ("S7", "6 attempts of 5", |core| {
            record(core).retry.attempts = 6;
        }),
        ("S1", "without an intent", |core| {
            workload(core).call = Some(CallId(1));
            workload(core).phase = Phase::Idle;
            workload(core).durable.intent = None;
        }),
        ("S1", "Applying", |core| {
            workload(core).call = None;
            workload(core).phase = Phase::Applying(Timestamp::ZERO);
            workload(core).durable.intent = None;
        }),
        ("S21", "pending without an explanation", |core| {
            unplace(core);
            record(core).status.placement = None;
        }),
        ("L7", "left undecided", |core| {
            core.dirty.insert(id());
        }),
        ("L7", "left undecided", |core| {
            core.room.insert(home());
        }),
    ];

    #[test]
    fn each_rule_that_is_broken_is_found() {
        assert_eq!(leader().check_invariants(), Ok(()));
        for (rule, problem, spoil) in BREAKS {
            let mut core = leader();
            spoil(&mut core);
            let found = core.check_invariants().expect_err(problem);
            assert_eq!(found.rule, rule, "{found}");
            assert!(found.problem.contains(problem), "{found}");
        }
    }

    #[test]
    fn the_last_try_and_what_is_explained_break_nothing() {
        let mut core = leader();
        record(&mut core).retry.attempts = 5;
        assert_eq!(core.check_invariants(), Ok(()));
        let note = record(&mut core).status.placement.take();
        unplace(&mut core);
        record(&mut core).status.placement = note;
        assert_eq!(core.check_invariants(), Ok(()));
        core.dirty_nodes.insert(home());
        assert_eq!(core.check_invariants().unwrap_err().rule, "L7");
    }
}
