//! Which transactions of the core share one transaction of the store.
//!
//! Compares are judged before any operation of a group is carried out, so two members may compare
//! the same key, but none may write what another writes or compares.

use std::collections::{BTreeSet, VecDeque};

use berth_core::Key;
use berth_core::io::{Op, Txn};
use tokio::time::Instant;

use crate::config::GroupLimits;

/// A transaction that waits for its fate.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) txn: Txn,
    /// When the core asked for it.
    pub(crate) since: Instant,
    /// The store refused a group with it: it goes alone from now on.
    pub(crate) alone: bool,
}

impl Pending {
    pub(crate) fn new(txn: Txn) -> Self {
        Self {
            txn,
            since: Instant::now(),
            alone: false,
        }
    }

    /// About what it takes in a request.
    fn bytes(&self) -> usize {
        /// The key and the framing of an operation or a compare, roughly.
        const EACH: usize = 96;
        let values = |op: &Op| match op {
            Op::Put { value, .. } => value.len() + EACH,
            Op::Delete { .. } | Op::DeleteEventsBefore { .. } => EACH,
        };
        self.txn.ops.iter().map(values).sum::<usize>() + self.txn.compares.len() * EACH
    }

    /// A range may cover what others write, which etcd refuses.
    fn has_range(&self) -> bool {
        let is_range = |op: &Op| matches!(op, Op::DeleteEventsBefore { .. });
        self.txn.ops.iter().any(is_range)
    }

    fn written(&self) -> impl Iterator<Item = &Key> {
        self.txn.ops.iter().filter_map(|op| match op {
            Op::Put { key, .. } | Op::Delete { key } => Some(key),
            Op::DeleteEventsBefore { .. } => None,
        })
    }
}

/// What a group holds so far.
#[derive(Debug, Default)]
struct Content<'a> {
    ops: usize,
    bytes: usize,
    written: BTreeSet<&'a Key>,
    compared: BTreeSet<&'a Key>,
}

impl<'a> Content<'a> {
    /// Takes one more, if it fits. The first always does.
    fn take(&mut self, next: &'a Pending, limits: &GroupLimits) -> bool {
        let is_first = self.ops == 0 && self.compared.is_empty();
        let compares = || next.txn.compares.iter().map(|(key, _)| key);
        let (ops, bytes) = (self.ops + next.txn.ops.len(), self.bytes + next.bytes());
        let new_compares = compares()
            .filter(|key| !self.compared.contains(key))
            .count();
        let too_much = ops > limits.ops_max
            || bytes > limits.bytes_max
            || self.compared.len() + new_compares > limits.compares_max;
        let overlaps = || {
            let clash = |key: &Key| self.written.contains(key) || self.compared.contains(key);
            next.written().any(clash) || compares().any(|key| self.written.contains(key))
        };
        if !is_first && (too_much || next.alone || next.has_range() || overlaps()) {
            return false;
        }
        self.ops = ops;
        self.bytes = bytes;
        self.written.extend(next.written());
        self.compared.extend(compares());
        true
    }
}

/// Takes the next group from the front of the queue, in order: as many as fit together.
pub(crate) fn take_group(queue: &mut VecDeque<Pending>, limits: &GroupLimits) -> Vec<Pending> {
    let mut content = Content::default();
    let mut count = 0;
    for next in queue.iter() {
        if !content.take(next, limits) {
            break;
        }
        count += 1;
        if next.alone || next.has_range() {
            break;
        }
    }
    queue.drain(..count).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use berth_core::{Epoch, EventId, StoreRevision, TxnId};

    use super::*;

    pub(crate) fn workload(name: &str) -> Key {
        Key::Workload(name.parse().unwrap())
    }

    fn pending(compares: &[&str], puts: &[&str]) -> Pending {
        Pending::new(Txn {
            id: TxnId(1),
            epoch: Epoch(1),
            compares: compares
                .iter()
                .map(|name| (workload(name), StoreRevision(0)))
                .collect(),
            ops: puts
                .iter()
                .map(|name| Op::Put {
                    key: workload(name),
                    value: "{}".into(),
                })
                .collect(),
        })
    }

    fn sizes(queue: Vec<Pending>, limits: GroupLimits) -> Vec<usize> {
        let mut queue = VecDeque::from(queue);
        let mut sizes = Vec::new();
        while !queue.is_empty() {
            sizes.push(take_group(&mut queue, &limits).len());
        }
        sizes
    }

    #[test]
    fn independent_ones_share_a_group() {
        let queue = vec![
            pending(&["a"], &["a"]),
            pending(&["b", "n"], &["b"]),
            pending(&["n"], &[]),
        ];
        assert_eq!(sizes(queue, GroupLimits::default()), [3]);
    }

    #[test]
    fn none_writes_what_another_writes_or_compares() {
        let limits = GroupLimits::default();
        assert_eq!(
            sizes(vec![pending(&[], &["a"]), pending(&[], &["a"])], limits),
            [1, 1]
        );
        assert_eq!(
            sizes(vec![pending(&["a"], &[]), pending(&[], &["a"])], limits),
            [1, 1]
        );
        assert_eq!(
            sizes(vec![pending(&[], &["a"]), pending(&["a"], &[])], limits),
            [1, 1]
        );
    }

    #[test]
    fn limits_hold_and_one_that_is_too_large_still_goes() {
        let limits = GroupLimits {
            ops_max: 2,
            compares_max: 2,
            bytes_max: 100_000,
        };
        let names = ["a", "b", "c", "d", "e"];
        let puts = names.map(|name| pending(&[], &[name])).to_vec();
        assert_eq!(sizes(puts, limits), [2, 2, 1]);
        let compares = names.map(|name| pending(&[name], &[])).to_vec();
        assert_eq!(sizes(compares, limits), [2, 2, 1]);
        let large = vec![pending(&[], &["a", "b", "c"]), pending(&[], &["d"])];
        assert_eq!(sizes(large, limits), [1, 1]);
        let narrow = GroupLimits {
            bytes_max: 150,
            ..limits
        };
        assert_eq!(
            sizes(vec![pending(&[], &["a"]), pending(&[], &["b"])], narrow),
            [1, 1]
        );
    }

    #[test]
    fn ranges_and_the_refused_go_alone() {
        let mut range = pending(&[], &[]);
        range.txn.ops.push(Op::DeleteEventsBefore {
            before: EventId::from_text("5"),
        });
        let mut alone = pending(&[], &["b"]);
        alone.alone = true;
        let queue = vec![
            pending(&[], &["a"]),
            range.clone(),
            alone.clone(),
            pending(&[], &["c"]),
            pending(&[], &["d"]),
        ];
        assert_eq!(sizes(queue, GroupLimits::default()), [1, 1, 1, 2]);
    }
}
