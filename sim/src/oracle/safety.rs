//! The safety rules, checked at every step.

use std::collections::BTreeMap;

use berth_core::io::request::{Request, Response};
use berth_core::io::{AgentCall, AgentOp};
use berth_core::model::units::Resources;
use berth_core::model::workload::{Action, DesiredState};
use berth_core::{Key, NodeId};
use berth_kv as kv;

use crate::world::World;

impl World {
    /// The store went on from `before`: its new revisions are read, and what they hold is checked.
    pub(crate) fn observe_store(&mut self, before: i64) {
        let mut range = kv::RangeRequest::prefix("/");
        range.filter.min_mod = Some(before + 1);
        let changed = self.read_store(range);
        let mut removed = Vec::new();
        let keys = self.read_store(kv::RangeRequest {
            keys_only: true,
            ..kv::RangeRequest::prefix("/workloads/")
        });
        for id in self.oracle.workloads.keys() {
            let key = Key::Workload(id.clone()).to_string();
            if !keys.iter().any(|kv| kv.key == key.as_bytes()) {
                removed.push(id.clone());
            }
        }
        for kv in &changed {
            self.observe_record(kv);
        }
        for id in removed {
            self.check_removed(&id);
            self.oracle.workloads.remove(&id);
            self.oracle.assignments.remove(&id);
            self.oracle.intents.remove(&id);
        }
        self.drop_stale_assignments();
        self.check_capacity();
    }

    fn read_store(&mut self, range: kv::RangeRequest) -> Vec<kv::KeyValue> {
        let now = self.store_time();
        match self.store_model().apply(now, kv::Request::Range(range)) {
            Ok(kv::Response::Range(range)) => range.kvs,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    fn observe_record(&mut self, stored: &kv::KeyValue) {
        let text = String::from_utf8_lossy(&stored.key).into_owned();
        let Some(key) = Key::parse(&text) else {
            self.violate_now("S9", format!("a key outside the layout: {text}"));
            return;
        };
        let value = &stored.value[..];
        let undecodable = match &key {
            Key::Workload(id) => {
                if stored.version == 1 {
                    self.oracle.created_at.insert(id.clone(), stored.create_revision);
                }
                decode_into(value, |r| self.oracle.workloads.insert(id.clone(), r))
            }
            Key::Assignment(id) => {
                decode_into(value, |r| self.oracle.assignments.insert(id.clone(), r))
            }
            Key::Intent(id) => decode_into(value, |r| self.oracle.intents.insert(id.clone(), r)),
            Key::Node(id) => decode_into(value, |r| self.oracle.nodes.insert(id.clone(), r)),
            Key::Retry(_) | Key::Event(_) | Key::Tombstone(..) | Key::Meta(_) | Key::Leader(_) => {
                None
            }
        };
        if let Some(problem) = undecodable {
            self.violate_now("S9", format!("{text} cannot be read: {problem}"));
        }
        if let (Key::Event(_), true) = (&key, stored.version > 1) {
            self.violate_now("S11", format!("{text} was changed"));
        }
    }

    fn drop_stale_assignments(&mut self) {
        let held = &self.oracle.workloads;
        self.oracle.assignments.retain(|id, assignment| {
            held.get(id).is_some_and(|w| w.assigned_node.as_ref() == Some(&assignment.node_id))
        });
    }

    /// S3: what is assigned to a node is within its capacity. A node that came back smaller keeps
    /// what it has; in this world none does.
    fn check_capacity(&mut self) {
        let mut sums: BTreeMap<&NodeId, Resources> = BTreeMap::new();
        for assignment in self.oracle.assignments.values() {
            *sums.entry(&assignment.node_id).or_default() += assignment.resources;
        }
        let mut problem = None;
        for (node, sum) in sums {
            let Some(record) = self.oracle.nodes.get(node) else {
                problem = Some(("S4", format!("an assignment to {node}, which does not exist")));
                continue;
            };
            let total = &record.resources;
            let fits = sum.cpu <= total.cpu_total
                && sum.memory_mb <= total.memory_total
                && total.disk_total.is_none_or(|disk| sum.disk_gb <= disk);
            if !fits {
                problem = Some(("S3", format!("{node} has {total:?}, assigned are {sum:?}")));
            }
        }
        if let Some((rule, problem)) = problem {
            self.violate_now(rule, problem);
        }
    }

    /// S10: a record goes only when nothing of it is left on the node that it was assigned to.
    fn check_removed(&mut self, id: &berth_core::WorkloadId) {
        let desired = self.oracle.workloads.get(id).map(|record| record.desired_state);
        if desired != Some(DesiredState::Deleted) {
            self.violate_now("S10", format!("{id} was removed while {desired:?} was wanted"));
        }
    }

    /// S1: the intent of a mutation is in the store before the call leaves.
    pub(crate) fn check_intent(&mut self, replica: usize, call: &AgentCall) {
        let Some(workload) = call.op.workload().cloned() else { return };
        let intent = self.oracle.intents.get(&workload);
        let tombstone = Key::Tombstone(call.node.clone(), workload.clone()).to_string();
        let covered = match &call.op {
            AgentOp::Apply { revision, running, .. } => intent.is_some_and(|intent| {
                let action = if *running { Action::Apply } else { Action::ApplyStopped };
                intent.action == action
                    && intent.revision_id == *revision
                    && intent.node_id == call.node
            }),
            AgentOp::Delete { .. } => {
                let intended = intent.is_some_and(|intent| {
                    matches!(intent.action, Action::Delete | Action::Recreate)
                        && intent.node_id == call.node
                });
                intended || !self.read_store(kv::RangeRequest::key(tombstone)).is_empty()
            }
            AgentOp::Status { .. } | AgentOp::List => true,
        };
        // A deposed leader's call may leave after another's intent took the place of its own;
        // the agent refuses it by its epoch.
        if !covered && self.leads_by_store(call.epoch.0) {
            let text = format!(
                "scheduler-{replica} calls {} for {workload} ({:?}) without a committed intent; \
                 the store has {:?}",
                call.node,
                call.op,
                self.oracle.intents.get(&workload)
            );
            self.violate_now("S1", text);
        }
    }

    fn leads_by_store(&mut self, epoch: i64) -> bool {
        let leader = self.read_store(kv::RangeRequest::key("/leader/current"));
        leader.first().is_some_and(|kv| kv.create_revision == epoch)
    }

    /// S6: a node never has two artifacts of one workload that may run.
    pub(crate) fn check_artifacts(&mut self, node: usize) {
        let mut live = BTreeMap::new();
        let mut doubled = None;
        for artifact in self.node_artifacts(node) {
            if let Some(other) = live.insert(artifact.0.clone(), artifact.1) {
                doubled = Some(format!("node-{node} runs {} twice: {other}", artifact.0));
            }
        }
        if let Some(problem) = doubled {
            self.violate_now("S6", problem);
        }
    }

    /// S8: what a client was told is in the store.
    pub(crate) fn check_acknowledged(&mut self, request: &Request, response: &Response) {
        let Response::Workload(view) = response else { return };
        let id = &view.record.id;
        let acknowledged = view.resource_version.0;
        match request {
            Request::Apply(_) | Request::Retry { .. } => {
                // It was there at the revision that the client was told, or has changed since.
                let now = self.read_store(kv::RangeRequest::key(Key::Workload(id.clone()).to_string()));
                let kept = now.first().is_some_and(|kv| kv.mod_revision >= acknowledged);
                let gone_since = now.is_empty();
                if !kept && !gone_since {
                    let text = format!("{id} was acknowledged at {acknowledged} and is older now");
                    self.violate_now("S8", text);
                }
            }
            Request::Delete { .. } => {
                let record = self.oracle.workloads.get(id);
                let undone = record.is_some_and(|record| {
                    record.desired_state != DesiredState::Deleted
                        && record.metadata.generation <= view.record.metadata.generation
                        && record.metadata.created_at == view.record.metadata.created_at
                });
                if undone {
                    self.violate_now("S8", format!("the deletion of {id} was acknowledged and lost"));
                }
            }
            _ => {}
        }
    }
}

fn decode_into<T: serde::de::DeserializeOwned, U>(
    value: &[u8],
    into: impl FnOnce(T) -> U,
) -> Option<String> {
    match serde_json::from_slice(value) {
        Ok(record) => {
            into(record);
            None
        }
        Err(error) => Some(error.to_string()),
    }
}
