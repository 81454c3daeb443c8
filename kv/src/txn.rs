//! Writes: puts, deletions and transactions, all at one new revision.

use crate::error::KvError;
use crate::index::{Change, Index};
use crate::lease::Leases;
use crate::range::View;
use crate::request::{
    Compare, CompareOp, CompareTarget, DeleteRequest, PutRequest, TxnOp, TxnRequest,
};
use crate::response::{DeleteResponse, PutResponse, TxnOpResponse, TxnResponse};
use crate::types::{Key, KeyValue, LeaseId, Revision};

/// An open write transaction. What it changes becomes the revision after `begin`.
pub(crate) struct Writer<'a> {
    index: &'a mut Index,
    leases: &'a mut Leases,
    begin: Revision,
    compacted: Revision,
    changes: u32,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        index: &'a mut Index,
        leases: &'a mut Leases,
        begin: Revision,
        compacted: Revision,
    ) -> Self {
        Writer {
            index,
            leases,
            begin,
            compacted,
            changes: 0,
        }
    }

    /// How many keys were changed so far.
    pub(crate) fn changes(&self) -> u32 {
        self.changes
    }

    /// The newest revision that the transaction itself can see.
    fn visible(&self) -> Revision {
        if self.changes == 0 {
            self.begin
        } else {
            self.begin + 1
        }
    }

    fn view(&self) -> View<'_> {
        View {
            index: self.index,
            current: self.visible(),
            compacted: self.compacted,
        }
    }

    fn next_change(&mut self) -> Change {
        let change = Change {
            main: self.begin + 1,
            sub: self.changes,
        };
        self.changes += 1;
        change
    }

    /// A put outside a transaction.
    pub(crate) fn put_checked(&mut self, put: PutRequest) -> Result<PutResponse, KvError> {
        if !put.lease.is_none() && !self.leases.contains(put.lease) {
            return Err(KvError::LeaseNotFound);
        }
        let needs_previous = put.ignore_value || put.ignore_lease;
        if needs_previous && self.index.get(&put.key, self.begin).is_none() {
            return Err(KvError::KeyNotFound);
        }
        Ok(self.put(put))
    }

    /// A put of which the lease and, if needed, the previous version were found to exist.
    fn put(&mut self, put: PutRequest) -> PutResponse {
        let previous = self.index.get(&put.key, self.visible()).cloned();
        let (mut value, mut lease) = (put.value, put.lease);
        if let Some(previous) = &previous {
            if put.ignore_value {
                value = previous.value.clone();
            }
            if put.ignore_lease {
                lease = previous.lease;
            }
        }
        let at = self.next_change();
        let (create_revision, version, old_lease) = match &previous {
            Some(kv) => (kv.create_revision, kv.version + 1, kv.lease),
            None => (at.main, 1, LeaseId::NONE),
        };
        self.leases.detach(old_lease, &put.key);
        self.leases.attach(lease, put.key.clone());
        let key = put.key;
        let kv = KeyValue {
            key,
            value,
            create_revision,
            mod_revision: at.main,
            version,
            lease,
        };
        self.index.put(at, kv);
        PutResponse {
            revision: at.main,
            prev_kv: previous.filter(|_| put.prev_kv),
        }
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRequest) -> DeleteResponse {
        let visible = self.visible();
        let gone: Vec<KeyValue> = self.index.range(&delete.range, visible).cloned().collect();
        for kv in &gone {
            self.delete_existing(kv);
        }
        DeleteResponse {
            revision: self.visible(),
            deleted: gone.len() as i64,
            prev_kvs: if delete.prev_kv { gone } else { Vec::new() },
        }
    }

    /// Deletes these keys, those that exist, in the order given.
    pub(crate) fn delete_keys(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(kv) = self.index.get(key, self.visible()).cloned() {
                self.delete_existing(&kv);
            }
        }
    }

    fn delete_existing(&mut self, kv: &KeyValue) {
        let at = self.next_change();
        self.leases.detach(kv.lease, &kv.key);
        self.index.delete(at, kv.key.clone());
    }

    /// Runs a transaction whose form was checked. All compares, nested ones too, look at the
    /// state before it; then everything that could fail is checked; then it is done.
    pub(crate) fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, KvError> {
        let plan = Plan::choose(&self.view(), txn);
        let read_only = txn.success.iter().chain(&txn.failure).all(is_range);
        if !read_only {
            plan.check_puts(&self.view(), self.leases)?;
        }
        plan.check_ranges(&self.view())?;
        let mut response = self.run(plan)?;
        response.revision = self.visible();
        Ok(response)
    }

    fn run(&mut self, plan: Plan<'_>) -> Result<TxnResponse, KvError> {
        let mut nested = plan.nested.into_iter();
        let mut responses = Vec::with_capacity(plan.ops.len());
        for op in plan.ops {
            responses.push(match op {
                TxnOp::Range(range) => TxnOpResponse::Range(self.view().range(range)?),
                TxnOp::Put(put) => TxnOpResponse::Put(self.put(put.clone())),
                TxnOp::DeleteRange(delete) => TxnOpResponse::DeleteRange(self.delete_range(delete)),
                TxnOp::Txn(_) => {
                    let inner = nested
                        .next()
                        .expect("a plan has one part per nested transaction");
                    TxnOpResponse::Txn(self.run(inner)?)
                }
            });
        }
        Ok(TxnResponse {
            revision: 0,
            succeeded: plan.succeeded,
            responses,
        })
    }
}

fn is_range(op: &TxnOp) -> bool {
    match op {
        TxnOp::Range(_) => true,
        TxnOp::Put(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) => false,
    }
}

/// Which branch every transaction in the tree takes.
struct Plan<'a> {
    succeeded: bool,
    ops: &'a [TxnOp],
    nested: Vec<Plan<'a>>,
}

impl<'a> Plan<'a> {
    fn choose(view: &View<'_>, txn: &'a TxnRequest) -> Self {
        let succeeded = txn.compare.iter().all(|compare| holds(view, compare));
        let ops = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let nested = ops.iter().filter_map(|op| match op {
            TxnOp::Txn(inner) => Some(Plan::choose(view, inner)),
            TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::DeleteRange(_) => None,
        });
        Plan {
            succeeded,
            ops,
            nested: nested.collect(),
        }
    }

    fn check_puts(&self, view: &View<'_>, leases: &Leases) -> Result<(), KvError> {
        self.check(&mut |op| {
            let TxnOp::Put(put) = op else { return Ok(()) };
            let needs_previous = put.ignore_value || put.ignore_lease;
            if needs_previous && view.index.get(&put.key, view.current).is_none() {
                return Err(KvError::KeyNotFound);
            }
            if !put.lease.is_none() && !leases.contains(put.lease) {
                return Err(KvError::LeaseNotFound);
            }
            Ok(())
        })
    }

    fn check_ranges(&self, view: &View<'_>) -> Result<(), KvError> {
        self.check(&mut |op| match op {
            TxnOp::Range(range) if range.revision == 0 => Ok(()),
            TxnOp::Range(range) if range.revision > view.current => Err(KvError::FutureRevision),
            TxnOp::Range(range) if range.revision < view.compacted => Err(KvError::Compacted),
            TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) => Ok(()),
        })
    }

    /// Visits the chosen operations in their order, into nested transactions.
    fn check(&self, visit: &mut impl FnMut(&TxnOp) -> Result<(), KvError>) -> Result<(), KvError> {
        let mut nested = self.nested.iter();
        for op in self.ops {
            match op {
                TxnOp::Txn(_) => {
                    let inner = nested
                        .next()
                        .expect("a plan has one part per nested transaction");
                    inner.check(visit)?;
                }
                TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::DeleteRange(_) => visit(op)?,
            }
        }
        Ok(())
    }
}

fn holds(view: &View<'_>, compare: &Compare) -> bool {
    let mut found = view.index.range(&compare.range, view.current).peekable();
    if found.peek().is_none() {
        return match compare.target {
            CompareTarget::Value(_) => false,
            CompareTarget::Version(_)
            | CompareTarget::Create(_)
            | CompareTarget::Mod(_)
            | CompareTarget::Lease(_) => holds_for(&KeyValue::default(), compare),
        };
    }
    found.all(|kv| holds_for(kv, compare))
}

fn holds_for(kv: &KeyValue, compare: &Compare) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(version) => kv.version.cmp(version),
        CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
        CompareTarget::Value(value) => kv.value.cmp(value),
        CompareTarget::Lease(lease) => kv.lease.cmp(lease),
    };
    match compare.op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => ordering.is_ne(),
        CompareOp::Greater => ordering.is_gt(),
        CompareOp::Less => ordering.is_lt(),
    }
}
