//! A node as the scheduler holds it: its record, what is reserved on it, and how it behaves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::io::Stored;
use crate::io::agent::AgentState;
use crate::io::request::Registration;
use crate::model::id::{CallId, NodeId, RequestId, StoreRevision, TxnId, WorkloadId};
use crate::model::node::{NodeRecord, NodeResources, NodeStatus, NodeUsage};
use crate::model::spec::WorkloadType;
use crate::model::time::Timestamp;
use crate::model::units::Resources;
use crate::placement::Candidate;
use crate::planted::{Bug, planted};

/// What one workload takes on a node, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) resources: Resources,
    pub(super) group: Option<String>,
}

/// What one workload takes on a node, for every reason. The reasons overlap: an artifact of one
/// workload exists once on a node, so the largest counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hold {
    /// It is assigned there.
    pub(super) assigned: Option<Share>,
    /// A transaction in flight may assign it there.
    pub(super) staged: Option<Share>,
    /// Transactions of unknown fate that were not there when they were read back may still
    /// assign it there, each as much as it would.
    pub(super) ghosts: Vec<Share>,
    /// Its assignment cannot be read, and what can be read of it names this node.
    pub(super) hidden: Option<Share>,
    /// A copy may still be there.
    pub(super) tombstone: Option<Share>,
}

impl Hold {
    fn shares(&self) -> impl Iterator<Item = &Share> {
        let staged = self.staged.as_ref();
        let tombstone = self.tombstone.as_ref();
        [
            self.assigned.as_ref(),
            staged.filter(|_| !planted(Bug::StagedNotCounted)),
            self.hidden.as_ref(),
            tombstone.filter(|_| !planted(Bug::TombstoneNotCounted)),
        ]
        .into_iter()
        .flatten()
        .chain(&self.ghosts)
    }

    /// Who must not come beside it, for each of its shares.
    fn groups(&self) -> impl Iterator<Item = &String> {
        self.shares().filter_map(|share| share.group.as_ref())
    }

    /// A transaction may still assign it there.
    pub(super) fn may_come(&self) -> bool {
        self.staged.is_some() || !self.ghosts.is_empty()
    }

    /// The transaction in flight was given up, and may still be carried out.
    pub(super) fn leave_ghost(&mut self) {
        self.ghosts.extend(self.staged.take());
    }

    /// The largest amount in each dimension.
    pub(super) fn resources(&self) -> Resources {
        self.shares()
            .fold(Resources::default(), |sum, share| Resources {
                cpu: sum.cpu.max(share.resources.cpu),
                memory_mb: sum.memory_mb.max(share.resources.memory_mb),
                disk_gb: sum.disk_gb.max(share.resources.disk_gb),
            })
    }
}

/// A copy that must be confirmed gone.
#[derive(Debug)]
pub(super) struct Tombstone {
    pub(super) revision: StoreRevision,
    /// The delete in flight or queued.
    pub(super) call: Option<CallId>,
    /// When the delete was last accepted, and by which call.
    pub(super) deleted: Option<(Timestamp, CallId)>,
    /// It was confirmed gone; the record is removed next.
    pub(super) confirmed: bool,
    pub(super) staged: Option<TxnId>,
}

/// An operator's or an agent's change that waits for the node's transaction.
// Registrations are the rule; few wait at a time.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
pub(super) enum NodeMutation {
    Register(Registration),
    SetSchedulable(bool),
    Drain {
        deadline: std::time::Duration,
        parallelism: u32,
    },
    CancelDrain,
    Fence,
    Purge,
}

/// When a node is listed next.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The listing in flight or queued.
    pub(super) call: Option<CallId>,
    /// The next wait while something is unconfirmed; doubles.
    pub(super) interval_ms: u64,
    /// Another one is wanted as soon as this one is answered.
    pub(super) again: bool,
    /// A heartbeat came meanwhile, and said something of what nobody had looked at.
    pub(super) hinted: bool,
    /// This process of it was listed since this replica leads, and what was found is written down.
    pub(super) seen: bool,
}

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    /// Its record as the store has it; `None` until it is stored.
    pub(super) record: Option<NodeRecord>,
    pub(super) revision: StoreRevision,
    /// The stored record cannot be read any more; `record` is what it was before.
    pub(super) unreadable: bool,
    /// When it was last heard, or when this replica began to lead.
    pub(super) heard_at: Timestamp,
    /// It was heard since this replica leads: only that makes a lost node ready again.
    pub(super) heard: bool,
    /// Since when it has not been ready, as far as this replica saw.
    pub(super) lost_since: Option<Timestamp>,
    pub(super) usage: NodeUsage,
    /// What the last heartbeat said of its workloads.
    pub(super) hints: BTreeMap<WorkloadId, AgentState>,
    pub(super) holds: BTreeMap<WorkloadId, Hold>,
    pub(super) reserved: Resources,
    pub(super) groups: BTreeMap<String, BTreeSet<WorkloadId>>,
    pub(super) assigned: BTreeSet<WorkloadId>,
    pub(super) tombstones: BTreeMap<WorkloadId, Tombstone>,
    /// Tombstones that were given up may still be written until then: they are not removed before.
    pub(super) stray_tombstones: BTreeMap<WorkloadId, Timestamp>,
    /// Workloads that a drain took off and that are not settled elsewhere yet.
    pub(super) moving: BTreeSet<WorkloadId>,
    /// Kinds that its runtime could not run, until then.
    pub(super) avoided_until: BTreeMap<WorkloadType, Timestamp>,
    pub(super) avoided: BTreeSet<WorkloadType>,
    /// What it runs and was never assigned here.
    pub(super) strangers: BTreeSet<String>,
    pub(super) staged: Option<TxnId>,
    /// What the transaction in flight makes of the record; `Some(None)`: nothing.
    pub(super) next: Option<Option<NodeRecord>>,
    /// While a transaction is in flight: the capacity that it has whatever becomes of that.
    pub(super) floor: Option<NodeResources>,
    /// The store refused its last decision: nothing is decided before this instant.
    pub(super) refused_until: Timestamp,
    /// Changes of it that were given up may still be carried out until then.
    pub(super) strays_until: Timestamp,
    pub(super) waiting: VecDeque<(RequestId, NodeMutation)>,
    pub(super) missed: Vec<Stored>,
    /// Calls that failed in a row.
    pub(super) failures: u32,
    pub(super) unreachable: bool,
    /// While it is unreachable: when its agent may be asked to register again.
    pub(super) register_again_at: Timestamp,
    pub(super) listing: Listing,
    /// When the stored figures of allocation are written, if they lag.
    pub(super) figures_due: Option<Timestamp>,
    /// Who asked for it to be purged.
    pub(super) purging: Option<RequestId>,
}

impl Node {
    pub(super) fn unknown(now: Timestamp) -> Self {
        Self {
            record: None,
            revision: StoreRevision(0),
            unreadable: false,
            heard_at: now,
            heard: false,
            lost_since: None,
            usage: NodeUsage::default(),
            hints: BTreeMap::new(),
            holds: BTreeMap::new(),
            reserved: Resources::default(),
            groups: BTreeMap::new(),
            assigned: BTreeSet::new(),
            tombstones: BTreeMap::new(),
            stray_tombstones: BTreeMap::new(),
            moving: BTreeSet::new(),
            avoided_until: BTreeMap::new(),
            avoided: BTreeSet::new(),
            strangers: BTreeSet::new(),
            staged: None,
            next: None,
            floor: None,
            refused_until: Timestamp::ZERO,
            strays_until: Timestamp::ZERO,
            waiting: VecDeque::new(),
            missed: Vec::new(),
            failures: 0,
            unreachable: false,
            register_again_at: Timestamp::ZERO,
            listing: Listing::default(),
            figures_due: None,
            purging: None,
        }
    }

    /// A transaction that takes the record to `next` is in flight.
    pub(super) fn expect(&mut self, txn: TxnId, next: Option<NodeRecord>) {
        let totals = |record: &NodeRecord| record.resources;
        self.floor = match (&self.record, &next) {
            (Some(now), Some(next)) => Some(least(totals(now), totals(next))),
            (Some(_), None) | (None, _) => None,
        };
        self.staged = Some(txn);
        self.next = Some(next);
    }

    /// Its transaction is no more in flight.
    pub(super) fn expect_nothing(&mut self) {
        self.staged = None;
        self.next = None;
        self.floor = None;
    }

    pub(super) fn status(&self) -> NodeStatus {
        self.record
            .as_ref()
            .map_or(NodeStatus::NotReady, |record| record.status)
    }

    /// Agent calls may be made.
    pub(super) fn callable(&self) -> bool {
        match self.status() {
            NodeStatus::Ready | NodeStatus::Draining => self.purging.is_none(),
            NodeStatus::NotReady => false,
        }
    }

    /// A copy waits to go that a delayed command brought back: nothing is reserved for it.
    pub(super) fn has_found(&self, id: &WorkloadId) -> bool {
        let hold = self.holds.get(id).and_then(|hold| hold.tombstone.as_ref());
        hold.is_some_and(|share| share.resources == Resources::default())
    }

    /// Its grace is over: what it runs is placed elsewhere.
    pub(super) fn evictable(&self, now: Timestamp, grace: std::time::Duration) -> bool {
        let returning =
            matches!(&self.next, Some(Some(next)) if next.status != NodeStatus::NotReady);
        let returning = returning && !planted(Bug::ReturningIsLeft);
        let grace = if planted(Bug::NoGrace) {
            std::time::Duration::ZERO
        } else {
            grace
        };
        if self.status() != NodeStatus::NotReady || returning {
            return false;
        }
        let fenced = self
            .record
            .as_ref()
            .is_some_and(|record| record.status_reason == crate::model::node::NodeReason::Fenced);
        let lost_since = self.lost_since.filter(|_| !planted(Bug::LostForEver));
        fenced || lost_since.is_some_and(|since| now >= since + grace)
    }

    /// Whether a transaction that may still be carried out assigns something to it.
    pub(super) fn awaits_commits(&self) -> bool {
        self.holds.values().any(Hold::may_come)
    }

    /// Changes what a workload takes here. True if something became free.
    pub(super) fn hold(&mut self, workload: &WorkloadId, change: impl FnOnce(&mut Hold)) -> bool {
        let before = self.holds.remove(workload).unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        let (old, new) = (before.resources(), after.resources());
        for group in before.groups() {
            if let Some(members) = self.groups.get_mut(group) {
                members.remove(workload);
                if members.is_empty() {
                    self.groups.remove(group);
                }
            }
        }
        for group in after.groups() {
            self.groups
                .entry(group.clone())
                .or_default()
                .insert(workload.clone());
        }
        if after.assigned.is_some() {
            self.assigned.insert(workload.clone());
        } else {
            self.assigned.remove(workload);
        }
        self.reserved = self.reserved - old + new;
        let leaves = |group| !after.groups().any(|other| other == group);
        let freed = before != after
            && (before.groups().any(leaves)
                || old.cpu > new.cpu
                || old.memory_mb > new.memory_mb
                || old.disk_gb > new.disk_gb
                || after == Hold::default());
        if after != Hold::default() {
            self.holds.insert(workload.clone(), after);
        }
        freed
    }

    /// The node as placement sees it, without what `except` takes.
    pub(super) fn candidate<'a>(
        &'a self,
        id: &'a NodeId,
        except: Option<&WorkloadId>,
    ) -> Option<Candidate<'a>> {
        let record = self.record.as_ref()?;
        let own = except.and_then(|workload| self.holds.get(workload));
        let reserved = own.map_or(self.reserved, |hold| self.reserved - hold.resources());
        // A change that is on its way counts already where it takes something away.
        let (status, schedulable) = match &self.next {
            _ if planted(Bug::ChangeInFlightIgnored) => (record.status, record.schedulable),
            Some(Some(next)) if shrinks(record, next) => (next.status, false),
            Some(Some(next)) if next.status != NodeStatus::Ready => (next.status, next.schedulable),
            Some(Some(next)) => (record.status, record.schedulable && next.schedulable),
            Some(None) => (record.status, false),
            None => (record.status, record.schedulable),
        };
        Some(Candidate {
            id,
            status,
            schedulable: schedulable && self.purging.is_none() && !self.unreadable,
            capacity: self
                .floor
                .as_ref()
                .filter(|_| !planted(Bug::ShrinkUnseen))
                .unwrap_or(&record.resources),
            reserved,
            labels: &record.labels,
            workload_types: &record.supported_workload_types,
            avoided_types: &self.avoided,
            drivers: &record.supported_storage_drivers,
            groups: &self.groups,
        })
    }
}

/// The smaller capacity in each dimension.
fn least(now: NodeResources, next: NodeResources) -> NodeResources {
    let disk = [now.disk_total, next.disk_total]
        .into_iter()
        .flatten()
        .min();
    NodeResources {
        cpu_total: now.cpu_total.min(next.cpu_total),
        memory_total: now.memory_total.min(next.memory_total),
        disk_total: disk,
        ..now
    }
}

/// Whether a record offers less than before, or something else.
fn shrinks(now: &NodeRecord, next: &NodeRecord) -> bool {
    let (a, b) = (&now.resources, &next.resources);
    b.cpu_total < a.cpu_total
        || b.memory_total < a.memory_total
        || b.disk_total
            .is_some_and(|disk| a.disk_total.is_none_or(|before| disk < before))
        || now.labels != next.labels
        || now.supported_workload_types != next.supported_workload_types
        || now.supported_storage_drivers != next.supported_storage_drivers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(cpu: u64) -> Option<Share> {
        Some(Share {
            resources: Resources::new(cpu, 0, 0),
            group: Some("g".into()),
        })
    }

    #[test]
    fn a_workload_counts_once_by_its_largest_share() {
        let id: WorkloadId = "w".parse().unwrap();
        let mut node = Node::unknown(Timestamp::ZERO);
        assert!(!node.hold(&id, |hold| hold.staged = share(500)));
        assert!(!node.hold(&id, |hold| hold.assigned = share(300)));
        assert_eq!(node.reserved, Resources::new(500, 0, 0));
        assert!(node.hold(&id, |hold| hold.staged = None));
        assert_eq!(node.reserved, Resources::new(300, 0, 0));
        assert!(!node.hold(&id, |hold| {
            hold.tombstone = hold.assigned.take();
        }));
        assert!(node.assigned.is_empty() && node.groups.contains_key("g"));
        assert!(node.hold(&id, |hold| hold.tombstone = None));
        assert_eq!(node.reserved, Resources::default());
        assert!(node.holds.is_empty() && node.groups.is_empty());
    }
    /// 4 cores, 8 GiB, 100 GiB.
    fn record() -> NodeRecord {
        let since = "2026-02-17T00:00:00.000Z";
        serde_json::from_value(serde_json::json!({
            "id": "n", "status": "Ready", "status_reason": "Registered",
            "status_changed_by": "register", "status_changed_at": since,
            "resources": {
                "cpu_total": 4, "cpu_allocated": 0, "memory_total": 8192, "memory_allocated": 0,
                "disk_total": 100, "disk_allocated": 0,
            },
            "labels": {"zone": "a"}, "supported_workload_types": ["container"],
            "supported_storage_drivers": ["local"],
            "last_heartbeat": since, "agent_endpoint": "n:1", "created_at": since,
        }))
        .unwrap()
    }

    type Change = (&'static str, fn(&mut NodeRecord));

    #[test]
    fn a_node_that_offers_less_or_something_else_shrinks() {
        let less: [Change; 6] = [
            ("cpu", |node| node.resources.cpu_total.0 -= 1),
            ("memory", |node| node.resources.memory_total.0 -= 1),
            ("disk", |node| {
                node.resources.disk_total.as_mut().unwrap().0 -= 1
            }),
            ("labels", |node| node.labels.clear()),
            ("types", |node| node.supported_workload_types.clear()),
            ("drivers", |node| node.supported_storage_drivers.clear()),
        ];
        for (what, change) in less {
            let mut next = record();
            change(&mut next);
            assert!(shrinks(&record(), &next), "{what}");
        }
        let more: [Change; 5] = [
            ("the same", |_| {}),
            ("cpu", |node| node.resources.cpu_total.0 += 1),
            ("memory", |node| node.resources.memory_total.0 += 1),
            ("disk", |node| {
                node.resources.disk_total.as_mut().unwrap().0 += 1
            }),
            ("no limit of disk", |node| node.resources.disk_total = None),
        ];
        for (what, change) in more {
            let mut next = record();
            change(&mut next);
            assert!(!shrinks(&record(), &next), "{what}");
            // A limit where there was none is one.
            let limited = next.resources.disk_total.is_none();
            assert_eq!(
                shrinks(&next, &record()),
                limited || next != record(),
                "{what}"
            );
        }
    }

    #[test]
    fn of_two_capacities_the_smaller_counts_in_each_dimension() {
        let of = |cpu, memory, disk: Option<u64>| {
            let mut resources = record().resources;
            resources.cpu_total.0 = cpu;
            resources.memory_total.0 = memory;
            resources.disk_total = disk.map(crate::model::units::Gibibytes);
            resources
        };
        for (one, other, both) in [
            (of(1, 9, Some(5)), of(2, 8, Some(6)), of(1, 8, Some(5))),
            (of(2, 8, None), of(1, 9, Some(6)), of(1, 8, Some(6))),
            (of(1, 8, None), of(2, 9, None), of(1, 8, None)),
        ] {
            assert_eq!(least(one, other), both);
            assert_eq!(least(other, one), both);
        }
    }

    /// What a change on its way takes away is gone already; what it gives is not there yet.
    #[test]
    fn a_change_that_is_on_its_way_counts_where_it_takes_away() {
        let id: NodeId = "n".parse().unwrap();
        let seen = |now: fn(&mut NodeRecord), next: Option<Option<fn(&mut NodeRecord)>>| {
            let mut node = Node::unknown(Timestamp::ZERO);
            let mut current = record();
            now(&mut current);
            node.next = next.map(|next| {
                next.map(|change| {
                    let mut next = current.clone();
                    change(&mut next);
                    next
                })
            });
            node.record = Some(current);
            let seen = node.candidate(&id, None).unwrap();
            (seen.status, seen.schedulable)
        };
        let same: fn(&mut NodeRecord) = |_| {};
        let cordon: fn(&mut NodeRecord) = |node| node.schedulable = false;
        let uncordon: fn(&mut NodeRecord) = |node| node.schedulable = true;
        let shrink: fn(&mut NodeRecord) = |node| node.labels.clear();
        let drain: fn(&mut NodeRecord) = |node| node.status = NodeStatus::Draining;
        let ready: fn(&mut NodeRecord) = |node| node.status = NodeStatus::Ready;
        use NodeStatus::{Draining, Ready};
        assert_eq!(seen(same, None), (Ready, true));
        assert_eq!(seen(cordon, None), (Ready, false));
        assert_eq!(seen(same, Some(None)), (Ready, false));
        assert_eq!(seen(same, Some(Some(same))), (Ready, true));
        assert_eq!(seen(same, Some(Some(cordon))), (Ready, false));
        assert_eq!(seen(cordon, Some(Some(uncordon))), (Ready, false));
        assert_eq!(seen(same, Some(Some(shrink))), (Ready, false));
        assert_eq!(seen(same, Some(Some(drain))), (Draining, true));
        assert_eq!(seen(drain, Some(Some(ready))), (Draining, true));
    }

    #[test]
    fn room_appears_in_any_dimension() {
        let id: WorkloadId = "w".parse().unwrap();
        let share = |cpu, memory, disk| {
            Some(Share {
                resources: Resources::new(cpu, memory, disk),
                group: None,
            })
        };
        for (less, freed) in [
            (share(9, 10, 10), true),
            (share(10, 9, 10), true),
            (share(10, 10, 9), true),
            (share(10, 10, 10), false),
            (share(11, 11, 11), false),
        ] {
            let mut node = Node::unknown(Timestamp::ZERO);
            node.hold(&id, |hold| hold.assigned = share(10, 10, 10));
            assert_eq!(node.hold(&id, |hold| hold.assigned = less.clone()), freed);
        }
        let mut hold = Hold::default();
        assert!(!hold.may_come());
        hold.staged = share(1, 1, 1);
        assert!(hold.may_come());
        hold.leave_ghost();
        assert!(hold.staged.is_none() && hold.may_come());
    }
}
