//! The world: processes that only talk through the network, one queue of events, one clock.

mod agent;
mod client;
mod edits;
mod faults;
mod inspect;
mod message;
mod network;
mod operator;
mod queue;
mod replica;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::{CallId, Config, Timestamp};

use crate::marks::{Coverage, Mark};
use crate::options::Options;
use crate::oracle::{Oracle, Violation};
use crate::rng::Streams;
use crate::trace::{Line, Trace};

use agent::AgentProcess;
use client::Client;
use faults::{Adversary, Fault};
use message::{Body, Envelope, Process};
use network::Network;
use operator::Operator;
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
    pub coverage: Coverage,
}

/// Something that happens at an instant.
#[derive(Debug)]
enum Happening {
    /// A message arrives.
    Deliver(Box<Envelope>),
    /// A process asked to be woken; ignored if it was woken earlier, or died since.
    Wake { process: Process },
    /// A call to the store had no answer in time.
    StoreOverdue {
        replica: usize,
        life: u64,
        call: u64,
    },
    /// A call to an agent had no answer in time.
    AgentOverdue {
        replica: usize,
        life: u64,
        call: CallId,
    },
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
    operator: Operator,
    adversary: Adversary,
    oracle: Oracle,
    trace: Trace,
    coverage: Coverage,
    /// Every so many steps a core's image is checked against itself.
    check_every: u64,
    /// When each process is woken next.
    wakes: BTreeMap<Process, Timestamp>,
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
        let replicas = (0..options.schedulers)
            .map(|at| Replica::new(at, config.clone(), &options, &streams))
            .collect();
        let agents = (0..options.nodes)
            .map(|at| AgentProcess::new(at, &streams))
            .collect();
        let clients = (0..options.clients)
            .map(|at| Client::new(at, &options, &streams))
            .collect();
        let mut world = Self {
            now: BEGINNING,
            end,
            queue: Queue::default(),
            network: Network::new(&streams, options.faults),
            store: StoreProcess::default(),
            replicas,
            agents,
            clients,
            operator: Operator::new(&options, &streams),
            adversary: Adversary::new(&options, &streams),
            oracle: Oracle::new(config.clone()),
            trace: Trace::new(keep),
            coverage: Coverage::default(),
            wakes: BTreeMap::new(),
            check_every: 1 + (options.nodes * options.workloads / 200) as u64,
            options,
        };
        for at in 0..world.replicas.len() {
            if world.replicas[at].is_skewed() {
                world.mark(Mark::SchedulerClock);
            }
        }
        world.begin(heal);
        world
    }

    fn begin(&mut self, heal: Timestamp) {
        for at in 0..self.replicas.len() {
            self.wake(
                Process::Replica(at),
                BEGINNING + Duration::from_millis(at as u64),
            );
        }
        for at in 0..self.agents.len() {
            self.wake(
                Process::Agent(at),
                BEGINNING + Duration::from_millis(100 + at as u64),
            );
        }
        for at in 0..self.clients.len() {
            self.wake(
                Process::Client(at),
                BEGINNING + Duration::from_secs(8 + at as u64),
            );
        }
        let operator = Process::Client(self.clients.len());
        self.wake(operator, BEGINNING + Duration::from_secs(20));
        for (at, fault) in self.adversary.schedule(BEGINNING, heal) {
            self.queue.push(at, Happening::Fault(fault));
        }
        self.queue.push(heal, Happening::Heal);
        self.oracle.idle_from(heal + self.options.calm / 2);
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
            self.oracle.at(at, self.trace.steps());
            self.happen(happening);
            violation = self.oracle.take_violation();
            if violation.is_some() {
                break;
            }
        }
        if violation.is_none() {
            let end = self.end();
            self.oracle.judge_end(&end);
            violation = self.oracle.take_violation();
        }
        Outcome {
            seed: self.options.seed,
            violation,
            trace_hash: self.trace.hash(),
            steps: self.trace.steps(),
            trace: self.trace.into_lines(),
            elapsed: self.now.since(BEGINNING),
            coverage: self.coverage,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(envelope) => {
                if let Process::Replica(at) = envelope.to
                    && self.replicas[at].paused
                {
                    self.replicas[at].backlog.push(*envelope);
                } else {
                    self.deliver(*envelope);
                }
            }
            Happening::Wake { process } => {
                if self.wakes.get(&process) == Some(&self.now) {
                    self.wakes.remove(&process);
                    self.on_wake(process);
                }
            }
            Happening::StoreOverdue {
                replica,
                life,
                call,
            } => {
                if self.replicas[replica].is_alive(life) {
                    self.replica_overdue(replica, call);
                }
            }
            Happening::AgentOverdue {
                replica,
                life,
                call,
            } => {
                if self.replicas[replica].is_alive(life) {
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
            Process::Client(at) if at == self.clients.len() => self.operator_wake(),
            Process::Client(at) => self.client_wake(at),
            Process::Store => self.store_tick(),
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        self.note(&envelope);
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
        let route = self.network.route(self.now, from, to);
        if route.lost {
            self.mark(Mark::MessageLost);
        }
        if route.overtakes {
            self.mark(Mark::MessageOvertaken);
        }
        if let Some(at) = route.second {
            self.mark(Mark::MessageDoubled);
            let envelope = Envelope {
                from,
                to,
                body: body.clone(),
            };
            self.queue.push(at, Happening::Deliver(Box::new(envelope)));
        }
        if let Some(at) = route.first {
            let envelope = Envelope { from, to, body };
            self.queue.push(at, Happening::Deliver(Box::new(envelope)));
        }
    }

    /// Wakes a process at this instant, unless it is woken earlier: it then asks again.
    fn wake(&mut self, process: Process, at: Timestamp) {
        let at = at.max(self.now);
        let next = self
            .wakes
            .entry(process)
            .or_insert(Timestamp::from_millis(u64::MAX));
        if at < *next {
            *next = at;
            self.queue.push(at, Happening::Wake { process });
        }
    }

    /// A process died: nothing wakes it.
    fn let_sleep(&mut self, process: Process) {
        self.wakes.remove(&process);
    }

    /// Adds a line to the trace.
    fn note(&mut self, line: &dyn Line) {
        self.trace.note(self.now, line);
    }

    /// Counts something that happened.
    fn mark(&mut self, what: Mark) {
        self.coverage.reach(what);
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
        events_max: 100,
        ..Config::default()
    }
}
