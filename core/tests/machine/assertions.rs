//! What must hold after every step, and when everything has settled.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::io::{AgentCall, AgentOp, Op, Txn};
use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::spec::Spec;
use berth_core::model::workload::{
    Action, ActualState, AssignmentRecord, DesiredState, FailureClass, IntentRecord, RetryRecord,
    TombstoneRecord, WorkloadRecord,
};
use berth_core::{EventRecord, EventType, Key, NodeId, Timestamp, WorkloadId};
use serde::de::DeserializeOwned;

use crate::agent::Agent;
use crate::reference::{Duty, Possible, Reference, Wish};
use crate::system::{Store, System, image, node, workload, zone};
use crate::transition::{NODES, WORKLOADS};

/// How long a node may be silent before what it runs is placed elsewhere: the core's default.
const GRACE: Duration = Duration::from_secs(60);

/// Reads a record of the store.
fn read<T: DeserializeOwned>(store: &Store, key: &Key) -> Option<T> {
    let (text, _) = store.get(key)?;
    Some(serde_json::from_str(text).unwrap_or_else(|error| panic!("{key}: {error}: {text}")))
}

fn record(store: &Store, id: &WorkloadId) -> Option<WorkloadRecord> {
    read(store, &Key::Workload(id.clone()))
}

fn home(store: &Store, id: &WorkloadId) -> Option<NodeId> {
    let assignment: AssignmentRecord = read(store, &Key::Assignment(id.clone()))?;
    Some(assignment.node_id)
}

/// What is taken of a node: by assignments, and by copies that may still be there.
fn taken(store: &Store, on: &NodeId) -> u64 {
    let mut holds: BTreeMap<WorkloadId, u64> = BTreeMap::new();
    for (key, (text, _)) in store {
        let (id, cpu) = match key {
            Key::Assignment(id) => {
                let record: AssignmentRecord = serde_json::from_str(text).expect("a record");
                if record.node_id != *on {
                    continue;
                }
                (id, record.resources.cpu.0)
            }
            Key::Tombstone(at, id) if at == on => {
                let record: TombstoneRecord = serde_json::from_str(text).expect("a record");
                (id, record.resources.cpu.0)
            }
            _ => continue,
        };
        let hold = holds.entry(id.clone()).or_default();
        *hold = cpu.max(*hold);
    }
    holds.values().sum()
}

/// What was known when a transaction was decided: the size of each node, and whether new workloads
/// may be placed there. `None`: the store may know more than the core did.
#[derive(Debug, Default)]
pub(crate) struct Before(BTreeMap<NodeId, Option<(u64, bool)>>);

/// Follows what is committed and called.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Failures of each workload since its last fresh start.
    failures: BTreeMap<WorkloadId, u32>,
    /// Transactions that changed something that concerns a workload.
    pub(crate) changes: u64,
    /// Mutations that were sent.
    pub(crate) mutations: u64,
}

impl Watch {
    /// A transaction was decided.
    pub(crate) fn decided(&self, store: &Store, _txn: &Txn, unsure: &[NodeId]) -> Before {
        let nodes = store.keys().filter_map(|key| match key {
            Key::Node(id) => Some(id),
            _ => None,
        });
        let known = nodes.map(|id| {
            let record: NodeRecord = read(store, &Key::Node(id.clone())).expect("it is there");
            let open = record.status == NodeStatus::Ready && record.schedulable;
            let known = (record.resources.cpu_total.0, open);
            (id.clone(), (!unsure.contains(id)).then_some(known))
        });
        Before(known.collect())
    }

    /// A transaction is in the store.
    pub(crate) fn committed(
        &mut self,
        was: &Store,
        is: &Store,
        txn: &Txn,
        before: &Before,
        agents: &BTreeMap<NodeId, Agent>,
    ) {
        let mut events = Vec::new();
        for op in &txn.ops {
            let Op::Put { key, value } = op else {
                continue;
            };
            if matches!(key, Key::Event(_)) {
                assert!(!was.contains_key(key), "{key} is written a second time");
                let event: EventRecord = serde_json::from_str(value).expect("an event");
                events.push(event);
            }
        }
        let touched = txn.ops.iter().filter_map(crate::agent::workload_of);
        let touched: std::collections::BTreeSet<_> = touched.collect();
        for id in touched {
            self.changes += 1;
            let count = |of: EventType| {
                let ours = events.iter().filter(|e| e.workload_id.as_ref() == Some(id));
                ours.filter(|e| e.event_type == of).count()
            };
            check_events(was, is, id, &count);
            self.check_retry(
                is,
                id,
                u32::try_from(count(EventType::WorkloadFailed)).expect("few"),
            );
            check_home(was, is, id, before);
            check_deletion(was, is, id, agents);
        }
        for on in before.0.keys() {
            check_drained(was, is, on, agents);
        }
    }

    /// S7: attempts are the failures since the last fresh start, and the wait follows from them.
    fn check_retry(&mut self, is: &Store, id: &WorkloadId, failed: u32) {
        let Some(retry) = read::<RetryRecord>(is, &Key::Retry(id.clone())) else {
            assert_eq!(failed, 0, "{id} failed, and no retry record says so");
            self.failures.remove(id);
            return;
        };
        let failures = self.failures.entry(id.clone()).or_default();
        *failures += failed;
        let state = retry.state;
        assert_eq!(state.attempts, *failures, "{id}: S7: attempts, {retry:?}");
        assert!(state.attempts <= state.max_attempts, "{id}: S7: {retry:?}");
        let class = retry.last_failure.class();
        if failed > 0 {
            let ends = class == FailureClass::Permanent || state.attempts == state.max_attempts;
            assert_eq!(state.exhausted, ends, "{id}: S7: {retry:?}");
            let wait = 5_u64 << (state.attempts - 1).min(10);
            let next = retry.last_failure_at + Duration::from_secs(wait.min(120));
            let expected = (!ends).then_some(next);
            assert_eq!(state.next_retry_at, expected, "{id}: S7: {retry:?}");
        }
    }

    /// S1, S7, S13: a mutation leaves.
    pub(crate) fn called(
        &mut self,
        now: Timestamp,
        store: &Store,
        call: &AgentCall,
        agents: &BTreeMap<NodeId, Agent>,
    ) {
        self.mutations += 1;
        let id = call.op.workload().expect("a mutation is of a workload");
        let intent: Option<IntentRecord> = read(store, &Key::Intent(id.clone()));
        let here = intent.filter(|intent| intent.node_id == call.node);
        match &call.op {
            AgentOp::Apply {
                revision, running, ..
            } => {
                let action = if *running {
                    Action::Apply
                } else {
                    Action::ApplyStopped
                };
                let persisted = here.as_ref().is_some_and(|intent| {
                    intent.action == action && intent.revision_id == *revision
                });
                assert!(persisted, "S1: {:?} before {here:?}", call.op);
                if *running {
                    check_start(now, store, call, id, agents);
                }
            }
            AgentOp::Delete { .. } => {
                let entombed = store.contains_key(&Key::Tombstone(call.node.clone(), id.clone()));
                let persisted = here.as_ref().is_some_and(|intent| {
                    matches!(intent.action, Action::Delete | Action::Recreate)
                });
                assert!(entombed || persisted, "S1: delete of {id} before {here:?}");
            }
            AgentOp::Status { .. } | AgentOp::List => {}
        }
    }
}

fn check_start(
    now: Timestamp,
    store: &Store,
    call: &AgentCall,
    id: &WorkloadId,
    agents: &BTreeMap<NodeId, Agent>,
) {
    if let Some(retry) = read::<RetryRecord>(store, &Key::Retry(id.clone())) {
        let due = retry.state.next_retry_at.is_none_or(|at| at <= now);
        assert!(
            due && !retry.state.exhausted,
            "S7: {id} starts at {now}: {retry:?}"
        );
    }
    for (other, agent) in agents {
        if *other == call.node || !agent.up || !agent.runs(id) {
            continue;
        }
        let Some(record) = read::<NodeRecord>(store, &Key::Node(other.clone())) else {
            continue;
        };
        let given_up =
            record.status == NodeStatus::NotReady && now >= record.status_changed_at + GRACE;
        let known = store.contains_key(&Key::Tombstone(other.clone(), id.clone()));
        assert!(
            given_up || !known,
            "S13: {id} starts on {} while {other} runs it",
            call.node
        );
    }
}

/// S11: one event for every transition.
fn check_events(was: &Store, is: &Store, id: &WorkloadId, count: &dyn Fn(EventType) -> usize) {
    let (before, after) = (record(was, id), record(is, id));
    let in_state = |record: &Option<WorkloadRecord>, state| {
        record
            .as_ref()
            .is_some_and(|r| r.status.actual_state == state)
    };
    for (state, event) in [
        (ActualState::Running, EventType::WorkloadRunning),
        (ActualState::Failed, EventType::RetriesExhausted),
    ] {
        let entered = in_state(&after, state) && !in_state(&before, state);
        assert_eq!(count(event), usize::from(entered), "{id}: S11: {event}");
    }
    let created = before.is_none() && after.is_some();
    let removed = before.is_some() && after.is_none();
    assert_eq!(
        count(EventType::WorkloadCreated),
        usize::from(created),
        "{id}: S11"
    );
    assert_eq!(
        count(EventType::WorkloadDeleted),
        usize::from(removed),
        "{id}: S11"
    );
}

/// S3, S4, S16: where a workload lives, and whether it may.
fn check_home(was: &Store, is: &Store, id: &WorkloadId, before: &Before) {
    let (left, now_at) = (home(was, id), home(is, id));
    let after = record(is, id);
    if let Some(after) = &after {
        assert_eq!(
            after.assigned_node, now_at,
            "{id}: S4: record and assignment"
        );
    }
    let Some(on) = now_at else {
        return;
    };
    assert!(after.is_some(), "{id}: S9: assigned and not there");
    let (had, has) = (taken(was, &on), taken(is, &on));
    let now: Option<NodeRecord> = read(is, &Key::Node(on.clone()));
    let size = now.map_or(0, |record| record.resources.cpu_total.0);
    let known = before.0.get(&on).copied().flatten();
    let limit = known.map_or(u64::MAX, |(size, _)| size).max(size);
    assert!(
        has <= had || has <= limit,
        "S3: {on} takes {has} of {limit}"
    );
    if left.as_ref() != Some(&on) {
        let open = known.is_none_or(|(_, open)| open);
        assert!(open, "S16: {id} is placed on {on}, which takes nothing new");
        let wanted = after.and_then(|record| record.constraints.labels.get("zone").cloned());
        let number: usize = on.as_str()[2..].parse().expect("n and a number");
        let fits = wanted.is_none_or(|wanted| wanted == zone(number));
        assert!(fits, "S4: {id} is placed in another zone: {on}");
    }
}

/// S10: the record goes when nothing is left where it was.
fn check_deletion(was: &Store, is: &Store, id: &WorkloadId, agents: &BTreeMap<NodeId, Agent>) {
    if record(was, id).is_none() || record(is, id).is_some() {
        return;
    }
    let Some(on) = home(was, id) else {
        return;
    };
    assert!(
        !agents[&on].has.contains_key(id),
        "S10: {id} goes while {on} has it"
    );
}

/// S20: a drain is over when nothing is left.
fn check_drained(was: &Store, is: &Store, on: &NodeId, agents: &BTreeMap<NodeId, Agent>) {
    let completed = |store: &Store| {
        let record: Option<NodeRecord> = read(store, &Key::Node(on.clone()));
        record
            .and_then(|record| record.drain?.completed_at)
            .is_some()
    };
    if completed(is) && !completed(was) {
        let left = &agents[on].has;
        assert!(left.is_empty(), "S20: {on} is drained and has {left:?}");
    }
}

/// What must hold after every transition, beside what [`Watch`] sees.
pub(crate) fn always(system: &System) {
    let rescued = system.core.stats().rescued_by_pass;
    assert_eq!(rescued, 0, "L2: only the periodic pass placed it");
}

/// L1: nothing more is done.
pub(crate) fn quiet(system: &mut System) {
    let before = (system.watch.changes, system.watch.mutations);
    system.pass(Duration::from_secs(130));
    let after = (system.watch.changes, system.watch.mutations);
    assert_eq!(after, before, "L1: it settled, and something is done again");
}

/// The system is where the reference leads; what the reference was not sure of, it learns.
pub(crate) fn settled(system: &System, reference: &mut Reference) {
    let store = &system.store;
    for n in 0..NODES {
        if reference.machines[n].joined {
            let record: Option<NodeRecord> = read(store, &Key::Node(node(n)));
            let found = record.map(|record| Duty {
                schedulable: record.schedulable,
                draining: record.drain.is_some(),
            });
            if system.agents[&node(n)].up {
                // Its agent registers again and again until it is known.
                reference.duties[n].also(Some(Duty::FRESH));
            }
            learn(&format!("n-{n}"), &mut reference.duties[n], found);
        }
    }
    for w in 0..WORKLOADS {
        let found = record(store, &workload(w)).map(wish_of);
        if reference.wishes[w].0.iter().flatten().any(Wish::is_deleted) && found.is_none() {
            reference.wishes[w].is(None);
        }
        learn(&format!("w-{w}"), &mut reference.wishes[w], found);
        check_settled(system, reference, w);
    }
    for (on, agent) in system.agents.iter().filter(|(_, agent)| agent.up) {
        for id in agent.has.keys() {
            let at = home(store, id);
            assert_eq!(
                at.as_ref(),
                Some(on),
                "L3: {on} has {id}, whose home it is not"
            );
        }
        let tombs = store
            .keys()
            .filter(|key| matches!(key, Key::Tombstone(at, _) if at == on));
        assert_eq!(
            tombs.count(),
            0,
            "L3: {on} answers, and copies are still to be confirmed gone"
        );
    }
}

fn learn<T: Copy + PartialEq + std::fmt::Debug>(
    name: &str,
    possible: &mut Possible<T>,
    found: Option<T>,
) {
    let allowed = &possible.0;
    assert!(
        possible.may_be(found),
        "{name} is {found:?}; what was accepted leads to {allowed:?}"
    );
    possible.is(found);
}

fn wish_of(record: WorkloadRecord) -> Wish {
    let Spec::Container(container) = &*record.spec else {
        panic!("only containers are applied here");
    };
    let version = (0..10).find(|version| image(*version) == container.image);
    let labels = &record.constraints.labels;
    Wish {
        version: version.expect("a version that was applied"),
        cpu: record.resources.cpu.0,
        zone: labels.get("zone").map(|name| usize::from(name == "b")),
        desired: record.desired_state,
    }
}

fn check_settled(system: &System, reference: &Reference, w: usize) {
    let (store, id) = (&system.store, workload(w));
    let at = home(store, &id);
    let up = |on: &NodeId| system.agents[on].up;
    let Some(wish) = reference.wishes[w].0[0] else {
        let left = store.keys().filter(
            |key| matches!(key, Key::Assignment(x) | Key::Intent(x) | Key::Retry(x) if *x == id),
        );
        assert_eq!(left.count(), 0, "{id} is gone and left records");
        return;
    };
    let record = record(store, &id).expect("it was found");
    let state = record.status.actual_state;
    match wish.desired {
        DesiredState::Deleted => {
            let waits = at.as_ref().is_some_and(|on| !up(on));
            assert!(waits, "L6: {id} is deleted, and nothing is waited for");
        }
        DesiredState::Stopped => {
            assert_eq!(state, ActualState::Stopped, "{id} should be stopped");
            let runs = system
                .agents
                .iter()
                .find(|(_, agent)| agent.up && agent.runs(&id));
            assert!(
                runs.is_none(),
                "{id} should be stopped and runs on {runs:?}"
            );
        }
        DesiredState::Running if record.retry.exhausted => {
            assert_eq!(state, ActualState::Failed, "{id}: its tries are over");
        }
        DesiredState::Running => check_running(system, reference, w, wish, &record, at),
    }
}

fn check_running(
    system: &System,
    reference: &Reference,
    w: usize,
    wish: Wish,
    record: &WorkloadRecord,
    at: Option<NodeId>,
) {
    let id = workload(w);
    let better = (0..NODES).find(|n| fits(system, reference, *n, wish, at.as_ref()));
    let Some(on) = at else {
        assert_eq!(better, None, "L2: {id} waits and fits");
        let status = &record.status;
        let explained = status.placement.is_some() && !status.failure_reason.is_empty();
        assert!(
            explained,
            "S21: {id} is pending without a reason: {status:?}"
        );
        assert_eq!(status.actual_state, ActualState::Pending, "{id}");
        return;
    };
    let agent = &system.agents[&on];
    let number: usize = on.as_str()[2..].parse().expect("n and a number");
    let duty = reference.duties[number].0[0].unwrap_or(Duty::FRESH);
    if !agent.up || duty.draining {
        assert_eq!(better, None, "L5: {id} stays on {on} and fits elsewhere");
    }
    if !agent.up {
        return;
    }
    let copy = agent.has.get(&id);
    let runs = copy.is_some_and(|copy| {
        agent.runs(&id) && copy.revision == record.revision_id && copy.image == image(wish.version)
    });
    assert!(
        runs,
        "L1: {id} {wish:?} should run on {on}, which has {copy:?}; {record:?}"
    );
    assert_eq!(
        record.status.actual_state,
        ActualState::Running,
        "{id} runs on {on}"
    );
    let fits = wish.zone.is_none_or(|wanted| wanted == number % 2);
    assert!(fits, "S4: {id} lives in another zone: {on}");
}

/// Whether another node than `at` would take it.
fn fits(system: &System, reference: &Reference, n: usize, wish: Wish, at: Option<&NodeId>) -> bool {
    let (machine, id) = (reference.machines[n], node(n));
    let Some(duty) = reference.duties[n].0[0] else {
        return false;
    };
    machine.joined
        && machine.up
        && at != Some(&id)
        && duty.schedulable
        && !duty.draining
        && wish.zone.is_none_or(|wanted| wanted == n % 2)
        && taken(&system.store, &id) + wish.cpu <= machine.cpu
}
