//! The adversary: which things break, when, and for how long. Each run switches a random subset
//! off, so that rare combinations get their turn.

use std::time::Duration;

use berth_core::Timestamp;

use crate::marks::Mark;
use crate::options::Options;
use crate::rng::{Stream, Streams};

use super::World;
use super::message::Process;

/// Something that breaks, or ends being broken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    CrashReplica(usize),
    StartReplica(usize),
    CrashAgent(usize),
    /// The node's machine restarts: nothing runs any more.
    RebootNode(usize),
    /// The node's disk is lost too.
    ReplaceNode(usize),
    StartAgent(usize),
    HangAgent(usize),
    UnhangAgent(usize),
    Cut(Process, Process),
    Mend(Process, Process),
    StallStore,
    UnstallStore,
    LoseStoreAnswers(u32),
    KillWorkload(usize),
    PauseReplica(usize),
    ResumeReplica(usize),
    /// The node's machine has other parts when it comes back.
    ResizeNode(usize),
    /// The agent's next answers are wrong.
    LieAgent(usize, u32),
    /// A watch falls behind, and what it should see next is compacted.
    HideWatch(usize),
    CompactStore(usize),
    /// Somebody else edits the store; the number says which record and how.
    EditStore(u64),
}

/// The kinds of fault, each of which a run may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ReplicaCrash,
    AgentCrash,
    NodeReboot,
    NodeReplacement,
    AgentHang,
    StorePartition,
    AgentPartition,
    StoreStall,
    LostAnswers,
    WorkloadDeath,
    ReplicaPause,
    NodeResize,
    AgentLies,
    Compaction,
    Edits,
    DeadForGood,
}

const KINDS: [Kind; 16] = [
    Kind::ReplicaCrash,
    Kind::AgentCrash,
    Kind::NodeReboot,
    Kind::NodeReplacement,
    Kind::AgentHang,
    Kind::StorePartition,
    Kind::AgentPartition,
    Kind::StoreStall,
    Kind::LostAnswers,
    Kind::WorkloadDeath,
    Kind::ReplicaPause,
    Kind::NodeResize,
    Kind::AgentLies,
    Kind::Compaction,
    Kind::Edits,
    Kind::DeadForGood,
];

/// The adversary.
#[derive(Debug)]
pub(super) struct Adversary {
    stream: Stream,
    kinds: Vec<Kind>,
    replicas: u64,
    nodes: u64,
    /// Nothing breaks any more.
    pub(super) healed: bool,
    /// Records that were corrupted, as they were before.
    pub(super) broken: Vec<(String, Vec<u8>)>,
    /// Watches that are held back.
    pub(super) hidden: std::collections::BTreeSet<usize>,
}

impl Adversary {
    pub(super) fn new(options: &Options, streams: &Streams) -> Self {
        let mut swarm = streams.fork("swarm");
        let on = |_: &Kind| options.faults && swarm.chance(600_000);
        Self {
            kinds: KINDS.into_iter().filter(on).collect(),
            stream: streams.fork("adversary"),
            replicas: options.schedulers as u64,
            nodes: options.nodes as u64,
            healed: false,
            broken: Vec::new(),
            hidden: std::collections::BTreeSet::new(),
        }
    }

    /// Everything that will break, with its end.
    pub(super) fn schedule(
        &mut self,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, Fault)> {
        let mut faults = Vec::new();
        let mut at = from + Duration::from_secs(10);
        while at < until && !self.kinds.is_empty() {
            at = at + Duration::from_millis(self.stream.between(200, 25_000));
            let lasting = Duration::from_millis(self.stream.between(50, 40_000));
            let Some(kind) = self.stream.pick(&self.kinds).copied() else {
                break;
            };
            self.one(kind, at, at + lasting, &mut faults);
        }
        faults
    }

    fn one(
        &mut self,
        kind: Kind,
        at: Timestamp,
        end: Timestamp,
        into: &mut Vec<(Timestamp, Fault)>,
    ) {
        let replica = usize::try_from(self.stream.below(self.replicas)).unwrap_or(0);
        let node = usize::try_from(self.stream.below(self.nodes)).unwrap_or(0);
        let mut both = |begin, over| {
            into.push((at, begin));
            into.push((end, over));
        };
        match kind {
            Kind::ReplicaCrash => both(Fault::CrashReplica(replica), Fault::StartReplica(replica)),
            Kind::AgentCrash => both(Fault::CrashAgent(node), Fault::StartAgent(node)),
            Kind::NodeReboot => both(Fault::RebootNode(node), Fault::StartAgent(node)),
            Kind::NodeReplacement => both(Fault::ReplaceNode(node), Fault::StartAgent(node)),
            Kind::AgentHang => both(Fault::HangAgent(node), Fault::UnhangAgent(node)),
            Kind::StoreStall => both(Fault::StallStore, Fault::UnstallStore),
            Kind::LostAnswers => {
                let count = u32::try_from(self.stream.between(1, 4)).unwrap_or(1);
                into.push((at, Fault::LoseStoreAnswers(count)));
            }
            Kind::ReplicaPause => both(Fault::PauseReplica(replica), Fault::ResumeReplica(replica)),
            Kind::NodeResize => both(Fault::ResizeNode(node), Fault::StartAgent(node)),
            Kind::AgentLies => {
                let count = u32::try_from(self.stream.between(1, 6)).unwrap_or(1);
                into.push((at, Fault::LieAgent(node, count)));
            }
            Kind::Compaction => both(Fault::HideWatch(replica), Fault::CompactStore(replica)),
            Kind::Edits => into.push((at, Fault::EditStore(self.stream.below(u64::MAX)))),
            // Chosen at the end of the faults.
            Kind::DeadForGood => {}
            Kind::WorkloadDeath => into.push((at, Fault::KillWorkload(node))),
            Kind::StorePartition | Kind::AgentPartition => {
                let (a, b) = match kind {
                    Kind::StorePartition => (Process::Replica(replica), Process::Store),
                    _ => (Process::Replica(replica), Process::Agent(node)),
                };
                let ways = self.stream.below(3);
                if ways != 1 {
                    into.push((at, Fault::Cut(a, b)));
                    into.push((end, Fault::Mend(a, b)));
                }
                if ways != 2 {
                    into.push((at, Fault::Cut(b, a)));
                    into.push((end, Fault::Mend(b, a)));
                }
            }
        }
    }
}

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        if self.adversary.healed {
            return;
        }
        self.note(&format_args!("fault {fault:?}"));
        self.apply_fault(fault);
    }

    fn apply_fault(&mut self, fault: Fault) {
        match fault {
            Fault::CrashReplica(at) => {
                self.mark(Mark::SchedulerCrash);
                self.replicas[at].crash();
                self.let_sleep(Process::Replica(at));
            }
            Fault::StartReplica(at) => {
                if !self.replicas[at].up {
                    self.replicas[at].up = true;
                    self.wake(Process::Replica(at), self.now);
                }
            }
            Fault::CrashAgent(at) => {
                self.mark(Mark::AgentCrash);
                self.agents[at].crash();
                self.let_sleep(Process::Agent(at));
            }
            Fault::RebootNode(at) => {
                self.mark(Mark::NodeReboot);
                self.reboot_node(at);
            }
            Fault::ReplaceNode(at) => {
                self.mark(Mark::NodeReplaced);
                self.reboot_node(at);
                self.agents[at].lose_everything();
                self.oracle.node_replaced(at);
            }
            Fault::StartAgent(at) => self.start_agent(at),
            Fault::HangAgent(at) => {
                self.mark(Mark::AgentHang);
                self.agents[at].hung = true;
            }
            Fault::UnhangAgent(at) => {
                self.agents[at].hung = false;
                self.wake(Process::Agent(at), self.now);
            }
            Fault::Cut(from, to) => {
                self.mark(Mark::Partition);
                self.network.cut(from, to);
            }
            Fault::Mend(from, to) => {
                self.network.mend(from, to);
                self.reconnect(from, to);
            }
            Fault::StallStore => {
                self.mark(Mark::StoreStall);
                self.store.stalled = true;
            }
            Fault::UnstallStore => self.unstall_store(),
            Fault::LoseStoreAnswers(count) => {
                self.mark(Mark::StoreAnswersLost);
                self.store.lose_answers = count;
            }
            Fault::KillWorkload(at) => self.kill_some_workload(at),
            Fault::PauseReplica(at) => {
                if self.replicas[at].up {
                    self.mark(Mark::SchedulerPause);
                    self.replicas[at].paused = true;
                }
            }
            Fault::ResumeReplica(at) => self.resume_replica(at),
            Fault::ResizeNode(at) => {
                self.mark(Mark::AgentCapacity);
                self.reboot_node(at);
                let (parts, of) = (self.adversary.stream.between(1, 3), 2);
                self.agents[at].resize(parts, of);
            }
            Fault::LieAgent(at, count) => self.agents[at].lies = count,
            Fault::HideWatch(at) => self.hide_watch(at),
            Fault::CompactStore(at) => self.compact_store(at),
            Fault::EditStore(how) => self.edit_store(how),
        }
    }

    pub(super) fn reboot_node(&mut self, at: usize) {
        self.agents[at].crash();
        self.agents[at].runtime.reboot();
        self.agents[at].off = true;
        self.let_sleep(Process::Agent(at));
    }

    pub(super) fn start_agent(&mut self, at: usize) {
        if !self.agents[at].dead && !self.agents[at].up {
            self.agents[at].off = false;
            self.agents[at].restart(self.now);
            self.wake(Process::Agent(at), self.now);
        }
    }

    fn kill_some_workload(&mut self, at: usize) {
        let running: Vec<_> = self.agents[at]
            .runtime
            .artifacts()
            .map(|a| a.launch.workload.clone())
            .collect();
        let Some(workload) = self.adversary.stream.pick(&running).cloned() else {
            return;
        };
        self.mark(Mark::WorkloadKilled);
        self.agents[at].runtime.kill(self.now, &workload, 137);
        if self.agents[at].up {
            self.wake(Process::Agent(at), self.now);
        }
    }

    /// A connection to the store that lost something is made anew, and its watch with it.
    fn reconnect(&mut self, from: Process, to: Process) {
        if let (Process::Replica(at), Process::Store) | (Process::Store, Process::Replica(at)) =
            (from, to)
        {
            self.reset_store_connection(at);
        }
    }

    /// Everything works again, and stays so.
    pub(super) fn heal(&mut self) {
        self.note(&format_args!("heal"));
        self.adversary.healed = true;
        self.network.heal();
        self.store.lose_answers = 0;
        self.unstall_store();
        self.repair_records();
        self.bury_one_for_good();
        for at in 0..self.replicas.len() {
            self.show_watch(at);
            self.resume_replica(at);
            if self.replicas[at].up {
                self.reset_store_connection(at);
            } else {
                self.replicas[at].up = true;
                self.wake(Process::Replica(at), self.now);
            }
        }
        for at in 0..self.agents.len() {
            self.agents[at].hung = false;
            self.agents[at].lies = 0;
            self.start_agent(at);
            self.wake(Process::Agent(at), self.now);
        }
        self.wake(
            Process::Client(self.clients.len()),
            self.now + Duration::from_secs(1),
        );
    }

    /// One node may never come back: the rest must cope.
    fn bury_one_for_good(&mut self) {
        let chosen = self.adversary.kinds.contains(&Kind::DeadForGood) && self.agents.len() > 2;
        if chosen {
            let at = self.adversary.stream.below(self.agents.len() as u64);
            let at = usize::try_from(at).unwrap_or(0);
            self.mark(Mark::NodeDeadForGood);
            self.reboot_node(at);
            self.agents[at].dead = true;
        }
    }
}
