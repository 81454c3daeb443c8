//! Transactions: written, late, in conflict, or of a fate that nobody learns.

use berth_core::io::{Fate, Op, Stored, Txn};
use berth_core::{Epoch, Input, Key, NodeId, StoreRevision, TxnId, WorkloadId};

use super::{Held, System};
use crate::agent::workload_of;
use crate::assertions::Before;
use crate::transition::CommitFate;

impl System {
    pub(super) fn commit(&mut self, txn: Txn) {
        assert_eq!(txn.epoch, Epoch(self.epoch), "a former leader commits");
        let unsure = self.unsure_nodes();
        let before = self.watch.decided(&self.store, &txn, &unsure);
        let id = txn.id;
        match self.next_commits.pop_front() {
            None => {
                let fate = self.write_or_conflict(&txn, &before);
                self.fate(id, fate);
            }
            Some(CommitFate::Late) => self.held.push_back(Held::Commit {
                txn,
                before,
                given_up: None,
            }),
            Some(CommitFate::LateAnswer) => {
                let fate = self.write_or_conflict(&txn, &before);
                self.changed(&txn);
                self.held.push_back(Held::Fate { txn, fate });
            }
            Some(CommitFate::UnknownWritten) => {
                self.write(&txn, &before);
                self.fate(id, Fate::Unknown);
            }
            Some(CommitFate::UnknownLost) => self.fate(id, Fate::Unknown),
            Some(CommitFate::UnknownLate) => {
                self.fate(id, Fate::Unknown);
                let given_up = Some(self.now);
                self.held.push_back(Held::Commit {
                    txn,
                    before,
                    given_up,
                });
            }
            Some(CommitFate::Conflict) => {
                let mut keys = txn.compares.iter().map(|(key, _)| key);
                let existing = keys.find(|key| self.store.contains_key(key));
                if let Some(key) = existing {
                    self.revision += 1;
                    self.store.get_mut(key).expect("it is there").1 = self.revision;
                }
                let fate = self.write_or_conflict(&txn, &before);
                self.fate(id, fate);
            }
        }
    }

    pub(super) fn fate(&mut self, txn: TxnId, fate: Fate) {
        self.inputs.push_back(Input::Commit { txn, fate });
    }

    /// What the store's watch says of a transaction.
    pub(super) fn changed(&mut self, txn: &Txn) {
        let keys: Vec<Key> = txn
            .ops
            .iter()
            .filter_map(|op| match op {
                Op::Put { key, .. } | Op::Delete { key } => Some(key.clone()),
                Op::DeleteEventsBefore { .. } => None,
            })
            .collect();
        let records = self.get(&keys);
        let revision = StoreRevision(self.revision);
        self.inputs.push_back(Input::Changed { revision, records });
    }

    pub(super) fn write_or_conflict(&mut self, txn: &Txn, before: &Before) -> Fate {
        if self.write(txn, before) {
            return Fate::Committed(StoreRevision(self.revision));
        }
        let keys: Vec<Key> = txn.compares.iter().map(|(key, _)| key.clone()).collect();
        Fate::Conflict {
            revision: StoreRevision(self.revision),
            current: self.get(&keys),
        }
    }

    pub(super) fn write(&mut self, txn: &Txn, before: &Before) -> bool {
        let holds = |(key, at): &(Key, StoreRevision)| {
            self.store.get(key).map_or(0, |(_, revision)| *revision) == at.0
        };
        if !txn.compares.iter().all(holds) {
            return false;
        }
        let was = self.store.clone();
        self.revision += 1;
        for op in &txn.ops {
            match op {
                Op::Put { key, value } => {
                    let stored = (value.clone(), self.revision);
                    self.store.insert(key.clone(), stored);
                }
                Op::Delete { key } => {
                    self.store.remove(key);
                }
                Op::DeleteEventsBefore { before } => {
                    self.store
                        .retain(|key, _| !matches!(key, Key::Event(id) if id < before));
                }
            }
        }
        self.watch
            .committed(&was, &self.store, txn, before, &self.agents);
        true
    }

    pub(super) fn get(&self, keys: &[Key]) -> Vec<Stored> {
        let one = |key: &Key| {
            let stored = self.store.get(key);
            Stored {
                key: key.clone(),
                value: stored.map(|(value, _)| value.clone().into()),
                mod_revision: StoreRevision(stored.map_or(0, |(_, at)| *at)),
            }
        };
        keys.iter().map(one).collect()
    }

    /// Nodes whose record in the store may be another one than the core knows.
    pub(super) fn unsure_nodes(&self) -> Vec<NodeId> {
        let written = self.held.iter().filter_map(|held| match held {
            Held::Fate { txn, .. } => Some(txn),
            Held::Commit { .. } | Held::Call { .. } | Held::Answer { .. } => None,
        });
        let keys = written.flat_map(|txn| txn.compares.iter().map(|(key, _)| key));
        keys.filter_map(|key| match key {
            Key::Node(id) => Some(id.clone()),
            _ => None,
        })
        .collect()
    }

    /// Whether the store may know more of a workload than the core does.
    pub(super) fn is_unsure(&self, id: &WorkloadId) -> bool {
        self.held.iter().any(|held| match held {
            Held::Fate { txn, .. } => txn.ops.iter().any(|op| workload_of(op) == Some(id)),
            Held::Commit { .. } | Held::Call { .. } | Held::Answer { .. } => false,
        })
    }
}
