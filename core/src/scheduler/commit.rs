//! Transactions: staged by one decision and emitted; what becomes of them is in `fate`. Each
//! workload and each node has at most one in flight, so that every decision is made on records
//! that are known.

use crate::io::{Op, Output, Txn};
use crate::model::event::{EventRecord, EventType};
use crate::model::id::{EventId, NodeId, RequestId, StoreRevision, TxnId, WorkloadId};
use crate::model::key::Key;
use crate::model::node::NodeRecord;
use crate::model::workload::{Action, TombstoneRecord};
use crate::planted::{Bug, planted};
use crate::reconcile::{Observed, Phase};

use super::Scheduler;
use super::node::{NodeMutation, Share};
use super::workload::{Durable, Mutation};

/// An event that a decision will write.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) event_type: EventType,
    pub(super) node: Option<NodeId>,
    pub(super) reason: String,
}

impl Draft {
    pub(super) fn new(
        event_type: EventType,
        node: Option<&NodeId>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            event_type,
            node: node.cloned(),
            reason: reason.into(),
        }
    }
}

/// One decision about a workload.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What its records become.
    pub(super) next: Durable,
    /// Copies that must be confirmed gone.
    pub(super) tombstones: Vec<TombstoneRecord>,
    pub(super) events: Vec<Draft>,
    /// What is done once it is committed.
    pub(super) then: Option<Action>,
    /// The phase once it is committed.
    pub(super) phase: Option<Phase>,
    /// What is known of it once it is committed.
    pub(super) observed: Option<Observed>,
    /// Retries, waits and throttles begin anew once it is committed.
    pub(super) fresh_start: bool,
    /// Who asked for it.
    pub(super) request: Option<(RequestId, Mutation)>,
}

/// What a transaction in flight will change in the image.
// As many as there are transactions in flight: bounded, and moved once.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(super) enum Staged {
    Workload {
        id: WorkloadId,
        plan: Box<Plan>,
    },
    Node {
        id: NodeId,
        next: Option<Box<NodeRecord>>,
        request: Option<(RequestId, NodeMutation)>,
    },
    Tombstone {
        node: NodeId,
        workload: WorkloadId,
    },
    NewTombstone {
        record: Box<TombstoneRecord>,
    },
    Retention {
        before: EventId,
    },
    /// Nothing but an event.
    Event,
}

/// A transaction in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) staged: Staged,
    /// What it writes, apart from events; `None`: it removes the key.
    pub(super) writes: Vec<(Key, Option<String>)>,
    /// What it does not write, and what is read with that when its fate is unknown.
    pub(super) beside: Vec<Key>,
    pub(super) events: Vec<EventRecord>,
}

fn json(record: &impl serde::Serialize) -> String {
    crate::model::text::write(record)
}

impl Scheduler {
    /// Emits the transaction of a plan, or carries the plan out at once if it writes nothing.
    pub(super) fn stage_workload(&mut self, id: &WorkloadId, mut plan: Plan) {
        // Whatever is written takes the place of what the record says of its home.
        let unsaid = self.unsaid_home(id);
        let unsaid = unsaid.filter(|it| plan.next.node() != Some(&it.node_id));
        if unsaid.is_some() {
            self.note_home(id, &mut plan.next);
        }
        plan.tombstones.extend(unsaid);
        plan.next.mirror();
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        workload.durable.hand_on_origins(&mut plan.next);
        let (now, at) = (&workload.durable, workload.revisions);
        let mut diff = Diff::default();
        diff.note(
            Key::Workload(id.clone()),
            &now.record,
            &plan.next.record,
            at.record,
        );
        diff.note(
            Key::Assignment(id.clone()),
            &now.assignment,
            &plan.next.assignment,
            at.assignment,
        );
        diff.note(
            Key::Intent(id.clone()),
            &now.intent,
            &plan.next.intent,
            at.intent,
        );
        diff.note(
            Key::Retry(id.clone()),
            &now.retry,
            &plan.next.retry,
            at.retry,
        );
        for tombstone in &plan.tombstones {
            let key = Key::Tombstone(tombstone.node_id.clone(), id.clone());
            let at = self.tombstone_revision(&tombstone.node_id, id);
            diff.compares.push((key.clone(), at.unwrap_or_default()));
            diff.writes.push((key, Some(json(tombstone))));
        }
        if diff.writes.is_empty() {
            self.carry_out(id, plan);
            return;
        }
        // The canonical record guards the others, whatever is written.
        let guard = Key::Workload(id.clone());
        if !diff.compares.iter().any(|(key, _)| *key == guard) {
            diff.compares.insert(0, (guard, at.record));
        }
        if workload.may_have_moved && !planted(Bug::LateMoveHalfTold) {
            // Should that be so, the answer tells where to, what is left behind, and what has failed: all of
            // it or nothing.
            let home = now.node().cloned();
            let left = home.map(|home| {
                let at = self.tombstone_revision(&home, id).unwrap_or_default();
                (at, Key::Tombstone(home, id.clone()))
            });
            let others = [
                (at.assignment, Key::Assignment(id.clone())),
                (at.intent, Key::Intent(id.clone())),
                (at.retry, Key::Retry(id.clone())),
            ];
            for (at, key) in left.into_iter().chain(others) {
                if !self.quarantined.contains_key(&key) {
                    diff.look_at(key, at);
                }
            }
        }
        let revision = plan.next.record.as_ref().or(now.record.as_ref());
        let revision = revision.map(|record| record.revision_id.clone());
        let drafts = std::mem::take(&mut plan.events);
        let events: Vec<_> = drafts
            .into_iter()
            .map(|draft| EventRecord {
                id: self.next_event_id(),
                event_type: draft.event_type,
                workload_id: Some(id.clone()),
                node_id: draft.node,
                revision_id: revision.clone(),
                reason: draft.reason,
                timestamp: self.now,
                extra: crate::model::Extra::new(),
            })
            .collect();
        let share = share_of(&plan.next);
        if let (Some(node), Some(share)) = (plan.next.node().cloned(), share) {
            self.change_hold(&node, id, |hold| hold.staged = Some(share));
        }
        let staged = Staged::Workload {
            id: id.clone(),
            plan: Box::new(plan),
        };
        let txn = self.emit(staged, diff, events);
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.staged = Some(txn);
        }
    }

    /// Emits the transaction that takes a node's record to `next`.
    pub(super) fn stage_node(
        &mut self,
        id: &NodeId,
        next: Option<NodeRecord>,
        drafts: Vec<Draft>,
        request: Option<(RequestId, NodeMutation)>,
    ) {
        let Some(node) = self.nodes.get(id) else {
            return;
        };
        let mut diff = Diff::default();
        diff.note(Key::Node(id.clone()), &node.record, &next, node.revision);
        if diff.writes.is_empty() {
            self.answer_node(id, request);
            return;
        }
        let events = drafts
            .into_iter()
            .map(|draft| EventRecord {
                id: self.next_event_id(),
                event_type: draft.event_type,
                workload_id: None,
                node_id: Some(id.clone()),
                revision_id: None,
                reason: draft.reason,
                timestamp: self.now,
                extra: crate::model::Extra::new(),
            })
            .collect();
        let emitted = next.clone();
        let staged = Staged::Node {
            id: id.clone(),
            next: next.map(Box::new),
            request,
        };
        let txn = self.emit(staged, diff, events);
        if let Some(node) = self.nodes.get_mut(id) {
            node.expect(txn, emitted);
        }
    }

    /// Emits the transaction that removes a confirmed tombstone.
    pub(super) fn stage_tombstone_removal(&mut self, node: &NodeId, workload: &WorkloadId) {
        let Some(tombstone) = self
            .nodes
            .get_mut(node)
            .and_then(|node| node.tombstones.get_mut(workload))
        else {
            return;
        };
        let key = Key::Tombstone(node.clone(), workload.clone());
        let diff = Diff {
            compares: vec![(key.clone(), tombstone.revision)],
            writes: vec![(key, None)],
            ..Diff::default()
        };
        let staged = Staged::Tombstone {
            node: node.clone(),
            workload: workload.clone(),
        };
        let txn = self.emit(staged, diff, Vec::new());
        if let Some(tombstone) = self
            .nodes
            .get_mut(node)
            .and_then(|node| node.tombstones.get_mut(workload))
        {
            tombstone.staged = Some(txn);
        }
    }

    /// Emits the transaction that adds a tombstone by itself.
    pub(super) fn stage_tombstone(&mut self, record: TombstoneRecord) {
        let key = Key::Tombstone(record.node_id.clone(), record.workload_id.clone());
        let under_way = self.in_flight.values().any(|in_flight| {
            matches!(&in_flight.staged, Staged::NewTombstone { record: other }
                if other.node_id == record.node_id && other.workload_id == record.workload_id)
        });
        if under_way {
            return;
        }
        let diff = Diff {
            compares: vec![(key.clone(), StoreRevision(0))],
            writes: vec![(key, Some(json(&record)))],
            ..Diff::default()
        };
        self.emit(
            Staged::NewTombstone {
                record: Box::new(record),
            },
            diff,
            Vec::new(),
        );
    }

    /// Emits the transaction of an event that belongs to no record.
    pub(super) fn stage_event(&mut self, event: EventRecord) {
        self.emit(Staged::Event, Diff::default(), vec![event]);
    }

    /// Emits the transaction that removes old events.
    pub(super) fn stage_retention(&mut self, before: EventId) {
        let txn = self.next_txn_id();
        let ops = vec![Op::DeleteEventsBefore {
            before: before.clone(),
        }];
        let staged = Staged::Retention { before };
        self.in_flight.insert(
            txn,
            InFlight {
                staged,
                writes: Vec::new(),
                beside: Vec::new(),
                events: Vec::new(),
            },
        );
        self.outputs.push_back(Output::Commit(Txn {
            id: txn,
            epoch: self.epoch(),
            compares: Vec::new(),
            ops,
        }));
    }

    fn emit(&mut self, staged: Staged, diff: Diff, events: Vec<EventRecord>) -> TxnId {
        let id = self.next_txn_id();
        let write = |(key, value): &(Key, Option<String>)| match value {
            Some(value) => Op::Put {
                key: key.clone(),
                value: value.clone(),
            },
            None => Op::Delete { key: key.clone() },
        };
        let mut ops: Vec<Op> = diff.writes.iter().map(write).collect();
        ops.extend(events.iter().map(|e| Op::Put {
            key: Key::Event(e.id.clone()),
            value: json(e),
        }));
        let txn = Txn {
            id,
            epoch: self.epoch(),
            compares: diff.compares,
            ops,
        };
        self.stats.commits += 1;
        self.open_events
            .extend(events.iter().map(|event| event.id.clone()));
        self.in_flight.insert(
            id,
            InFlight {
                staged,
                writes: diff.writes,
                beside: diff.beside,
                events,
            },
        );
        self.outputs.push_back(Output::Commit(txn));
        id
    }
}

/// What a workload takes on its node.
pub(super) fn share_of(durable: &Durable) -> Option<Share> {
    let assignment = durable.assignment.as_ref()?;
    Some(Share {
        resources: assignment.resources,
        group: group_of(durable),
    })
}

/// Whom it must not share a node with.
pub(super) fn group_of(durable: &Durable) -> Option<String> {
    let record = durable.record.as_ref()?;
    record.constraints.anti_affinity.clone()
}

/// What differs between the image and a decision.
#[derive(Debug, Default)]
struct Diff {
    compares: Vec<(Key, StoreRevision)>,
    writes: Vec<(Key, Option<String>)>,
    /// Compared for what the answer tells of it.
    beside: Vec<Key>,
}

impl Diff {
    /// A decision depends on a key that it may not write.
    fn look_at(&mut self, key: Key, at: StoreRevision) {
        if !self.compares.iter().any(|(compared, _)| *compared == key) {
            self.beside.push(key.clone());
            self.compares.push((key, at));
        }
    }

    fn note<T: PartialEq + serde::Serialize>(
        &mut self,
        key: Key,
        now: &Option<T>,
        next: &Option<T>,
        at: StoreRevision,
    ) {
        if now != next {
            self.compares.push((key.clone(), at));
            self.writes.push((key, next.as_ref().map(json)));
        }
    }
}
