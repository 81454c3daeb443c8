//! What the oracle may look at: everything.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::{NodeId, Revision, WorkloadId};

use crate::oracle::liveness::End;
use crate::oracle::{Finding, Left, Rule};

use super::World;
use super::agent::AgentProcess;
use super::replica::Replica;

impl World {
    /// A rule does not hold.
    pub(super) fn violate(&mut self, rule: Rule, expected: &str, seen: String) {
        self.oracle.judge(rule, Err(Finding::new(expected, seen)));
    }

    /// How much each part keeps: bounded by what is alive and what happened lately, however long
    /// the world lives.
    #[must_use]
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        let clients = self.clients.iter();
        let mut sizes = vec![
            ("queue", self.queue.len()),
            ("wakes", self.wakes.len()),
            ("store: versions", self.store.model.version_count()),
            ("store: texts", self.texts.size()),
            ("store: watches", self.store.model.watch_count()),
            ("store: copies", self.store.backups.len()),
            (
                "store: twists",
                self.store.stale.len() + self.store.mute.len(),
            ),
            ("schedulers", self.replicas.iter().map(Replica::size).sum()),
            ("nodes", self.agents.iter().map(AgentProcess::size).sum()),
            (
                "clients",
                clients.map(|client| client.outstanding.len()).sum(),
            ),
            ("operator", self.operator.outstanding.len()),
            ("copies", self.copies.values().map(BTreeSet::len).sum()),
        ];
        sizes.extend(self.oracle.sizes());
        sizes
    }

    /// A node's runtime is told to start a workload.
    pub(super) fn note_copy(&mut self, agent: usize, workload: &WorkloadId) {
        let agents = self.copies.entry(workload.clone()).or_default();
        agents.insert(agent);
    }

    /// The nodes on which a copy of a workload is live, in truth.
    pub(super) fn copies_of(&mut self, id: &WorkloadId) -> Vec<NodeId> {
        let Some(told) = self.copies.get_mut(id) else {
            return Vec::new();
        };
        let agents = &self.agents;
        // A start makes an artifact at once: where there is none, there is nothing to come.
        told.retain(|at| agents[*at].runtime.artifacts_of(id).next().is_some());
        let live = |at: &&usize| {
            let mut artifacts = agents[**at].runtime.artifacts_of(id);
            artifacts.any(|artifact| artifact.state.is_live())
        };
        let copies = told.iter().filter(live);
        let copies = copies.map(|at| agents[*at].id.clone()).collect();
        if told.is_empty() {
            self.copies.remove(id);
        }
        copies
    }

    /// Forgets where workloads were that are nowhere any more.
    pub(super) fn forget_copies(&mut self) {
        let agents = &self.agents;
        self.copies.retain(|id, told| {
            told.retain(|at| agents[*at].runtime.artifacts_of(id).next().is_some());
            !told.is_empty()
        });
    }

    /// The truth at the end.
    pub(super) fn end(&self) -> End {
        let running = self
            .agents
            .iter()
            .filter(|agent| !agent.off && !agent.lost)
            .map(|agent| {
                let live = agent
                    .runtime
                    .artifacts()
                    .filter(|artifact| artifact.state.is_live());
                let live = live.map(|a| (a.launch.workload.clone(), a.revision.to_string()));
                (agent.id.clone(), live.collect::<BTreeMap<_, _>>())
            });
        let left = self.agents.iter().filter(|agent| !agent.off && !agent.lost);
        let left = left.map(|agent| {
            let artifacts = agent.runtime.artifacts();
            let left = artifacts.map(|artifact| artifact.launch.workload.clone());
            (agent.id.clone(), left.collect())
        });
        End {
            left: left.collect(),
            leaders: self
                .replicas
                .iter()
                .filter(|replica| replica.is_leading() && !replica.dead)
                .count(),
            running: running.collect(),
            damaged: self.agents.iter().any(|agent| agent.lost)
                || self.replicas.iter().any(|replica| replica.dead)
                || self.network.is_cut_for_ever(),
            dead: self
                .agents
                .iter()
                .filter(|a| a.lost)
                .map(|a| a.id.clone())
                .collect(),
        }
    }
}

/// The machines with the id of a node, usually one.
fn machines<'a>(
    agents: &'a [AgentProcess],
    node: &NodeId,
) -> impl Iterator<Item = &'a AgentProcess> {
    let first = numbered(node.as_str(), "node-", "").and_then(|at| agents.get(at));
    // Second machines with the id of another come last.
    let seconds = agents.iter().rev().take_while(|agent| agent.second);
    first
        .into_iter()
        .chain(seconds.filter(move |agent| agent.id == *node))
}

/// What is left of a workload on a node, in truth.
pub(super) fn has_left(agents: &[AgentProcess], node: &NodeId, id: &WorkloadId) -> Left {
    let has = machines(agents, node).map(|agent| match agent.runtime.artifacts_of(id).next() {
        Some(_) if agent.off => Left::Off,
        Some(_) => Left::On,
        None => Left::Nothing,
    });
    has.max().unwrap_or(Left::Nothing)
}

/// What runs on a node, in truth.
pub(super) fn runs_on(agents: &[AgentProcess], node: &NodeId) -> Vec<WorkloadId> {
    let live = machines(agents, node)
        .flat_map(|agent| agent.runtime.artifacts())
        .filter(|artifact| artifact.state.is_live());
    live.map(|artifact| artifact.launch.workload.clone())
        .collect()
}

/// The agent that listens there.
pub(super) fn agent_at(agents: &[AgentProcess], endpoint: &str) -> Option<usize> {
    let second = |agent: &AgentProcess| agent.second && agent.endpoint == endpoint;
    let Some(at) = numbered(endpoint, "10.0.0.", ":50051") else {
        return agents.iter().rposition(second);
    };
    if agents
        .get(at)
        .is_some_and(|agent| agent.endpoint == endpoint)
    {
        return Some(at);
    }
    // It is another node's by now.
    agents.iter().position(|agent| agent.endpoint == endpoint)
}

/// The number in the name of a node or in its endpoint.
fn numbered(text: &str, before: &str, after: &str) -> Option<usize> {
    let number = text.strip_prefix(before)?.strip_suffix(after)?;
    number.parse().ok()
}

/// Whether a node's runtime ever started a workload at a revision, in truth.
pub(super) fn started_on(
    agents: &[AgentProcess],
    node: &NodeId,
    id: &WorkloadId,
    revision: &Revision,
) -> bool {
    let named = numbered(node.as_str(), "node-", "").and_then(|at| agents.get(at));
    let named = named.filter(|agent| agent.id == *node);
    let agent = named.or_else(|| agents.iter().find(|agent| agent.id == *node));
    agent.is_some_and(|agent| agent.runtime.has_started(id, revision))
}
