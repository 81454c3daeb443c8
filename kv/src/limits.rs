//! Limits, and the checks that a request must pass before anything is looked at.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::KvError;
use crate::request::{PutRequest, Request, TxnOp, TxnRequest};
use crate::size::encoded_write_len;
use crate::types::{Key, KeyRange};

/// What etcd counts for the bookkeeping of one key when it charges the quota.
const KEY_OVERHEAD_BYTES: u64 = 256;
/// What etcd counts for a lease when it charges the quota.
const LEASE_OVERHEAD_BYTES: u64 = 64;

/// The bounds of the store; the defaults are those of etcd 3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Operations (and, counted apart, compares) in one transaction, over all its nesting.
    pub max_txn_ops: usize,
    /// Size of one write as etcd encodes it.
    pub max_request_bytes: usize,
    /// Size of the store beyond which puts are refused; `None`: no quota.
    pub quota_bytes: Option<u64>,
    /// Shorter times to live are raised to this.
    pub min_lease_ttl_s: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_txn_ops: 128,
            max_request_bytes: 1536 * 1024,
            quota_bytes: None,
            min_lease_ttl_s: 2,
        }
    }
}

impl Limits {
    /// Whether the request is well formed; nothing of the store is looked at.
    pub(crate) fn check_form(&self, request: &Request) -> Result<(), KvError> {
        match request {
            Request::Range(range) => check_key(range.range.start()),
            Request::Put(put) => check_put(put),
            Request::DeleteRange(delete) => check_key(delete.range.start()),
            Request::Txn(txn) => {
                check_txn(txn, self.max_txn_ops)?;
                overlaps(&txn.success)?;
                overlaps(&txn.failure)?;
                Ok(())
            }
            Request::Compact { .. }
            | Request::LeaseGrant { .. }
            | Request::LeaseRevoke { .. }
            | Request::LeaseKeepAlive { .. }
            | Request::LeaseTimeToLive { .. }
            | Request::LeaseList
            | Request::NoSpaceAlarm(_)
            | Request::Watch(_) => Ok(()),
        }
    }

    /// Whether the write fits into one entry of etcd's log.
    pub(crate) fn check_size(&self, request: &Request) -> Result<(), KvError> {
        match encoded_write_len(request) {
            Some(len) if len > self.max_request_bytes => Err(KvError::RequestTooLarge),
            Some(_) | None => Ok(()),
        }
    }
}

/// What the request is charged against the quota, in bytes; 0: it is never refused.
pub(crate) fn quota_cost(request: &Request) -> u64 {
    match request {
        Request::Put(put) => put_cost(put),
        Request::Txn(txn) => list_cost(&txn.success).max(list_cost(&txn.failure)),
        Request::LeaseGrant { .. } => LEASE_OVERHEAD_BYTES,
        Request::Range(_)
        | Request::DeleteRange(_)
        | Request::Compact { .. }
        | Request::LeaseRevoke { .. }
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseList
        | Request::NoSpaceAlarm(_)
        | Request::Watch(_) => 0,
    }
}

/// As in etcd, puts in nested transactions are not charged.
fn list_cost(ops: &[TxnOp]) -> u64 {
    ops.iter()
        .map(|op| match op {
            TxnOp::Put(put) => put_cost(put),
            TxnOp::Range(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) => 0,
        })
        .sum()
}

fn put_cost(put: &PutRequest) -> u64 {
    KEY_OVERHEAD_BYTES + put.key.len() as u64 + put.value.len() as u64
}

fn check_key(key: &Key) -> Result<(), KvError> {
    if key.is_empty() {
        Err(KvError::EmptyKey)
    } else {
        Ok(())
    }
}

fn check_put(put: &PutRequest) -> Result<(), KvError> {
    check_key(&put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(KvError::ValueProvided);
    }
    if put.ignore_lease && !put.lease.is_none() {
        return Err(KvError::LeaseProvided);
    }
    Ok(())
}

fn check_txn(txn: &TxnRequest, ops_left: usize) -> Result<(), KvError> {
    let used = txn
        .compare
        .len()
        .max(txn.success.len())
        .max(txn.failure.len());
    let Some(ops_left) = ops_left.checked_sub(used) else {
        return Err(KvError::TooManyOps);
    };
    for compare in &txn.compare {
        check_key(compare.range.start())?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Range(range) => check_key(range.range.start())?,
            TxnOp::Put(put) => check_put(put)?,
            TxnOp::DeleteRange(delete) => check_key(delete.range.start())?,
            TxnOp::Txn(nested) => check_txn(nested, ops_left)?,
        }
    }
    Ok(())
}

/// The keys that a list of operations may put, and the ranges that it may delete.
#[derive(Default)]
struct Touched<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<&'a KeyRange>,
}

impl Touched<'_> {
    /// etcd takes a delete "to the end of the key space" literally here, as a span that ends at
    /// the zero byte, and so never sees an overlap with it.
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|range| match range {
            KeyRange::Single(_) | KeyRange::Span { .. } => range.contains(key),
            KeyRange::From(_) => false,
        })
    }

    fn refuse_deleted(&self, key: &[u8]) -> Result<(), KvError> {
        if self.deletes(key) {
            Err(KvError::DuplicateKey)
        } else {
            Ok(())
        }
    }
}

/// Refuses operations of which two may change one key, the way etcd does: deletes first, then
/// nested transactions in order (whose two branches exclude each other), then puts.
fn overlaps(ops: &[TxnOp]) -> Result<Touched<'_>, KvError> {
    let mut touched = Touched::default();
    for op in ops {
        if let TxnOp::DeleteRange(delete) = op {
            touched.deletes.push(&delete.range);
        }
    }
    for op in ops {
        let TxnOp::Txn(nested) = op else { continue };
        let then = overlaps(&nested.success)?;
        let otherwise = overlaps(&nested.failure)?;
        for key in &then.puts {
            if touched.puts.contains(key) {
                return Err(KvError::DuplicateKey);
            }
            touched.refuse_deleted(key)?;
        }
        touched.puts.extend(&then.puts);
        for key in &otherwise.puts {
            if touched.puts.contains(key) && !then.puts.contains(key) {
                return Err(KvError::DuplicateKey);
            }
            touched.refuse_deleted(key)?;
        }
        touched.puts.extend(&otherwise.puts);
        touched.deletes.extend(then.deletes);
        touched.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        let TxnOp::Put(put) = op else { continue };
        touched.refuse_deleted(&put.key)?;
        if !touched.puts.insert(&put.key) {
            return Err(KvError::DuplicateKey);
        }
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::DeleteRequest;

    fn put(key: &'static str) -> TxnOp {
        TxnOp::Put(PutRequest::new(key, "v"))
    }

    fn delete(key: &'static str, end: &'static str) -> TxnOp {
        TxnOp::DeleteRange(DeleteRequest {
            range: KeyRange::from_wire(key, end),
            prev_kv: false,
        })
    }

    fn nested(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnOp {
        TxnOp::Txn(TxnRequest {
            compare: vec![],
            success,
            failure,
        })
    }

    #[test]
    fn a_key_may_not_be_changed_twice() {
        assert!(overlaps(&[put("a"), put("b")]).is_ok());
        assert!(overlaps(&[put("a"), put("a")]).is_err());
        assert!(overlaps(&[put("a"), delete("a", "")]).is_err());
        assert!(overlaps(&[delete("a", "c"), put("b")]).is_err());
        assert!(overlaps(&[delete("a", ""), delete("a", "c")]).is_ok());
    }

    #[test]
    fn branches_of_a_nested_transaction_exclude_each_other() {
        assert!(overlaps(&[nested(vec![put("a")], vec![put("a")])]).is_ok());
        assert!(overlaps(&[nested(vec![put("a")], vec![]), put("a")]).is_err());
        assert!(
            overlaps(&[
                nested(vec![put("a")], vec![]),
                nested(vec![], vec![put("a")])
            ])
            .is_err()
        );
    }

    #[test]
    fn quirks_of_etcd_are_kept() {
        // A delete to the end of the key space is not seen as an overlap,
        assert!(overlaps(&[delete("a", "\0"), put("b")]).is_ok());
        // nor is a nested delete that comes after a nested put.
        assert!(
            overlaps(&[
                nested(vec![put("a")], vec![]),
                nested(vec![delete("a", "")], vec![])
            ])
            .is_ok()
        );
        assert!(
            overlaps(&[
                nested(vec![delete("a", "")], vec![]),
                nested(vec![put("a")], vec![])
            ])
            .is_err()
        );
    }

    #[test]
    fn operations_are_counted_over_the_nesting() {
        let limits = Limits {
            max_txn_ops: 3,
            ..Limits::default()
        };
        let check = |txn: TxnRequest| limits.check_form(&Request::Txn(txn));
        let inner = nested(vec![put("c"), put("d")], vec![]);
        let fits = TxnRequest {
            success: vec![inner.clone()],
            ..TxnRequest::default()
        };
        assert_eq!(check(fits), Ok(()));
        let over = TxnRequest {
            success: vec![put("a"), inner],
            ..TxnRequest::default()
        };
        assert_eq!(check(over), Err(KvError::TooManyOps));
    }
}
