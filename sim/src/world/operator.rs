//! An operator: does what the script says while things break, and puts everything back in order
//! afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::NodeId;
use berth_core::io::request::{Request, RequestError};
use berth_core::model::node::{NodeReason, NodeStatus};

use crate::marks::Mark;
use crate::process::Process;
use crate::script::Deed;

use super::World;
use super::door::ClientMessage;
use super::message::{Body, RefusedCall};

/// So many of its calls wait for an answer at most.
const OUTSTANDING_MAX: usize = 128;

/// The operator.
#[derive(Debug, Default)]
pub(super) struct Operator {
    next_call: u64,
    scheduler: usize,
    /// The first call that it made there.
    speaks_since: u64,
    pub(super) outstanding: BTreeMap<u64, Request>,
    /// Nodes that are drained in the calm: they stay as they are.
    pub(super) drains: BTreeSet<usize>,
}

impl World {
    /// The operator does what the script says.
    pub(super) fn operator_does(&mut self, deed: &Deed) {
        let id = |node: usize| self.agents[node].id.clone();
        let request = match *deed {
            Deed::Cordon { node } => Request::SetSchedulable {
                node: id(node),
                schedulable: false,
            },
            Deed::Uncordon { node } => Request::SetSchedulable {
                node: id(node),
                schedulable: true,
            },
            Deed::Drain {
                node,
                deadline,
                parallelism,
            } => Request::Drain {
                node: id(node),
                deadline: deadline.duration(),
                parallelism,
            },
            Deed::CancelDrain { node } => Request::CancelDrain { node: id(node) },
            Deed::Fence { node } => Request::Fence { node: id(node) },
            Deed::Purge { node } => Request::Purge { node: id(node) },
            _ => return,
        };
        if self.is_reasonable(&request) {
            self.operator_asks(request);
        }
    }

    /// A person purges machines that are off, not any; and fences those, and what is told to be lost.
    fn is_reasonable(&self, request: &Request) -> bool {
        let is_off = |node: &NodeId| {
            let mut agents = self.agents.iter();
            agents.any(|agent| agent.id == *node && agent.off && !agent.second)
        };
        let is_lost = |node: &NodeId| {
            let held = self.oracle.image.nodes.get(node);
            held.is_some_and(|held| held.record.status == NodeStatus::NotReady)
        };
        match request {
            Request::Fence { node } => is_off(node) || is_lost(node),
            Request::Purge { node } => is_off(node),
            _ => true,
        }
    }

    pub(super) fn operator_asks(&mut self, request: Request) {
        let mark = match &request {
            Request::SetSchedulable {
                schedulable: false, ..
            } => Some(Mark::OperatorCordon),
            Request::SetSchedulable { .. } => Some(Mark::OperatorUncordon),
            Request::Drain { .. } => Some(Mark::OperatorDrain),
            Request::CancelDrain { .. } => Some(Mark::OperatorCancelDrain),
            Request::Fence { .. } => Some(Mark::OperatorFence),
            Request::Purge { .. } => Some(Mark::OperatorPurge),
            _ => None,
        };
        if let Some(mark) = mark {
            self.mark(mark);
        }
        let call = self.operator.next_call;
        self.operator.next_call += 1;
        self.operator.outstanding.insert(call, request.clone());
        if self.operator.outstanding.len() > OUTSTANDING_MAX {
            self.operator.outstanding.pop_first();
        }
        let to = Process::Replica(self.operator.scheduler);
        let body = Body::ClientCall {
            call,
            message: ClientMessage::of(&request, false),
            meant: Box::new(request),
        };
        self.send(Process::Client(self.clients.len()), to, body);
        self.expect_answer(self.clients.len(), call);
    }

    /// Nobody answered: the next one is asked from now on.
    pub(super) fn operator_overdue(&mut self, call: u64) {
        let Some(request) = self.operator.outstanding.remove(&call) else {
            return;
        };
        if call >= self.operator.speaks_since {
            self.operator_turns();
        }
        self.ask_again(self.clients.len(), request);
    }

    fn operator_turns(&mut self) {
        let replicas = self.replicas.len().max(1);
        self.operator.scheduler = (self.operator.scheduler + 1) % replicas;
        self.operator.speaks_since = self.operator.next_call;
    }

    pub(super) fn operator_receive(&mut self, body: Body) {
        let (call, told) = match body {
            Body::ClientAnswered { call, answer } => {
                let answer = self.hear(*answer);
                (
                    call,
                    !matches!(answer, Err(RequestError::Unavailable { .. })),
                )
            }
            Body::Refused {
                call: RefusedCall::Client(call),
            } => (call, false),
            _ => return,
        };
        let request = self.operator.outstanding.remove(&call);
        if !told {
            if call >= self.operator.speaks_since {
                self.operator_turns();
            }
            if let Some(request) = request {
                self.ask_again(self.clients.len(), request);
            }
        }
    }

    /// Healed: every node may take work again, and a machine that was declared dead is started anew.
    pub(super) fn tidy_up(&mut self) {
        for at in 0..self.agents.len() {
            let node = self.agents[at].id.clone();
            let stays = self.operator.drains.contains(&at);
            if self.agents[at].lost || self.agents[at].second || stays {
                continue;
            }
            let record = self
                .oracle
                .image
                .nodes
                .get(&node)
                .map(|held| held.record.clone());
            let Some(record) = record else { continue };
            if record.status_reason == NodeReason::Fenced && self.agents[at].off {
                self.reboot_node(at);
                self.start_agent(at);
            }
            if record.drain.is_some() {
                self.operator_asks(Request::CancelDrain { node: node.clone() });
            }
            if !record.schedulable {
                self.operator_asks(Request::SetSchedulable {
                    node,
                    schedulable: true,
                });
            }
        }
        if self.now < self.end - self.script.world.calm.duration() * 3 / 4 {
            let next = self.now + Duration::from_secs(2);
            self.wake(Process::Client(self.clients.len()), next);
        }
    }
}
