//! Transactions of the core as transactions of etcd, and what their answers mean.

use std::collections::BTreeMap;

use berth_core::io::{Fate, Op, Stored, Txn};
use berth_core::{Epoch, Key, StoreRevision};
use etcd_client::{
    Compare, CompareOp, DeleteOptions, KeyValue, Txn as EtcdTxn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::group::Pending;
use super::keys::Keys;

/// A group as one transaction: the fence, every compare, every operation; and should a compare
/// fail, reads of the fence and of everything compared, in the same transaction.
pub(crate) fn build(keys: &Keys, epoch: Epoch, group: &[Pending]) -> EtcdTxn {
    let mut compares = vec![fence(keys, epoch)];
    let mut reads = vec![TxnOp::get(keys.leader(), None)];
    let mut seen = BTreeMap::new();
    for (key, revision) in group.iter().flat_map(|pending| &pending.txn.compares) {
        let full = keys.full(key);
        let before = seen.insert(key, *revision);
        if before != Some(*revision) {
            compares.push(Compare::mod_revision(
                full.clone(),
                CompareOp::Equal,
                revision.0,
            ));
        }
        if before.is_none() {
            reads.push(TxnOp::get(full, None));
        }
    }
    let ops: Vec<TxnOp> = group
        .iter()
        .flat_map(|pending| &pending.txn.ops)
        .map(|op| operation(keys, op))
        .collect();
    EtcdTxn::new().when(compares).and_then(ops).or_else(reads)
}

/// True while the leadership key was created at `epoch`.
pub(crate) fn fence(keys: &Keys, epoch: Epoch) -> Compare {
    Compare::create_revision(keys.leader(), CompareOp::Equal, epoch.create_revision())
}

fn operation(keys: &Keys, op: &Op) -> TxnOp {
    match op {
        Op::Put { key, value } => TxnOp::put(keys.full(key), value.clone(), None),
        Op::Delete { key } => TxnOp::delete(keys.full(key), None),
        Op::DeleteEventsBefore { before } => {
            let (start, end) = keys.events_before(before);
            TxnOp::delete(start, Some(DeleteOptions::new().with_range(end)))
        }
    }
}

/// What an answer of the store says about a group.
#[derive(Debug)]
pub(crate) enum Answer {
    /// All of it was written at this revision.
    Committed(StoreRevision),
    /// Somebody else leads; nothing was written.
    Fenced,
    /// A compare failed; nothing was written. What is now, at this revision.
    Differs(StoreRevision, Vec<Stored>),
    /// It is not an answer to such a transaction.
    Nonsense,
}

/// Reads an answer.
pub(crate) fn read(keys: &Keys, epoch: Epoch, group: &[Pending], answer: &TxnResponse) -> Answer {
    let Some(revision) = answer
        .header()
        .map(|header| StoreRevision(header.revision()))
    else {
        return Answer::Nonsense;
    };
    if answer.succeeded() {
        return Answer::Committed(revision);
    }
    let mut found = answer
        .op_responses()
        .into_iter()
        .map(|response| match response {
            TxnOpResponse::Get(mut get) => Some(get.take_kvs().into_iter().next()),
            TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
        });
    let Some(Some(leader)) = found.next() else {
        return Answer::Nonsense;
    };
    if leader.map(|record| record.create_revision()) != Some(epoch.create_revision()) {
        return Answer::Fenced;
    }
    // The reads are in the order in which `build` met the keys for the first time.
    let mut current: BTreeMap<Key, Stored> = BTreeMap::new();
    for (key, _) in group.iter().flat_map(|pending| &pending.txn.compares) {
        if current.contains_key(key) {
            continue;
        }
        let Some(Some(record)) = found.next() else {
            return Answer::Nonsense;
        };
        current.insert(key.clone(), stored(keys, key, record));
    }
    Answer::Differs(revision, current.into_values().collect())
}

/// A record as the core knows it. A value that is not text reads as one that no record can be,
/// so that the core quarantines it.
pub(crate) fn stored(keys: &Keys, key: &Key, record: Option<KeyValue>) -> Stored {
    debug_assert!(
        record
            .as_ref()
            .is_none_or(|record| record.key() == keys.full(key).as_bytes()),
        "the store answered for another key"
    );
    let mod_revision = record.as_ref().map_or(0, KeyValue::mod_revision);
    Stored {
        key: key.clone(),
        value: record.map(|record| text_of(record.into_key_value().1).into()),
        mod_revision: StoreRevision(mod_revision),
    }
}

/// The value as text, lossy.
pub(crate) fn text_of(value: Vec<u8>) -> String {
    String::from_utf8(value)
        .unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into_owned())
}

/// The fate of one transaction of a group whose compares did not all hold: `None` when its own
/// did, so that it is to be tried again.
pub(crate) fn conflict(txn: &Txn, revision: StoreRevision, current: &[Stored]) -> Option<Fate> {
    let lookup = |key: &Key| {
        current
            .binary_search_by(|record| record.key.cmp(key))
            .ok()
            .map(|at| &current[at])
    };
    let holds = |(key, expected): &(Key, StoreRevision)| {
        lookup(key).is_some_and(|record| record.mod_revision == *expected)
    };
    if txn.compares.iter().all(holds) {
        return None;
    }
    let mut found: Vec<Stored> = txn
        .compares
        .iter()
        .filter_map(|(key, _)| lookup(key).cloned())
        .collect();
    found.dedup_by(|one, other| one.key == other.key);
    Some(Fate::Conflict {
        revision,
        current: found,
    })
}

#[cfg(test)]
mod tests {
    use berth_core::TxnId;

    use super::super::group::tests::workload;
    use super::*;

    fn record(name: &str, revision: i64) -> Stored {
        Stored {
            key: workload(name),
            value: (revision > 0).then(|| "{}".to_owned().into()),
            mod_revision: StoreRevision(revision),
        }
    }

    fn comparing(compares: &[(&str, i64)]) -> Txn {
        Txn {
            id: TxnId(1),
            epoch: Epoch(1),
            compares: compares
                .iter()
                .map(|(name, revision)| (workload(name), StoreRevision(*revision)))
                .collect(),
            ops: Vec::new(),
        }
    }

    #[test]
    fn a_conflict_is_only_of_those_whose_own_compares_fail() {
        let current = [record("a", 7), record("b", 0), record("c", 3)];
        let at = StoreRevision(9);
        assert_eq!(
            conflict(&comparing(&[("a", 7), ("b", 0)]), at, &current),
            None
        );
        assert_eq!(conflict(&comparing(&[]), at, &current), None);
        let fate = conflict(&comparing(&[("c", 2), ("b", 0)]), at, &current);
        let Some(Fate::Conflict { revision, current }) = fate else {
            panic!("no conflict: {fate:?}");
        };
        assert_eq!(revision, at);
        assert_eq!(current, [record("c", 3), record("b", 0)]);
    }
}
