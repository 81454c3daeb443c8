//! The meter: it sees every commit of the store, every answer to a client, every start on a node.

use std::collections::BTreeMap;

use berth_core::io::request::{Request, RequestError};
use berth_core::io::{AgentCall, AgentOp};
use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::units::Resources;
use berth_core::model::workload::{ActualState, AssignmentRecord, DesiredState, WorkloadRecord};
use berth_core::{NodeId, Timestamp, WorkloadId};

use crate::oracle::image::{Commit, Pair, Writer};

use super::fragments::{Fragments, Sizes, percent};
use super::life::Life;
use super::replay::Plan;
use super::sample::{Rooms, Samples};

/// How often the nodes are looked at, over the whole window.
const SAMPLES: u64 = 240;

/// Measures a replay.
#[derive(Debug)]
pub(crate) struct Meter {
    begun: Timestamp,
    pub(super) plan: Plan,
    pub(super) sizes: Sizes,
    pub(super) rooms: Rooms,
    pub(super) lives: BTreeMap<WorkloadId, Life>,
    pub(super) now: Totals,
    /// Amounts times milliseconds, over the window.
    pub(super) sums: Totals,
    /// The most at an instant of the window, each, and when it was reached.
    pub(super) peaks: Peaks,
    pub(super) looks: Looks,
    pub(super) calls: BTreeMap<&'static str, u64>,
    pub(super) commits: u64,
    /// Up to here everything is summed up, in milliseconds.
    at: u64,
    next_look: u64,
}

/// What is assigned, and how many pods wait and run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) cpu: u64,
    pub(super) memory: u64,
    pub(super) waiting: u64,
    pub(super) running: u64,
}

/// The most at an instant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peaks {
    pub(super) most: Totals,
    pub(super) cpu_at: u64,
    pub(super) memory_at: u64,
}

/// What was seen of the nodes at equal intervals.
#[derive(Debug)]
pub(super) struct Looks {
    pub(super) samples: [Samples; 9],
    /// What it looked like when most CPU was assigned.
    pub(super) fullest: (u64, Fragments),
    pub(super) last: Fragments,
}

impl Meter {
    pub(crate) fn new(begun: Timestamp, plan: Plan) -> Self {
        let percent_of = |name| Samples::new(name, "%");
        Self {
            begun,
            sizes: Sizes::new(&plan.shapes),
            rooms: Rooms::default(),
            lives: BTreeMap::new(),
            now: Totals::default(),
            sums: Totals::default(),
            peaks: Peaks::default(),
            looks: Looks {
                samples: [
                    percent_of("CPU assigned"),
                    percent_of("memory assigned"),
                    Samples::new("waiting for a place", "pods"),
                    Samples::new("running", "pods"),
                    percent_of("free CPU that the average pod cannot use"),
                    percent_of("free memory that the average pod cannot use"),
                    percent_of("free CPU stranded without memory"),
                    percent_of("free memory stranded without CPU"),
                    percent_of("spread of CPU over nodes"),
                ],
                fullest: (0, Fragments::default()),
                last: Fragments::default(),
            },
            calls: BTreeMap::new(),
            commits: 0,
            at: millis(plan.from),
            next_look: millis(plan.from),
            plan,
        }
    }

    fn ms(&self, at: Timestamp) -> u64 {
        millis(at.since(self.begun))
    }

    /// A client asks.
    pub(crate) fn asked(&mut self, at: Timestamp, request: &Request) {
        let at = self.ms(at);
        if let Request::Apply(apply) = request
            && let Some(spec) = &apply.spec
        {
            let life = self.lives.entry(apply.workload.clone()).or_default();
            life.cpu = spec.resources.cpu.0;
            life.memory = spec.resources.memory_mb.0;
            life.asked.get_or_insert(at);
        }
    }

    /// A client is answered for good.
    pub(crate) fn told(
        &mut self,
        at: Timestamp,
        request: &Request,
        refused: Option<&RequestError>,
    ) {
        let at = self.ms(at);
        let Request::Apply(apply) = request else {
            return;
        };
        let life = self.lives.entry(apply.workload.clone()).or_default();
        match refused {
            None => {
                life.told.get_or_insert(at);
            }
            Some(error) => life.refused = Some(error.to_string()),
        }
    }

    /// A call leaves a scheduler for an agent.
    pub(crate) fn called(&mut self, call: &AgentCall) {
        let name = match call.op {
            AgentOp::Apply { .. } => "apply",
            AgentOp::Delete { .. } => "delete",
            AgentOp::Status { .. } => "status",
            AgentOp::List => "list",
        };
        *self.calls.entry(name).or_default() += 1;
    }

    /// A node's runtime has started a workload.
    pub(crate) fn started(&mut self, at: Timestamp, workload: &WorkloadId) {
        let at = self.ms(at);
        if let Some(life) = self.lives.get_mut(workload) {
            life.ran.get_or_insert(at);
        }
    }

    /// One commit of the store.
    pub(crate) fn committed(&mut self, at: Timestamp, commit: &Commit) {
        let at = self.ms(at);
        self.pass(at);
        if let Writer::Scheduler { .. } = commit.writer {
            self.commits += 1;
        }
        for (id, pair) in &commit.nodes {
            self.node(id, pair.after.as_deref());
        }
        for (id, pair) in &commit.assignments {
            self.home(at, id, pair);
        }
        for (id, pair) in &commit.workloads {
            self.workload(id, pair);
        }
        if (millis(self.plan.from)..=millis(self.plan.to)).contains(&at) {
            self.peaks.see(at, self.now);
        }
    }

    /// The end.
    pub(crate) fn end(&mut self, at: Timestamp) {
        self.pass(self.ms(at));
        let waiting = self.lives.values_mut();
        for life in waiting.filter(|life| life.told.is_some() && life.placed.is_none()) {
            life.why
                .get_or_insert(self.rooms.why_not(life.cpu, life.memory));
        }
    }

    /// Time passes, and what is so stays so until then.
    fn pass(&mut self, to: u64) {
        let (from, end) = (millis(self.plan.from), millis(self.plan.to));
        let every = ((end - from) / SAMPLES).max(1);
        while self.next_look <= to.min(end) {
            self.look(self.next_look);
            self.next_look += every;
        }
        let until = to.min(end);
        let passed = until.saturating_sub(self.at);
        self.at = self.at.max(until);
        let (sums, now) = (&mut self.sums, self.now);
        sums.cpu += now.cpu * passed;
        sums.memory += now.memory * passed;
        sums.waiting += now.waiting * passed;
        sums.running += now.running * passed;
    }

    #[allow(clippy::cast_precision_loss, reason = "percents and counts for people")]
    fn look(&mut self, at: u64) {
        let fragments = self.rooms.fragments(&self.sizes);
        let (cpu, memory) = self.plan.capacity;
        let share = |part: u64, of: u64| percent(part.into(), of.into());
        let values = [
            share(self.now.cpu, cpu),
            share(self.now.memory, memory),
            self.now.waiting as f64,
            self.now.running as f64,
            fragments.cpu,
            fragments.memory,
            fragments.stranded_cpu,
            fragments.stranded_memory,
            self.rooms.spread(),
        ];
        for (samples, value) in self.looks.samples.iter_mut().zip(values) {
            samples.take(at, value);
        }
        if self.now.cpu >= self.looks.fullest.0 {
            self.looks.fullest = (self.now.cpu, fragments);
        }
        self.looks.last = fragments;
    }

    fn node(&mut self, id: &NodeId, record: Option<&NodeRecord>) {
        let room = self.rooms.0.entry(id.clone()).or_default();
        room.open = record.is_some_and(|r| r.status == NodeStatus::Ready && r.schedulable);
        if let Some(record) = record {
            room.cpu = record.resources.cpu_total.0;
            room.memory = record.resources.memory_total.0;
        }
    }

    fn home(&mut self, at: u64, id: &WorkloadId, pair: &Pair<AssignmentRecord>) {
        if let Some(before) = &pair.before {
            self.take(&before.node_id, before.resources, false);
        }
        let Some(after) = &pair.after else {
            return;
        };
        self.take(&after.node_id, after.resources, true);
        let life = self.lives.entry(id.clone()).or_default();
        life.placed.get_or_insert(at);
        if life
            .home
            .as_ref()
            .is_some_and(|home| *home != after.node_id)
        {
            life.moves += 1;
        }
        life.home = Some(after.node_id.clone());
    }

    fn take(&mut self, node: &NodeId, amount: Resources, more: bool) {
        let room = self.rooms.0.entry(node.clone()).or_default();
        let change = |sum: &mut u64, by: u64| {
            *sum = if more {
                *sum + by
            } else {
                sum.saturating_sub(by)
            };
        };
        let (cpu, memory) = (amount.cpu.0, amount.memory_mb.0);
        change(&mut room.cpu_taken, cpu);
        change(&mut room.memory_taken, memory);
        change(&mut self.now.cpu, cpu);
        change(&mut self.now.memory, memory);
    }

    fn workload(&mut self, id: &WorkloadId, pair: &Pair<WorkloadRecord>) {
        let runs = |record: Option<&WorkloadRecord>| {
            record.is_some_and(|record| record.status.actual_state == ActualState::Running)
        };
        let (was, is) = (runs(pair.before.as_deref()), runs(pair.after.as_deref()));
        self.now.running = (self.now.running + u64::from(is)).saturating_sub(u64::from(was));
        let life = self.lives.entry(id.clone()).or_default();
        let wanted = |record: &WorkloadRecord| record.desired_state == DesiredState::Running;
        let record = pair.after.as_deref().filter(|record| wanted(record));
        let waits = record.is_some_and(|record| record.assigned_node.is_none());
        let waiting = self.now.waiting + u64::from(waits);
        self.now.waiting = waiting.saturating_sub(u64::from(life.waits));
        life.waits = waits;
        let note = record.and_then(|record| record.status.placement.as_ref());
        if let Some(note) = note.filter(|note| note.node.is_none()) {
            life.refusals.clone_from(&note.refused);
        }
        if record.is_none() && !life.left {
            life.left = true;
            if life.placed.is_none() {
                life.why = Some(self.rooms.why_not(life.cpu, life.memory));
            }
        }
    }
}

impl Peaks {
    fn see(&mut self, at: u64, now: Totals) {
        if now.cpu > self.most.cpu {
            self.cpu_at = at;
        }
        if now.memory > self.most.memory {
            self.memory_at = at;
        }
        let most = &mut self.most;
        most.cpu = most.cpu.max(now.cpu);
        most.memory = most.memory.max(now.memory);
        most.waiting = most.waiting.max(now.waiting);
        most.running = most.running.max(now.running);
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
