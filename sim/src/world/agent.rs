//! A node's process: the reference agent's machine over its fake runtime, with a disk that a crash
//! leaves behind.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_agent::{
    AgentConfig, AgentInput, AgentMachine, AgentOutput, AgentReply, AgentRequest, Caller,
    ControlAnswer, ControlCall, ControlCallId, FakeRuntime, Record, Refusal, RequestId, Restored,
    RuntimeCommand, RuntimeEvent, RuntimeNews, Write, WriteId,
};
use berth_core::model::units::Resources;
use berth_core::{CallId, Epoch, NodeId, Timestamp, WorkloadId};
use prost::Message;

use crate::marks::Mark;
use crate::oracle::Rule;
use crate::process::Process;
use crate::script::NodeSetup;

use super::clock::Clock;
use super::message::{AgentMessage, Body, ControlMessage, ControlReply, RefusedCall};
use super::said::Said;
use super::{Happening, World};

/// Whether an agent's process goes on after an order of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alive {
    Yes,
    No,
}

/// A call to a scheduler is given up after so long, as by the real agent's channel.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
/// So many calls of an agent to a scheduler wait for an answer at most.
const CONTROL_MAX: usize = 64;

/// A write to a slow disk.
const WRITES_TAKE: Duration = Duration::from_millis(700);

/// What an agent keeps on its disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    records: BTreeMap<WorkloadId, Record>,
    epoch: Option<Epoch>,
    /// Nothing can be written.
    pub(super) fails: bool,
    /// Writes take long.
    pub(super) slow: bool,
    /// What is being written, in order.
    under_way: VecDeque<(WriteId, Write)>,
}

/// A node.
#[derive(Debug)]
pub(super) struct AgentProcess {
    pub(super) id: NodeId,
    pub(super) endpoint: String,
    pub(super) config: AgentConfig,
    machine: AgentMachine,
    pub(super) runtime: FakeRuntime,
    pub(super) disk: Disk,
    pub(super) life: u64,
    pub(super) up: bool,
    /// It takes messages and does nothing.
    pub(super) hung: bool,
    /// So many of its next answers are wrong.
    pub(super) lies: u32,
    /// Its answers leave so much later.
    pub(super) slow: Duration,
    /// So many of its next answers are lost.
    pub(super) mute: u32,
    /// It refuses so many of the next calls that would change something.
    pub(super) full: u32,
    /// What it reported, to be heard again when it is old; `None` inside: it is to be kept.
    pub(super) replay: Option<Option<ControlMessage>>,
    /// Its own time; the runtime below counts the world's.
    pub(super) clock: Clock,
    /// It is a second machine with the id of another.
    pub(super) second: bool,
    /// The machine is off: nothing runs.
    pub(super) off: bool,
    /// It is lost for ever: healing does not bring it back.
    pub(super) lost: bool,
    /// Calls that it has not answered, with the newest epoch that it had obeyed when they came.
    calls: BTreeMap<RequestId, (Process, CallId, Epoch, i64)>,
    next_call: u64,
    control: BTreeMap<u64, (ControlCallId, bool)>,
    pub(super) said: Said,
    pub(super) next_control: u64,
    /// The scheduler that it speaks to.
    pub(super) scheduler: usize,
    /// The call that waits for an answer, and the one that waits for that.
    awaits: Option<u64>,
    next: Option<(u64, ControlMessage)>,
}

impl AgentProcess {
    /// How much it keeps that grows with what was not answered.
    pub(super) fn size(&self) -> usize {
        self.calls.len() + self.control.len() + self.runtime.size()
    }

    /// A second machine with the id of this one.
    pub(super) fn twin(&self, now: Timestamp) -> Self {
        let mut twin = Self::new(0, &NodeSetup::usual(0));
        twin.id = self.id.clone();
        twin.endpoint = format!("second.{}", self.endpoint);
        twin.config = AgentConfig {
            grpc_endpoint: twin.endpoint.clone(),
            ..self.config.clone()
        };
        twin.second = true;
        twin.restart(now);
        twin
    }

    pub(super) fn new(at: usize, setup: &NodeSetup) -> Self {
        let id: NodeId = format!("node-{at}")
            .parse()
            .expect("a number after a word is an id");
        let endpoint = format!("10.0.0.{at}:50051");
        let mut config = AgentConfig::new(id.clone(), endpoint.clone());
        config.capacity = Resources::new(setup.cpu, setup.memory, setup.disk);
        config.labels.insert("zone".into(), setup.zone.clone());
        let machine = AgentMachine::new(
            config.clone(),
            Restored {
                now: crate::trace::BEGINNING,
                life: 0,
                ..Restored::default()
            },
        );
        Self {
            id,
            endpoint,
            config,
            machine,
            runtime: FakeRuntime::new(),
            disk: Disk::default(),
            life: 0,
            up: true,
            hung: false,
            lies: 0,
            slow: Duration::ZERO,
            mute: 0,
            full: 0,
            replay: None,
            clock: Clock::default(),
            second: false,
            off: false,
            lost: false,
            calls: BTreeMap::new(),
            next_call: 0,
            control: BTreeMap::new(),
            said: Said::default(),
            next_control: 0,
            scheduler: 0,
            awaits: None,
            next: None,
        }
    }

    /// The process died; its disk and its workloads stay.
    pub(super) fn crash(&mut self) {
        self.up = false;
        self.hung = false;
        self.life += 1;
        self.calls.clear();
        self.control.clear();
        (self.awaits, self.next) = (None, None);
        self.disk.under_way.clear();
        // A process begins with the first that it is configured with.
        self.scheduler = 0;
        self.runtime.lose_news();
    }

    /// The process starts on what its disk holds.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.up = true;
        let restored = Restored {
            epoch: self.disk.epoch,
            records: self.disk.records.values().cloned().collect(),
            now: self.clock.at(now),
            life: self.life,
        };
        self.machine = AgentMachine::new(self.config.clone(), restored);
    }

    /// It has `parts` of `of` of what it had.
    pub(super) fn resize(&mut self, parts: u64, of: u64) {
        let had = self.config.capacity;
        let part = |amount: u64| (amount * parts / of).max(1);
        self.config.capacity =
            Resources::new(part(had.cpu.0), part(had.memory_mb.0), part(had.disk_gb.0));
    }

    /// The disk is gone too, and with it everything that ran.
    pub(super) fn lose_everything(&mut self) {
        (self.disk.epoch, self.disk.records) = (None, BTreeMap::new());
        self.runtime = FakeRuntime::new();
    }
}

impl Disk {
    fn carry_out(&mut self, write: Write) -> Result<(), String> {
        if self.fails {
            return Err("no space left on device".to_owned());
        }
        match write {
            Write::Epoch(epoch) => self.epoch = Some(epoch),
            Write::Record(record) => {
                self.records.insert(record.id.clone(), *record);
            }
            Write::Forget(workload) => {
                self.records.remove(&workload);
            }
        }
        Ok(())
    }
}

impl World {
    /// The oldest write of an agent comes to its end.
    pub(super) fn agent_written(&mut self, at: usize, life: u64) {
        let agent = &mut self.agents[at];
        if agent.life != life {
            return;
        }
        if agent.hung {
            let again = Happening::Written { agent: at, life };
            self.queue.push(self.now + WRITES_TAKE, again);
            return;
        }
        if let Some((id, write)) = agent.disk.under_way.pop_front() {
            let result = agent.disk.carry_out(write);
            self.feed_agent(at, AgentInput::Written { id, result });
        }
    }

    pub(super) fn agent_wake(&mut self, at: usize) {
        if self.agents[at].up {
            self.feed_agent(at, AgentInput::Tick);
        }
    }

    fn feed_agent(&mut self, at: usize, input: AgentInput) {
        let agent = &mut self.agents[at];
        if agent.hung {
            return;
        }
        agent.runtime.advance(self.now);
        let now = agent.clock.at(self.now);
        agent.machine.handle(now, input);
        loop {
            let agent = &mut self.agents[at];
            if let Some(output) = agent.machine.poll_output() {
                if self.agent_output(at, output) == Alive::No {
                    self.oracle.node_stepped(at, &self.agents[at].runtime);
                    return;
                }
            } else if let Some(news) = agent.runtime.poll_news() {
                if let (Some(meter), Some(workload)) = (&mut self.meter, started(&news)) {
                    meter.started(now, workload);
                }
                agent.machine.handle(now, AgentInput::Runtime(news));
            } else {
                break;
            }
        }
        if self.agents[at].machine.answers_held() > 0 {
            self.mark(Mark::EpochAwaited);
        }
        if let Err(problem) = self.agents[at].machine.check_invariants() {
            self.violate(Rule::S6, "a sound agent", format!("node-{at}: {problem}"));
        }
        self.oracle.node_stepped(at, &self.agents[at].runtime);
        if let Some(camera) = &mut self.camera {
            camera.stepped(at);
        }
        self.schedule_agent_wake(at);
    }

    fn schedule_agent_wake(&mut self, at: usize) {
        let agent = &self.agents[at];
        let deadline = agent.machine.poll_deadline();
        let next = [
            deadline.map(|at| agent.clock.instant_of(at)),
            agent.runtime.poll_deadline(),
        ];
        let Some(when) = next.into_iter().flatten().min() else {
            return;
        };
        self.wake(
            Process::Agent(at),
            when.max(self.now + Duration::from_millis(1)),
        );
    }

    fn agent_output(&mut self, at: usize, output: AgentOutput) -> Alive {
        let now = self.now;
        // It dies before it records what it did, or right after it did something.
        if matches!(output, AgentOutput::Write { .. }) && self.twist_deed(at) {
            return Alive::No;
        }
        let agent = &mut self.agents[at];
        match output {
            AgentOutput::Write { id, write } => {
                if agent.disk.slow || !agent.disk.under_way.is_empty() {
                    agent.disk.under_way.push_back((id, write));
                    let life = agent.life;
                    let written = Happening::Written { agent: at, life };
                    self.queue.push(now + WRITES_TAKE, written);
                    return Alive::Yes;
                }
                let result = agent.disk.carry_out(write);
                let now = agent.clock.at(now);
                agent
                    .machine
                    .handle(now, AgentInput::Written { id, result });
            }
            AgentOutput::Runtime { id, command } => {
                let started = match &command {
                    RuntimeCommand::Start(start) => Some(start.launch.workload.clone()),
                    RuntimeCommand::CutShort(_)
                    | RuntimeCommand::Stop(_)
                    | RuntimeCommand::Remove(_)
                    | RuntimeCommand::Probe(_) => None,
                };
                agent.runtime.handle(now, id, command);
                if let Some(workload) = started {
                    self.note_copy(at, &workload);
                }
                if self.twist_deed(at) {
                    return Alive::No;
                }
            }
            AgentOutput::Reply { id, reply } => self.agent_reply(at, id, reply),
            AgentOutput::Control { id, call } => self.agent_control(at, id, call),
        }
        Alive::Yes
    }

    fn agent_reply(&mut self, at: usize, id: RequestId, reply: AgentReply) {
        let Some((to, call, epoch, obeyed)) = self.agents[at].calls.remove(&id) else {
            return;
        };
        let refused = matches!(reply, AgentReply::Refused(_));
        self.oracle.agent_answered(at, epoch.0, obeyed, refused);
        let answer = match reply {
            AgentReply::Apply(m) => Ok(AgentMessage::Apply(m.encode_to_vec())),
            AgentReply::Delete(m) => Ok(AgentMessage::Delete(m.encode_to_vec())),
            AgentReply::Status(m) => Ok(AgentMessage::Status(m.encode_to_vec())),
            AgentReply::List(m) => Ok(AgentMessage::List(self.agents[at].said.listing(m))),
            AgentReply::Actions(_) => Err((12, "nobody asks for actions".to_owned())),
            AgentReply::Refused(refusal) => {
                let code = match &refusal {
                    Refusal::StaleEpoch { .. } => {
                        self.mark(Mark::CallStale);
                        9
                    }
                    Refusal::StaleCall { .. } => 9,
                    Refusal::AnotherNode { .. } => {
                        self.mark(Mark::AnotherNode);
                        9
                    }
                    Refusal::NotFound => 5,
                    Refusal::Full(_) => 8,
                    Refusal::NotDurable(_) => 14,
                };
                Err((code, refusal.to_string()))
            }
        };
        let answer = if self.agents[at].lies > 0 {
            self.agents[at].lies -= 1;
            self.lie(at, answer)
        } else {
            answer
        };
        self.agent_says(at, to, Body::AgentAnswered { call, answer });
    }

    fn agent_control(&mut self, at: usize, id: ControlCallId, mut call: ControlCall) {
        if let ControlCall::Heartbeat(heartbeat) = &mut call {
            self.lie_in_heartbeat(at, heartbeat);
        }
        let agent = &mut self.agents[at];
        let number = agent.next_control;
        agent.next_control += 1;
        if agent.control.len() >= CONTROL_MAX {
            // Its answer was lost long ago.
            agent.control.pop_first();
        }
        let message = match call {
            ControlCall::Register(m) => {
                agent.control.insert(number, (id, true));
                ControlMessage::Register(m.encode_to_vec())
            }
            ControlCall::Heartbeat(m) => {
                agent.control.insert(number, (id, false));
                let message = agent.said.heartbeat(&m);
                if let Some(kept @ None) = &mut agent.replay {
                    *kept = Some(message.clone());
                }
                message
            }
        };
        self.say_to_scheduler(at, number, message);
    }

    /// A connection carries one call at a time, as the real agent's does: what comes while another one
    /// waits for its answer waits for that, or until that one is given up.
    fn say_to_scheduler(&mut self, at: usize, call: u64, message: ControlMessage) {
        let agent = &mut self.agents[at];
        if agent.awaits.is_some() {
            agent.next = Some((call, message));
            return;
        }
        agent.awaits = Some(call);
        let (life, to) = (agent.life, Process::Replica(agent.scheduler));
        let overdue = Happening::ControlOverdue {
            agent: at,
            life,
            call,
        };
        self.queue.push(self.now + CONTROL_TIMEOUT, overdue);
        self.send(Process::Agent(at), to, Body::ControlCall { call, message });
    }

    /// There was no answer, which is one too: the next call goes to the next scheduler.
    pub(super) fn control_overdue(&mut self, at: usize, life: u64, call: u64) {
        if self.agents[at].life == life && self.agents[at].up {
            self.control_ends(at, call, true);
        }
    }

    /// The call that the connection was taken by is over; `turns`: without an answer.
    fn control_ends(&mut self, at: usize, call: u64, turns: bool) {
        let replicas = self.replicas.len().max(1);
        let agent = &mut self.agents[at];
        if agent.awaits != Some(call) {
            return;
        }
        agent.awaits = None;
        if turns {
            agent.scheduler = (agent.scheduler + 1) % replicas;
        }
        if let Some((call, message)) = agent.next.take() {
            self.say_to_scheduler(at, call, message);
        }
    }

    pub(super) fn agent_receive(&mut self, at: usize, from: Process, body: Body) {
        if !self.agents[at].up {
            if let Some(refused) = body.refused() {
                self.send(Process::Agent(at), from, refused);
            }
            return;
        }
        match body {
            Body::AgentCall {
                node,
                call,
                epoch,
                message,
            } => {
                self.agent_called(at, from, node, (call, epoch), message);
            }
            Body::ControlAnswered { call, answer } => self.control_answered(at, call, answer),
            Body::Refused {
                call: RefusedCall::Control(call),
            } => {
                self.control_answered(at, call, Err((14, "connection refused".into())));
            }
            Body::StoreCall { .. }
            | Body::StoreAnswer { .. }
            | Body::Watched { .. }
            | Body::AgentAnswered { .. }
            | Body::ControlCall { .. }
            | Body::ClientCall { .. }
            | Body::ClientAnswered { .. }
            | Body::Refused { .. } => {}
        }
    }

    fn agent_called(
        &mut self,
        at: usize,
        from: Process,
        meant: NodeId,
        (call, epoch): (CallId, Epoch),
        message: AgentMessage,
    ) {
        use berth_proto::agent::v1 as agent;
        if self.is_full(at, &message) {
            let answer = Err((8, "the agent's queue is full".to_owned()));
            self.agent_says(at, from, Body::AgentAnswered { call, answer });
            return;
        }
        let request = match &message {
            AgentMessage::Apply(b) => {
                agent::ApplyWorkloadRequest::decode(&b[..]).map(AgentRequest::Apply)
            }
            AgentMessage::Delete(b) => {
                agent::DeleteWorkloadRequest::decode(&b[..]).map(AgentRequest::Delete)
            }
            AgentMessage::Status(b) => {
                agent::GetWorkloadStatusRequest::decode(&b[..]).map(AgentRequest::Status)
            }
            AgentMessage::List(b) => {
                agent::ListWorkloadsRequest::decode(&b[..]).map(AgentRequest::List)
            }
        };
        let request = match request {
            Ok(request) => request,
            Err(problem) => {
                let seen = format!("node-{at} got a malformed call: {problem}");
                self.violate(Rule::S1, "well-formed calls", seen);
                return;
            }
        };
        let obeyed = self.oracle.epoch_obeyed(at);
        let node = &mut self.agents[at];
        let id = RequestId(node.next_call);
        node.next_call += 1;
        node.calls.insert(id, (from, call, epoch, obeyed));
        let caller = Caller {
            node: Some(meant),
            epoch: Some(epoch),
            call: Some(call.0),
        };
        self.feed_agent(
            at,
            AgentInput::Request {
                id,
                caller,
                request,
            },
        );
    }

    fn control_answered(
        &mut self,
        at: usize,
        call: u64,
        answer: Result<ControlReply, (i32, String)>,
    ) {
        use berth_proto::control::v1 as control;
        self.control_ends(at, call, answer.is_err());
        let Some((id, _)) = self.agents[at].control.remove(&call) else {
            return;
        };
        let result = match answer {
            Ok(ControlReply::Registered(b)) => control::RegisterNodeResponse::decode(&b[..])
                .map(ControlAnswer::Registered)
                .map_err(|e| e.to_string()),
            Ok(ControlReply::Heartbeat(b)) => control::HeartbeatResponse::decode(&b[..])
                .map(ControlAnswer::Heartbeat)
                .map_err(|e| e.to_string()),
            Err((_, text)) => Err(text),
        };
        self.feed_agent(at, AgentInput::Control { id, result });
    }
}

/// What runs now.
const fn started(news: &RuntimeNews) -> Option<&WorkloadId> {
    match &news.event {
        RuntimeEvent::Started { launch, .. } => Some(&launch.workload),
        _ => None,
    }
}
