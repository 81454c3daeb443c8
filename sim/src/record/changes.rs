//! Commits of the store as items: what each changed, and what is so since.

use std::collections::BTreeMap;

use berth_core::model::event::EventType;
use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::workload::{ActualState, AssignmentRecord, DesiredState, WorkloadRecord};
use berth_core::{NodeId, Timestamp, WorkloadId};

use crate::oracle::image::{Commit, Image, Pair, Writer};

use super::happened::tell_event;
use super::recorder::{Note, Recorder};
use super::records::{describe, node_note, touched, workload_note};
use super::words::{amount, clock, event_words};
use super::{Group, Kind, Table};

/// Reads commits.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    writers: BTreeMap<String, u64>,
    events: BTreeMap<EventType, u64>,
    totals: Totals,
}

/// Sums over the cluster: all and taken, of CPU, memory and disk; nodes ready and not; workloads
/// by state.
#[derive(Debug, Default)]
struct Totals {
    all: [u64; 3],
    taken: [u64; 3],
    nodes: [u64; 2],
    states: BTreeMap<&'static str, u64>,
}

impl Changes {
    /// One commit.
    pub(crate) fn take(
        &mut self,
        recorder: &mut Recorder,
        now: Timestamp,
        commit: &Commit,
        image: &Image,
    ) {
        let at = recorder.ms(now);
        self.summarize(recorder, at, commit, image);
        for (id, pair) in &commit.workloads {
            self.workload(recorder, at, id, pair);
        }
        for (id, pair) in &commit.assignments {
            self.home(recorder, at, id, pair);
        }
        for ((node, id), pair) in &commit.tombstones {
            let lane = recorder.lane(Group::Workloads, id.as_str());
            let what = pair.after.as_ref().map(|record| {
                let since = recorder.ms(record.since);
                let detail = format!(
                    "reserved for it: {}\nsince: {} by the scheduler's clock\n",
                    amount(&record.resources),
                    clock(since),
                );
                let note = Note::new(format!("must go from {node}")).detail(detail);
                (Kind::Tombstone, note)
            });
            recorder.state_of(lane, Kind::Tombstone.info().track, node.as_str(), at, what);
        }
        for (id, pair) in &commit.nodes {
            self.node(recorder, at, id, pair);
        }
        for event in &commit.events {
            *self.events.entry(event.event_type).or_default() += 1;
            tell_event(recorder, at, event, commit);
        }
        self.totals.draw(recorder, at);
    }

    /// The commit itself, in a line.
    fn summarize(&mut self, recorder: &mut Recorder, at: u64, commit: &Commit, image: &Image) {
        let lane = recorder.lane(Group::Store, "commits");
        let (kind, writer) = match commit.writer {
            Writer::Scheduler { replica, epoch } => {
                let kind = if is_routine(commit) {
                    Kind::CommitRoutine
                } else {
                    Kind::Commit
                };
                (kind, format!("scheduler-{replica}, epoch {epoch}"))
            }
            Writer::Election => (Kind::CommitElection, "an election or a lease".to_owned()),
            Writer::Stranger => (Kind::CommitStranger, "somebody else".to_owned()),
        };
        let counted = match commit.writer {
            Writer::Scheduler { replica, .. } => format!("scheduler-{replica}"),
            Writer::Election | Writer::Stranger => writer.clone(),
        };
        *self.writers.entry(counted).or_default() += 1;
        let mut words: Vec<String> = commit.events.iter().map(event_words).collect();
        if kind == Kind::CommitElection {
            words.push(match image.leader {
                0 => "the leadership key is gone".to_owned(),
                epoch => format!("the leadership key is written: epoch {epoch}"),
            });
        }
        if words.is_empty() {
            words = touched(commit);
        }
        let mut detail = format!("revision: {}\nwritten by: {writer}\n", commit.revision);
        describe(commit, recorder, &mut detail);
        let note = Note::new(words.join("; ")).detail(detail);
        recorder.point(lane, kind, at, &note);
    }

    fn workload(
        &mut self,
        recorder: &mut Recorder,
        at: u64,
        id: &WorkloadId,
        pair: &Pair<WorkloadRecord>,
    ) {
        let lane = recorder.lane(Group::Workloads, id.as_str());
        if let Some(before) = &pair.before {
            *self.totals.states.entry(state_name(before)).or_default() -= 1;
        }
        let what = pair.after.as_ref().map(|record| {
            *self.totals.states.entry(state_name(record)).or_default() += 1;
            (state_kind(record), workload_note(record, recorder))
        });
        recorder.state(lane, 0, at, what);
    }

    fn home(
        &mut self,
        recorder: &mut Recorder,
        at: u64,
        id: &WorkloadId,
        pair: &Pair<AssignmentRecord>,
    ) {
        let lane = recorder.lane(Group::Workloads, id.as_str());
        if let Some(before) = &pair.before {
            subtract(&mut self.totals.taken, amounts(&before.resources));
        }
        let what = pair.after.as_ref().map(|home| {
            add(&mut self.totals.taken, amounts(&home.resources));
            let mut detail = format!(
                "revision: {}\nreserved: {}\ndecided under epoch: {}\n",
                home.revision_id,
                amount(&home.resources),
                home.epoch
            );
            if !home.moved_from.is_empty() {
                detail.push_str(&format!("moved from: {}\n", list(&home.moved_from)));
            }
            (Kind::Home, Note::new(home.node_id.as_str()).detail(detail))
        });
        recorder.state(lane, Kind::Home.info().track, at, what);
    }

    fn node(&mut self, recorder: &mut Recorder, at: u64, id: &NodeId, pair: &Pair<NodeRecord>) {
        let lane = recorder.lane(Group::Nodes, id.as_str());
        if let Some(before) = &pair.before {
            subtract(&mut self.totals.all, capacity(before));
            self.totals.nodes[ready(before)] -= 1;
        }
        let what = pair.after.as_ref().map(|record| {
            add(&mut self.totals.all, capacity(record));
            self.totals.nodes[ready(record)] += 1;
            (node_kind(record), node_note(record, recorder))
        });
        recorder.state(lane, 1, at, what);
    }

    /// What was counted.
    pub(crate) fn tables(&self) -> Vec<Table> {
        let rows = |pairs: Vec<(String, u64)>| {
            let rows = pairs.into_iter();
            rows.map(|(name, count)| vec![name, count.to_string()])
                .collect()
        };
        let writers = self
            .writers
            .iter()
            .map(|(name, count)| (name.clone(), *count));
        let events = self
            .events
            .iter()
            .map(|(event, count)| (event.to_string(), *count));
        vec![
            Table {
                title: "Commits".to_owned(),
                columns: vec!["written by".to_owned(), "times".to_owned()],
                rows: rows(writers.collect()),
            },
            Table {
                title: "Events".to_owned(),
                columns: vec!["event".to_owned(), "times".to_owned()],
                rows: rows(events.collect()),
            },
        ]
    }
}

impl Totals {
    #[allow(clippy::cast_precision_loss, reason = "shares of a percent")]
    fn draw(&self, recorder: &mut Recorder, at: u64) {
        let share = |taken: u64, all: u64| match all {
            0 => 0.0,
            _ => (taken as f64 * 1_000.0 / all as f64).round() / 10.0,
        };
        for (which, name) in ["CPU", "memory", "disk"].into_iter().enumerate() {
            let value = share(self.taken[which], self.all[which]);
            recorder.value(name, "% reserved", at, value);
        }
        for (name, count) in &self.states {
            recorder.value(name, "workloads", at, *count as f64);
        }
        for (which, name) in ["ready", "not ready"].into_iter().enumerate() {
            recorder.value(name, "nodes", at, self.nodes[which] as f64);
        }
    }
}

fn amounts(of: &berth_core::model::units::Resources) -> [u64; 3] {
    [of.cpu.0, of.memory_mb.0, of.disk_gb.0]
}

fn capacity(node: &NodeRecord) -> [u64; 3] {
    let has = &node.resources;
    let disk = has.disk_total.map_or(0, |disk| disk.0);
    [has.cpu_total.0, has.memory_total.0, disk]
}

fn add(sums: &mut [u64; 3], by: [u64; 3]) {
    for (sum, by) in sums.iter_mut().zip(by) {
        *sum += by;
    }
}

fn subtract(sums: &mut [u64; 3], by: [u64; 3]) {
    for (sum, by) in sums.iter_mut().zip(by) {
        *sum = sum.saturating_sub(by);
    }
}

const fn ready(node: &NodeRecord) -> usize {
    match node.status {
        NodeStatus::Ready | NodeStatus::Draining => 0,
        NodeStatus::NotReady => 1,
    }
}

fn state_name(record: &WorkloadRecord) -> &'static str {
    state_kind(record).info().name
}

const fn state_kind(record: &WorkloadRecord) -> Kind {
    match (record.desired_state, record.status.actual_state) {
        (DesiredState::Deleted, _) => Kind::Deleting,
        (_, ActualState::Pending) => Kind::Pending,
        (_, ActualState::Running) => Kind::Running,
        (_, ActualState::Stopped) => Kind::Stopped,
        (_, ActualState::Failed) => Kind::Failed,
        (_, ActualState::Unknown) => Kind::Unknown,
    }
}

const fn node_kind(record: &NodeRecord) -> Kind {
    match (record.status, record.schedulable) {
        (NodeStatus::NotReady, _) => Kind::NodeNotReady,
        (NodeStatus::Draining, _) => Kind::NodeDraining,
        (NodeStatus::Ready, false) => Kind::NodeCordoned,
        (NodeStatus::Ready, true) => Kind::NodeReady,
    }
}

/// Nothing that anybody waits for.
fn is_routine(commit: &Commit) -> bool {
    let steady = |pair: &Pair<NodeRecord>| match (&pair.before, &pair.after) {
        (Some(before), Some(after)) => {
            before.status == after.status
                && before.schedulable == after.schedulable
                && before.drain == after.drain
        }
        _ => false,
    };
    commit.events.is_empty()
        && commit.workloads.is_empty()
        && commit.assignments.is_empty()
        && commit.intents.is_empty()
        && commit.retries.is_empty()
        && commit.tombstones.is_empty()
        && commit.unreadable.is_empty()
        && commit.nodes.values().all(steady)
}

fn list(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}
