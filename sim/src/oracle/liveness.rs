//! The liveness rules, judged at the end of the calm: L1 to L7.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::units::Resources;
use berth_core::model::workload::{ActualState, DesiredState, IntentOutcome, WorkloadRecord};
use berth_core::{NodeId, Timestamp, WorkloadId};

use super::Oracle;
use super::image::Commit;
use super::rule::{Check, Finding, Rule};
use super::s05_exact_placement;
use super::s12_no_hot_loop::{self, restless};

/// What has no try left and has not failed is tried before that.
const TRIED_SOON: Duration = Duration::from_secs(90);
/// How long what leaves a lost node may take beside the wait for its turn.
const LEFT_SOON: Duration = Duration::from_secs(60);
/// The same where nothing else is wrong.
const LEFT_IN_THE_CALM: Duration = Duration::from_secs(15);

/// The truth at the end.
#[derive(Debug)]
pub(crate) struct End {
    /// How many replicas lead.
    pub(crate) leaders: usize,
    /// What runs on each node that is there: workload and revision.
    pub(crate) running: BTreeMap<NodeId, BTreeMap<WorkloadId, String>>,
    /// What there is of workloads on each of these nodes, whether it runs or not.
    pub(crate) left: BTreeMap<NodeId, BTreeSet<WorkloadId>>,
    /// Nodes that are lost for ever.
    pub(crate) dead: Vec<NodeId>,
    /// Something is broken for good.
    pub(crate) damaged: bool,
}

impl Oracle {
    /// After everything worked for long enough, everything is as it should be.
    pub(crate) fn judge_end(&mut self, end: &End) {
        let check = self.histories.end(self.now);
        self.judge(Rule::S15, check);
        if !self.judge_leader(end) {
            return;
        }
        let records: Vec<_> = self
            .image
            .workloads
            .values()
            .map(|h| h.record.clone())
            .collect();
        for record in records {
            let (rule, check) = self.judge_workload(&record, end);
            let about = format!("{record:?}");
            self.judge(
                rule,
                check.map_err(|mut finding| {
                    finding.seen = format!("{}: {about}", finding.seen);
                    finding.of(&record.id)
                }),
            );
        }
        let check = super::s17_bounded::at_end(&self.image);
        self.judge(Rule::S17, check);
        let check = self.nodes_are_back(end);
        self.judge(Rule::L1, check);
        let check = self.orphans(end);
        self.judge(Rule::L3, check);
        let check = self.graves(end);
        self.judge(Rule::L3, check);
    }

    /// L4: exactly one replica leads. Answers whether it does.
    pub(crate) fn judge_leader(&mut self, end: &End) -> bool {
        let one = end.leaders == 1;
        if !one {
            let seen = format!("{} replicas lead", end.leaders);
            self.judge(Rule::L4, Err(Finding::new("one leader", seen)));
        }
        one
    }

    /// After the faults have stopped: how long until what lost nodes had begins to leave. A leader
    /// is found, listens for a lease, and waits for the grace.
    /// `grace`: the longest that a scheduler is configured with.
    pub(crate) fn lost_nodes_are_given_up_within(&self, grace: Duration) -> Duration {
        // Silent since the last heartbeat that was heard, and a whole interval of the new leader's.
        let noticed = self.config.heartbeat_interval * (self.config.heartbeats_missed_max + 2);
        self.config.lease() + noticed + grace
    }

    /// Lost nodes have been given up. By when what they had runs elsewhere: evictions are bounded.
    /// `calm`: nothing else is wrong.
    pub(crate) fn lost_nodes_are_left_by(&mut self, end: &End, calm: bool) -> Timestamp {
        let homes = self.image.assignments.values();
        let there = homes.filter(|held| end.dead.contains(&held.record.node_id));
        let rate = u64::from(self.config.evictions_per_second_max.max(1));
        let last = Duration::from_secs((there.count() as u64).div_ceil(rate));
        let soon = if calm { LEFT_IN_THE_CALM } else { LEFT_SOON };
        self.left_by = self.now + last + soon;
        self.left_by
    }

    /// A node was lost: nothing is judged of what it had before this.
    pub(crate) fn leaves_later(&mut self, at: Timestamp) {
        self.left_by = self.left_by.max(at);
    }

    /// By when what lost nodes had runs elsewhere, as it was reckoned last.
    pub(crate) const fn left_by(&self) -> Timestamp {
        self.left_by
    }

    /// L5: what nodes had that are lost for good is elsewhere by now, unless there is no room, or
    /// it has failed and waits for its next try. Answers whether any node was lost.
    pub(crate) fn judge_moved(&mut self, end: &End) -> bool {
        let records = self
            .image
            .workloads
            .values()
            .map(|held| held.record.clone());
        let wanted = |record: &Arc<WorkloadRecord>| {
            record.desired_state == DesiredState::Running
                && !self.fails_by_itself(record)
                && !self.image.retries.contains_key(&record.id)
        };
        let records: Vec<_> = records.filter(wanted).collect();
        for record in records {
            let at = record.assigned_node.as_ref();
            if at.is_some_and(|node| end.dead.contains(node)) {
                let check = self.nowhere_else(&record);
                self.judge(Rule::L5, check.map_err(|finding| finding.of(&record.id)));
            }
        }
        !end.dead.is_empty()
    }

    /// When the deadline of a node's drain is, if it is drained.
    pub(crate) fn drain_ends_by(&self, node: &NodeId) -> Option<Timestamp> {
        let held = self.image.nodes.get(node)?;
        held.record.drain.map(|drain| drain.deadline)
    }

    /// L1: the drain of a node is complete. Answers whether it is.
    pub(crate) fn judge_drained(&mut self, node: &NodeId) -> bool {
        let drain = self
            .image
            .nodes
            .get(node)
            .and_then(|held| held.record.drain);
        let complete = drain.is_some_and(|drain| drain.completed_at.is_some());
        if !complete {
            let homes = self.image.assignments.values();
            let here = homes.filter(|held| held.record.node_id == *node);
            let here: Vec<_> = here.map(|held| &held.record.workload_id).collect();
            let buried = self.image.tombstones.keys().filter(|(at, _)| at == node);
            let buried: Vec<_> = buried.map(|(_, id)| id).collect();
            let seen = format!("{drain:?}, assigned {here:?}, tombstones {buried:?}");
            let finding = Finding::new("a drain to end soon after its deadline", seen).of(node);
            self.judge(Rule::L1, Err(finding));
        }
        complete
    }

    /// Who got which home when.
    pub(super) fn note_homes(&mut self, commit: &Commit) {
        for (id, pair) in &commit.assignments {
            let before = pair.before.as_ref().map(|home| &home.node_id);
            let Some(home) = &pair.after else {
                self.placed.remove(id);
                continue;
            };
            if before != Some(&home.node_id) {
                self.placed.insert(id.clone(), self.now);
            }
        }
    }

    /// When what a client asked for in the calm can be judged, if that is later: it waited for
    /// room, and has just got some.
    pub(crate) fn due_later(&self, id: &WorkloadId) -> Option<Timestamp> {
        let placed = self.placed.get(id)?;
        Some(*placed + PLACED_SOON).filter(|later| *later > self.now)
    }

    /// L7: what a client asked for in the calm runs by now, whatever stays broken elsewhere, unless
    /// there is no room for it. Answers whether it does.
    pub(crate) fn judge_due(&mut self, id: &WorkloadId, generation: u64, end: &End) -> bool {
        let Some(record) = self.image.workloads.get(id).map(|held| held.record.clone()) else {
            return false;
        };
        let changed = record.metadata.generation != generation
            || record.desired_state != DesiredState::Running;
        if changed || self.fails_by_itself(&record) || starts_in(&record) > STARTS_SOON {
            return false;
        }
        let home = record.assigned_node.as_ref();
        // What was at home on a node that is lost is judged with that node (L5).
        if home.is_some_and(|node| end.dead.contains(node)) {
            return false;
        }
        let on = home.and_then(|node| end.running.get(node));
        let runs = record.status.actual_state == ActualState::Running
            && on.is_some_and(|on| on.contains_key(id));
        let rule = if end.damaged { Rule::L7 } else { Rule::L1 };
        if home.is_none() {
            let check = self.nowhere_else(&record);
            self.judge(rule, check.map_err(|finding| finding.of(id)));
        } else if !runs {
            let seen = format!("it does not: {record:?}");
            let finding = Finding::new("what was asked for in the calm to run soon", seen);
            self.judge(rule, Err(finding.of(id)));
        }
        runs
    }

    fn judge_workload(&self, record: &WorkloadRecord, end: &End) -> (Rule, Check) {
        let state = record.status.actual_state;
        let stranded = record
            .assigned_node
            .as_ref()
            .is_some_and(|node| end.dead.contains(node));
        match record.desired_state {
            // Only its node, or an operator's purge, can say that it is gone.
            DesiredState::Deleted if stranded => (Rule::L6, Ok(())),
            DesiredState::Deleted => (
                Rule::L6,
                Err(Finding::new(
                    "no deletion without end",
                    "it is still being deleted",
                )),
            ),
            DesiredState::Stopped => {
                let home = record.assigned_node.as_ref();
                let on = home.and_then(|node| end.running.get(node));
                let check = if on.is_some_and(|on| on.contains_key(&record.id)) {
                    let seen = format!("it runs on {home:?}");
                    Err(Finding::new("it to be stopped", seen))
                } else if state == ActualState::Stopped {
                    self.is_as_fresh(record)
                } else {
                    Err(Finding::new("it to be stopped", format!("{state:?}")))
                };
                (Rule::L1, check)
            }
            DesiredState::Running => self.judge_running(record, end, stranded),
        }
    }

    fn judge_running(&self, record: &WorkloadRecord, end: &End, stranded: bool) -> (Rule, Check) {
        let state = record.status.actual_state;
        let fails = self.fails_by_itself(record);
        if stranded && self.now < self.left_by {
            return (Rule::L5, Ok(()));
        }
        if stranded {
            return (Rule::L5, self.nowhere_else(record));
        }
        let check = match state {
            ActualState::Running => {
                let runs = record.assigned_node.as_ref().is_some_and(|node| {
                    let there = end.running.get(node).and_then(|on| on.get(&record.id));
                    there.is_some_and(|revision| *revision == record.revision_id.to_string())
                });
                if fails {
                    Ok(())
                } else if runs {
                    self.is_as_fresh(record)
                } else {
                    Err(Finding::new(
                        "it to run where the record says",
                        "it does not run there",
                    ))
                }
            }
            ActualState::Pending if record.assigned_node.is_none() => {
                return (Rule::L2, self.nowhere_else(record));
            }
            ActualState::Pending if fails && self.tries_ended_in_silence(record) => {
                Err(Finding::new(
                    "tries that are over to be told as failed",
                    "it is pending, and nothing is tried",
                ))
            }
            // What fails by itself may be anywhere on its way.
            _ if fails => Ok(()),
            ActualState::Failed if record.retry.exhausted => Ok(()),
            ActualState::Pending
            | ActualState::Stopped
            | ActualState::Failed
            | ActualState::Unknown => Err(Finding::new("it to run", format!("{state:?}"))),
        };
        (Rule::L1, check)
    }

    /// No try is left, nothing is under way, and nobody said that it failed.
    fn tries_ended_in_silence(&self, record: &WorkloadRecord) -> bool {
        let under_way = self.image.intents.get(&record.id);
        let under_way = under_way.is_some_and(|held| held.record.outcome == IntentOutcome::Open);
        let since = self.now.since(record.status.last_updated);
        let due = record.retry.next_retry_at;
        let waits = due.is_some_and(|due| due > self.now);
        record.retry.exhausted && !under_way && !waits && since > TRIED_SOON
    }

    /// L2, L5: what has no living home says why, and there is none for it indeed.
    fn nowhere_else(&self, record: &WorkloadRecord) -> Check {
        if record.status.placement.is_none() {
            return Err(Finding::new("a reason", "it is pending without one"));
        }
        let taken = |node: &NodeId| {
            let assigned = self.image.assignments.values().map(|held| &held.record);
            let assigned = assigned.filter(|a| a.node_id == *node && a.workload_id != record.id);
            let buried = self.image.tombstones.iter();
            let buried = buried.filter(|((at, id), _)| at == node && *id != record.id);
            let sum = assigned.fold(Resources::default(), |sum, a| sum + a.resources);
            buried.fold(sum, |sum, (_, held)| sum + held.record.resources)
        };
        let groups = |node: &NodeId| {
            let here = self
                .image
                .assignments
                .values()
                .filter(|held| held.record.node_id == *node);
            let others = here.filter(|held| held.record.workload_id != record.id);
            let of = others.filter_map(|held| self.image.workloads.get(&held.record.workload_id));
            of.filter_map(|held| held.record.constraints.anti_affinity.clone())
                .collect::<Vec<_>>()
        };
        // A node whose runtime was not there is avoided for a while: that is in no record.
        let is_avoided = |node: &NodeId| {
            let until = self.avoided.get(node);
            until.is_some_and(|until| self.now < *until)
        };
        let fits = |node: &NodeRecord| {
            let has_group = |group: &str| groups(&node.id).iter().any(|there| there == group);
            !is_avoided(&node.id)
                && s05_exact_placement::passes(node, record, taken(&node.id), &has_group)
        };
        let room = self.image.nodes.values().find(|held| fits(&held.record));
        match room {
            None => Ok(()),
            Some(held) => Err(
                Finding::new("it to be placed where there is room", "it waits").of(&held.record.id),
            ),
        }
    }

    /// It fails or ends by itself, as its script says, or takes longer to start than anybody waits.
    fn fails_by_itself(&self, record: &WorkloadRecord) -> bool {
        s12_no_hot_loop::fails_by_itself(record, &self.config)
    }

    /// L1: every machine that is on is a node again, and ready.
    fn nodes_are_back(&self, end: &End) -> Check {
        let on = end.running.keys().filter(|node| !end.dead.contains(node));
        for node in on {
            let status = self.image.nodes.get(node).map(|held| held.record.status);
            if status.is_none_or(|status| status == NodeStatus::NotReady) {
                let seen = format!("{status:?}");
                return Err(Finding::new("a node that works to be ready", seen).of(node));
            }
        }
        Ok(())
    }

    /// L3: no node runs what is not assigned to it.
    fn orphans(&self, end: &End) -> Check {
        for (node, running) in &end.running {
            let is_forgotten = |id: &WorkloadId| {
                self.unrecorded.contains(&(node.clone(), id.clone()))
                    && !self.image.workloads.contains_key(id)
            };
            let is_orphan = |id: &&WorkloadId| !is_home(self, id, node) && !is_forgotten(id);
            // What does not run is there, too: it takes disk, and may be started.
            let left = end.left.get(node).into_iter().flatten();
            if let Some(id) = running.keys().chain(left).find(is_orphan) {
                let home = self
                    .image
                    .assignments
                    .get(id)
                    .map(|held| &held.record.node_id);
                let seen = format!("assigned to {home:?}");
                return Err(Finding::new("no node to have what is not its own", seen)
                    .of(node)
                    .of(id));
            }
        }
        Ok(())
    }

    /// L3: what is left of former homes is seen to.
    fn graves(&self, end: &End) -> Check {
        let busy = |id: &WorkloadId| {
            self.image.workloads.contains_key(id) && restless(&self.image, id, &self.config)
        };
        let left = self.image.tombstones.keys().find(|(node, id)| {
            !end.dead.contains(node) && self.image.nodes.contains_key(node) && !busy(id)
        });
        match left {
            None => Ok(()),
            Some((node, id)) => {
                let seen = "a tombstone that nobody works off";
                Err(Finding::new("no tombstone on a living node", seen)
                    .of(node)
                    .of(id))
            }
        }
    }
}

/// What has a home runs there so long after, at the latest.
const PLACED_SOON: Duration = Duration::from_secs(15);
/// A start that takes longer than this does not end in time for what is asked for in the calm.
const STARTS_SOON: Duration = Duration::from_secs(5);

/// How long its start takes, as its script says.
pub(crate) fn starts_in(record: &WorkloadRecord) -> Duration {
    let start = record.labels.get("fake/start-ms");
    let start = start.and_then(|text| text.parse().ok());
    Duration::from_millis(start.unwrap_or_default())
}

fn is_home(oracle: &Oracle, id: &WorkloadId, node: &NodeId) -> bool {
    oracle
        .image
        .assignments
        .get(id)
        .is_some_and(|held| held.record.node_id == *node)
}
