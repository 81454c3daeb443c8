//! The world: processes that only talk through the network, one queue of events, one clock.

mod agent;
mod agent_faults;
mod calm;
mod camera;
mod client;
mod clock;
mod deeds;
mod door;
mod edits;
mod expect;
mod inspect;
mod liar;
mod line;
mod links;
mod message;
mod network;
mod operator;
mod queue;
mod replica;
mod said;
mod store;
mod store_faults;
mod texts;
mod twist;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::{CallId, Config, Timestamp, WorkloadId};

use crate::cluster_trace::{Measures, Meter, Plan};
use crate::marks::{Coverage, Mark};
use crate::options::Options;
use crate::oracle::{Oracle, Violation, Windows};
use crate::process::Process;
use crate::rng::Streams;
use crate::script::{self, Act, Counters, Deed, Pace, Script, Setup};
use crate::trace::{BEGINNING, Line, Trace};

use agent::AgentProcess;
use camera::Camera;
use client::Client;
use deeds::Damage;
pub use expect::Doubt;
use message::{Body, Envelope};
use network::{Channel, Network};
use operator::Operator;
use queue::Queue;
use replica::Replica;
use store::StoreProcess;
use texts::Texts;
use twist::Detour;
pub(crate) use twist::{DOWN, LATE, PAUSED, RESYNC};

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
    /// How often each point was passed at which a twist is possible.
    pub counters: Counters,
    /// How much of what clients were told was judged (S15).
    pub windows: Windows,
    /// What a replayed trace came to, if this was one.
    pub measures: Option<Box<Measures>>,
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
    /// The script says so: its how-manyth act.
    Act(usize),
    /// Something that lasted is over.
    Over(Box<Deed>),
    /// A client that was told to try again does so; the one after the last is the operator.
    AskAgain {
        client: usize,
        request: Box<berth_core::io::request::Request>,
    },
    /// A client's call had no answer in time.
    NoAnswer { client: usize, call: u64 },
    /// An agent's call to a scheduler had none.
    ControlOverdue { agent: usize, life: u64, call: u64 },
    /// A slow scheduler comes to its next message.
    HandleNext { replica: usize, life: u64 },
    /// A slow agent says something.
    Say {
        agent: usize,
        life: u64,
        envelope: Box<Envelope>,
    },
    /// A write of an agent comes to its end.
    Written { agent: usize, life: u64 },
    /// A slow scheduler's timer.
    LateWake { replica: usize, life: u64 },
    /// A link that flaps is cut, or mended.
    Turn {
        from: Process,
        to: Process,
        every: Duration,
    },
    /// A part of something that is done in parts.
    Next(Box<Deed>),
    /// A process that a twist ended is started again.
    Restart { replica: usize },
    /// An agent's process that a twist ended is started again, unless somebody did so before.
    RestartAgent { agent: usize, life: u64 },
    /// A process that a twist stopped goes on.
    Resume { replica: usize },
    /// A connection to the store that a twist broke is made anew.
    Reconnect { replica: usize },
    /// What the scenario expects now holds.
    Expect(usize),
    /// Everything works again.
    Heal,
    /// Somebody must lead by now.
    Led,
    /// Lost nodes are given up by now.
    GivenUp,
    /// What lost nodes had must run elsewhere by now.
    Moved,
    /// A drain of the calm must have ended by now, if it began when it was asked for.
    Drained { node: usize },
    /// What was asked for in the calm must run by now.
    Due { id: WorkloadId, generation: u64 },
}

/// A simulated cluster.
#[derive(Debug)]
pub struct World {
    script: Script,
    now: Timestamp,
    end: Timestamp,
    queue: Queue<Happening>,
    network: Network,
    store: StoreProcess,
    texts: Texts,
    replicas: Vec<Replica>,
    agents: Vec<AgentProcess>,
    clients: Vec<Client>,
    operator: Operator,
    damage: Damage,
    /// Whose runtime was told to start each workload, as long as something of it is there.
    copies: BTreeMap<WorkloadId, BTreeSet<usize>>,
    oracle: Oracle,
    trace: Trace,
    coverage: Coverage,
    counters: Counters,
    /// The place in the queue's order of the script's first act.
    acts_from: u64,
    /// When each process is woken next.
    wakes: BTreeMap<Process, Timestamp>,
    /// Keeps what happens, if it is wanted.
    camera: Option<Box<Camera>>,
    /// Measures what happens, if it is a replayed trace.
    meter: Option<Box<Meter>>,
    /// What its expectations would come to if they were others, if that is wanted.
    doubts: Option<Vec<Doubt>>,
}

impl World {
    /// A world that has not begun.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::with_trace(options, false)
    }

    /// A world that keeps the lines of its trace.
    #[must_use]
    pub fn with_trace(options: Options, keep: bool) -> Self {
        Self::play(script::draw(&options), keep)
    }

    /// A world that does what a script says. Call [`Script::check`] first if it comes from outside.
    #[must_use]
    pub fn play(script: Script, keep: bool) -> Self {
        let setup = &script.world;
        let streams = Streams::new(setup.seed);
        let config = core_config(setup);
        let heal = BEGINNING + setup.chaos.duration();
        let spread = |at: usize| {
            let clocks = &setup.clocks;
            clocks
                .get(at)
                .or(clocks.last())
                .copied()
                .unwrap_or_default()
        };
        let replicas = (0..setup.schedulers)
            .map(|at| Replica::new(at, config.clone(), spread(at), &streams))
            .collect();
        let nodes = setup.nodes.each();
        let agents = nodes.iter().enumerate();
        let mut world = Self {
            now: BEGINNING,
            end: heal + setup.calm.duration(),
            queue: Queue::default(),
            network: Network::new(script.links, &streams),
            store: StoreProcess::default(),
            texts: Texts::default(),
            replicas,
            agents: agents
                .map(|(at, node)| AgentProcess::new(at, node))
                .collect(),
            clients: (0..setup.clients).map(|_| Client::default()).collect(),
            operator: Operator::default(),
            damage: Damage::default(),
            copies: BTreeMap::new(),
            oracle: Oracle::new(config),
            trace: Trace::new(keep),
            coverage: Coverage::default(),
            counters: Counters::default(),
            acts_from: 0,
            wakes: BTreeMap::new(),
            camera: None,
            meter: None,
            doubts: None,
            script,
        };
        for at in 0..world.replicas.len() {
            if world.replicas[at].is_skewed() {
                world.mark(Mark::SchedulerClock);
            }
        }
        let acts = world.script.acts.iter();
        let restores = acts.filter_map(|act: &Act| match act.deed {
            Deed::RestoreStore { age } => Some((act.at.duration(), age.duration())),
            _ => None,
        });
        let restores: Vec<_> = restores.collect();
        world.plan_backups(restores.into_iter());
        world.begin(heal);
        world
    }

    /// Measures what comes of a replayed trace, for [`take_measures`](Self::take_measures).
    #[must_use]
    pub fn measured(mut self, plan: Plan) -> Self {
        self.meter = Some(Box::new(Meter::new(BEGINNING, plan)));
        self
    }

    /// What a replayed trace came to so far.
    pub fn take_measures(&mut self) -> Option<Measures> {
        let mut meter = self.meter.take()?;
        meter.end(self.now);
        Some(Measures::new(*meter))
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
        self.acts_from = self.queue.reserve(self.script.acts.len());
        self.await_act(0);
        for (number, expect) in self.script.expect.iter().enumerate() {
            if let Some(at) = expect.at {
                let at = BEGINNING + at.duration();
                self.queue.push(at, Happening::Expect(number));
            }
        }
        self.foresee_calm(heal);
    }

    /// A world that keeps a recording, for [`take_recording`](Self::take_recording).
    #[must_use]
    pub fn recorded(script: Script) -> Self {
        let (chaos, calm) = (script.world.chaos.duration(), script.world.calm.duration());
        let mut world = Self::play(script, false);
        world.camera = Some(Box::new(Camera::new(BEGINNING, chaos, calm)));
        world
    }

    /// The next act; the queue holds one at a time.
    fn await_act(&mut self, number: usize) {
        if let Some(act) = self.script.acts.get(number) {
            let at = (BEGINNING + act.at.duration()).max(self.now);
            let place = self.acts_from + number as u64;
            self.queue.push_reserved(at, place, Happening::Act(number));
        }
    }

    /// Runs to the end, or to the first violation.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        let violation = self.live();
        self.outcome(violation)
    }

    /// Everything happens, to the end or to the first violation.
    pub fn live(&mut self) -> Option<Violation> {
        let violation = self.live_until(self.end.since(BEGINNING));
        if violation.is_some() {
            return violation;
        }
        let end = self.end();
        self.oracle.judge_end(&end);
        for number in 0..self.script.expect.len() {
            if self.script.expect[number].at.is_none() {
                self.judge_expectation(number);
            }
        }
        self.oracle.take_violation()
    }

    /// Everything happens that does so within this time of the beginning, or to the first violation.
    pub fn live_until(&mut self, after: Duration) -> Option<Violation> {
        let until = (BEGINNING + after).min(self.end);
        while self.queue.next_at().is_some_and(|at| at <= until) {
            let Some((at, happening)) = self.queue.pop() else {
                break;
            };
            if self.camera.is_some() && at != self.now {
                self.look();
            }
            self.now = at;
            self.oracle.at(at, self.trace.steps());
            self.happen(happening);
            let violation = self.oracle.take_violation();
            if violation.is_some() {
                return violation;
            }
        }
        None
    }

    /// What it came to.
    #[must_use]
    pub fn outcome(mut self, violation: Option<Violation>) -> Outcome {
        let measures = self.take_measures().map(Box::new);
        Outcome {
            measures,
            seed: self.script.world.seed,
            violation,
            trace_hash: self.trace.hash(),
            steps: self.trace.steps(),
            trace: self.trace.into_lines(),
            elapsed: self.now.since(BEGINNING),
            coverage: self.coverage,
            counters: self.counters,
            windows: self.oracle.windows(),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(envelope) => {
                let here = match envelope.to {
                    Process::Replica(at) => self.waits(at, *envelope),
                    Process::Store | Process::Agent(_) | Process::Client(_) => Some(*envelope),
                };
                if let Some(envelope) = here {
                    self.deliver(envelope);
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
                // Long after it was sent it is not on its way any more.
                self.store.forget_twists(Process::Replica(replica), call);
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
            Happening::Act(number) => {
                self.await_act(number + 1);
                let act: Act = self.script.acts[number].clone();
                self.begin_act(&act);
            }
            Happening::Over(deed) => self.end_deed(&deed),
            Happening::AskAgain { client, request } if client == self.clients.len() => {
                self.operator_asks(*request);
            }
            Happening::AskAgain { client, request } => {
                self.client_asks(client, *request);
            }
            Happening::NoAnswer { client, call } => self.client_overdue(client, call),
            Happening::ControlOverdue { agent, life, call } => {
                self.control_overdue(agent, life, call);
            }
            Happening::HandleNext { replica, life } => self.handle_next(replica, life),
            Happening::Say {
                agent,
                life,
                envelope,
            } => {
                if self.agents[agent].life == life {
                    self.send(envelope.from, envelope.to, envelope.body);
                }
            }
            Happening::Written { agent, life } => self.agent_written(agent, life),
            Happening::LateWake { replica, life } => {
                if self.replicas[replica].is_alive(life) {
                    self.replica_wake(replica);
                }
            }
            Happening::Turn { from, to, every } => self.turn(from, to, every),
            Happening::Next(deed) => {
                if !self.damage.healed {
                    self.begin_deed(&deed, false);
                }
            }
            Happening::Restart { replica } => self.start_replica(replica),
            Happening::RestartAgent { agent, life } => {
                if self.agents[agent].life == life && !self.agents[agent].off {
                    self.start_agent(agent);
                }
            }
            Happening::Resume { replica } => self.resume_replica(replica),
            Happening::Reconnect { replica } => self.reconnect_store(replica),
            Happening::Expect(number) => self.judge_expectation(number),
            Happening::Heal => self.heal(),
            Happening::Led => self.leader_is_due(),
            Happening::GivenUp => self.lost_nodes_are_given_up(),
            Happening::Moved => self.moves_are_due(),
            Happening::Drained { node } => self.drain_is_due(node),
            Happening::Due { id, generation } => {
                if let Some(later) = self.oracle.due_later(&id) {
                    self.queue.push(later, Happening::Due { id, generation });
                    return;
                }
                let end = self.end();
                if self.oracle.judge_due(&id, generation, &end) {
                    self.mark(Mark::ProbeRan);
                }
            }
        }
    }

    fn on_wake(&mut self, process: Process) {
        match process {
            Process::Replica(at) => self.replica_wakes(at),
            Process::Agent(at) => self.agent_wake(at),
            // Clients do what the script says; the operator puts things back in order.
            Process::Client(_) => self.tidy_up(),
            Process::Store => self.store_tick(),
        }
    }

    /// A scheduler that is slow handles its timers late.
    fn replica_wakes(&mut self, at: usize) {
        let replica = &self.replicas[at];
        if replica.slow.is_zero() {
            self.replica_wake(at);
        } else {
            let late = Happening::LateWake {
                replica: at,
                life: replica.life,
            };
            self.queue.push(self.now + replica.slow, late);
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        self.note(&envelope);
        if let Some(camera) = &mut self.camera {
            camera.delivered(self.now, &envelope);
        }
        let Envelope { from, to, body, .. } = envelope;
        match to {
            Process::Store => self.store_receive(from, body),
            Process::Replica(at) => self.replica_receive(at, from, body),
            Process::Agent(at) => self.agent_receive(at, from, body),
            Process::Client(at) => self.client_receive(at, from, body),
        }
    }

    /// Sends a message; the network decides when it arrives, and whether, and how often.
    fn send(&mut self, from: Process, to: Process, body: Body) {
        if let Some(camera) = &mut self.camera {
            camera.sent(self.now, from, &body);
        }
        if Self::may_be_lost(from, to) {
            let late = |body| Envelope { from, to, body };
            match self.twist_message() {
                Detour::None => {}
                Detour::Lost => return,
                Detour::Again => {
                    self.oracle_sees_double(&body);
                    self.send_late(late(body.clone()));
                }
                Detour::Late => return self.send_late(late(body)),
            }
        }
        if self.network.is_clogged(from, to) {
            self.network.hold(Envelope { from, to, body });
            return;
        }
        let route = self.network.route(self.now, (from, to), Channel::of(&body));
        if route.half_open {
            self.mark(Mark::HalfOpen);
        }
        if route.lost {
            self.mark(Mark::MessageLost);
        }
        if route.clogged {
            let body = body.clone();
            self.damage.waiting.push(Envelope { from, to, body });
        }
        if route.overtakes {
            self.mark(Mark::MessageOvertaken);
        }
        if let Some(at) = route.second {
            self.mark(Mark::MessageDoubled);
            self.oracle_sees_double(&body);
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

    fn oracle_sees_double(&mut self, body: &Body) {
        if let Body::ClientCall { meant, .. } = body {
            self.oracle.client_doubled(meant);
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

/// The core's configuration: the defaults, or with shorter waits so that a run sees many of them.
fn core_config(setup: &Setup) -> Config {
    match setup.pace {
        Pace::Production => Config {
            // What a run of hours keeps is bounded, and what leaves is judged.
            events_max: 2_000,
            ..Config::default()
        },
        Pace::Quick => setup.knobs.config(),
    }
}
