//! The store as one scheduler knows it: what it was told, and what it has written without knowing
//! yet what became of it. Kept by other code than the scheduler's own image.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::io::{Fate, Input, Op, Stored, Txn};
use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::units::Resources;
use berth_core::model::workload::{AssignmentRecord, TombstoneRecord, WorkloadRecord};
use berth_core::{EventRecord, Key, NodeId, StoreRevision, TxnId, WorkloadId};

/// One transaction on its way.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) txn: Txn,
    /// The records that it writes of workloads and their homes, and of nodes; `None`: removed.
    pub(crate) nodes: BTreeMap<NodeId, Option<NodeRecord>>,
    pub(crate) workloads: BTreeMap<WorkloadId, WorkloadRecord>,
    pub(crate) homes: BTreeMap<WorkloadId, Option<AssignmentRecord>>,
}

/// What one scheduler knows.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) nodes: BTreeMap<NodeId, NodeRecord>,
    pub(crate) workloads: BTreeMap<WorkloadId, WorkloadRecord>,
    pub(crate) assignments: BTreeMap<WorkloadId, AssignmentRecord>,
    pub(crate) tombstones: BTreeMap<(NodeId, WorkloadId), TombstoneRecord>,
    /// The revision that each key was last written or removed at.
    known: BTreeMap<Key, StoreRevision>,
    pub(crate) flights: BTreeMap<TxnId, Flight>,
    missed: Vec<Stored>,
    /// Homes that transactions of unknown fate may still give to workloads: they were not there
    /// when they were read back, and no other transaction has taken their place.
    ghosts: BTreeMap<WorkloadId, Vec<Ghost>>,
}

/// What a workload may still take somewhere.
#[derive(Debug)]
struct Ghost {
    node: NodeId,
    resources: Resources,
    group: Option<String>,
}

impl View {
    /// Something that the scheduler is told.
    /// Answers whether a commit of unknown fate turned out to be there.
    pub(crate) fn told(&mut self, input: &Input) -> Option<bool> {
        match input {
            Input::Lead { snapshot, .. } | Input::Follow { snapshot } => {
                *self = Self::default();
                snapshot.records.iter().for_each(|stored| self.take(stored));
            }
            Input::Deposed { .. } => {
                self.flights.clear();
                self.missed.clear();
            }
            Input::Commit { txn, fate } => self.fate(*txn, fate),
            Input::ReadBack { txn, records, .. } => return self.read_back(*txn, records),
            Input::Changed { records, .. } => {
                records.iter().for_each(|stored| self.changed(stored));
            }
            Input::Request { .. } | Input::Agent { .. } | Input::Wake => {}
        }
        None
    }

    fn fate(&mut self, txn: TxnId, fate: &Fate) {
        match fate {
            Fate::Committed(at) => {
                if let Some(flight) = self.flights.remove(&txn) {
                    self.land(&flight.txn.ops, *at);
                }
                self.catch_up();
            }
            Fate::Conflict { current, .. } => {
                if let Some(flight) = self.flights.remove(&txn) {
                    for id in flight.workloads.keys().chain(flight.homes.keys()) {
                        self.ghosts.remove(id);
                    }
                }
                current.iter().for_each(|stored| self.take_news(stored));
                self.catch_up();
            }
            Fate::Refused(_) => {
                self.flights.remove(&txn);
                self.catch_up();
            }
            Fate::Unknown => {
                let events_only = self.flights.get(&txn).is_some_and(|flight| {
                    flight.txn.ops.iter().all(|op| match op {
                        Op::Put { key, .. } | Op::Delete { key } => matches!(key, Key::Event(_)),
                        Op::DeleteEventsBefore { .. } => true,
                    })
                });
                if events_only {
                    self.flights.remove(&txn);
                }
            }
        }
    }

    fn read_back(&mut self, txn: TxnId, records: &[Stored]) -> Option<bool> {
        let flight = self.flights.remove(&txn)?;
        let holds = |key: &Key, value: Option<&String>| {
            records
                .iter()
                .any(|stored| stored.key == *key && stored.value.as_ref() == value)
        };
        let done = flight.txn.ops.iter().all(|op| match op {
            Op::Put {
                key: Key::Event(_), ..
            }
            | Op::DeleteEventsBefore { .. } => true,
            Op::Put { key, value } => holds(key, Some(value)),
            Op::Delete { key } => holds(key, None),
        });
        let at = records.iter().map(|stored| stored.mod_revision).max();
        if let (true, Some(at)) = (done, at) {
            self.land(&flight.txn.ops, at);
        } else {
            self.leave_ghosts(&flight);
            records.iter().for_each(|stored| self.take_news(stored));
        }
        self.catch_up();
        Some(done)
    }

    fn leave_ghosts(&mut self, flight: &Flight) {
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
            });
            self.ghosts.entry(id.clone()).or_default().extend(ghost);
        }
    }

    /// What a transaction wrote is there.
    fn land(&mut self, ops: &[Op], at: StoreRevision) {
        for op in ops {
            let (key, value) = match op {
                Op::Put { key, value } => (key.clone(), Some(value.clone())),
                Op::Delete { key } => (key.clone(), None),
                Op::DeleteEventsBefore { .. } => continue,
            };
            self.take(&Stored {
                key,
                value,
                mod_revision: at,
            });
        }
    }

    fn changed(&mut self, stored: &Stored) {
        if self.is_in_flight(&stored.key) {
            self.missed.push(stored.clone());
        } else {
            self.take_news(stored);
        }
    }

    fn catch_up(&mut self) {
        for stored in std::mem::take(&mut self.missed) {
            self.changed(&stored);
        }
    }

    /// A decision about the same workload or node is on its way.
    fn is_in_flight(&self, key: &Key) -> bool {
        let same = |other: &Key| match (owner(key), owner(other)) {
            (Some(a), Some(b)) => a == b,
            (Some(_) | None, _) => false,
        };
        let keys = self.flights.values().flat_map(|flight| &flight.txn.ops);
        keys.filter_map(|op| match op {
            // A tombstone alone is no decision about its workload.
            Op::Put {
                key: Key::Tombstone(..),
                ..
            }
            | Op::Delete {
                key: Key::Tombstone(..),
            } => None,
            Op::Put { key, .. } | Op::Delete { key } => Some(key),
            Op::DeleteEventsBefore { .. } => None,
        })
        .any(same)
    }

    fn take_news(&mut self, stored: &Stored) {
        let known = self.known.get(&stored.key).copied().unwrap_or_default();
        if stored.mod_revision > known || stored.mod_revision == StoreRevision(0) {
            self.take(stored);
        }
    }

    fn take(&mut self, stored: &Stored) {
        if matches!(stored.key, Key::Event(_)) {
            return;
        }
        self.known.insert(stored.key.clone(), stored.mod_revision);
        if let Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) =
            &stored.key
        {
            self.ghosts.remove(id);
        }
        let value = stored.value.as_deref();
        match &stored.key {
            Key::Node(id) => set(&mut self.nodes, id.clone(), value),
            Key::Workload(id) => set(&mut self.workloads, id.clone(), value),
            Key::Assignment(id) => set(&mut self.assignments, id.clone(), value),
            Key::Tombstone(node, id) => {
                set(&mut self.tombstones, (node.clone(), id.clone()), value);
            }
            Key::Intent(_) | Key::Retry(_) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => {}
        }
    }

    /// The scheduler asks for a commit.
    pub(crate) fn asks(&mut self, flight: Flight) {
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
            Some((id, record, home.map(|home| &home.node_id)))
        })
    }

    /// Whether a change of the node that is on its way leaves it open to new work: what it takes
    /// away counts already, what it gives does not yet.
    pub(crate) fn stays_open(&self, node: &NodeRecord) -> bool {
        let mut next = self
            .flights
            .values()
            .filter_map(|flight| flight.nodes.get(&node.id));
        next.all(|next| {
            next.as_ref().is_some_and(|next| {
                let (had, has) = (&node.resources, &next.resources);
                let less_disk = match (had.disk_total, has.disk_total) {
                    (Some(had), Some(has)) => has < had,
                    (None, Some(_)) => true,
                    (Some(_) | None, None) => false,
                };
                next.status == NodeStatus::Ready
                    && next.schedulable
                    && has.cpu_total >= had.cpu_total
                    && has.memory_total >= had.memory_total
                    && !less_disk
                    && next.labels == node.labels
                    && next.supported_workload_types == node.supported_workload_types
                    && next.supported_storage_drivers == node.supported_storage_drivers
            })
        })
    }

    /// What everybody but `except` takes on a node, or may take, each counted once by its largest
    /// share, with the anti-affinity groups of those.
    pub(crate) fn taken(&self, node: &NodeId, except: &WorkloadId) -> (Resources, Vec<String>) {
        let mut shares: BTreeMap<&WorkloadId, Resources> = BTreeMap::new();
        let mut groups = Vec::new();
        let mut share = |id, asked: Resources| {
            let most: &mut Resources = shares.entry(id).or_default();
            most.cpu = most.cpu.max(asked.cpu);
            most.memory_mb = most.memory_mb.max(asked.memory_mb);
            most.disk_gb = most.disk_gb.max(asked.disk_gb);
        };
        let group = |record: Option<&WorkloadRecord>| {
            record.and_then(|record| record.constraints.anti_affinity.clone())
        };
        for (id, home) in self.assignments.iter().filter(|(id, _)| *id != except) {
            if home.node_id == *node {
                share(id, home.resources);
                groups.extend(group(self.workloads.get(id)));
            }
        }
        for flight in self.flights.values() {
            let touched = flight.workloads.keys().chain(flight.homes.keys());
            for id in touched.filter(|id| *id != except) {
                let home = match flight.homes.get(id) {
                    Some(home) => home.as_ref(),
                    None => self.assignments.get(id),
                };
                if let Some(home) = home.filter(|home| home.node_id == *node) {
                    share(id, home.resources);
                    groups.extend(group(flight.workloads.get(id).or(self.workloads.get(id))));
                }
            }
        }
        for (id, ghosts) in self.ghosts.iter().filter(|(id, _)| *id != except) {
            for ghost in ghosts.iter().filter(|ghost| ghost.node == *node) {
                share(id, ghost.resources);
                groups.extend(ghost.group.clone());
            }
        }
        for ((at, id), tombstone) in &self.tombstones {
            if at == node && id != except {
                share(id, tombstone.resources);
            }
        }
        (
            shares
                .into_values()
                .fold(Resources::default(), |sum, share| sum + share),
            groups,
        )
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

/// Whose decisions are one after another.
fn owner(key: &Key) -> Option<(&str, &str)> {
    match key {
        Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) => {
            Some(("workload", id.as_str()))
        }
        Key::Tombstone(_, id) => Some(("workload", id.as_str())),
        Key::Node(id) => Some(("node", id.as_str())),
        Key::Event(_) | Key::Meta(_) | Key::Leader(_) => None,
    }
}

fn set<K: Ord, T: serde::de::DeserializeOwned>(
    map: &mut BTreeMap<K, T>,
    key: K,
    value: Option<&str>,
) {
    match value.map(serde_json::from_str) {
        Some(Ok(record)) => {
            map.insert(key, record);
        }
        // What cannot be read is left alone, and what was known before counts on.
        Some(Err(_)) => {}
        None => {
            map.remove(&key);
        }
    }
}
