//! What the oracle may look at: everything.

use berth_core::{NodeId, Revision, WorkloadId};

use super::World;

impl World {
    pub(crate) fn violate_now(&mut self, rule: &'static str, problem: String) {
        self.violate(rule, problem);
    }

    pub(crate) fn store_model(&mut self) -> &mut berth_kv::Model {
        &mut self.store.model
    }

    pub(crate) fn store_time(&self) -> u64 {
        self.now.as_millis()
    }

    pub(crate) fn leaders(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.is_leading()).count()
    }

    /// Live artifacts of a node: workload and revision.
    pub(crate) fn node_artifacts(&self, node: usize) -> Vec<(WorkloadId, Revision)> {
        self.agents[node]
            .runtime
            .artifacts()
            .filter(|artifact| artifact.state.is_live())
            .map(|artifact| (artifact.launch.workload.clone(), artifact.revision.clone()))
            .collect()
    }

    pub(crate) fn runs_at(&self, node: &NodeId, workload: &WorkloadId, revision: &Revision) -> bool {
        let at = self.agents.iter().position(|agent| agent.id == *node);
        at.is_some_and(|at| {
            self.node_artifacts(at).iter().any(|(w, r)| w == workload && r == revision)
        })
    }

    pub(crate) fn all_running(&self) -> Vec<(NodeId, WorkloadId)> {
        let nodes = 0..self.agents.len();
        nodes
            .flat_map(|at| {
                let id = self.agents[at].id.clone();
                self.node_artifacts(at).into_iter().map(move |(workload, _)| (id.clone(), workload))
            })
            .collect()
    }
}
