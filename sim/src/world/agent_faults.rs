//! What goes wrong with agents and below them.

use std::time::Duration;

use berth_agent::FailureCode;
use berth_core::WorkloadId;

use crate::marks::Mark;
use crate::process::Process;
use crate::script::{Breakage, NodeSetup, Nodes};

use super::agent::AgentProcess;
use super::clock::Clock;
use super::message::{AgentMessage, Body, Envelope};
use super::{Happening, World};

impl World {
    /// An agent answers: now, late, or in vain.
    pub(super) fn agent_says(&mut self, at: usize, to: Process, body: Body) {
        let agent = &mut self.agents[at];
        if agent.mute > 0 {
            agent.mute -= 1;
            self.mark(Mark::AgentAnswerLost);
            return;
        }
        let (from, slow) = (Process::Agent(at), agent.slow);
        if slow.is_zero() {
            self.send(from, to, body);
            return;
        }
        let late = Happening::Say {
            agent: at,
            life: agent.life,
            envelope: Box::new(Envelope { from, to, body }),
        };
        self.mark(Mark::AgentSlow);
        self.queue.push(self.now + slow, late);
    }

    /// Whether an agent's queue is full for a call.
    pub(super) fn is_full(&mut self, at: usize, message: &AgentMessage) -> bool {
        let changes = matches!(message, AgentMessage::Apply(_) | AgentMessage::Delete(_));
        let agent = &mut self.agents[at];
        let full = changes && agent.full > 0;
        if full {
            agent.full -= 1;
            self.mark(Mark::AgentFull);
        }
        full
    }

    /// What an agent reported is heard again.
    pub(super) fn replay_report(&mut self, at: usize) {
        let agent = &mut self.agents[at];
        let Some(Some(message)) = agent.replay.take() else {
            return;
        };
        let call = agent.next_control;
        agent.next_control += 1;
        let to = Process::Replica(agent.scheduler);
        self.mark(Mark::ReportReplayed);
        let body = Body::ControlCall { call, message };
        self.send(Process::Agent(at), to, body);
    }

    /// An agent's process is restarted, with a clock that is so far off.
    pub(super) fn skew_agent(&mut self, at: usize, ms: i64) {
        self.agents[at].clock = Clock::off_by(ms);
        self.restart_agent(at);
    }

    /// An agent's process is restarted, if there is one.
    fn restart_agent(&mut self, at: usize) {
        if self.agents[at].up && !self.agents[at].hung {
            self.agents[at].crash();
            self.let_sleep(Process::Agent(at));
            self.start_agent(at);
        }
    }

    /// An agent is restarted with another label.
    pub(super) fn relabel(&mut self, at: usize, zone: &str) {
        let labels = &mut self.agents[at].config.labels;
        labels.insert("zone".to_owned(), zone.to_owned());
        self.restart_agent(at);
    }

    /// Each of two agents has the address of the other when it starts.
    pub(super) fn swap_addresses(&mut self, one: usize, other: usize) {
        let at = |agents: &[AgentProcess], at: usize| agents[at].endpoint.clone();
        let (its, others) = (at(&self.agents, one), at(&self.agents, other));
        for (at, endpoint) in [(one, others), (other, its)] {
            let agent = &mut self.agents[at];
            agent.config.grpc_endpoint.clone_from(&endpoint);
            agent.endpoint = endpoint;
        }
    }

    /// The zone that a node is in for good.
    pub(super) fn own_zone(&self, at: usize) -> String {
        match &self.script.world.nodes {
            Nodes::Each(nodes) => nodes.get(at).map(|node| node.zone.clone()),
            Nodes::Count(_) => Some(NodeSetup::usual(at).zone),
        }
        .unwrap_or_default()
    }

    /// A second machine registers with a node's id.
    pub(super) fn add_second(&mut self, at: usize) {
        if self.agents.iter().any(|agent| agent.second && !agent.off) {
            return;
        }
        self.mark(Mark::AgentTwice);
        self.oracle.ambiguous(&self.agents[at].id, true);
        let twin = self.agents[at].twin(self.now);
        self.agents.push(twin);
        self.wake(Process::Agent(self.agents.len() - 1), self.now);
    }

    /// The second machine goes, and the first is wiped.
    pub(super) fn remove_second(&mut self, at: usize) {
        let id = self.agents[at].id.clone();
        let second =
            |agent: &super::agent::AgentProcess| agent.second && !agent.off && agent.id == id;
        let Some(twin) = self.agents.iter().position(second) else {
            return;
        };
        self.reboot_node(twin);
        self.agents[twin].lose_everything();
        self.reboot_node(at);
        self.agents[at].lose_everything();
        self.oracle.node_replaced(at);
        self.start_agent(at);
        self.oracle.ambiguous(&id, false);
    }

    /// A node's runtime works, or does not, and so does the disk of its agent.
    pub(super) fn break_runtime(&mut self, at: usize, how: Option<Breakage>) {
        let agent = &mut self.agents[at];
        agent.disk.fails = how == Some(Breakage::StateUnwritten);
        agent.disk.slow = how == Some(Breakage::StateSlow);
        agent.runtime.break_starts(how.and_then(|how| match how {
            Breakage::DiskFull => Some(FailureCode::StorageFull),
            Breakage::NoRuntime => Some(FailureCode::RuntimeUnavailable),
            Breakage::NoRegistry => Some(FailureCode::ImagePullTimeout),
            Breakage::StateUnwritten | Breakage::StateSlow => None,
        }));
        if how == Some(Breakage::NoRuntime) {
            self.oracle.avoids(&self.agents[at].id);
        }
    }

    /// One of the workloads that exist on a node.
    pub(super) fn workload_on(&self, at: usize, which: u64) -> Option<WorkloadId> {
        let there: Vec<_> = self.agents[at]
            .runtime
            .artifacts()
            .map(|artifact| artifact.launch.workload.clone())
            .collect();
        let chosen = which.checked_rem(there.len() as u64)?;
        there.get(usize::try_from(chosen).ok()?).cloned()
    }

    /// What runs of a workload is gone, and did not end.
    pub(super) fn vanish(&mut self, at: usize, which: u64) {
        let Some(workload) = self.workload_on(at, which) else {
            return;
        };
        self.mark(Mark::WorkloadVanished);
        self.agents[at].runtime.vanish(self.now, &workload);
        if self.agents[at].up {
            self.wake(Process::Agent(at), self.now);
        }
    }

    /// Everything that is wrong with an agent and its runtime is over.
    pub(super) fn heal_agent(&mut self, at: usize) {
        let agent = &mut self.agents[at];
        agent.hung = false;
        agent.lies = 0;
        agent.slow = Duration::ZERO;
        agent.mute = 0;
        agent.full = 0;
        agent.replay = None;
        agent.runtime.fail_removals(0);
        self.break_runtime(at, None);
        let zone = self.own_zone(at);
        let config = &self.agents[at].config;
        let moved = config.labels.get("zone") != Some(&zone);
        let skewed = self.agents[at].clock.at(self.now) != self.now;
        if moved || skewed {
            self.agents[at].clock = Clock::default();
            self.relabel(at, &zone);
        }
    }
}
