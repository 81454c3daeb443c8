//! The world: processes that only talk through the network, one queue of events, one clock.

mod agent;
mod client;
mod faults;
mod inspect;
mod message;
mod network;
mod queue;
mod replica;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::{CallId, Config, Timestamp};

use crate::options::Options;
use crate::oracle::{Oracle, Violation};
use crate::rng::Streams;
use crate::trace::Trace;

use agent::AgentProcess;
use client::Client;
use faults::{Adversary, Fault};
use message::{Body, Envelope, Process};
use network::Network;
use queue::Queue;
use replica::Replica;
use store::StoreProcess;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first rule that did not hold.
    pub violation: Option<Violation>,
    /// Hash of the trace (S22).
    pub trace_hash: String,
    /// The lines of the trace, if they were kept.
    pub trace: Vec<String>,
    /// Steps taken.
    pub steps: u64,
    /// Virtual time that passed.
    pub elapsed: Duration,
    /// How often each thing happened: faults, transitions, marks.
    pub coverage: BTreeMap<&'static str, u64>,
}

/// Something that happens at an instant.
#[derive(Debug)]
enum Happening {
    /// A message arrives.
    Deliver(Box<Envelope>),
    /// A process asked to be woken. Wake-ups of a former life are ignored.
    Wake { process: Process, life: u64 },
    /// A call to the store had no answer in time.
    StoreOverdue { replica: usize, life: u64, call: u64 },
    /// A call to an agent had no answer in time.
    AgentOverdue { replica: usize, life: u64, call: CallId },
    /// The adversary acts.
    Fault(Fault),
    /// Everything works again.
    Heal,
}

/// A simulated cluster.
#[derive(Debug)]
pub struct World {
    options: Options,
    now: Timestamp,
    end: Timestamp,
    queue: Queue<Happening>,
    network: Network,
    store: StoreProcess,
    replicas: Vec<Replica>,
    agents: Vec<AgentProcess>,
    clients: Vec<Client>,
    adversary: Adversary,
    pub(crate) oracle: Oracle,
    trace: Trace,
    coverage: BTreeMap<&'static str, u64>,
}

/// Midnight of some day: virtual time begins there.
const BEGINNING: Timestamp = Timestamp::from_millis(1_770_000_000_000);

impl World {
    /// A world that has not begun.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::with_trace(options, false)
    }

    /// A world that keeps the lines of its trace.
    #[must_use]
    pub fn with_trace(options: Options, keep: bool) -> Self {
        let streams = Streams::new(options.seed);
        let config = core_config();
        let heal = BEGINNING + options.chaos;
        let end = heal + options.calm;
        let replicas = (0..options.schedulers).map(|at| Replica::new(at, config.clone())).collect();
        let agents = (0..options.nodes).map(|at| AgentProcess::new(at, &streams)).collect();
        let clients = (0..options.clients).map(|at| Client::new(at, &options, &streams)).collect();
        let mut world = Self {
            now: BEGINNING,
            end,
            queue: Queue::default(),
            network: Network::new(&streams, options.faults),
            store: StoreProcess::default(),
            replicas,
            agents,
            clients,
            adversary: Adversary::new(&options, &streams),
            oracle: Oracle::default(),
            trace: Trace::new(keep),
            coverage: BTreeMap::new(),
            options,
        };
        world.begin(heal);
        world
    }

    fn begin(&mut self, heal: Timestamp) {
        for at in 0..self.replicas.len() {
            self.wake(Process::Replica(at), BEGINNING + Duration::from_millis(at as u64));
        }
        for at in 0..self.agents.len() {
            self.wake(Process::Agent(at), BEGINNING + Duration::from_millis(100 + at as u64));
        }
        for at in 0..self.clients.len() {
            self.wake(Process::Client(at), BEGINNING + Duration::from_secs(8 + at as u64));
        }
        for (at, fault) in self.adversary.schedule(BEGINNING, heal) {
            self.queue.push(at, Happening::Fault(fault));
        }
        self.queue.push(heal, Happening::Heal);
    }

    /// Runs to the end, or to the first violation.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        let mut violation = None;
        while let Some((at, happening)) = self.queue.pop() {
            if at > self.end {
                break;
            }
            self.now = at;
            self.happen(happening);
            violation = self.oracle.take_violation();
            if violation.is_some() {
                break;
            }
        }
        if violation.is_none() {
            self.judge_liveness();
            violation = self.oracle.take_violation();
        }
        Outcome {
            seed: self.options.seed,
            violation,
            trace_hash: self.trace.hash(),
            trace: self.trace.lines().to_vec(),
            steps: self.trace.steps(),
            elapsed: self.now.since(BEGINNING),
            coverage: self.coverage,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(envelope) => self.deliver(*envelope),
            Happening::Wake { process, life } => {
                if self.life(process) == life {
                    self.on_wake(process);
                }
            }
            Happening::StoreOverdue { replica, life, call } => {
                if self.replicas[replica].life == life {
                    self.replica_overdue(replica, call);
                }
            }
            Happening::AgentOverdue { replica, life, call } => {
                if self.replicas[replica].life == life {
                    self.agent_call_overdue(replica, call);
                }
            }
            Happening::Fault(fault) => self.strike(fault),
            Happening::Heal => self.heal(),
        }
    }

    fn on_wake(&mut self, process: Process) {
        match process {
            Process::Replica(at) => self.replica_wake(at),
            Process::Agent(at) => self.agent_wake(at),
            Process::Client(at) => self.client_wake(at),
            Process::Store => self.store_tick(),
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        self.trace.note(self.now, &envelope);
        let Envelope { from, to, body, .. } = envelope;
        match to {
            Process::Store => self.store_receive(from, body),
            Process::Replica(at) => self.replica_receive(at, from, body),
            Process::Agent(at) => self.agent_receive(at, from, body),
            Process::Client(at) => self.client_receive(at, body),
        }
    }

    /// Sends a message; the network decides when it arrives, and whether, and how often.
    fn send(&mut self, from: Process, to: Process, body: Body) {
        let body_for_copies = body;
        for at in self.network.route(self.now, from, to) {
            let envelope = Envelope { from, to, body: body_for_copies.clone() };
            self.queue.push(at, Happening::Deliver(Box::new(envelope)));
        }
    }

    fn wake(&mut self, process: Process, at: Timestamp) {
        let life = self.life(process);
        self.queue.push(at.max(self.now), Happening::Wake { process, life });
    }

    fn life(&self, process: Process) -> u64 {
        match process {
            Process::Store => 0,
            Process::Replica(at) => self.replicas[at].life,
            Process::Agent(at) => self.agents[at].life,
            Process::Client(_) => 0,
        }
    }

    /// Counts something that happened.
    fn mark(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    fn violate(&mut self, rule: &'static str, problem: String) {
        let step = self.trace.steps();
        self.oracle.violate(Violation { rule, problem, at: self.now, step });
    }
}

/// The core's configuration in the simulator: the defaults, with shorter waits so that a run sees
/// many of them.
fn core_config() -> Config {
    let seconds = Duration::from_secs;
    Config {
        heartbeat_interval: seconds(2),
        eviction_grace: seconds(10),
        missing_grace: seconds(15),
        pending_deadline: seconds(60),
        pending_deadline_vm: seconds(60),
        stable_after: seconds(60),
        list_interval: seconds(20),
        heartbeat_flush_interval: seconds(60),
        ..Config::default()
    }
}
