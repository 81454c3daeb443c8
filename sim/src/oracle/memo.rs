//! What the oracle reads of the store is the same text again and again: in a transaction on its way,
//! in its commit, in what other schedulers are told of it, and in every snapshot until it is
//! written anew. Each text is decoded once, and what it says is shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_core::model::node::NodeRecord;
use berth_core::model::workload::{AssignmentRecord, WorkloadRecord};
use berth_core::{NodeId, WorkloadId};
use serde::de::DeserializeOwned;

/// The last text of each record that is written often, decoded.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(crate) workloads: Last<WorkloadId, WorkloadRecord>,
    pub(crate) assignments: Last<WorkloadId, AssignmentRecord>,
    pub(crate) nodes: Last<NodeId, NodeRecord>,
}

impl Memo {
    /// How many records are kept.
    pub(crate) fn size(&self) -> usize {
        self.workloads.of.len() + self.assignments.of.len() + self.nodes.of.len()
    }
}

/// The last text of each key of one kind.
#[derive(Debug)]
pub(crate) struct Last<K, T> {
    of: BTreeMap<K, (Box<[u8]>, Arc<T>)>,
}

impl<K, T> Default for Last<K, T> {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, T: DeserializeOwned> Last<K, T> {
    /// What a text says. Only the very same text is not decoded again.
    pub(crate) fn read(&mut self, key: &K, text: &[u8]) -> serde_json::Result<Arc<T>> {
        if let Some((last, record)) = self.of.get(key)
            && **last == *text
        {
            return Ok(record.clone());
        }
        let record: Arc<T> = serde_json::from_slice(text).map(Arc::new)?;
        self.of.insert(key.clone(), (text.into(), record.clone()));
        Ok(record)
    }

    /// The record is gone: its text does not come again.
    pub(crate) fn forget(&mut self, key: &K) {
        self.of.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_decoded_once_and_another_anew() {
        let mut last: Last<u8, String> = Last::default();
        let first = last.read(&1, b"\"a\"").unwrap();
        assert!(Arc::ptr_eq(&first, &last.read(&1, b"\"a\"").unwrap()));
        assert_eq!(*last.read(&2, b"\"b\"").unwrap(), "b");
        assert!(last.read(&1, b"what is this").is_err());
        assert_eq!(*last.read(&1, b"\"c\"").unwrap(), "c");
        assert_eq!(*last.read(&1, b"\"a\"").unwrap(), "a");
        last.forget(&1);
        last.forget(&2);
        assert!(last.of.is_empty());
    }
}
