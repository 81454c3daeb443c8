//! A cluster small enough to read: the core, a store that is a map, agents that do as they are
//! told at once, and a clock that is moved by hand. Everything that enters the core is journalled.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::io::agent::{AgentError, AgentOp, AgentReply, AgentState, AgentStatus};
use berth_core::io::request::{
    ApplyWorkload, Heartbeat, NewSpec, Query, Registration, Request, RequestError, Response,
};
use berth_core::io::view::{NodeView, WorkloadView};
use berth_core::io::{AgentCall, Fate, Op, Snapshot, Stored, Txn};
use berth_core::model::node::NodeUsage;
use berth_core::model::spec::{Constraints, ContainerSpec, Spec, WorkloadType};
use berth_core::model::units::{Gibibytes, Mebibytes, Millicores, Resources};
use berth_core::model::workload::{DesiredState, FailureKind};
use berth_core::{
    Config, Epoch, EventRecord, EventType, Input, Key, NodeId, Output, RequestId, Revision,
    Scheduler, StoreRevision, Timestamp, TxnId, WorkloadId,
};

/// What becomes of the next transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextCommit {
    Works,
    /// Written, and nobody learns it.
    UnknownWritten,
    /// Not written, and nobody learns it.
    UnknownLost,
    /// The store will not have it.
    Refused,
    /// No answer at all until it is let go.
    Held,
    /// The next one that writes a tombstone is written, and answered when it is let go.
    TombstoneLate,
    /// No answer to the next one that writes a tombstone until it is let go.
    TombstoneHeld,
}

/// An agent: what it has, and how it behaves.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) has: BTreeMap<WorkloadId, (Revision, AgentState)>,
    pub(crate) heartbeats: bool,
    pub(crate) reachable: bool,
    /// Calls are taken and not answered.
    pub(crate) hangs: bool,
    /// Applies end like this.
    pub(crate) result: AgentState,
    pub(crate) failure: FailureKind,
    /// Mutations that it was told.
    pub(crate) told: Vec<(Timestamp, String)>,
}

pub(crate) struct Cluster {
    pub(crate) core: Scheduler,
    pub(crate) now: Timestamp,
    pub(crate) store: BTreeMap<Key, (String, i64)>,
    pub(crate) revision: i64,
    pub(crate) agents: BTreeMap<NodeId, Agent>,
    pub(crate) next_commit: NextCommit,
    pub(crate) held: Vec<Txn>,
    hung: Vec<AgentCall>,
    /// What is read back is read at once, and told when it is let go.
    pub(crate) slow_reads: bool,
    read: Vec<Input>,
    pub(crate) commits: u64,
    pub(crate) events: Vec<EventRecord>,
    pub(crate) journal: Vec<(Timestamp, Input)>,
    pub(crate) outputs: Vec<Output>,
    /// What a watch of the store would tell, revision by revision.
    pub(crate) changes: Vec<(i64, Vec<Stored>)>,
    /// An answer that has not come yet.
    pub(crate) late: Option<Input>,
    replies: BTreeMap<RequestId, Result<Response, RequestError>>,
    next_request: u64,
    next_heartbeat: Timestamp,
}

pub(crate) fn id(text: &str) -> WorkloadId {
    text.parse().expect("a test's id")
}

pub(crate) fn node(text: &str) -> NodeId {
    text.parse().expect("a test's id")
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Cluster {
    /// A leader over an empty store.
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    /// One node, and `w`, which ran there at this revision and is confirmed gone.
    pub(crate) fn with_a_grave() -> (Self, Revision) {
        let mut cluster = Self::new();
        cluster.nodes(1);
        cluster.apply("w", 100).unwrap();
        cluster.pass(Duration::from_secs(2));
        let revision = cluster.get_workload("w").unwrap().record.revision_id;
        cluster.delete("w").unwrap();
        cluster.pass(Duration::from_secs(2));
        (cluster, revision)
    }

    pub(crate) fn with(config: Config) -> Self {
        let mut cluster = Self {
            core: Scheduler::new(config),
            now: Timestamp::from_millis(1_000_000),
            store: BTreeMap::new(),
            revision: 1,
            agents: BTreeMap::new(),
            next_commit: NextCommit::Works,
            held: Vec::new(),
            hung: Vec::new(),
            slow_reads: false,
            read: Vec::new(),
            commits: 0,
            events: Vec::new(),
            journal: Vec::new(),
            outputs: Vec::new(),
            changes: Vec::new(),
            late: None,
            replies: BTreeMap::new(),
            next_request: 0,
            next_heartbeat: Timestamp::ZERO,
        };
        cluster.lead(10);
        cluster
    }

    /// Another leader, or this one again, on what the store holds.
    pub(crate) fn lead(&mut self, epoch: i64) {
        let snapshot = self.snapshot();
        self.feed(Input::Lead {
            epoch: Epoch(epoch),
            snapshot,
        });
    }

    /// A new process that leads on what the store holds.
    pub(crate) fn restart(&mut self, epoch: i64) {
        self.core = Scheduler::new(self.core.config().clone());
        self.lead(epoch);
    }

    pub(crate) fn feed(&mut self, input: Input) {
        self.journal.push((self.now, input.clone()));
        self.core.handle(self.now, input);
        self.core
            .check_invariants()
            .expect("an invariant holds after every step");
        while let Some(output) = self.core.poll_output() {
            self.outputs.push(output.clone());
            match output {
                Output::Commit(txn) => self.commit(txn),
                Output::ReadBack { txn, keys } => self.read_back(txn, &keys),
                Output::Call(call) => self.call(call),
                Output::Reply { request, result } => {
                    let twice = self.replies.insert(request, *result);
                    assert!(twice.is_none(), "request {request} was answered twice");
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn commit(&mut self, txn: Txn) {
        let buries = |op: &Op| {
            matches!(
                op,
                Op::Put {
                    key: Key::Tombstone(..),
                    ..
                }
            )
        };
        match self.next_commit {
            NextCommit::Held => self.held.push(txn),
            NextCommit::TombstoneLate if txn.ops.iter().any(buries) => {
                self.next_commit = NextCommit::Works;
                let written = self.write(&txn);
                assert!(written, "nothing else writes here");
                let fate = Fate::Committed(StoreRevision(self.revision));
                self.late = Some(Input::Commit { txn: txn.id, fate });
            }
            NextCommit::TombstoneHeld if txn.ops.iter().any(buries) => {
                self.next_commit = NextCommit::Works;
                self.held.push(txn);
            }
            NextCommit::Refused => {
                let fate = Fate::Refused("etcdserver: request is too large".into());
                self.feed(Input::Commit { txn: txn.id, fate });
            }
            NextCommit::UnknownLost => {
                self.next_commit = NextCommit::Works;
                self.feed(Input::Commit {
                    txn: txn.id,
                    fate: Fate::Unknown,
                });
            }
            NextCommit::UnknownWritten => {
                self.next_commit = NextCommit::Works;
                let written = self.write(&txn);
                assert!(written, "nothing else writes here");
                self.feed(Input::Commit {
                    txn: txn.id,
                    fate: Fate::Unknown,
                });
            }
            NextCommit::Works | NextCommit::TombstoneLate | NextCommit::TombstoneHeld => {
                self.settle(&txn);
            }
        }
    }

    /// Lets the held transactions go.
    pub(crate) fn release(&mut self) {
        self.next_commit = NextCommit::Works;
        for txn in std::mem::take(&mut self.held) {
            self.settle(&txn);
        }
    }

    /// The same, and the watch tells what they wrote: nobody waits for their answers any more.
    pub(crate) fn release_and_tell(&mut self) {
        let told = self.changes.len();
        self.release();
        let changes = self.changes[told..].to_vec();
        for (revision, records) in changes {
            let revision = StoreRevision(revision);
            self.feed(Input::Changed { revision, records });
        }
    }

    fn settle(&mut self, txn: &Txn) {
        let fate = if self.write(txn) {
            Fate::Committed(StoreRevision(self.revision))
        } else {
            let keys: Vec<Key> = txn.compares.iter().map(|(key, _)| key.clone()).collect();
            let current = self.get(&keys);
            Fate::Conflict {
                revision: StoreRevision(self.revision),
                current,
            }
        };
        self.feed(Input::Commit { txn: txn.id, fate });
    }

    fn write(&mut self, txn: &Txn) -> bool {
        let holds = |(key, at): &(Key, StoreRevision)| {
            self.store.get(key).map_or(0, |(_, revision)| *revision) == at.0
        };
        if !txn.compares.iter().all(holds) {
            return false;
        }
        assert!(txn.ops.len() <= 12, "one decision is small: {txn:?}");
        self.commits += 1;
        self.revision += 1;
        let before: Vec<Key> = self.store.keys().cloned().collect();
        self.apply_ops(&txn.ops);
        let gone = before.into_iter().filter(|k| !self.store.contains_key(k));
        let mut changed: Vec<Key> = gone.collect();
        let written = self
            .store
            .iter()
            .filter(|(_, (_, at))| *at == self.revision);
        changed.extend(written.map(|(key, _)| key.clone()));
        let mut told = self.get(&changed);
        for stored in told.iter_mut().filter(|stored| stored.value.is_none()) {
            // A watch tells when something was removed.
            stored.mod_revision = StoreRevision(self.revision);
        }
        self.changes.push((self.revision, told));
        true
    }

    fn apply_ops(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Put { key, value } => {
                    self.store
                        .insert(key.clone(), (value.clone(), self.revision));
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
    }

    /// The whole store.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let records = self.store.iter().map(|(key, (value, at))| Stored {
            key: key.clone(),
            value: Some(value.clone().into()),
            mod_revision: StoreRevision(*at),
        });
        Snapshot {
            revision: StoreRevision(self.revision),
            records: records.collect(),
            strangers: Vec::new(),
        }
    }

    fn get(&self, keys: &[Key]) -> Vec<Stored> {
        let one = |key: &Key| match self.store.get(key) {
            Some((value, at)) => Stored {
                key: key.clone(),
                value: Some(value.clone().into()),
                mod_revision: StoreRevision(*at),
            },
            None => Stored {
                key: key.clone(),
                value: None,
                mod_revision: StoreRevision(0),
            },
        };
        keys.iter().map(one).collect()
    }

    fn read_back(&mut self, txn: TxnId, keys: &[Key]) {
        let records = self.get(keys);
        let read = Input::ReadBack {
            txn,
            revision: StoreRevision(self.revision),
            records,
        };
        if self.slow_reads {
            self.read.push(read);
        } else {
            self.feed(read);
        }
    }

    /// What was read back is told.
    pub(crate) fn tell_reads(&mut self) {
        self.slow_reads = false;
        for read in std::mem::take(&mut self.read) {
            self.feed(read);
        }
    }

    /// The held transactions are carried out, and nobody is told so, nor of what they wrote.
    pub(crate) fn carry_out_held(&mut self) -> Vec<Input> {
        self.next_commit = NextCommit::Works;
        let told = self.changes.len();
        for txn in std::mem::take(&mut self.held) {
            assert!(self.write(&txn), "it is carried out: {txn:?}");
        }
        let changes = self.changes[told..].iter().cloned();
        let change = |(revision, records)| Input::Changed {
            revision: StoreRevision(revision),
            records,
        };
        changes.map(change).collect()
    }

    /// The fate of the transactions that are held is not known to the scheduler; they may still come.
    pub(crate) fn give_up_held(&mut self) {
        let held: Vec<TxnId> = self.held.iter().map(|txn| txn.id).collect();
        for txn in held {
            let fate = Fate::Unknown;
            self.feed(Input::Commit { txn, fate });
        }
    }

    fn call(&mut self, call: AgentCall) {
        let now = self.now;
        let agent = self
            .agents
            .get_mut(&call.node)
            .expect("only known nodes are called");
        // One that hangs does so wherever it is asked.
        let elsewhere = !agent.hangs && call.endpoint != format!("{}:50051", call.node);
        if !agent.reachable || elsewhere {
            let result = Err(AgentError::Unreachable("connection refused".into()));
            self.feed(Input::Agent {
                call: call.id,
                result,
            });
            return;
        }
        if agent.hangs {
            self.hung.push(call);
            return;
        }
        let reply = match &call.op {
            AgentOp::Apply {
                workload,
                revision,
                running,
                ..
            } => {
                let intent = &self.store[&Key::Intent(workload.clone())].0;
                assert!(
                    intent.contains(&format!("\"{revision}\"")),
                    "no intent: {intent}"
                );
                agent
                    .told
                    .push((now, format!("apply {workload}@{revision} {running}")));
                let state = if *running {
                    agent.result
                } else {
                    AgentState::Stopped
                };
                agent
                    .has
                    .insert(workload.clone(), (revision.clone(), state));
                AgentReply::Applied
            }
            AgentOp::Delete { workload } => {
                agent.told.push((now, format!("delete {workload}")));
                match agent.has.remove(workload) {
                    Some(_) => AgentReply::Deleting,
                    None => AgentReply::Missing,
                }
            }
            AgentOp::Status { workload } => match agent.has.get(workload) {
                Some(has) => AgentReply::Status(status(workload, has, agent.failure)),
                None => AgentReply::Missing,
            },
            AgentOp::List => AgentReply::Listing(
                agent
                    .has
                    .iter()
                    .map(|(w, has)| status(w, has, agent.failure))
                    .collect(),
            ),
        };
        self.feed(Input::Agent {
            call: call.id,
            result: Ok(reply),
        });
    }

    /// An agent that hung goes on: what it was asked meanwhile had no answer in time.
    pub(crate) fn go_on(&mut self, name: &str) {
        if let Some(agent) = self.agents.get_mut(&node(name)) {
            agent.hangs = false;
        }
        let hung = std::mem::take(&mut self.hung).into_iter();
        let (own, others) = hung.partition(|call| call.node == node(name));
        self.hung = others;
        let own: Vec<AgentCall> = own;
        for call in own {
            let result = Err(AgentError::Timeout);
            self.feed(Input::Agent {
                call: call.id,
                result,
            });
        }
    }

    /// Lets time pass: deadlines are met, agents heartbeat every 10 s.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let wake = self.core.poll_deadline();
            let next = wake.map_or(self.next_heartbeat, |at| at.min(self.next_heartbeat));
            let next = next.max(self.now);
            if next > end {
                break;
            }
            self.now = next;
            if next >= self.next_heartbeat {
                self.next_heartbeat = next + seconds(10);
                self.all_heartbeat();
            }
            self.feed(Input::Wake);
        }
        self.now = end;
    }

    pub(crate) fn all_heartbeat(&mut self) {
        let nodes: Vec<NodeId> = self.agents.keys().cloned().collect();
        for node in nodes {
            if self.agents[&node].heartbeats {
                self.heartbeat(&node);
            }
        }
    }

    pub(crate) fn heartbeat(&mut self, node: &NodeId) {
        let agent = &self.agents[node];
        let statuses = agent.has.iter().map(|(w, has)| {
            let mut hint = status(w, has, agent.failure);
            hint.revision = None;
            hint
        });
        let heartbeat = Heartbeat {
            node: node.clone(),
            usage: NodeUsage::default(),
            statuses: statuses.collect(),
        };
        if let Err(RequestError::NoSuchNode(_) | RequestError::RegisterAgain(_)) =
            self.ask(Request::Heartbeat(heartbeat))
        {
            self.register(node.as_str(), Resources::new(4_000, 8_192, 100));
        }
    }

    pub(crate) fn register(&mut self, name: &str, size: Resources) {
        let fresh = Agent {
            has: BTreeMap::new(),
            heartbeats: true,
            reachable: true,
            hangs: false,
            result: AgentState::Running,
            failure: FailureKind::RuntimeError,
            told: Vec::new(),
        };
        self.agents.entry(node(name)).or_insert(fresh);
        self.ask(Request::Register(registration(name, size)))
            .expect("a good registration");
    }

    /// `count` nodes of 4 cores, 8 GiB, 100 GiB, named `n-0` and so on.
    pub(crate) fn nodes(&mut self, count: usize) {
        for at in 0..count {
            self.register(&format!("n-{at}"), Resources::new(4_000, 8_192, 100));
        }
    }

    /// Asks without waiting for an answer.
    pub(crate) fn begin(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.feed(Input::Request { id, request });
        id
    }

    pub(crate) fn answer(&mut self, id: RequestId) -> Option<Result<Response, RequestError>> {
        self.replies.remove(&id)
    }

    pub(crate) fn ask(&mut self, request: Request) -> Result<Response, RequestError> {
        let id = self.begin(request);
        self.answer(id).expect("an answer at once")
    }

    pub(crate) fn apply(&mut self, name: &str, cpu: u64) -> Result<WorkloadView, RequestError> {
        self.apply_with(apply(name, cpu))
    }

    pub(crate) fn apply_with(
        &mut self,
        apply: ApplyWorkload,
    ) -> Result<WorkloadView, RequestError> {
        match self.ask(Request::Apply(apply))? {
            Response::Workload(view) => Ok(*view),
            other => panic!("another answer: {other:?}"),
        }
    }

    pub(crate) fn set(
        &mut self,
        name: &str,
        desired: DesiredState,
    ) -> Result<WorkloadView, RequestError> {
        let change = ApplyWorkload {
            spec: None,
            desired_state: Some(desired),
            ..apply(name, 1)
        };
        self.apply_with(change)
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<Response, RequestError> {
        self.ask(Request::Delete {
            workload: id(name),
            if_match: None,
        })
    }

    pub(crate) fn get_workload(&mut self, name: &str) -> Option<WorkloadView> {
        match self.ask(Request::Read(Query::Workload(id(name)))) {
            Ok(Response::Workload(view)) => Some(*view),
            _ => None,
        }
    }

    pub(crate) fn get_node(&mut self, name: &str) -> Option<NodeView> {
        match self.ask(Request::Read(Query::Node(node(name)))) {
            Ok(Response::Node(view)) => Some(*view),
            _ => None,
        }
    }

    /// Its displayed status, its node.
    pub(crate) fn seen(&mut self, name: &str) -> (String, String) {
        self.get_workload(name)
            .map_or(("Gone".into(), String::new()), |view| {
                let home = view
                    .record
                    .assigned_node
                    .map_or(String::new(), |n| n.to_string());
                (view.display_status.name().to_owned(), home)
            })
    }

    pub(crate) fn count(&self, event: EventType) -> usize {
        self.events.iter().filter(|e| e.event_type == event).count()
    }
}

/// What the agent of a node says of itself.
pub(crate) fn registration(name: &str, size: Resources) -> Registration {
    Registration {
        node: node(name),
        endpoint: format!("{name}:50051"),
        cpu_total: size.cpu,
        memory_total: size.memory_mb,
        disk_total: Some(size.disk_gb),
        supported_workload_types: WorkloadType::ALL.into(),
        supported_storage_drivers: ["local".to_owned()].into(),
        labels: BTreeMap::from([("zone".to_owned(), name.to_owned())]),
        agent_version: String::new(),
        boot_id: String::new(),
        incarnation: String::new(),
    }
}

fn status(
    workload: &WorkloadId,
    (revision, state): &(Revision, AgentState),
    failure: FailureKind,
) -> AgentStatus {
    AgentStatus {
        workload: Some(workload.clone()),
        raw_id: workload.to_string(),
        workload_type: Some(WorkloadType::Container),
        revision: Some(revision.clone()),
        state: *state,
        failure: (*state == AgentState::Failed).then_some(failure),
        message: "exit code 1".into(),
    }
}

/// A container workload of `cpu` millicores, 64 MiB, 1 GiB.
pub(crate) fn apply(name: &str, cpu: u64) -> ApplyWorkload {
    ApplyWorkload {
        workload: id(name),
        spec: Some(NewSpec {
            spec: Spec::Container(ContainerSpec {
                image: "example:1".into(),
                ..ContainerSpec::default()
            }),
            resources: Resources {
                cpu: Millicores(cpu),
                memory_mb: Mebibytes(64),
                disk_gb: Gibibytes(1),
            },
            constraints: Constraints::default(),
            tenant: None,
            priority: 0,
            max_attempts: None,
            labels: BTreeMap::new(),
        }),
        revision: None,
        desired_state: None,
        if_match: None,
        dry_run: false,
    }
}
