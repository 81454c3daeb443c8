//! An operator: cordons, drains, fences and purges nodes while things break, and puts everything
//! back in order afterwards.

use std::time::Duration;

use berth_core::io::request::Request;
use berth_core::model::node::{NodeReason, NodeStatus};

use crate::marks::Mark;
use crate::options::Options;
use crate::rng::{Stream, Streams};

use super::World;
use super::message::{Body, Process};

/// The operator.
#[derive(Debug)]
pub(super) struct Operator {
    stream: Stream,
    next_call: u64,
    scheduler: usize,
    /// It does something in this run.
    active: bool,
}

impl Operator {
    pub(super) fn new(options: &Options, streams: &Streams) -> Self {
        let mut stream = streams.fork("operator");
        let active = options.faults && stream.chance(600_000);
        Self {
            stream,
            next_call: 0,
            scheduler: 0,
            active,
        }
    }
}

impl World {
    pub(super) fn operator_wake(&mut self) {
        if self.adversary.healed {
            self.tidy_up();
            return;
        }
        if !self.operator.active {
            return;
        }
        let node = self.operator.stream.below(self.agents.len() as u64);
        let node = self.agents[usize::try_from(node).unwrap_or(0)].id.clone();
        let request = match self.operator.stream.below(100) {
            0..=24 => Request::SetSchedulable {
                node,
                schedulable: false,
            },
            25..=49 => Request::SetSchedulable {
                node,
                schedulable: true,
            },
            50..=69 => {
                let seconds = self.operator.stream.between(5, 60);
                let parallelism = u32::try_from(self.operator.stream.between(1, 2)).unwrap_or(1);
                Request::Drain {
                    node,
                    deadline: Duration::from_secs(seconds),
                    parallelism,
                }
            }
            70..=84 => Request::CancelDrain { node },
            85..=94 => Request::Fence { node },
            _ => Request::Purge { node },
        };
        if self.is_reasonable(&request) {
            self.operator_asks(request);
        }
        let pause = self.operator.stream.between(500, 20_000);
        self.wake(
            Process::Client(self.clients.len()),
            self.now + Duration::from_millis(pause),
        );
    }

    /// A person fences and purges machines that are off, not any.
    fn is_reasonable(&self, request: &Request) -> bool {
        match request {
            Request::Fence { node } | Request::Purge { node } => self
                .agents
                .iter()
                .any(|agent| agent.id == *node && agent.off),
            _ => true,
        }
    }

    fn operator_asks(&mut self, request: Request) {
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
        let to = Process::Replica(self.operator.scheduler);
        let body = Body::ClientCall {
            call,
            request: Box::new(request),
        };
        self.send(Process::Client(self.clients.len()), to, body);
    }

    pub(super) fn operator_receive(&mut self, body: Body) {
        let told = match body {
            Body::ClientAnswered { answer, .. } => answer.is_ok(),
            _ => false,
        };
        if !told {
            let replicas = self.replicas.len().max(1);
            self.operator.scheduler = (self.operator.scheduler + 1) % replicas;
        }
    }

    /// Every node may take work again, and a machine that was declared dead is started anew.
    fn tidy_up(&mut self) {
        for at in 0..self.agents.len() {
            let node = self.agents[at].id.clone();
            if self.agents[at].dead {
                continue;
            }
            let record = self
                .oracle
                .image
                .nodes
                .get(&node)
                .map(|held| held.record.clone());
            let Some(record) = record else { continue };
            if record.status_reason == NodeReason::Fenced && record.status == NodeStatus::NotReady {
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
        if self.now < self.end - self.options.calm * 3 / 4 {
            let next = self.now + Duration::from_secs(2);
            self.wake(Process::Client(self.clients.len()), next);
        }
    }
}
