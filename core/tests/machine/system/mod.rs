//! The system: a scheduler, a store that is a map, agents, and everything that is on its way
//! between them. Nothing here decides anything.

mod calls;
mod commits;
mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use berth_core::io::agent::{AgentError, AgentReply, AgentState};
use berth_core::io::request::{Request, RequestError};
use berth_core::io::{AgentCall, Fate, Snapshot, Txn};
use berth_core::model::workload::{DesiredState, FailureKind};
use berth_core::{
    Config, Epoch, Input, Key, NodeId, Output, RequestId, Scheduler, StoreRevision, Timestamp,
    WorkloadId,
};

pub(crate) use requests::image;
use requests::{apply, schedulable, set};

use crate::agent::{Agent, Broken};
use crate::assertions::{Before, Watch};
use crate::transition::{CommitFate, Transition};

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
    /// Who asks to be known, and who was told that it failed: it asks again.
    registering: BTreeMap<RequestId, NodeId>,
    refused: BTreeSet<NodeId>,
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
            registering: BTreeMap::new(),
            refused: BTreeSet::new(),
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

    /// The store carries no transaction out that was given up too long ago.
    fn may_come(&self, given_up: Option<Timestamp>) -> bool {
        let patience = self.core.config().stray_commit_max;
        given_up.is_none_or(|since| self.now < since + patience)
    }

    fn change_leader(&mut self, anew: bool, written: bool) {
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Commit {
                    txn,
                    before,
                    given_up,
                } if written && self.may_come(given_up) => {
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
                        if let Some(node) = self.registering.remove(&request) {
                            if result.is_ok() {
                                self.refused.remove(&node);
                            } else {
                                self.refused.insert(node);
                            }
                        }
                        self.answers.push((request, result.err()));
                    }
                    Output::Event(_) => {}
                }
            }
        }
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
                given_up,
            } => {
                if self.may_come(given_up) && self.write(&txn, &before) {
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
}
