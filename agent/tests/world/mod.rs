//! A world for one agent: its disk, its runtime, its callers. Every step can be taken alone.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_agent::{
    AgentConfig, AgentInput, AgentMachine, AgentOutput, AgentReply, AgentRequest, Caller,
    CommandId, ControlCall, ControlCallId, FakeRuntime, Record, RequestId, Restored,
    RuntimeCommand, RuntimeNews, Stamp, Write, WriteId,
};
use berth_core::{Epoch, Timestamp, WorkloadId};
use berth_proto::agent::v1 as proto;

pub(crate) type Labels = [(&'static str, &'static str)];

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) config: AgentConfig,
    /// `None`: the agent is down.
    pub(crate) agent: Option<AgentMachine>,
    pub(crate) runtime: FakeRuntime,
    pub(crate) disk: BTreeMap<WorkloadId, Record>,
    pub(crate) disk_epoch: Option<Epoch>,
    pub(crate) writes: VecDeque<(WriteId, Write)>,
    pub(crate) commands: Vec<(CommandId, RuntimeCommand)>,
    pub(crate) news: VecDeque<RuntimeNews>,
    /// Commands of this life that were not answered yet.
    under_way: BTreeMap<CommandId, WorkloadId>,
    life: u64,
    pub(crate) replies: BTreeMap<RequestId, AgentReply>,
    pub(crate) control: VecDeque<(ControlCallId, ControlCall)>,
    stamps: BTreeMap<RequestId, (WorkloadId, Stamp)>,
    /// Under which epoch a request came.
    epochs: BTreeMap<RequestId, Epoch>,
    requests: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut config = AgentConfig::new("node-1".parse().unwrap(), "127.0.0.1:1");
        config.has_scheduler = false;
        Self::with(config)
    }

    pub(crate) fn with(config: AgentConfig) -> Self {
        let mut world = Self {
            now: Timestamp::from_millis(1_000_000),
            config,
            agent: None,
            runtime: FakeRuntime::new(),
            disk: BTreeMap::new(),
            disk_epoch: None,
            writes: VecDeque::new(),
            commands: Vec::new(),
            news: VecDeque::new(),
            under_way: BTreeMap::new(),
            life: 0,
            replies: BTreeMap::new(),
            control: VecDeque::new(),
            stamps: BTreeMap::new(),
            epochs: BTreeMap::new(),
            requests: 0,
        };
        world.boot();
        world
    }

    /// The agent starts, if it is down, with what is on the disk.
    pub(crate) fn boot(&mut self) {
        if self.agent.is_none() {
            let restored = Restored {
                epoch: self.disk_epoch,
                records: self.disk.values().cloned().collect(),
                now: self.now,
                life: self.life,
            };
            self.life += 1;
            self.agent = Some(AgentMachine::new(self.config.clone(), restored));
            self.collect();
        }
    }

    /// The agent dies: what was not carried out is not carried out any more.
    pub(crate) fn crash(&mut self) {
        self.agent = None;
        self.writes.clear();
        self.commands.clear();
        self.news.clear();
        self.under_way.clear();
        self.control.clear();
        self.runtime.lose_news();
    }

    pub(crate) fn input(&mut self, input: AgentInput) {
        if let Some(agent) = &mut self.agent {
            agent.handle(self.now, input);
            self.collect();
        }
    }

    fn collect(&mut self) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        while let Some(output) = agent.poll_output() {
            match output {
                AgentOutput::Write { id, write } => self.writes.push_back((id, write)),
                AgentOutput::Runtime { id, command } => {
                    check_persisted_first(&self.disk, &command);
                    check_epoch_first(&self.disk, known(&self.disk, self.disk_epoch), &command);
                    let workload = &command.launch().workload;
                    let cut = matches!(command, RuntimeCommand::CutShort(_));
                    let busy = self.under_way.values().any(|of| of == workload);
                    assert!(!busy || cut, "{workload} has two commands under way");
                    if !cut {
                        self.under_way.insert(id, workload.clone());
                    }
                    self.commands.push((id, command));
                }
                AgentOutput::Reply { id, reply } => {
                    if let Some((workload, stamp)) = self.stamps.get(&id) {
                        check_durable(&self.disk, &reply, workload, *stamp);
                    }
                    let refused = matches!(reply, AgentReply::Refused(_));
                    let epoch = self.epochs.get(&id).copied();
                    assert!(
                        refused || epoch <= known(&self.disk, self.disk_epoch),
                        "{reply:?} under an epoch that a restart forgets"
                    );
                    self.replies.insert(id, reply);
                }
                AgentOutput::Control { id, call } => self.control.push_back((id, call)),
            }
        }
        agent.check_invariants().unwrap();
    }

    pub(crate) fn call(&mut self, caller: Caller, request: AgentRequest) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        let workload = match &request {
            AgentRequest::Apply(apply) => apply.id.parse().ok(),
            AgentRequest::Delete(delete) => delete.id.parse().ok(),
            AgentRequest::Status(_) | AgentRequest::List(_) | AgentRequest::Actions(_) => None,
        };
        if let Some(epoch) = caller.epoch {
            self.epochs.insert(id, epoch);
        }
        if let (Some(workload), Some(epoch), Some(call)) = (workload, caller.epoch, caller.call) {
            self.stamps.insert(id, (workload, Stamp { epoch, call }));
        }
        self.input(AgentInput::Request {
            id,
            caller,
            request,
        });
        id
    }

    /// Carries the oldest write out.
    pub(crate) fn write(&mut self, works: bool) {
        let Some((id, write)) = self.writes.pop_front() else {
            return;
        };
        let result = if works {
            Ok(())
        } else {
            Err("disk full".to_owned())
        };
        if works {
            match write {
                Write::Epoch(epoch) => self.disk_epoch = Some(epoch),
                Write::Record(record) => drop(self.disk.insert(record.id.clone(), *record)),
                Write::Forget(id) => drop(self.disk.remove(&id)),
            }
        }
        self.input(AgentInput::Written { id, result });
    }

    /// Hands a command to the runtime; those of one workload in the order in which they came out.
    pub(crate) fn command(&mut self, at: usize) {
        if !self.commands.is_empty() {
            let at = at % self.commands.len();
            let of = |(_, command): &(CommandId, RuntimeCommand)| command.launch().workload.clone();
            let workload = of(&self.commands[at]);
            let first = self.commands.iter().position(|one| of(one) == workload);
            let (id, command) = self.commands.remove(first.unwrap_or(at));
            self.runtime.handle(self.now, id, command);
        }
        self.take_news();
    }

    fn take_news(&mut self) {
        while let Some(news) = self.runtime.poll_news() {
            if self.agent.is_some() {
                self.news.push_back(news);
            }
        }
    }

    /// Tells the agent the oldest of what the runtime said.
    pub(crate) fn hear(&mut self) {
        if let Some(news) = self.news.pop_front() {
            if let Some(answered) = news.answers {
                self.under_way.remove(&answered);
            }
            self.input(AgentInput::Runtime(news));
        }
    }

    /// Somebody from outside kills what runs of a workload.
    pub(crate) fn kill(&mut self, workload: &str) {
        self.runtime.kill(self.now, &workload.parse().unwrap(), 137);
        self.take_news();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.runtime.advance(self.now);
        self.take_news();
        self.input(AgentInput::Tick);
    }

    /// Lets everything happen that can happen now.
    pub(crate) fn run(&mut self) {
        while !(self.writes.is_empty() && self.commands.is_empty() && self.news.is_empty()) {
            self.write(true);
            self.command(0);
            self.hear();
        }
    }

    /// Lets time pass, from deadline to deadline.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            self.run();
            let agent = self.agent.as_ref().and_then(AgentMachine::poll_deadline);
            let next = [agent, self.runtime.poll_deadline()]
                .into_iter()
                .flatten()
                .min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.pass(at.since(self.now)),
                None => {
                    self.pass(end.since(self.now));
                    return self.run();
                }
            }
        }
        panic!("the agent is never content: {:?}", self.agent);
    }

    pub(crate) fn status(&mut self, workload: &str) -> Option<proto::WorkloadStatus> {
        let request = proto::GetWorkloadStatusRequest {
            id: workload.to_owned(),
        };
        let id = self.call(Caller::default(), AgentRequest::Status(request));
        match self.replies.remove(&id) {
            Some(AgentReply::Status(reply)) => reply.status,
            Some(AgentReply::Refused(berth_agent::Refusal::NotFound)) => None,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn state(&mut self, workload: &str) -> Option<proto::ActualState> {
        self.status(workload).map(|status| status.actual_state())
    }

    /// Artifacts of a workload that use the node.
    pub(crate) fn live(&self, workload: &WorkloadId) -> usize {
        let of = self
            .runtime
            .artifacts()
            .filter(|artifact| artifact.launch.workload == *workload);
        of.filter(|artifact| artifact.state.is_live()).count()
    }

    pub(crate) fn apply(&mut self, workload: &str, revision: &str, labels: &Labels) -> AgentReply {
        let id = self.call(Caller::default(), apply(workload, revision, true, labels));
        self.run();
        self.replies
            .remove(&id)
            .expect("an apply is answered when it is durable")
    }

    pub(crate) fn delete(&mut self, workload: &str) -> AgentReply {
        let id = self.call(Caller::default(), delete(workload));
        self.run();
        self.replies
            .remove(&id)
            .expect("a delete is answered when it is durable")
    }
}

/// No command leaves before the record that calls for it is durable.
fn check_persisted_first(disk: &BTreeMap<WorkloadId, Record>, command: &RuntimeCommand) {
    let launch = command.launch();
    let durable = disk.get(&launch.workload).and_then(Record::launch);
    assert_eq!(
        durable.as_ref(),
        Some(launch),
        "{command:?} left before it was durable"
    );
}

/// The highest epoch that a restart finds: its own file's, or that of the last call that a record keeps.
fn known(disk: &BTreeMap<WorkloadId, Record>, epoch: Option<Epoch>) -> Option<Epoch> {
    let stamps = disk.values().filter_map(|record| record.stamp);
    epoch.max(stamps.map(|stamp| stamp.epoch).max())
}

/// No command leaves that was decided under an epoch that a restart forgets.
fn check_epoch_first(
    disk: &BTreeMap<WorkloadId, Record>,
    durable: Option<Epoch>,
    command: &RuntimeCommand,
) {
    let record = disk.get(&command.launch().workload);
    let stamp = record.and_then(|record| record.stamp);
    let epoch = stamp.map(|stamp| stamp.epoch);
    assert!(
        epoch <= durable,
        "{command:?} under {epoch:?}, {durable:?} is durable"
    );
}

/// No caller hears that its call was taken before that is durable.
fn check_durable(
    disk: &BTreeMap<WorkloadId, Record>,
    reply: &AgentReply,
    workload: &WorkloadId,
    stamp: Stamp,
) {
    let taken = match reply {
        AgentReply::Apply(reply) => reply.applied,
        AgentReply::Delete(reply) => reply.success,
        _ => false,
    };
    let durable = disk.get(workload).and_then(|record| record.stamp);
    assert!(
        !taken || durable >= Some(stamp),
        "{workload}: {stamp:?} taken, {durable:?} durable"
    );
}

pub(crate) fn apply(
    workload: &str,
    revision: &str,
    running: bool,
    labels: &Labels,
) -> AgentRequest {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let spec = proto::ContainerSpec {
        image: "alpine".to_owned(),
        labels: labels.iter().map(pair).collect(),
        ..Default::default()
    };
    let desired = if running {
        proto::DesiredState::Running
    } else {
        proto::DesiredState::Stopped
    };
    AgentRequest::Apply(proto::ApplyWorkloadRequest {
        id: workload.to_owned(),
        r#type: proto::WorkloadType::Container.into(),
        revision_id: revision.to_owned(),
        desired_state: desired.into(),
        spec: Some(proto::WorkloadSpec {
            spec: Some(proto::workload_spec::Spec::Container(spec)),
        }),
    })
}

pub(crate) fn delete(workload: &str) -> AgentRequest {
    AgentRequest::Delete(proto::DeleteWorkloadRequest {
        id: workload.to_owned(),
    })
}
