//! The system: a scheduler, a store that is a map, agents, and everything that is on its way
//! between them. Nothing here decides anything.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_core::io::agent::{AgentError, AgentReply, AgentState};
use berth_core::io::request::{
    ApplyWorkload, Heartbeat, NewSpec, Registration, Request, RequestError,
};
use berth_core::io::{AgentCall, Fate, Op, Snapshot, Stored, Txn};
use berth_core::model::node::NodeUsage;
use berth_core::model::spec::{Constraints, ContainerSpec, Spec, WorkloadType};
use berth_core::model::units::Resources;
use berth_core::model::workload::{DesiredState, FailureKind};
use berth_core::{
    Config, Epoch, Input, Key, NodeId, Output, RequestId, Scheduler, StoreRevision, Timestamp,
    TxnId, WorkloadId,
};

use crate::agent::{Agent, Broken};
use crate::assertions::{Before, Watch};
use crate::transition::{CallFate, CommitFate, Transition};

/// What the store holds, and the revisions that wrote it.
pub(crate) type Store = BTreeMap<Key, (String, i64)>;

/// Something that is on its way.
#[derive(Debug)]
enum Held {
    /// A transaction that is not written yet. `given_up`: nobody has waited for its fate since.
    Commit {
        txn: Txn,
        before: Before,
        given_up: Option<Timestamp>,
    },
    /// The fate of one that was.
    Fate { txn: Txn, fate: Fate },
    /// A call that did not arrive yet. `given_up`: its deadline is over.
    Call {
        call: AgentCall,
        deadline: Timestamp,
        given_up: bool,
    },
    /// The answer to one that did.
    Answer {
        call: AgentCall,
        deadline: Timestamp,
        result: Result<AgentReply, AgentError>,
    },
}

pub(crate) struct System {
    pub(crate) core: Scheduler,
    pub(crate) now: Timestamp,
    pub(crate) store: Store,
    pub(crate) agents: BTreeMap<NodeId, Agent>,
    pub(crate) watch: Watch,
    /// Answers that were not taken yet.
    pub(crate) answers: Vec<(RequestId, Option<RequestError>)>,
    sizes: BTreeMap<NodeId, u64>,
    broken: Broken,
    revision: i64,
    epoch: i64,
    inputs: VecDeque<Input>,
    held: VecDeque<Held>,
    next_commits: VecDeque<CommitFate>,
    requests: u64,
    next_heartbeat: Timestamp,
}

pub(crate) fn workload(w: usize) -> WorkloadId {
    format!("w-{w}").parse().expect("an id")
}

pub(crate) fn node(n: usize) -> NodeId {
    format!("n-{n}").parse().expect("an id")
}

pub(crate) fn zone(n: usize) -> &'static str {
    ["a", "b"][n % 2]
}

impl System {
    /// A leader over an empty store.
    pub(crate) fn new() -> Self {
        let mut system = Self {
            core: Scheduler::new(Config::default()),
            now: Timestamp::from_millis(1_000_000),
            store: BTreeMap::new(),
            agents: BTreeMap::new(),
            watch: Watch::default(),
            answers: Vec::new(),
            sizes: BTreeMap::new(),
            broken: BTreeMap::new(),
            revision: 1,
            epoch: 10,
            inputs: VecDeque::new(),
            held: VecDeque::new(),
            next_commits: VecDeque::new(),
            requests: 0,
            next_heartbeat: Timestamp::ZERO,
        };
        system.lead();
        system
    }

    /// Lets something happen. Returns the request that it is, if it is one that the reference
    /// follows.
    pub(crate) fn play(&mut self, transition: &Transition) -> Option<RequestId> {
        match *transition {
            Transition::Apply {
                w,
                version,
                cpu,
                zone,
            } => return Some(self.ask(apply(w, version, cpu, zone))),
            Transition::Stop { w } => return Some(self.ask(set(w, DesiredState::Stopped))),
            Transition::Start { w } => return Some(self.ask(set(w, DesiredState::Running))),
            Transition::Delete { w } => {
                let (workload, if_match) = (workload(w), None);
                return Some(self.ask(Request::Delete { workload, if_match }));
            }
            Transition::Retry { w } => {
                let workload = workload(w);
                return Some(self.ask(Request::Retry { workload }));
            }
            Transition::Join { n, cpu } => {
                self.agents.entry(node(n)).or_default().up = true;
                self.sizes.insert(node(n), cpu);
                return Some(self.register(&node(n)));
            }
            Transition::Cordon { n } => return Some(self.ask(schedulable(n, false))),
            Transition::Uncordon { n } => return Some(self.ask(schedulable(n, true))),
            Transition::Drain { n, parallelism } => {
                return Some(self.ask(Request::Drain {
                    node: node(n),
                    deadline: Duration::from_secs(600),
                    parallelism,
                }));
            }
            Transition::EndDrain { n } => {
                return Some(self.ask(Request::CancelDrain { node: node(n) }));
            }
            Transition::Lose { n, reboot } => {
                let agent = self.agent(n);
                agent.up = false;
                if reboot {
                    agent.has.clear();
                }
            }
            Transition::Return { n } => {
                self.agent(n).up = true;
                self.register(&node(n));
            }
            Transition::Deafen { n } => self.agent(n).deaf = true,
            Transition::Mend { n } => self.agent(n).deaf = false,
            Transition::NextCall { n, fate } => self.agent(n).next_call = Some(fate),
            Transition::NextCommit { fate } => self.next_commits.push_back(fate),
            Transition::Deliver { which } => self.deliver(which),
            Transition::Break {
                w,
                starts,
                for_good,
            } => {
                let kind = if for_good {
                    FailureKind::ImageNotFound
                } else {
                    FailureKind::NetworkError
                };
                self.broken.insert(workload(w), (starts, kind));
            }
            Transition::Die { w, vanish } => self.die(&workload(w), vanish),
            Transition::Lead { anew, written } => self.change_leader(anew, written),
            Transition::Pass { s } => self.pass(Duration::from_secs(s)),
            Transition::Settle => self.heal(),
        }
        None
    }

    fn agent(&mut self, n: usize) -> &mut Agent {
        self.agents.get_mut(&node(n)).expect("a node that joined")
    }

    fn die(&mut self, id: &WorkloadId, vanish: bool) {
        for agent in self.agents.values_mut() {
            if vanish && agent.runs(id) {
                agent.has.remove(id);
            } else if let Some(copy) = agent.has.get_mut(id)
                && copy.state == AgentState::Running
            {
                copy.state = AgentState::Failed;
            }
        }
    }

    /// Nothing more goes wrong: what is on its way arrives, who can be called answers.
    pub(crate) fn heal(&mut self) {
        self.next_commits.clear();
        for agent in self.agents.values_mut() {
            agent.next_call = None;
            agent.deaf = false;
        }
        while !self.held.is_empty() {
            self.deliver(0);
        }
    }

    fn change_leader(&mut self, anew: bool, written: bool) {
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Commit { txn, before, .. } if written => {
                    self.write(&txn, &before);
                }
                Held::Call {
                    call,
                    given_up: false,
                    ..
                } if written => {
                    let _ = self.execute(&call);
                }
                Held::Commit { .. }
                | Held::Call { .. }
                | Held::Fate { .. }
                | Held::Answer { .. } => {}
            }
        }
        if anew {
            let reason = berth_core::io::Deposed::LostLeadership;
            self.feed(Input::Deposed { reason });
            self.core = Scheduler::new(self.core.config().clone());
        }
        self.epoch += 1;
        self.lead();
    }

    fn lead(&mut self) {
        let keys: Vec<Key> = self.store.keys().cloned().collect();
        let snapshot = Snapshot {
            revision: StoreRevision(self.revision),
            records: self.get(&keys),
            strangers: Vec::new(),
        };
        let epoch = Epoch(self.epoch);
        self.feed(Input::Lead { epoch, snapshot });
    }

    /// Tells the core, and carries out all that follows.
    fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            self.core.handle(self.now, input);
            if let Err(violation) = self.core.check_invariants() {
                panic!("{violation}");
            }
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::Commit(txn) => self.commit(txn),
                    Output::ReadBack { txn, keys } => {
                        let records = self.get(&keys);
                        let revision = StoreRevision(self.revision);
                        self.inputs.push_back(Input::ReadBack {
                            txn,
                            revision,
                            records,
                        });
                    }
                    Output::Call(call) => self.call(call),
                    Output::Reply { request, result } => {
                        self.answers.push((request, result.err()));
                    }
                    Output::Event(_) => {}
                }
            }
        }
    }

    fn commit(&mut self, txn: Txn) {
        assert_eq!(txn.epoch, Epoch(self.epoch), "a former leader commits");
        let unsure = self.unsure_nodes();
        let before = self.watch.decided(&self.store, &txn, &unsure);
        let id = txn.id;
        match self.next_commits.pop_front() {
            None => {
                let fate = self.write_or_conflict(&txn, &before);
                self.fate(id, fate);
            }
            Some(CommitFate::Late) => self.held.push_back(Held::Commit {
                txn,
                before,
                given_up: None,
            }),
            Some(CommitFate::LateAnswer) => {
                let fate = self.write_or_conflict(&txn, &before);
                self.changed(&txn);
                self.held.push_back(Held::Fate { txn, fate });
            }
            Some(CommitFate::UnknownWritten) => {
                self.write(&txn, &before);
                self.fate(id, Fate::Unknown);
            }
            Some(CommitFate::UnknownLost) => self.fate(id, Fate::Unknown),
            Some(CommitFate::UnknownLate) => {
                self.fate(id, Fate::Unknown);
                let given_up = Some(self.now);
                self.held.push_back(Held::Commit {
                    txn,
                    before,
                    given_up,
                });
            }
            Some(CommitFate::Conflict) => {
                let existing = txn.compares.iter().map(|(key, _)| key);
                let existing = existing.filter(|key| self.store.contains_key(key)).next();
                if let Some(key) = existing {
                    self.revision += 1;
                    self.store.get_mut(key).expect("it is there").1 = self.revision;
                }
                let fate = self.write_or_conflict(&txn, &before);
                self.fate(id, fate);
            }
        }
    }

    fn fate(&mut self, txn: TxnId, fate: Fate) {
        self.inputs.push_back(Input::Commit { txn, fate });
    }

    /// What the store's watch says of a transaction.
    fn changed(&mut self, txn: &Txn) {
        let keys: Vec<Key> = txn
            .ops
            .iter()
            .filter_map(|op| match op {
                Op::Put { key, .. } | Op::Delete { key } => Some(key.clone()),
                Op::DeleteEventsBefore { .. } => None,
            })
            .collect();
        let records = self.get(&keys);
        let revision = StoreRevision(self.revision);
        self.inputs.push_back(Input::Changed { revision, records });
    }

    fn write_or_conflict(&mut self, txn: &Txn, before: &Before) -> Fate {
        if self.write(txn, before) {
            return Fate::Committed(StoreRevision(self.revision));
        }
        let keys: Vec<Key> = txn.compares.iter().map(|(key, _)| key.clone()).collect();
        Fate::Conflict {
            revision: StoreRevision(self.revision),
            current: self.get(&keys),
        }
    }

    fn write(&mut self, txn: &Txn, before: &Before) -> bool {
        let holds = |(key, at): &(Key, StoreRevision)| {
            self.store.get(key).map_or(0, |(_, revision)| *revision) == at.0
        };
        if !txn.compares.iter().all(holds) {
            return false;
        }
        let was = self.store.clone();
        self.revision += 1;
        for op in &txn.ops {
            match op {
                Op::Put { key, value } => {
                    let stored = (value.clone(), self.revision);
                    self.store.insert(key.clone(), stored);
                }
                Op::Delete { key } => {
                    self.store.remove(key);
                }
                Op::DeleteEventsBefore { before } => {
                    self.store
                        .retain(|key, _| !matches!(key, Key::Event(id) if id < before));
                }
            }
        }
        self.watch
            .committed(&was, &self.store, txn, before, &self.agents);
        true
    }

    fn get(&self, keys: &[Key]) -> Vec<Stored> {
        let one = |key: &Key| {
            let stored = self.store.get(key);
            Stored {
                key: key.clone(),
                value: stored.map(|(value, _)| value.clone()),
                mod_revision: StoreRevision(stored.map_or(0, |(_, at)| *at)),
            }
        };
        keys.iter().map(one).collect()
    }

    /// Nodes whose record in the store may be another one than the core knows.
    fn unsure_nodes(&self) -> Vec<NodeId> {
        let written = self.held.iter().filter_map(|held| match held {
            Held::Fate { txn, .. } => Some(txn),
            Held::Commit { .. } | Held::Call { .. } | Held::Answer { .. } => None,
        });
        let keys = written.flat_map(|txn| txn.compares.iter().map(|(key, _)| key));
        keys.filter_map(|key| match key {
            Key::Node(id) => Some(id.clone()),
            _ => None,
        })
        .collect()
    }

    /// Whether the store may know more of a workload than the core does.
    fn is_unsure(&self, id: &WorkloadId) -> bool {
        self.held.iter().any(|held| match held {
            Held::Fate { txn, .. } => txn
                .ops
                .iter()
                .any(|op| crate::agent::workload_of(op) == Some(id)),
            Held::Commit { .. } | Held::Call { .. } | Held::Answer { .. } => false,
        })
    }

    fn call(&mut self, call: AgentCall) {
        assert_eq!(call.epoch, Epoch(self.epoch), "a former leader calls");
        if let (Some(id), true) = (call.op.workload(), call.op.is_mutation())
            && !self.is_unsure(id)
        {
            let (now, agents) = (self.now, &self.agents);
            self.watch.called(now, &self.store, &call, agents);
        }
        let agent = self.agents.get_mut(&call.node).expect("a known node");
        let answers = agent.up && !agent.deaf;
        let script = match call.op.is_mutation() && answers {
            true => agent.next_call.take(),
            false => None,
        };
        let deadline = self.now + call.timeout;
        let result = match script {
            None => self.execute(&call),
            Some(CallFate::Refused) => Ok(refusal(&call, FailureKind::NetworkError)),
            Some(CallFate::RefusedForGood) => Ok(refusal(&call, FailureKind::InvalidSpec)),
            Some(CallFate::TimeoutDone) => {
                let _ = self.execute(&call);
                Err(AgentError::Timeout)
            }
            Some(CallFate::TimeoutLost) => Err(AgentError::Timeout),
            Some(CallFate::Error) => Err(AgentError::Failed("internal".into())),
            Some(CallFate::LateCall) => {
                self.held.push_back(Held::Call {
                    call,
                    deadline,
                    given_up: false,
                });
                return;
            }
            Some(CallFate::LateAnswer) => {
                let result = self.execute(&call);
                self.held.push_back(Held::Answer {
                    call,
                    deadline,
                    result,
                });
                return;
            }
        };
        let call = call.id;
        self.inputs.push_back(Input::Agent { call, result });
    }

    fn execute(&mut self, call: &AgentCall) -> Result<AgentReply, AgentError> {
        let agent = self.agents.get_mut(&call.node).expect("a known node");
        agent.execute(call, &mut self.broken)
    }

    /// Something that is on its way arrives.
    fn deliver(&mut self, which: usize) {
        if self.held.is_empty() {
            return;
        }
        let at = which % self.held.len();
        match self.held.remove(at).expect("one of them") {
            Held::Commit {
                txn,
                before,
                given_up: None,
            } => {
                let fate = self.write_or_conflict(&txn, &before);
                self.feed(Input::Commit { txn: txn.id, fate });
            }
            Held::Commit {
                txn,
                before,
                given_up: Some(since),
            } => {
                // The store carries none out that is as old as that.
                let young = self.now < since + self.core.config().stray_commit_max;
                if young && self.write(&txn, &before) {
                    self.changed(&txn);
                    self.feed(Input::Wake);
                }
            }
            Held::Fate { txn, fate } => self.feed(Input::Commit { txn: txn.id, fate }),
            Held::Call { call, given_up, .. } => {
                let result = self.execute(&call);
                if !given_up {
                    let call = call.id;
                    self.feed(Input::Agent { call, result });
                }
            }
            Held::Answer { call, result, .. } => {
                let call = call.id;
                self.feed(Input::Agent { call, result });
            }
        }
    }

    /// Calls whose deadline is over have no answer.
    fn give_up_calls(&mut self) {
        let now = self.now;
        let mut over = Vec::new();
        self.held.retain_mut(|held| match held {
            Held::Call {
                call,
                deadline,
                given_up,
            } => {
                if *deadline <= now && !std::mem::replace(given_up, true) {
                    over.push(call.id);
                }
                true
            }
            Held::Answer { call, deadline, .. } if *deadline <= now => {
                over.push(call.id);
                false
            }
            Held::Answer { .. } | Held::Commit { .. } | Held::Fate { .. } => true,
        });
        for call in over {
            let result = Err(AgentError::Timeout);
            self.feed(Input::Agent { call, result });
        }
    }

    /// Lets time pass: deadlines are met, agents heartbeat every 10 s.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let (mut steps, mut at_once) = (0, 0);
        loop {
            let deadlines = self.held.iter().filter_map(|held| match held {
                Held::Call {
                    deadline,
                    given_up: false,
                    ..
                }
                | Held::Answer { deadline, .. } => Some(*deadline),
                Held::Call { .. } | Held::Commit { .. } | Held::Fate { .. } => None,
            });
            let next = deadlines
                .chain(self.core.poll_deadline())
                .chain([self.next_heartbeat])
                .min()
                .expect("there is always a next heartbeat")
                .max(self.now);
            if next > end {
                break;
            }
            at_once = if next == self.now { at_once + 1 } else { 0 };
            steps += 1;
            assert!(at_once < 200 && steps < 50_000, "it is never content");
            self.now = next;
            self.give_up_calls();
            if next >= self.next_heartbeat {
                self.next_heartbeat = next + Duration::from_secs(10);
                self.all_heartbeat();
            }
            self.feed(Input::Wake);
        }
        self.now = end;
    }

    fn all_heartbeat(&mut self) {
        let up = self.agents.iter().filter(|(_, agent)| agent.up);
        let up: Vec<NodeId> = up.map(|(id, _)| id.clone()).collect();
        for node in up {
            let mut statuses = self.agents[&node].statuses();
            for status in &mut statuses {
                status.revision = None;
            }
            let heartbeat = Heartbeat {
                node: node.clone(),
                usage: NodeUsage::default(),
                statuses,
            };
            let id = self.ask(Request::Heartbeat(heartbeat));
            let unknown = self.answers.iter().any(|(request, error)| {
                *request == id && matches!(error, Some(RequestError::NoSuchNode(_)))
            });
            if unknown {
                self.register(&node);
            }
        }
    }

    fn ask(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.requests);
        self.requests += 1;
        self.feed(Input::Request { id, request });
        id
    }

    fn register(&mut self, id: &NodeId) -> RequestId {
        let number: usize = id.as_str()[2..].parse().expect("n and a number");
        let size = Resources::new(self.sizes[id], 64_000, 1_000);
        self.ask(Request::Register(Registration {
            node: id.clone(),
            endpoint: format!("{id}:50051"),
            cpu_total: size.cpu,
            memory_total: size.memory_mb,
            disk_total: Some(size.disk_gb),
            supported_workload_types: WorkloadType::ALL.into(),
            supported_storage_drivers: ["local".to_owned()].into(),
            labels: BTreeMap::from([("zone".to_owned(), zone(number).to_owned())]),
            agent_version: String::new(),
            boot_id: String::new(),
            incarnation: String::new(),
        }))
    }
}

fn refusal(call: &AgentCall, failure: FailureKind) -> AgentReply {
    let message = "no".to_owned();
    match call.op {
        berth_core::io::AgentOp::Delete { .. } => AgentReply::DeleteRefused { message },
        _ => AgentReply::ApplyRefused { failure, message },
    }
}

/// The image of a version of a spec.
pub(crate) fn image(version: u8) -> String {
    format!("example:{version}")
}

fn apply(w: usize, version: u8, cpu: u64, at: Option<usize>) -> Request {
    let labels = at.map(|at| ("zone".to_owned(), zone(at).to_owned()));
    Request::Apply(ApplyWorkload {
        workload: workload(w),
        spec: Some(NewSpec {
            spec: Spec::Container(ContainerSpec {
                image: image(version),
                ..ContainerSpec::default()
            }),
            resources: Resources::new(cpu, 64, 1),
            constraints: Constraints {
                labels: labels.into_iter().collect(),
                ..Constraints::default()
            },
            tenant: None,
            priority: 0,
            max_attempts: None,
            labels: BTreeMap::new(),
        }),
        revision: None,
        desired_state: None,
        if_match: None,
        dry_run: false,
    })
}

fn schedulable(n: usize, schedulable: bool) -> Request {
    let node = node(n);
    Request::SetSchedulable { node, schedulable }
}

fn set(w: usize, desired: DesiredState) -> Request {
    Request::Apply(ApplyWorkload {
        workload: workload(w),
        spec: None,
        revision: None,
        desired_state: Some(desired),
        if_match: None,
        dry_run: false,
    })
}
