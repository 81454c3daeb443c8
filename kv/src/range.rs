//! Reads: one revision, then filters, order and limit, in the sequence that etcd has.

use std::cmp::Ordering;

use crate::error::KvError;
use crate::index::Index;
use crate::request::{RangeRequest, RevisionFilter, SortOrder, SortTarget};
use crate::response::RangeResponse;
use crate::types::{KeyValue, Revision, Value};

/// What a read may see.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) index: &'a Index,
    /// The newest revision that is visible (within a transaction: its own, once it changed
    /// something).
    pub(crate) current: Revision,
    pub(crate) compacted: Revision,
}

impl View<'_> {
    /// Serves a range request.
    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        let revision = self.readable(request.revision)?;
        let found = self.index.range(&request.range, revision);
        if request.count_only {
            return Ok(self.answer(Vec::new(), false, found.count()));
        }
        // Without order and filters etcd reads one record more than the limit, to know whether
        // there are more; the sort by a target alone happens after that cut.
        let cut = match (
            request.sort_order,
            request.filter == RevisionFilter::default(),
        ) {
            (SortOrder::None, true) if request.limit > 0 => request.limit.saturating_add(1),
            (SortOrder::None | SortOrder::Ascend | SortOrder::Descend, _) => i64::MAX,
        };
        let mut kvs = Vec::new();
        let mut count = 0;
        for kv in found {
            if (count as i64) < cut && passes(&request.filter, kv) {
                kvs.push(kv.clone());
            }
            count += 1;
        }
        sort(&mut kvs, request.sort_order, request.sort_target);
        let more = request.limit > 0 && kvs.len() as i64 > request.limit;
        if more {
            kvs.truncate(request.limit as usize);
        }
        if request.keys_only {
            for kv in &mut kvs {
                kv.value = Value::new();
            }
        }
        Ok(self.answer(kvs, more, count))
    }

    /// The revision that a read at `asked` is served from.
    fn readable(&self, asked: Revision) -> Result<Revision, KvError> {
        if asked > self.current {
            return Err(KvError::FutureRevision);
        }
        let revision = if asked <= 0 { self.current } else { asked };
        if revision < self.compacted {
            return Err(KvError::Compacted);
        }
        Ok(revision)
    }

    fn answer(&self, kvs: Vec<KeyValue>, more: bool, count: usize) -> RangeResponse {
        RangeResponse {
            revision: self.current,
            kvs,
            more,
            count: count as i64,
        }
    }
}

fn passes(filter: &RevisionFilter, kv: &KeyValue) -> bool {
    filter.max_mod.is_none_or(|max| kv.mod_revision <= max)
        && filter.min_mod.is_none_or(|min| kv.mod_revision >= min)
        && filter
            .max_create
            .is_none_or(|max| kv.create_revision <= max)
        && filter
            .min_create
            .is_none_or(|min| kv.create_revision >= min)
}

fn sort(kvs: &mut [KeyValue], order: SortOrder, target: SortTarget) {
    match order {
        // Records come in the order of keys already.
        SortOrder::None if target == SortTarget::Key => {}
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(|a, b| compare(a, b, target)),
        SortOrder::Descend => kvs.sort_by(|a, b| compare(b, a, target)),
    }
}

fn compare(a: &KeyValue, b: &KeyValue, target: SortTarget) -> Ordering {
    match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    }
}
