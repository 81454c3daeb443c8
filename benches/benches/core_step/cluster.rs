//! The composed core with the least around it: a store that is a map and agents that have at once
//! what they are told. The clock is moved by hand.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_core::io::agent::{AgentOp, AgentReply, AgentState, AgentStatus};
use berth_core::io::request::{
    ApplyWorkload, Heartbeat, NewSpec, Query, Registration, Request, Response,
};
use berth_core::io::view::ClusterSummary;
use berth_core::io::{AgentCall, Fate, Op, Snapshot, Txn};
use berth_core::model::node::NodeUsage;
use berth_core::model::spec::{Constraints, ContainerSpec, Spec, WorkloadType};
use berth_core::model::units::Resources;
use berth_core::{
    Config, Epoch, Input, Key, NodeId, Output, RequestId, Revision, Scheduler, StoreRevision,
    Timestamp, TxnId, WorkloadId,
};

/// Between the heartbeats of one node.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The cluster.
pub(crate) struct Cluster {
    core: Scheduler,
    now: Timestamp,
    store: BTreeMap<Key, (String, i64)>,
    revision: i64,
    agents: BTreeMap<NodeId, BTreeMap<WorkloadId, Revision>>,
    /// What is to be fed next: everything is answered at once, in its order.
    inputs: VecDeque<Input>,
    requests: u64,
    /// Applies that agents were told.
    pub(crate) applies: u64,
    /// The answer to the last request that was answered well.
    answer: Option<Response>,
}

impl Cluster {
    /// `nodes` nodes, each with 16 cores, 64 GiB and 500 GiB, and `workloads` workloads that run.
    pub(crate) fn steady(nodes: usize, workloads: usize) -> Self {
        let mut cluster = Self {
            core: Scheduler::new(Config::default()),
            now: Timestamp::from_millis(1_000_000),
            store: BTreeMap::new(),
            revision: 1,
            agents: BTreeMap::new(),
            inputs: VecDeque::new(),
            requests: 0,
            applies: 0,
            answer: None,
        };
        cluster.feed(Input::Lead {
            epoch: Epoch(10),
            snapshot: Snapshot {
                revision: StoreRevision(1),
                records: Vec::new(),
                strangers: Vec::new(),
            },
        });
        for at in 0..nodes {
            cluster.register(at);
        }
        for at in 0..workloads {
            cluster.apply(&format!("w-{at:05}"), "example:1", false);
        }
        for _ in 0..6 {
            cluster.interval();
        }
        let summary = cluster.summary();
        assert_eq!(summary.ready_nodes as usize, nodes, "{summary:?}");
        assert_eq!(summary.running_workloads as usize, workloads, "{summary:?}");
        cluster
    }

    /// The nodes, in order.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.agents.keys().cloned().collect()
    }

    /// Counts of the core.
    pub(crate) fn summary(&mut self) -> ClusterSummary {
        self.ask(Request::Read(Query::Summary));
        match self.answer.take() {
            Some(Response::Summary(summary)) => summary,
            other => panic!("another answer: {other:?}"),
        }
    }

    /// Feeds an input and everything that comes of it, until nothing more does.
    pub(crate) fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        while let Some(input) = self.inputs.pop_front() {
            self.core.handle(self.now, input);
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::Commit(txn) => self.commit(&txn),
                    Output::ReadBack { txn, .. } => panic!("no fate was unknown: {txn:?}"),
                    Output::Call(call) => self.call(call),
                    Output::Reply { result, .. } => match *result {
                        Ok(answer) => self.answer = Some(answer),
                        Err(error) => panic!("refused: {error}"),
                    },
                    Output::Event(_) => {}
                }
            }
        }
    }

    fn ask(&mut self, request: Request) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.feed(Input::Request { id, request });
    }

    fn commit(&mut self, txn: &Txn) {
        for (key, at) in &txn.compares {
            let found = self.store.get(key).map_or(0, |(_, revision)| *revision);
            assert_eq!(found, at.0, "nobody else writes {key:?}");
        }
        self.revision += 1;
        for op in &txn.ops {
            match op {
                Op::Put { key, value } => {
                    let record = (value.clone(), self.revision);
                    self.store.insert(key.clone(), record);
                }
                Op::Delete { key } => {
                    self.store.remove(key);
                }
                Op::DeleteEventsBefore { before } => self
                    .store
                    .retain(|key, _| !matches!(key, Key::Event(id) if id < before)),
            }
        }
        self.committed(txn.id);
    }

    fn committed(&mut self, txn: TxnId) {
        let fate = Fate::Committed(StoreRevision(self.revision));
        self.inputs.push_back(Input::Commit { txn, fate });
    }

    fn call(&mut self, call: AgentCall) {
        let has = self.agents.get_mut(&call.node).expect("a known node");
        let reply = match call.op {
            AgentOp::Apply {
                workload, revision, ..
            } => {
                self.applies += 1;
                has.insert(workload, revision);
                AgentReply::Applied
            }
            AgentOp::Delete { workload } => match has.remove(&workload) {
                Some(_) => AgentReply::Deleting,
                None => AgentReply::Missing,
            },
            AgentOp::Status { workload } => match has.get(&workload) {
                Some(revision) => AgentReply::Status(status(&workload, Some(revision))),
                None => AgentReply::Missing,
            },
            AgentOp::List => {
                let all = has.iter().map(|(id, revision)| status(id, Some(revision)));
                AgentReply::Listing(all.collect())
            }
        };
        self.inputs.push_back(Input::Agent {
            call: call.id,
            result: Ok(reply),
        });
    }

    /// One heartbeat with the states of everything that the node has; nothing in it is news.
    pub(crate) fn heartbeat(&mut self, node: &NodeId) {
        let statuses = self.agents[node].keys().map(|id| status(id, None));
        let heartbeat = Heartbeat {
            node: node.clone(),
            usage: NodeUsage::default(),
            statuses: statuses.collect(),
        };
        self.ask(Request::Heartbeat(heartbeat));
    }

    /// Lets one interval pass: every node is heard once, and every deadline is met.
    pub(crate) fn interval(&mut self) {
        let end = self.now + INTERVAL;
        for node in self.nodes() {
            self.heartbeat(&node);
        }
        while let Some(at) = self.core.poll_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.feed(Input::Wake);
        }
        self.now = end;
    }

    fn register(&mut self, at: usize) {
        let node: NodeId = format!("node-{at:04}").parse().expect("follows the rule");
        self.agents.insert(node.clone(), BTreeMap::new());
        self.ask(Request::Register(Registration {
            node,
            endpoint: format!("node-{at:04}:50051"),
            cpu_total: Resources::new(16_000, 0, 0).cpu,
            memory_total: Resources::new(0, 65_536, 0).memory_mb,
            disk_total: Some(Resources::new(0, 0, 500).disk_gb),
            supported_workload_types: WorkloadType::ALL.into(),
            supported_storage_drivers: ["local".to_owned()].into(),
            labels: BTreeMap::from([("zone".to_owned(), format!("z-{}", at % 3))]),
            agent_version: String::new(),
            boot_id: String::new(),
            incarnation: String::new(),
        }));
    }

    /// Creates a workload or gives it a new spec: everything up to the agent's answer.
    pub(crate) fn apply(&mut self, name: &str, image: &str, dry_run: bool) {
        let container = ContainerSpec {
            image: image.to_owned(),
            ..ContainerSpec::default()
        };
        self.ask(Request::Apply(ApplyWorkload {
            workload: name.parse().expect("follows the rule"),
            spec: Some(NewSpec {
                spec: Spec::Container(container),
                resources: Resources::new(250, 512, 1),
                constraints: Constraints::default(),
                tenant: None,
                priority: 0,
                max_attempts: None,
                labels: BTreeMap::new(),
            }),
            revision: None,
            desired_state: None,
            if_match: None,
            dry_run,
        }));
    }

    /// Asks for the end of a workload.
    pub(crate) fn delete(&mut self, name: &str) {
        self.ask(Request::Delete {
            workload: name.parse().expect("follows the rule"),
            if_match: None,
        });
    }
}

fn status(workload: &WorkloadId, revision: Option<&Revision>) -> AgentStatus {
    AgentStatus {
        workload: Some(workload.clone()),
        raw_id: workload.to_string(),
        workload_type: Some(WorkloadType::Container),
        revision: revision.cloned(),
        state: AgentState::Running,
        failure: None,
        message: String::new(),
    }
}
