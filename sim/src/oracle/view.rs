//! The store as one scheduler knows it: what it was told, and what it has written without knowing
//! yet what became of it. Kept by other code than the scheduler's own image.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_core::io::{Fate, Input, Op, Stored, Txn};
use berth_core::model::node::NodeRecord;
use berth_core::model::units::Resources;
use berth_core::model::workload::{AssignmentRecord, TombstoneRecord, WorkloadRecord};
use berth_core::{EventRecord, Key, NodeId, StoreRevision, Timestamp, TxnId, WorkloadId};

use super::avoidance::Avoidance;
use super::memo::{Last, Memo};

mod load;

/// One transaction on its way.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) txn: Txn,
    /// The records that it writes of workloads and their homes, and of nodes; `None`: removed.
    pub(crate) nodes: BTreeMap<NodeId, Option<Arc<NodeRecord>>>,
    pub(crate) workloads: BTreeMap<WorkloadId, Arc<WorkloadRecord>>,
    pub(crate) homes: BTreeMap<WorkloadId, Option<Arc<AssignmentRecord>>>,
}

/// What one scheduler knows.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) nodes: BTreeMap<NodeId, Arc<NodeRecord>>,
    /// Those of them whose records cannot be read any more: they get nothing new.
    pub(crate) unreadable: BTreeSet<NodeId>,
    /// Workloads whose assignments cannot be read.
    unread_homes: BTreeSet<WorkloadId>,
    pub(crate) workloads: BTreeMap<WorkloadId, Arc<WorkloadRecord>>,
    pub(crate) assignments: BTreeMap<WorkloadId, Arc<AssignmentRecord>>,
    pub(crate) tombstones: BTreeMap<(NodeId, WorkloadId), TombstoneRecord>,
    /// Who is assigned to each node, and what those and the tombstones there take together.
    pub(super) homes: BTreeMap<NodeId, BTreeSet<WorkloadId>>,
    pub(super) sums: BTreeMap<NodeId, Resources>,
    /// When each key was last written or removed.
    known: BTreeMap<Key, Known>,
    /// How many of them are there.
    present: usize,
    /// It was told everything up to this revision, but for the rest of this very one.
    told: StoreRevision,
    pub(crate) flights: BTreeMap<TxnId, Flight>,
    /// How many transactions on their way decide about each.
    busy: BTreeMap<Owner, u32>,
    missed: Vec<Stored>,
    /// Nodes that it avoids for a while.
    pub(super) avoidance: Avoidance,
    /// Homes that transactions of unknown fate may still give to workloads: they were not there
    /// when they were read back, and no other transaction has taken their place.
    pub(super) ghosts: BTreeMap<WorkloadId, Vec<Ghost>>,
    /// Those of them whose records were told since, and do not agree with their assignments yet.
    half_told: BTreeSet<WorkloadId>,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    at: StoreRevision,
    is_there: bool,
}

/// What a workload may still take somewhere.
#[derive(Debug)]
pub(super) struct Ghost {
    pub(super) node: NodeId,
    pub(super) resources: Resources,
    pub(super) group: Option<String>,
    /// Then its transaction is too old to be carried out.
    pub(super) until: Timestamp,
}

/// Keys that were removed are known at least for so many revisions, and when there are fewer.
const REMOVED_FOR: i64 = 20_000;
const REMOVED_MIN: usize = 1_000;

/// Whose decisions are one after another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Workload(WorkloadId),
    Node(NodeId),
}

impl View {
    /// Something that the scheduler is told.
    /// Answers whether a commit of unknown fate turned out to be there. `clock`: its own time;
    /// `patience`: how long a transaction that was given up may still come.
    pub(crate) fn told(
        &mut self,
        input: &Input,
        clock: Timestamp,
        patience: Duration,
        memo: &mut Memo,
    ) -> Option<bool> {
        // It may be that nothing ever takes the place of what was given up.
        self.ghosts
            .retain(|_, ghosts| !ghosts.iter().all(|ghost| ghost.until <= clock));
        self.half_told.retain(|id| self.ghosts.contains_key(id));
        match input {
            Input::Lead { snapshot, .. } | Input::Follow { snapshot } => {
                *self = Self::of(&snapshot.records, memo);
                self.told = snapshot.revision;
            }
            Input::TakeOver { .. } | Input::Deposed { .. } => {
                if matches!(input, Input::TakeOver { .. }) {
                    self.ghosts.clear();
                    self.avoidance = Avoidance::default();
                }
                self.flights.clear();
                self.busy.clear();
                self.missed.clear();
            }
            Input::Commit { txn, fate } => self.fate(*txn, fate, memo),
            Input::ReadBack {
                txn,
                revision,
                records,
            } => {
                let read = (*revision, &records[..]);
                return self.read_back(*txn, read, clock + patience, memo);
            }
            Input::Changed { revision, records } => {
                let told = self.told;
                self.told = told.max(*revision);
                let news = records.iter().filter(|stored| stored.mod_revision >= told);
                news.for_each(|stored| self.changed(stored, memo));
            }
            Input::Request { .. } | Input::Agent { .. } | Input::Wake => {}
        }
        None
    }

    fn fate(&mut self, txn: TxnId, fate: &Fate, memo: &mut Memo) {
        match fate {
            Fate::Committed(at) => {
                if let Some(flight) = self.lands(txn) {
                    self.land(flight, *at, memo);
                }
                self.catch_up(memo);
            }
            Fate::Conflict { revision, current } => {
                self.lands(txn);
                self.take_read(*revision, current, memo);
                self.catch_up(memo);
            }
            Fate::Refused(_) => {
                self.lands(txn);
                self.catch_up(memo);
            }
            Fate::Unknown => {
                let events_only = self.flights.get(&txn).is_some_and(|flight| {
                    flight.txn.ops.iter().all(|op| match op {
                        Op::Put { key, .. } | Op::Delete { key } => matches!(key, Key::Event(_)),
                        Op::DeleteEventsBefore { .. } => true,
                    })
                });
                if events_only {
                    self.lands(txn);
                }
            }
        }
    }

    fn read_back(
        &mut self,
        txn: TxnId,
        (revision, records): (StoreRevision, &[Stored]),
        until: Timestamp,
        memo: &mut Memo,
    ) -> Option<bool> {
        let flight = self.lands(txn)?;
        let holds = |key: &Key, value: Option<&str>| {
            records
                .iter()
                .any(|stored| stored.key == *key && stored.value.as_deref() == value)
        };
        let done = flight.txn.ops.iter().all(|op| match op {
            Op::Put {
                key: Key::Event(_), ..
            }
            | Op::DeleteEventsBefore { .. } => true,
            Op::Put { key, value } => holds(key, Some(value)),
            Op::Delete { key } => holds(key, None),
        });
        let written = records.iter().filter(|stored| stored.value.is_some());
        let written = written.map(|stored| stored.mod_revision).max();
        if done {
            // What is absent says no revision, and was not written again before it was read.
            let at = written.unwrap_or(revision);
            self.land(flight, at, memo);
        } else {
            self.leave_ghosts(&flight, until);
            // What was told meanwhile is older: of a tombstone that cannot be read any more it says
            // what is there.
            self.catch_up(memo);
            self.take_read(revision, records, memo);
        }
        self.catch_up(memo);
        Some(done)
    }

    fn leave_ghosts(&mut self, flight: &Flight, until: Timestamp) {
        let touched: BTreeSet<_> = flight.workloads.keys().chain(flight.homes.keys()).collect();
        for id in touched {
            let home = match flight.homes.get(id) {
                Some(home) => home.as_ref(),
                None => self.assignments.get(id),
            };
            let record = flight.workloads.get(id).or(self.workloads.get(id));
            let ghost = home.map(|home| Ghost {
                node: home.node_id.clone(),
                resources: home.resources,
                group: record.and_then(|record| record.constraints.anti_affinity.clone()),
                until,
            });
            self.half_told.remove(id);
            let ghosts = self.ghosts.entry(id.clone()).or_default();
            ghosts.extend(ghost);
            // They go together, when the last of them is too old.
            ghosts.iter_mut().for_each(|ghost| ghost.until = until);
        }
    }

    /// What a transaction wrote is there; its records were read when it was asked for.
    fn land(&mut self, mut flight: Flight, at: StoreRevision, memo: &mut Memo) {
        for op in flight.txn.ops {
            let (key, value) = match op {
                Op::Put { key, value } => (key, Some(value)),
                Op::Delete { key } => (key, None),
                Op::DeleteEventsBefore { .. } => continue,
            };
            if matches!(key, Key::Event(_)) {
                continue;
            }
            self.lay_ghosts(&key);
            let is_there = value.is_some();
            match &key {
                Key::Workload(id) if value.is_some() => {
                    if let Some(record) = flight.workloads.remove(id) {
                        self.workloads.insert(id.clone(), record);
                    }
                }
                Key::Node(id) if value.is_some() => {
                    if let Some(Some(record)) = flight.nodes.remove(id) {
                        self.unreadable.remove(id);
                        self.nodes.insert(id.clone(), record);
                    }
                }
                Key::Assignment(id) if value.is_some() => {
                    if let Some(Some(home)) = flight.homes.remove(id) {
                        self.assign(id, Some(home));
                    }
                }
                Key::Workload(_)
                | Key::Node(_)
                | Key::Assignment(_)
                | Key::Tombstone(..)
                | Key::Intent(_)
                | Key::Retry(_)
                | Key::Event(_)
                | Key::Meta(_)
                | Key::Leader(_) => self.put(&key, value.as_deref(), memo),
            }
            self.know(key, Known { at, is_there });
        }
        self.forget_removed(at);
    }

    /// What was removed long ago: nothing older is told of it any more.
    fn forget_removed(&mut self, now: StoreRevision) {
        if self.known.len() < self.present * 2 + REMOVED_MIN {
            return;
        }
        self.known
            .retain(|_, known| known.is_there || known.at.0 + REMOVED_FOR > now.0);
    }

    /// How much is kept beside what is there.
    pub(crate) fn size(&self) -> usize {
        let ghosts = self.ghosts.values().map(|ghosts| ghosts.len() + 1);
        self.known.len() + self.missed.len() + ghosts.sum::<usize>() + self.busy.len()
    }

    /// A transaction is no more on its way.
    fn lands(&mut self, txn: TxnId) -> Option<Flight> {
        let flight = self.flights.remove(&txn)?;
        for owner in owners(&flight.txn) {
            if let Some(count) = self.busy.get_mut(&owner) {
                *count -= 1;
                if *count == 0 {
                    self.busy.remove(&owner);
                }
            }
        }
        Some(flight)
    }

    /// A workload's canonical record is written, which every transaction compares: what was asked for
    /// before cannot come any more.
    fn lay_ghosts(&mut self, key: &Key) {
        if let Key::Workload(id) = key {
            self.ghosts.remove(id);
            self.half_told.remove(id);
        }
    }

    fn changed(&mut self, stored: &Stored, memo: &mut Memo) {
        if self.is_in_flight(&stored.key) {
            self.missed.push(stored.clone());
        } else {
            self.take_news(stored, memo);
        }
    }

    fn catch_up(&mut self, memo: &mut Memo) {
        for stored in std::mem::take(&mut self.missed) {
            self.changed(&stored, memo);
        }
    }

    /// Something is on its way about a workload, or was given up and may still come.
    pub(crate) fn awaits_word_of(&self, id: &WorkloadId) -> bool {
        self.ghosts.contains_key(id) || self.is_in_flight(&Key::Workload(id.clone()))
    }

    /// Something is somewhere, and no record can be read that says what: beside whom it must not be only
    /// its scheduler remembers.
    pub(super) fn is_in_the_dark(&self) -> bool {
        let mut unread = self.unread_homes.iter();
        unread.any(|id| !self.workloads.contains_key(id))
    }

    /// A decision about the same workload or node is on its way.
    fn is_in_flight(&self, key: &Key) -> bool {
        owner(key).is_some_and(|owner| self.busy.contains_key(&owner))
    }

    /// What was read at this revision: what is absent then was so then, whatever is told of it later.
    fn take_read(&mut self, at: StoreRevision, records: &[Stored], memo: &mut Memo) {
        for stored in records {
            let mut stored = stored.clone();
            if stored.value.is_none() {
                stored.mod_revision = at;
            }
            self.take_news(&stored, memo);
        }
    }

    fn take_news(&mut self, stored: &Stored, memo: &mut Memo) {
        let known = self.known.get(&stored.key).copied().unwrap_or_default();
        if stored.mod_revision <= known.at {
            return;
        }
        if stored.value.is_none() && !known.is_there {
            // That something is still not there makes nothing impossible.
            let at = stored.mod_revision;
            self.know(stored.key.clone(), Known { at, ..known });
            return;
        }
        self.take(stored, memo);
    }

    fn take(&mut self, stored: &Stored, memo: &mut Memo) {
        if matches!(stored.key, Key::Event(_)) {
            return;
        }
        let known = Known {
            at: stored.mod_revision,
            is_there: stored.value.is_some(),
        };
        self.know(stored.key.clone(), known);
        self.put(&stored.key, stored.value.as_deref(), memo);
        self.lay_told_ghosts(&stored.key);
    }

    /// The same when it is told of the record, and its assignment agrees with it: where one record alone
    /// is told, as by a conflict, the other may be the one that could still come.
    fn lay_told_ghosts(&mut self, key: &Key) {
        let (Key::Workload(id) | Key::Assignment(id)) = key else {
            return;
        };
        if matches!(key, Key::Workload(_)) && self.ghosts.contains_key(id) {
            self.half_told.insert(id.clone());
        }
        let named = self.workloads.get(id).map(|record| &record.assigned_node);
        let home = self.assignments.get(id).map(|home| &home.node_id);
        let agrees = named.is_none_or(|named| named.as_ref() == home);
        if agrees && self.half_told.remove(id) {
            self.ghosts.remove(id);
        }
    }

    fn know(&mut self, key: Key, known: Known) {
        let before = self.known.insert(key, known).unwrap_or_default();
        self.present += usize::from(known.is_there);
        self.present -= usize::from(before.is_there);
    }

    fn put(&mut self, key: &Key, value: Option<&str>, memo: &mut Memo) {
        match key {
            Key::Node(id) => {
                let last = &mut memo.nodes;
                if value.is_none() {
                    self.avoidance.removed(id);
                }
                if value.is_none_or(|text| last.read(id, text.as_bytes()).is_ok()) {
                    self.unreadable.remove(id);
                } else {
                    self.unreadable.insert(id.clone());
                }
                set(&mut self.nodes, id, value, last);
            }
            Key::Workload(id) => set(&mut self.workloads, id, value, &mut memo.workloads),
            Key::Assignment(id) => {
                let read = |text: &str| memo.assignments.read(id, text.as_bytes());
                match value.map(read).transpose() {
                    Ok(home) => {
                        self.unread_homes.remove(id);
                        self.assign(id, home);
                    }
                    Err(_) => {
                        self.unread_homes.insert(id.clone());
                    }
                }
            }
            Key::Tombstone(node, id) => {
                if let Ok(tombstone) = value.map(serde_json::from_str).transpose() {
                    self.bury(node, id, tombstone);
                }
            }
            Key::Intent(_) | Key::Retry(_) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => {}
        }
    }

    fn assign(&mut self, id: &WorkloadId, home: Option<Arc<AssignmentRecord>>) {
        let from = self.assignments.get(id).map(|home| home.node_id.clone());
        let to = home.as_ref().map(|home| home.node_id.clone());
        let nodes: BTreeSet<NodeId> = from.iter().chain(&to).cloned().collect();
        let before: Vec<_> = nodes.iter().map(|node| self.share(node, id)).collect();
        match home {
            Some(home) => self.assignments.insert(id.clone(), home),
            None => self.assignments.remove(id),
        };
        if let Some(home) = from.and_then(|from| self.homes.get_mut(&from)) {
            home.remove(id);
        }
        if let Some(to) = to {
            self.homes.entry(to).or_default().insert(id.clone());
        }
        for (node, before) in nodes.iter().zip(before) {
            self.add_up(node, id, before);
        }
    }

    fn bury(&mut self, node: &NodeId, id: &WorkloadId, tombstone: Option<TombstoneRecord>) {
        let before = self.share(node, id);
        let key = (node.clone(), id.clone());
        match tombstone {
            Some(tombstone) => self.tombstones.insert(key, tombstone),
            None => self.tombstones.remove(&key),
        };
        self.add_up(node, id, before);
    }

    /// What a workload takes on a node changed.
    fn add_up(&mut self, node: &NodeId, id: &WorkloadId, before: Resources) {
        let after = self.share(node, id);
        let sum = self.sums.entry(node.clone()).or_default();
        *sum = *sum - before + after;
    }

    /// What a workload takes on a node, as it is stored: it counts once, by its largest share.
    pub(super) fn share(&self, node: &NodeId, id: &WorkloadId) -> Resources {
        let home = self.assignments.get(id);
        let assigned = home
            .filter(|home| home.node_id == *node)
            .map_or(Resources::default(), |home| home.resources);
        if self.tombstones.is_empty() {
            return assigned;
        }
        let buried = self.tombstones.get(&(node.clone(), id.clone()));
        most(
            assigned,
            buried.map_or(Resources::default(), |it| it.resources),
        )
    }

    /// The scheduler asks for a commit.
    pub(crate) fn asks(&mut self, flight: Flight) {
        for owner in owners(&flight.txn) {
            *self.busy.entry(owner).or_default() += 1;
        }
        self.flights.insert(flight.txn.id, flight);
    }

    /// Every workload's record and home, decisions on their way counted as if they were made.
    pub(crate) fn planned(
        &self,
    ) -> impl Iterator<Item = (&WorkloadId, &WorkloadRecord, Option<&NodeId>)> {
        let on_their_way = self
            .flights
            .values()
            .flat_map(|flight| flight.workloads.keys());
        let ids: BTreeSet<&WorkloadId> = self.workloads.keys().chain(on_their_way).collect();
        ids.into_iter().filter_map(|id| {
            let last = |flight: &&Flight| {
                flight.workloads.contains_key(id) || flight.homes.contains_key(id)
            };
            let flight = self.flights.values().rfind(last);
            let record = flight.and_then(|flight| flight.workloads.get(id));
            let home = match flight.and_then(|flight| flight.homes.get(id)) {
                Some(home) => home.as_ref(),
                None => self.assignments.get(id),
            };
            let record = record.or_else(|| self.workloads.get(id))?;
            Some((id, &**record, home.map(|home| &home.node_id)))
        })
    }
}

/// The events that a transaction writes.
pub(crate) fn events(txn: &Txn) -> impl Iterator<Item = EventRecord> + '_ {
    txn.ops.iter().filter_map(|op| match op {
        Op::Put {
            key: Key::Event(_),
            value,
        } => serde_json::from_str(value).ok(),
        Op::Put { .. } | Op::Delete { .. } | Op::DeleteEventsBefore { .. } => None,
    })
}

/// The larger amount in each dimension.
pub(super) fn most(a: Resources, b: Resources) -> Resources {
    Resources {
        cpu: a.cpu.max(b.cpu),
        memory_mb: a.memory_mb.max(b.memory_mb),
        disk_gb: a.disk_gb.max(b.disk_gb),
    }
}

/// About whom a transaction decides, once for each of its keys. A tombstone alone is no decision
/// about its workload.
fn owners(txn: &Txn) -> impl Iterator<Item = Owner> + '_ {
    txn.ops.iter().filter_map(|op| match op {
        Op::Put {
            key: Key::Tombstone(..),
            ..
        }
        | Op::Delete {
            key: Key::Tombstone(..),
        }
        | Op::DeleteEventsBefore { .. } => None,
        Op::Put { key, .. } | Op::Delete { key } => owner(key),
    })
}

fn owner(key: &Key) -> Option<Owner> {
    match key {
        Key::Workload(id)
        | Key::Assignment(id)
        | Key::Intent(id)
        | Key::Retry(id)
        | Key::Tombstone(_, id) => Some(Owner::Workload(id.clone())),
        Key::Node(id) => Some(Owner::Node(id.clone())),
        Key::Event(_) | Key::Meta(_) | Key::Leader(_) => None,
    }
}

/// What cannot be read is left alone, and what was known before counts on.
fn set<K: Ord + Clone, T: serde::de::DeserializeOwned>(
    map: &mut BTreeMap<K, Arc<T>>,
    key: &K,
    value: Option<&str>,
    last: &mut Last<K, T>,
) {
    match value.map(|text| last.read(key, text.as_bytes())) {
        Some(Ok(record)) => {
            map.insert(key.clone(), record);
        }
        None => {
            map.remove(key);
        }
        Some(Err(_)) => {}
    }
}
