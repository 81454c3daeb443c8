//! S12: actions per workload per interval are bounded; an idle cluster makes no store writes but
//! leases and coarse heartbeats.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_core::io::AgentCall;
use berth_core::model::node::{NodeReason, NodeRecord, NodeStatus};
use berth_core::model::workload::{ActualState, WorkloadRecord};
use berth_core::{Config, NodeId, Timestamp, WorkloadId};

use super::image::{Commit, Image, Pair, Writer};
use super::liveness::starts_in;
use super::rule::{Check, Finding};

/// Calls that change a node, for one workload, in one minute.
const CALLS_PER_MINUTE_MAX: usize = 60;

/// Calls that ask a node something, in one minute, while something on it changes.
const QUESTIONS_PER_MINUTE_MAX: usize = 300;
/// And so many more for each workload and each tombstone that is there: each may be asked after.
const QUESTIONS_FOR_EACH: usize = 10;
/// So many more than its timers make, where nothing changes.
const QUESTIONS_EXTRA: u64 = 5;
const MINUTE: Duration = Duration::from_secs(60);

/// What happened lately.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    calls: BTreeMap<WorkloadId, VecDeque<Timestamp>>,
    /// Calls that ask each node something.
    questions: BTreeMap<NodeId, VecDeque<Timestamp>>,
    /// When the heartbeat of each node was last written, and under which epoch.
    beats: BTreeMap<NodeId, (Timestamp, Option<i64>)>,
    /// From then on nothing should happen any more.
    pub(crate) idle_from: Option<Timestamp>,
}

impl Pace {
    pub(crate) fn call_leaves(
        &mut self,
        now: Timestamp,
        image: &Image,
        call: &AgentCall,
        config: &Config,
    ) -> Check {
        let Some(id) = call.op.workload().filter(|_| call.op.is_mutation()) else {
            return self.asks(now, image, &call.node, config);
        };
        let calls = within_a_minute(self.calls.entry(id.clone()).or_default(), now);
        if calls > CALLS_PER_MINUTE_MAX {
            let expected = format!("at most {CALLS_PER_MINUTE_MAX} calls a minute");
            return Err(Finding::new(expected, format!("{calls} calls")).of(id));
        }
        if self.is_idle(now) && !restless(image, id, config) {
            let seen = format!("{:?}", call.op);
            return Err(Finding::new("no calls that change anything when idle", seen).of(id));
        }
        Ok(())
    }

    /// A node is asked what it runs: often while something changes there, else by its timers.
    fn asks(&mut self, now: Timestamp, image: &Image, node: &NodeId, config: &Config) -> Check {
        let asked = within_a_minute(self.questions.entry(node.clone()).or_default(), now);
        let most = if self.is_idle_for(now, MINUTE) && !changes_at(image, node, config) {
            // One that does not answer, or is not heard, is asked as often as it should be heard.
            let well = image.nodes.get(node).is_some_and(|held| {
                held.record.status == NodeStatus::Ready
                    && held.record.status_reason != NodeReason::AgentUnreachable
            });
            let timer = match well {
                true => config.list_interval,
                false => config.list_interval.min(config.heartbeat_interval),
            };
            let timer = u64::try_from(timer.as_millis()).unwrap_or(60_000).max(1);
            usize::try_from(60_000 / timer + QUESTIONS_EXTRA).unwrap_or(usize::MAX)
        } else {
            QUESTIONS_PER_MINUTE_MAX
        };
        if asked <= most {
            return Ok(());
        }
        let homes = image.assignments.values();
        let homes = homes.filter(|held| held.record.node_id == *node).count();
        let graves = image.tombstones.keys().filter(|(at, _)| at == node).count();
        let most = match most {
            QUESTIONS_PER_MINUTE_MAX => most + QUESTIONS_FOR_EACH * (homes + graves),
            timers => timers,
        };
        if asked <= most {
            return Ok(());
        }
        let expected = format!("a node to be asked at most {most} times a minute");
        Err(Finding::new(expected, format!("{asked} times")).of(node))
    }

    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        let calls = self.calls.values().map(VecDeque::len).sum::<usize>();
        let questions = self.questions.values().map(VecDeque::len).sum::<usize>();
        calls + questions + self.beats.len()
    }

    pub(crate) fn committed(
        &mut self,
        now: Timestamp,
        commit: &Commit,
        image: &Image,
        config: &Config,
    ) -> Check {
        if commit.writer == Writer::Stranger {
            return Ok(());
        }
        if let Some((id, pair)) = commit.workloads.iter().find(|it| is_told_anew(it.1)) {
            let expected = "what no other node can take to be told once";
            return Err(Finding::new(expected, format!("{pair:?}")).of(id));
        }
        if let Some((id, pair)) = commit.workloads.iter().find(|it| is_the_same(commit, *it)) {
            let expected = "a record to be written again when something is new";
            return Err(Finding::new(expected, format!("{pair:?}")).of(id));
        }
        if !self.is_idle(now) {
            return Ok(());
        }
        let touched = commit.workloads.keys().chain(commit.intents.keys());
        let mut touched = touched
            .chain(commit.retries.keys())
            .chain(commit.assignments.keys())
            .chain(commit.tombstones.keys().map(|(_, id)| id))
            .chain(
                commit
                    .events
                    .iter()
                    .filter_map(|it| it.workload_id.as_ref()),
            );
        let busy = |id: &&WorkloadId| {
            !restless(image, id, config) && !commit.workloads.get(*id).is_some_and(forgets_tries)
        };
        if let Some(id) = touched.find(busy) {
            let seen = format!("revision {} writes it: {commit:?}", commit.revision);
            return Err(Finding::new("no writes when idle", seen).of(id));
        }
        for (id, pair) in &commit.nodes {
            if !is_heartbeat(pair)
                && !commit
                    .workloads
                    .keys()
                    .any(|id| restless(image, id, config))
            {
                let expected = "no writes but coarse heartbeats when idle";
                return Err(Finding::new(expected, format!("{pair:?}")).of(id));
            }
            self.beats(now, id, commit.epoch(), config)?;
        }
        Ok(())
    }

    /// Coarse: as often as it is configured, with what timers may be off.
    fn beats(&mut self, now: Timestamp, id: &NodeId, epoch: Option<i64>, config: &Config) -> Check {
        let last = self.beats.insert(id.clone(), (now, epoch));
        let least = config.heartbeat_flush_interval / 2;
        match last {
            Some((at, under)) if under == epoch && now.since(at) < least => {
                let expected = format!("heartbeats to be written every {least:?} at most");
                Err(Finding::new(expected, format!("again after {:?}", now.since(at))).of(id))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        self.is_idle_for(now, Duration::ZERO)
    }

    fn is_idle_for(&self, now: Timestamp, time: Duration) -> bool {
        self.idle_from.is_some_and(|from| now >= from + time)
    }
}

/// Whether something on a node changes by itself.
fn changes_at(image: &Image, node: &NodeId, config: &Config) -> bool {
    let mut homes = image.assignments.iter();
    homes.any(|(id, held)| held.record.node_id == *node && restless(image, id, config))
}

/// One more at this instant: how many there were within a minute.
fn within_a_minute(times: &mut VecDeque<Timestamp>, now: Timestamp) -> usize {
    while times.front().is_some_and(|at| now.since(*at) > MINUTE) {
        times.pop_front();
    }
    times.push_back(now);
    times.len()
}

/// It was stranded on a lost node, and is, and only the figures of that changed.
fn is_told_anew(pair: &Pair<WorkloadRecord>) -> bool {
    let (Some(before), Some(after)) = (&pair.before, &pair.after) else {
        return false;
    };
    let is_stranded = |record: &WorkloadRecord| record.status.actual_state == ActualState::Unknown;
    is_stranded(before)
        && is_stranded(after)
        && !before.status.failure_reason.is_empty()
        && before.status.failure_reason != after.status.failure_reason
}

/// The record says what it said, but for the time: that it still waits, for instance.
fn is_the_same(commit: &Commit, (id, pair): (&WorkloadId, &Pair<WorkloadRecord>)) -> bool {
    let (Some(before), Some(after)) = (&pair.before, &pair.after) else {
        return false;
    };
    let alone = !commit.assignments.contains_key(id)
        && !commit.intents.contains_key(id)
        && !commit.retries.contains_key(id)
        && !commit.tombstones.keys().any(|(_, of)| of == id)
        && !commit
            .events
            .iter()
            .any(|it| it.workload_id.as_ref() == Some(id));
    if !alone || before.metadata.generation != after.metadata.generation {
        return false;
    }
    let mut again = WorkloadRecord::clone(after);
    again.status.last_updated = before.status.last_updated;
    if let (Some(note), Some(was)) = (&mut again.status.placement, &before.status.placement) {
        note.decided_at = was.decided_at;
        note.at_revision = was.at_revision;
    }
    again == **before
}

/// It has run for so long that its tries are forgotten: that is written once, however late in a
/// large cluster, and nothing else with it.
fn forgets_tries(pair: &Pair<WorkloadRecord>) -> bool {
    let (Some(before), Some(after)) = (&pair.before, &pair.after) else {
        return false;
    };
    let mut expected = WorkloadRecord::clone(before);
    expected.retry.attempts = 0;
    expected.retry.next_retry_at = None;
    expected == **after && before.retry.attempts > 0 && after.status.running_since.is_some()
}

/// A workload that fails by itself keeps the scheduler busy for good reason, and those that wait
/// for room with it.
pub(crate) fn restless(image: &Image, id: &WorkloadId, config: &Config) -> bool {
    let Some(held) = image.workloads.get(id) else {
        return true;
    };
    fails_by_itself(&held.record, config) || held.record.assigned_node.is_none()
}

/// It fails or ends by itself, as its script says, or takes longer to start than anybody waits:
/// it is applied again after one deadline, and has failed after two.
pub(crate) fn fails_by_itself(record: &WorkloadRecord, config: &Config) -> bool {
    record.labels.contains_key("fake/exit-after-ms")
        || record.labels.contains_key("fake/fail-starts")
        || starts_in(record) + STARTS_EARLY > config.pending_deadline * 2
}

/// What takes this much less than two deadlines to start, does.
const STARTS_EARLY: Duration = Duration::from_secs(10);

fn is_heartbeat(pair: &Pair<NodeRecord>) -> bool {
    let (Some(before), Some(after)) = (&pair.before, &pair.after) else {
        return false;
    };
    let mut expected = NodeRecord::clone(before);
    expected.last_heartbeat = after.last_heartbeat;
    expected
        .resources
        .set_allocated(after.resources.allocated());
    expected == **after
}
