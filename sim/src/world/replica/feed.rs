//! One step of a scheduler's core: it is fed, and what it asks for is carried out.

use std::time::Duration;

use berth_core::drive::{self, Sink};
use berth_core::io::request::{RequestError, Response};
use berth_core::io::{AgentCall, Input, Txn};
use berth_core::{EventRecord, Key, RequestId, Timestamp, TxnId};
use berth_kv as kv;

use crate::marks::Mark;
use crate::oracle::{Finding, Rule};
use crate::process::Process;
use crate::world::World;

use super::MARGIN;
use super::codec::{encode_read, encode_txn};
use super::standing::{Purpose, Standing};

/// How many nodes and workloads of a core's image are checked for each of its steps, on average: in
/// a small world almost everything each time, in a large one what costs little beside the step.
const CHECKED_PER_STEP: usize = 16;
const CHECKED_PER_STEP_OF_MANY: usize = 4;
/// From so many on they are many.
const MANY: usize = 500;

/// Collects what the core asks for.
#[derive(Debug, Default)]
struct Orders {
    commits: Vec<Txn>,
    read_backs: Vec<(TxnId, Vec<Key>)>,
    calls: Vec<AgentCall>,
    replies: Vec<(RequestId, Result<Response, RequestError>)>,
}

impl Sink for Orders {
    fn commit(&mut self, txn: Txn) {
        self.commits.push(txn);
    }
    fn read_back(&mut self, txn: TxnId, keys: Vec<Key>) {
        self.read_backs.push((txn, keys));
    }
    fn call(&mut self, call: AgentCall) {
        self.calls.push(call);
    }
    fn reply(&mut self, request: RequestId, result: Box<Result<Response, RequestError>>) {
        self.replies.push((request, *result));
    }
    // The oracle reads events from the store.
    fn event(&mut self, _event: EventRecord) {}
}

impl World {
    /// Feeds the core and carries out what it asks for: the same loop as in production.
    pub(super) fn feed(&mut self, at: usize, inputs: Vec<Input>) {
        let mut orders = Orders::default();
        let replica = &mut self.replicas[at];
        let clock = replica.clock(self.now);
        let server = (at, replica.life);
        for input in &inputs {
            self.oracle.step_begins(server, input);
            match self.oracle.told(at, input, clock) {
                Some(true) => self.coverage.reach(Mark::CommitUnknownDone),
                Some(false) => self.coverage.reach(Mark::CommitUnknownNotDone),
                None => {}
            }
        }
        drive::step(&mut replica.core, clock, inputs, &mut orders);
        // The check looks at everything: the more there is, the rarer.
        replica.steps += 1;
        let checked = replica.is_leading() && replica.steps >= replica.next_check;
        if checked {
            let size = self.agents.len() + self.oracle.image.workloads.len();
            let share = if size < MANY {
                CHECKED_PER_STEP
            } else {
                CHECKED_PER_STEP_OF_MANY
            };
            replica.next_check = replica.steps + 1 + (size / share) as u64;
        }
        if checked && let Err(violation) = replica.core.check_invariants() {
            let rule = Rule::from_id(violation.rule).unwrap_or(Rule::S17);
            let entity = violation
                .problem
                .split(':')
                .next()
                .unwrap_or_default()
                .to_owned();
            let seen = format!("scheduler-{at}: {}", violation.problem);
            self.oracle
                .judge(rule, Err(Finding::new("a sound image", seen).of(&entity)));
        }
        let rescued = self.replicas[at].core.counters().rescued_by_pass;
        if rescued > self.replicas[at].rescued {
            if self.damage.hidden.contains(&at) {
                self.mark(Mark::RescuedByPass);
            } else {
                let count = rescued - self.replicas[at].rescued;
                self.oracle.rescued(at, count);
            }
            self.replicas[at].rescued = rescued;
        }
        let life = self.replicas[at].life;
        for txn in orders.commits {
            if self.replicas[at].life != life {
                return;
            }
            let keys = txn.compares.iter().map(|(key, _)| key.clone()).collect();
            let purpose = Purpose::Commit(txn.id, keys, self.replicas[at].lineage.seen());
            let request = kv::Request::Txn(encode_txn(&txn));
            self.oracle.commit_asked(at, txn, clock);
            self.ask_store(at, request, purpose);
            self.twist_output(at);
        }
        for (txn, keys) in orders.read_backs {
            if self.replicas[at].life != life {
                return;
            }
            self.read_back(at, txn, keys);
            self.twist_output(at);
        }
        for call in orders.calls {
            if self.replicas[at].life != life {
                return;
            }
            self.call_agent(at, call);
            self.twist_output(at);
        }
        for (request, result) in orders.replies {
            if self.replicas[at].life != life {
                return;
            }
            self.oracle.scheduler_answers(server, request, &result);
            self.answer(at, request, result);
            self.twist_output(at);
        }
        for _ in 0..self.oracle.dry_runs_compared() {
            self.mark(Mark::DryRunCompared);
        }
        if self.replicas[at].life == life {
            self.schedule_wake(at);
            self.twist_step(at);
        }
    }

    /// Asks the store what became of a transaction: the records that it decides about.
    pub(super) fn read_back(&mut self, at: usize, txn: TxnId, keys: Vec<Key>) {
        let request = kv::Request::Txn(encode_read(&keys));
        let purpose = Purpose::ReadBack(txn, keys, self.replicas[at].lineage.seen());
        self.ask_store(at, request, purpose);
    }

    pub(super) fn schedule_wake(&mut self, at: usize) {
        let replica = &self.replicas[at];
        let mut next = replica
            .core
            .poll_deadline()
            .map(|at| replica.instant_of(at));
        let mut sooner = |when: Timestamp| next = Some(next.map_or(when, |n| n.min(when)));
        match replica.standing {
            Standing::Idle => sooner(replica.next_campaign),
            Standing::Leading => {
                sooner(replica.next_keep_alive);
                sooner(replica.instant_of(replica.lease_until - MARGIN));
            }
            Standing::Following => sooner(replica.next_progress),
            Standing::Awaiting(until) => sooner(until),
            Standing::Looking
            | Standing::Granting
            | Standing::Campaigning
            | Standing::Loading { .. } => {}
        }
        let Some(when) = next else { return };
        self.wake(
            Process::Replica(at),
            when.max(self.now + Duration::from_millis(1)),
        );
    }
}
