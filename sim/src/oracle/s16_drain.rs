//! S16: no new placement on a draining, cordoned or not-ready node; a drain never moves more than
//! its parallelism at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::workload::{ActualState, AssignmentRecord, DesiredState};
use berth_core::{NodeId, Timestamp, WorkloadId};

use super::image::{Commit, Image, Pair, Writer};
use super::rule::{Check, Finding};
use super::view::Flight;

/// What drains have moved and is not settled yet.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    moving: BTreeMap<NodeId, BTreeSet<WorkloadId>>,
    /// How many transactions were asked for.
    asked: u64,
    /// Homes that were asked for lately, of each workload, and with which transaction.
    homes: BTreeMap<WorkloadId, VecDeque<(u64, Home)>>,
    /// The same of records of nodes that take nothing new.
    closings: BTreeMap<NodeId, VecDeque<(u64, Arc<NodeRecord>)>>,
    /// Nodes that are closed to new work: under which epoch, and how. What the same leader placed
    /// there before that may land after, if it was held up on the way.
    closed: BTreeMap<NodeId, (i64, Closing)>,
    /// Records of nodes whose transactions were given up, and may still be carried out.
    given_up: BTreeMap<NodeId, VecDeque<Arc<NodeRecord>>>,
}

/// A home that was asked for, and whether its leader knew the node as open then.
#[derive(Debug)]
struct Home {
    record: Arc<AssignmentRecord>,
    was_open: bool,
}

/// How a node was closed.
#[derive(Debug, Clone, Copy)]
enum Closing {
    /// With this transaction: its leader knew it from then on.
    Asked(u64),
    /// By one that its leader had given up: it knows when it is told.
    Stray,
}

/// So many that are on their way are remembered of each: a leader has one, and some may be late.
const ON_THEIR_WAY: usize = 8;

/// Takes new workloads.
fn is_open(record: &NodeRecord) -> bool {
    record.status == NodeStatus::Ready && record.schedulable
}

impl Drains {
    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        let moving: usize = self.moving.values().map(BTreeSet::len).sum();
        moving + self.homes.len() + self.closings.len() + self.closed.len()
    }

    pub(crate) fn committed(&mut self, now: Timestamp, commit: &Commit, image: &Image) -> Check {
        if commit.writer == Writer::Stranger {
            return Ok(());
        }
        for moving in self.moving.values_mut() {
            moving.retain(|id| !settled(image, id));
        }
        self.note_closed(commit);
        // A drain ends when the operator ends it, or with the record of its node: one that begins
        // later owes nothing of what was moved before.
        let over = |record: &Arc<NodeRecord>| record.drain.is_none();
        let ended = |pair: &Pair<NodeRecord>| pair.after.as_ref().is_none_or(over);
        for (node, _) in commit.nodes.iter().filter(|(_, pair)| ended(pair)) {
            self.moving.remove(node);
        }
        for (id, pair) in &commit.assignments {
            let from = pair.before.as_ref().map(|before| &before.node_id);
            let to = pair.after.as_ref().map(|after| &after.node_id);
            if from == to {
                continue;
            }
            if let Some(record) = to
                .and_then(|to| image.nodes.get(to))
                .map(|held| &held.record)
                && !is_open(record)
                && !pair
                    .after
                    .as_ref()
                    .is_some_and(|home| self.was_open_to(id, home))
            {
                let seen = format!("{:?}, schedulable: {}", record.status, record.schedulable);
                let expected = "new placements on ready and schedulable nodes only";
                return Err(Finding::new(expected, seen).of(id).of(&record.id));
            }
            let drained = commit.events.iter().any(|event| {
                event.workload_id.as_ref() == Some(id) && event.reason.contains("is drained")
            });
            if !drained {
                continue;
            }
            let now = commit
                .events
                .iter()
                .map(|event| event.timestamp)
                .max()
                .unwrap_or(now);
            self.left(now, image, id, from)?;
        }
        Ok(())
    }

    /// A leader asks for a transaction, in the order in which it decides. `known`: the nodes as it knows them.
    pub(crate) fn asks(&mut self, flight: &Flight, known: &BTreeMap<NodeId, Arc<NodeRecord>>) {
        self.asked += 1;
        for (id, home) in &flight.homes {
            let Some(record) = home else { continue };
            let home = Home {
                record: Arc::clone(record),
                was_open: known.get(&record.node_id).is_some_and(|node| is_open(node)),
            };
            note(self.homes.entry(id.clone()).or_default(), self.asked, home);
        }
        let nodes = flight.nodes.iter();
        let nodes = nodes.filter_map(|(id, next)| Some((id, next.as_ref()?)));
        for (id, next) in nodes.filter(|(_, next)| !is_open(next)) {
            let closings = self.closings.entry(id.clone()).or_default();
            note(closings, self.asked, Arc::clone(next));
        }
    }

    /// A leader read back that this is not in the store. Should it come all the same, the leader learns
    /// of it then: what it asked for until then is not held against it.
    pub(crate) fn gave_up(&mut self, nodes: &BTreeMap<NodeId, Option<Arc<NodeRecord>>>) {
        for (id, next) in nodes {
            let Some(next) = next.as_ref().filter(|next| !is_open(next)) else {
                continue;
            };
            let all = self.given_up.entry(id.clone()).or_default();
            all.push_back(Arc::clone(next));
            if all.len() > ON_THEIR_WAY {
                all.pop_front();
            }
        }
    }

    fn note_closed(&mut self, commit: &Commit) {
        let Writer::Scheduler { epoch, .. } = commit.writer else {
            return;
        };
        for (node, pair) in &commit.nodes {
            let was_open = pair.before.as_deref().is_some_and(is_open);
            let closings = self.closings.get(node);
            match &pair.after {
                Some(after) if is_open(after) => {
                    self.closed.remove(node);
                    // What closed it before says the same as what may close it again.
                    self.closings.remove(node);
                }
                Some(after) if was_open => {
                    let strays = self.given_up.get(node);
                    let is_late = strays.is_some_and(|all| all.iter().any(|it| it == after));
                    let closing = if is_late {
                        Some(Closing::Stray)
                    } else {
                        let asked = closings.and_then(|all| all.iter().find(|(_, it)| it == after));
                        asked.map(|(number, _)| Closing::Asked(*number))
                    };
                    self.closed
                        .extend(closing.map(|closing| (node.clone(), (epoch, closing))));
                }
                Some(_) => {}
                None => {
                    self.given_up.remove(node);
                    self.closed.remove(node);
                    self.closings.remove(node);
                }
            }
        }
        let gone = commit
            .workloads
            .iter()
            .filter(|(_, pair)| pair.after.is_none());
        for (id, _) in gone {
            self.homes.remove(id);
        }
    }

    /// This home was asked for before its leader asked for the node to be closed, or before it knew that
    /// it is.
    fn was_open_to(&self, id: &WorkloadId, record: &AssignmentRecord) -> bool {
        let Some((epoch, closing)) = self.closed.get(&record.node_id) else {
            return false;
        };
        let all = self.homes.get(id);
        let asked = all.and_then(|all| all.iter().rev().find(|(_, home)| *home.record == *record));
        let was_open = asked.is_some_and(|(asked, home)| match closing {
            Closing::Asked(closed) => asked < closed,
            Closing::Stray => home.was_open,
        });
        was_open && record.epoch.0 == *epoch
    }

    fn left(
        &mut self,
        now: Timestamp,
        image: &Image,
        id: &WorkloadId,
        from: Option<&NodeId>,
    ) -> Check {
        let Some(record) = from
            .and_then(|from| image.nodes.get(from))
            .map(|held| &held.record)
        else {
            return Ok(());
        };
        let Some(drain) = record
            .drain
            .filter(|_| record.status == NodeStatus::Draining)
        else {
            return Ok(());
        };
        let wanted = image
            .workloads
            .get(id)
            .map(|held| held.record.desired_state);
        // The writer's own clock tells whether the deadline is over.
        if now >= drain.deadline || wanted != Some(DesiredState::Running) {
            return Ok(());
        }
        let moving = self.moving.entry(record.id.clone()).or_default();
        moving.insert(id.clone());
        if moving.len() > drain.parallelism as usize {
            let expected = format!("at most {} on the move", drain.parallelism);
            let finding = Finding::new(expected, format!("{moving:?}")).of(&record.id);
            return Err(moving.iter().fold(finding, Finding::of));
        }
        Ok(())
    }
}

fn note<T>(all: &mut VecDeque<(u64, T)>, asked: u64, record: T) {
    all.push_back((asked, record));
    if all.len() > ON_THEIR_WAY {
        all.pop_front();
    }
}

fn settled(image: &Image, id: &WorkloadId) -> bool {
    image.workloads.get(id).is_none_or(|held| {
        let record = &held.record;
        record.desired_state != DesiredState::Running
            || record.assigned_node.is_none()
            || matches!(
                record.status.actual_state,
                ActualState::Running | ActualState::Failed
            )
    })
}

#[cfg(test)]
mod tests {
    use berth_core::io::{Op, Txn};
    use berth_core::{Epoch, Key, TxnId};
    use berth_kv as kv;

    use super::super::memo::Memo;
    use super::super::s05_exact_placement::flight;
    use super::*;

    const EPOCH: i64 = 7;

    /// A leader asks, and the store writes, each when the test says so.
    #[derive(Default)]
    struct Scene {
        drains: Drains,
        image: Image,
        memo: Memo,
        revision: i64,
        /// The nodes as the leader knows them.
        known: BTreeMap<NodeId, Arc<NodeRecord>>,
    }

    fn node(schedulable: bool) -> (Key, String) {
        let at = "2026-01-01T00:00:00Z";
        let text = format!(
            r#"{{"id": "n", "status": "Ready", "status_reason": "Registered", "status_changed_by":
            "register", "status_changed_at": "{at}", "resources": {{"cpu_total": 4,
            "cpu_allocated": 0, "memory_total": 1, "memory_allocated": 0, "disk_allocated": 0}},
            "last_heartbeat": "{at}", "agent_endpoint": "n:1", "created_at": "{at}",
            "schedulable": {schedulable}}}"#
        );
        (Key::Node("n".parse().unwrap()), text)
    }

    /// All homes are of the same instant: what counts is in which order they were asked for.
    fn home(workload: &str) -> (Key, String) {
        let text = format!(
            r#"{{"workload_id": "{workload}", "node_id": "n", "revision_id": "r", "epoch": {EPOCH},
            "resources": {{"cpu": 1, "memory_mb": 1, "disk_gb": 1}},
            "assigned_at": "2026-01-01T00:00:00Z"}}"#
        );
        (Key::Assignment(workload.parse().unwrap()), text)
    }

    impl Scene {
        fn ask(&mut self, (key, value): (Key, String)) {
            let txn = Txn {
                id: TxnId(0),
                epoch: Epoch(EPOCH),
                compares: Vec::new(),
                ops: vec![Op::Put { key, value }],
            };
            let flight = flight(txn, &mut self.memo);
            self.drains.asks(&flight, &self.known);
        }

        fn tell(&mut self) {
            let nodes = self.image.nodes.iter();
            let known = nodes.map(|(id, held)| (id.clone(), Arc::clone(&held.record)));
            self.known = known.collect();
        }

        fn write(&mut self, (key, value): (Key, String)) -> Check {
            self.revision += 1;
            let event = kv::Event {
                kind: kv::EventKind::Put,
                kv: kv::KeyValue {
                    key: key.to_string().into(),
                    value: value.into(),
                    create_revision: 1,
                    mod_revision: self.revision,
                    version: 1,
                    lease: kv::LeaseId::NONE,
                },
                prev_kv: None,
            };
            let writer = Writer::Scheduler {
                replica: 0,
                epoch: EPOCH,
            };
            let memo = &mut self.memo;
            let commit = self.image.take(self.revision, writer, &[event], memo);
            assert!(commit.unreadable.is_empty(), "{:?}", commit.unreadable);
            let now = Timestamp::ZERO;
            self.drains.committed(now, &commit, &self.image)
        }
    }

    #[test]
    fn a_placement_may_land_late_only_if_it_was_asked_for_before_its_node_was_closed() {
        let mut scene = Scene::default();
        scene.write(node(true)).unwrap();
        scene.ask(home("before"));
        scene.ask(node(false));
        scene.ask(home("after"));
        scene.write(node(false)).unwrap();
        scene.write(home("before")).unwrap();
        let after = scene.write(home("after")).expect_err("it is closed");
        assert!(after.entities.contains(&"after".to_owned()), "{after:?}");
        scene
            .write(home("nobodys"))
            .expect_err("nobody asked for it");
    }

    #[test]
    fn a_node_that_is_open_again_begins_anew() {
        let mut scene = Scene::default();
        scene.write(node(true)).unwrap();
        scene.ask(home("first"));
        scene.ask(node(false));
        scene.write(node(false)).unwrap();
        scene.ask(node(true));
        scene.write(node(true)).unwrap();
        scene.ask(home("second"));
        scene.ask(node(false));
        scene.ask(home("third"));
        scene.write(node(false)).unwrap();
        scene.write(home("third")).expect_err("it is closed");
    }
    #[test]
    fn what_closes_a_node_after_it_was_given_up_counts_when_its_leader_is_told() {
        let mut scene = Scene::default();
        scene.write(node(true)).unwrap();
        scene.tell();
        scene.ask(node(false));
        let (_, text) = node(false);
        let closed: NodeRecord = serde_json::from_str(&text).unwrap();
        let given_up = BTreeMap::from([(closed.id.clone(), Some(Arc::new(closed)))]);
        scene.drains.gave_up(&given_up);
        scene.write(node(false)).unwrap();
        scene.ask(home("before"));
        scene.write(home("before")).unwrap();
        scene.tell();
        scene.ask(home("after"));
        scene.write(home("after")).expect_err("it is closed");
    }
}
