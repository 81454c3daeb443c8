//! The reference: one whole map of keys per revision, nothing clever.

use std::collections::BTreeMap;

use berth_kv::{
    Compare, CompareOp, CompareTarget, DeleteRequest, DeleteResponse, Event, EventKind, Key,
    KeyRange, KeyValue, KvError, LeaseId, LeaseInfo, MAX_LEASE_TTL_S, PutRequest, PutResponse,
    RangeRequest, RangeResponse, Request, Response, SortOrder, SortTarget, TxnOp, TxnOpResponse,
    TxnRequest, TxnResponse,
};

type Keys = BTreeMap<Key, KeyValue>;

#[derive(Clone, Default)]
struct Lease {
    ttl_s: i64,
    expires_ms: u64,
}

/// The store as a list of states.
pub(crate) struct Reference {
    /// The state after each revision; the first entry is that of revision 1.
    history: Vec<Keys>,
    /// What each revision changed, in the order of its operations.
    changes: Vec<Vec<Event>>,
    compacted: i64,
    leases: BTreeMap<LeaseId, Lease>,
}

impl Default for Reference {
    fn default() -> Self {
        Reference {
            history: vec![Keys::new()],
            changes: vec![vec![]],
            compacted: -1,
            leases: BTreeMap::new(),
        }
    }
}

impl Reference {
    pub(crate) fn revision(&self) -> i64 {
        self.history.len() as i64
    }

    /// All events from a revision on, with what was there before.
    pub(crate) fn events_from(&self, start: i64) -> Vec<Event> {
        let skipped = (start - 1).max(0) as usize;
        self.changes
            .iter()
            .skip(skipped)
            .flatten()
            .cloned()
            .collect()
    }

    /// What a watch that starts now in the past is told, or the revision that was compacted.
    pub(crate) fn watch_from(&self, start: i64) -> Result<Vec<Event>, i64> {
        if start <= self.revision() && start < self.compacted {
            return Err(self.compacted);
        }
        let kept = |event: &Event| {
            // At the compacted revision itself only what is visible there was kept.
            let at_edge = event.kv.mod_revision == self.compacted;
            !at_edge
                || self.history[self.compacted as usize - 1]
                    .values()
                    .any(|kv| *kv == event.kv)
        };
        let mut events: Vec<Event> = self.events_from(start).into_iter().filter(kept).collect();
        for event in &mut events {
            if event.kv.mod_revision - 1 < self.compacted {
                event.prev_kv = None;
            }
        }
        Ok(events)
    }

    pub(crate) fn restart_leases(&mut self, now_ms: u64) {
        for lease in self.leases.values_mut() {
            lease.expires_ms = now_ms + lease.ttl_s as u64 * 1000;
        }
    }

    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<LeaseId> {
        let mut over: Vec<_> = self
            .leases
            .iter()
            .map(|(id, lease)| (lease.expires_ms, *id))
            .collect();
        over.retain(|(expires_ms, _)| *expires_ms <= now_ms);
        over.sort();
        let over: Vec<_> = over.into_iter().map(|(_, id)| id).collect();
        for id in &over {
            self.revoke(*id);
        }
        over
    }

    pub(crate) fn apply(&mut self, now_ms: u64, request: &Request) -> Result<Response, KvError> {
        match request {
            Request::Range(range) => self
                .range(self.state(), self.revision(), range)
                .map(Response::Range),
            Request::Put(put) => {
                self.check_lease(put)?;
                self.check_previous(self.state(), put)?;
                let mut txn = Txn::new(self);
                let response = txn.put(put);
                txn.finish();
                Ok(Response::Put(response))
            }
            Request::DeleteRange(delete) => {
                let mut txn = Txn::new(self);
                let response = txn.delete(delete);
                txn.finish();
                Ok(Response::DeleteRange(response))
            }
            Request::Txn(request) => self.txn(request).map(Response::Txn),
            Request::Compact { revision } => {
                if *revision <= self.compacted {
                    return Err(KvError::Compacted);
                }
                if *revision > self.revision() {
                    return Err(KvError::FutureRevision);
                }
                self.compacted = *revision;
                Ok(Response::Compact {
                    revision: self.revision(),
                })
            }
            Request::LeaseGrant { id, ttl_s } => self.grant(now_ms, *id, *ttl_s),
            Request::LeaseRevoke { id } => {
                if !self.leases.contains_key(id) {
                    return Err(KvError::LeaseNotFound);
                }
                self.revoke(*id);
                Ok(Response::LeaseRevoke {
                    revision: self.revision(),
                })
            }
            Request::LeaseKeepAlive { id } => {
                let revision = self.revision();
                let lease = self
                    .leases
                    .get_mut(id)
                    .filter(|lease| lease.expires_ms > now_ms);
                let ttl_s = lease.map_or(0, |lease| {
                    lease.expires_ms = now_ms + lease.ttl_s as u64 * 1000;
                    lease.ttl_s
                });
                Ok(Response::LeaseKeepAlive {
                    revision,
                    id: *id,
                    ttl_s,
                })
            }
            Request::LeaseTimeToLive { id, keys } => {
                let lease = self.leases.get(id).map(|lease| LeaseInfo {
                    remaining_s: (lease.expires_ms.saturating_sub(now_ms) / 1000) as i64,
                    granted_s: lease.ttl_s,
                    keys: if *keys { self.attached(*id) } else { vec![] },
                });
                Ok(Response::LeaseTimeToLive {
                    revision: self.revision(),
                    id: *id,
                    lease,
                })
            }
            Request::LeaseList => {
                let mut ids: Vec<_> = self
                    .leases
                    .iter()
                    .map(|(id, l)| (l.expires_ms, *id))
                    .collect();
                ids.sort();
                let leases = ids.into_iter().map(|(_, id)| id).collect();
                Ok(Response::LeaseList {
                    revision: self.revision(),
                    leases,
                })
            }
            Request::NoSpaceAlarm(_) | Request::Watch(_) => panic!("not drawn: {request:?}"),
        }
    }

    fn state(&self) -> &Keys {
        self.history.last().expect("there is a first state")
    }

    fn attached(&self, id: LeaseId) -> Vec<Key> {
        self.state()
            .values()
            .filter(|kv| kv.lease == id)
            .map(|kv| kv.key.clone())
            .collect()
    }

    fn grant(&mut self, now_ms: u64, id: LeaseId, ttl_s: i64) -> Result<Response, KvError> {
        if ttl_s > MAX_LEASE_TTL_S {
            return Err(KvError::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(KvError::LeaseExists);
        }
        let ttl_s = ttl_s.max(2);
        self.leases.insert(
            id,
            Lease {
                ttl_s,
                expires_ms: now_ms + ttl_s as u64 * 1000,
            },
        );
        Ok(Response::LeaseGrant {
            revision: self.revision(),
            id,
            ttl_s,
        })
    }

    fn revoke(&mut self, id: LeaseId) {
        let keys = self.attached(id);
        self.leases.remove(&id);
        let mut txn = Txn::new(self);
        for key in keys {
            txn.delete(&DeleteRequest {
                range: KeyRange::Single(key),
                prev_kv: false,
            });
        }
        txn.finish();
    }

    fn check_lease(&self, put: &PutRequest) -> Result<(), KvError> {
        if put.lease.is_none() || self.leases.contains_key(&put.lease) {
            Ok(())
        } else {
            Err(KvError::LeaseNotFound)
        }
    }

    fn check_previous(&self, keys: &Keys, put: &PutRequest) -> Result<(), KvError> {
        if (put.ignore_value || put.ignore_lease) && !keys.contains_key(&put.key) {
            return Err(KvError::KeyNotFound);
        }
        Ok(())
    }

    fn range(
        &self,
        now: &Keys,
        current: i64,
        range: &RangeRequest,
    ) -> Result<RangeResponse, KvError> {
        if range.revision > current {
            return Err(KvError::FutureRevision);
        }
        let revision = if range.revision <= 0 {
            current
        } else {
            range.revision
        };
        if revision < self.compacted {
            return Err(KvError::Compacted);
        }
        let keys = if revision == current {
            now
        } else {
            &self.history[revision as usize - 1]
        };
        let found = || keys.values().filter(|kv| range.range.contains(&kv.key));
        let count = found().count() as i64;
        let mut kvs: Vec<KeyValue> = found().cloned().collect();
        let filter = &range.filter;
        let unfiltered = [
            filter.min_mod,
            filter.max_mod,
            filter.min_create,
            filter.max_create,
        ]
        .iter()
        .all(Option::is_none);
        if range.sort_order == SortOrder::None && unfiltered && range.limit > 0 {
            kvs.truncate(range.limit as usize + 1);
        }
        kvs.retain(|kv| {
            kv.mod_revision >= filter.min_mod.unwrap_or(i64::MIN)
                && kv.mod_revision <= filter.max_mod.unwrap_or(i64::MAX)
                && kv.create_revision >= filter.min_create.unwrap_or(i64::MIN)
                && kv.create_revision <= filter.max_create.unwrap_or(i64::MAX)
        });
        sort(&mut kvs, range);
        let mut more = range.limit > 0 && kvs.len() as i64 > range.limit;
        if range.limit > 0 {
            kvs.truncate(range.limit as usize);
        }
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        if range.count_only {
            (kvs, more) = (vec![], false);
        }
        Ok(RangeResponse {
            revision: current,
            kvs,
            more,
            count,
        })
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, KvError> {
        let before = self.state().clone();
        self.check(&before, request)?;
        let mut txn = Txn::new(self);
        let mut response = txn.run(&before, request);
        txn.finish();
        response.revision = self.revision();
        Ok(response)
    }

    /// Puts first, then ranges, over the branches that are taken.
    fn check(&self, before: &Keys, request: &TxnRequest) -> Result<(), KvError> {
        let mut ops = Vec::new();
        chosen(before, request, &mut ops);
        for op in &ops {
            if let TxnOp::Put(put) = op {
                self.check_previous(before, put)?;
                self.check_lease(put)?;
            }
        }
        for op in &ops {
            let TxnOp::Range(range) = op else { continue };
            if range.revision > self.revision() {
                return Err(KvError::FutureRevision);
            }
            if range.revision != 0 && range.revision < self.compacted {
                return Err(KvError::Compacted);
            }
        }
        Ok(())
    }
}

fn chosen<'a>(before: &Keys, request: &'a TxnRequest, ops: &mut Vec<&'a TxnOp>) {
    for op in branch(before, request) {
        match op {
            TxnOp::Txn(inner) => chosen(before, inner, ops),
            TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::DeleteRange(_) => ops.push(op),
        }
    }
}

fn branch<'a>(before: &Keys, request: &'a TxnRequest) -> &'a [TxnOp] {
    if request.compare.iter().all(|compare| holds(before, compare)) {
        &request.success
    } else {
        &request.failure
    }
}

fn holds(keys: &Keys, compare: &Compare) -> bool {
    let found: Vec<_> = keys
        .values()
        .filter(|kv| compare.range.contains(&kv.key))
        .collect();
    if found.is_empty() {
        let of_value = matches!(compare.target, CompareTarget::Value(_));
        return !of_value && holds_for(&KeyValue::default(), compare);
    }
    found.into_iter().all(|kv| holds_for(kv, compare))
}

fn holds_for(kv: &KeyValue, compare: &Compare) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(number) => kv.version.cmp(number),
        CompareTarget::Create(number) => kv.create_revision.cmp(number),
        CompareTarget::Mod(number) => kv.mod_revision.cmp(number),
        CompareTarget::Value(value) => kv.value.cmp(value),
        CompareTarget::Lease(lease) => kv.lease.cmp(lease),
    };
    match compare.op {
        CompareOp::Equal => order.is_eq(),
        CompareOp::NotEqual => order.is_ne(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::Less => order.is_lt(),
    }
}

fn sort(kvs: &mut [KeyValue], range: &RangeRequest) {
    if range.sort_order == SortOrder::None && range.sort_target == SortTarget::Key {
        return;
    }
    kvs.sort_by(|a, b| {
        let order = match range.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if range.sort_order == SortOrder::Descend {
            order.reverse()
        } else {
            order
        }
    });
}

/// A copy of the state that becomes the next one.
struct Txn<'a> {
    store: &'a mut Reference,
    keys: Keys,
    events: Vec<Event>,
}

impl<'a> Txn<'a> {
    fn new(store: &'a mut Reference) -> Self {
        let keys = store.state().clone();
        Txn {
            store,
            keys,
            events: vec![],
        }
    }

    fn finish(self) {
        if !self.events.is_empty() {
            self.store.history.push(self.keys);
            self.store.changes.push(self.events);
        }
    }

    fn next(&self) -> i64 {
        self.store.revision() + 1
    }

    fn visible(&self) -> i64 {
        self.store.revision() + i64::from(!self.events.is_empty())
    }

    fn run(&mut self, before: &Keys, request: &TxnRequest) -> TxnResponse {
        let succeeded = request.compare.iter().all(|compare| holds(before, compare));
        let responses = branch(before, request).iter().map(|op| match op {
            TxnOp::Put(put) => TxnOpResponse::Put(self.put(put)),
            TxnOp::DeleteRange(delete) => TxnOpResponse::DeleteRange(self.delete(delete)),
            TxnOp::Txn(inner) => TxnOpResponse::Txn(self.run(before, inner)),
            TxnOp::Range(range) => {
                let answer = self.store.range(&self.keys, self.visible(), range);
                TxnOpResponse::Range(answer.expect("ranges were checked"))
            }
        });
        let responses = responses.collect();
        TxnResponse {
            revision: 0,
            succeeded,
            responses,
        }
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let previous = self.keys.get(&put.key).cloned();
        let revision = self.next();
        let mut kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: put.lease,
        };
        if let Some(previous) = &previous {
            kv.create_revision = previous.create_revision;
            kv.version = previous.version + 1;
            if put.ignore_value {
                kv.value = previous.value.clone();
            }
            if put.ignore_lease {
                kv.lease = previous.lease;
            }
        }
        self.keys.insert(put.key.clone(), kv.clone());
        let seen = self
            .before(&put.key)
            .filter(|_| kv.create_revision != revision);
        self.events.push(Event {
            kind: EventKind::Put,
            kv,
            prev_kv: seen,
        });
        PutResponse {
            revision,
            prev_kv: previous.filter(|_| put.prev_kv),
        }
    }

    /// The key as it was before the whole transaction.
    fn before(&self, key: &Key) -> Option<KeyValue> {
        self.store.state().get(key).cloned()
    }

    fn delete(&mut self, delete: &DeleteRequest) -> DeleteResponse {
        let found = self
            .keys
            .values()
            .filter(|kv| delete.range.contains(&kv.key));
        let gone: Vec<KeyValue> = found.cloned().collect();
        for kv in &gone {
            self.keys.remove(&kv.key);
            let mod_revision = self.next();
            let mark = KeyValue {
                key: kv.key.clone(),
                mod_revision,
                ..KeyValue::default()
            };
            let prev_kv = self.before(&kv.key);
            self.events.push(Event {
                kind: EventKind::Delete,
                kv: mark,
                prev_kv,
            });
        }
        DeleteResponse {
            revision: self.visible(),
            deleted: gone.len() as i64,
            prev_kvs: if delete.prev_kv { gone } else { vec![] },
        }
    }
}
