//! Calls of agents: what is asked for, and by when it is to be answered.

use crate::io::{AgentCall, AgentOp};
use crate::model::id::{NodeId, WorkloadId};
use crate::model::spec::WorkloadType;
use crate::model::workload::Action;
use crate::planted::{Bug, planted};

use super::Scheduler;

impl Scheduler {
    /// The intent is committed: the agent is called.
    pub(super) fn call_for(&mut self, id: &WorkloadId, action: Action) {
        let Some(workload) = self.workloads.get(id) else {
            return;
        };
        let Some(node) = workload.durable.node().cloned() else {
            return;
        };
        if workload.call.is_some() || !self.nodes.get(&node).is_some_and(super::Node::callable) {
            return;
        }
        if starts(action) && self.blocked_by_tombstones(id, &node) {
            return;
        }
        if planted(Bug::NoneWhileOneIsLost) && self.nodes.values().any(|node| !node.callable()) {
            return;
        }
        let Some(record) = workload.record() else {
            return;
        };
        let op = match action {
            Action::Apply | Action::ApplyStopped => AgentOp::Apply {
                workload: id.clone(),
                revision: record.revision_id.clone(),
                running: action == Action::Apply,
                spec: record.spec.clone(),
                resources: record.resources,
                labels: record.labels.clone(),
            },
            Action::Recreate | Action::Delete => AgentOp::Delete {
                workload: id.clone(),
            },
        };
        self.stats.note_action(action);
        let Some(call) = self.new_call(&node, op) else {
            return;
        };
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.call = Some(call.id);
        }
        self.pool.push(call);
    }

    /// Where a node's agent listens, as far as its record tells.
    pub(super) fn endpoint_of(&self, node: &NodeId) -> Option<String> {
        let record = self.nodes.get(node)?.record.as_ref()?;
        Some(record.agent_endpoint.clone())
    }

    /// A call to a node's agent, with the deadline of its kind.
    pub(super) fn new_call(&mut self, node: &NodeId, op: AgentOp) -> Option<AgentCall> {
        let endpoint = self.endpoint_of(node)?;
        let timeout = match &op {
            AgentOp::Apply { spec, .. } => match spec.workload_type() {
                WorkloadType::Vm => self.config.apply_timeout_vm,
                WorkloadType::Container | WorkloadType::Compose => self.config.apply_timeout,
            },
            AgentOp::Delete { .. } | AgentOp::Status { .. } | AgentOp::List => {
                self.config.agent_call_timeout
            }
        };
        let id = self.next_call_id();
        Some(AgentCall {
            id,
            node: node.clone(),
            endpoint,
            epoch: self.epoch(),
            timeout,
            op,
        })
    }
}

/// Whether an action may make something run.
pub(super) const fn starts(action: Action) -> bool {
    match action {
        Action::Apply | Action::Recreate => true,
        Action::ApplyStopped | Action::Delete => false,
    }
}
