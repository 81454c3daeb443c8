//! Leases: a time to live, and the keys that go when it ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::KvError;
use crate::response::LeaseInfo;
use crate::types::{Key, LeaseId};

/// The longest time to live, in seconds.
pub const MAX_LEASE_TTL_S: i64 = 9_000_000_000;

/// Chosen ids have this bit, so that they stay apart from the small ids that clients choose.
const CHOSEN_ID_BASE: i64 = 1 << 60;

#[derive(Clone, Debug)]
struct Lease {
    ttl_s: i64,
    expires_ms: u64,
    keys: BTreeSet<Key>,
}

/// All leases, by id and by expiry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
    by_expiry: BTreeSet<(u64, LeaseId)>,
    /// How many ids were chosen by the store: they are never chosen again.
    chosen: i64,
}

impl Leases {
    pub(crate) fn contains(&self, id: LeaseId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Creates a lease; answers with its id and the granted seconds.
    pub(crate) fn grant(
        &mut self,
        now_ms: u64,
        id: LeaseId,
        ttl_s: i64,
        min_ttl_s: i64,
    ) -> Result<(LeaseId, i64), KvError> {
        if ttl_s > MAX_LEASE_TTL_S {
            return Err(KvError::LeaseTtlTooLarge);
        }
        let id = if id.is_none() { self.choose_id() } else { id };
        if self.contains(id) {
            return Err(KvError::LeaseExists);
        }
        self.chosen = self.chosen.max(id.0.saturating_sub(CHOSEN_ID_BASE));
        let ttl_s = ttl_s.max(min_ttl_s);
        self.restore(now_ms, id, ttl_s);
        Ok((id, ttl_s))
    }

    /// Puts a lease in place with its full time to live.
    pub(crate) fn restore(&mut self, now_ms: u64, id: LeaseId, ttl_s: i64) {
        let expires_ms = expiry(now_ms, ttl_s);
        self.by_id.insert(
            id,
            Lease {
                ttl_s,
                expires_ms,
                keys: BTreeSet::new(),
            },
        );
        self.by_expiry.insert((expires_ms, id));
    }

    fn choose_id(&self) -> LeaseId {
        LeaseId(CHOSEN_ID_BASE + self.chosen + 1)
    }

    /// Removes the lease; answers with its keys in their order.
    pub(crate) fn revoke(&mut self, id: LeaseId) -> Result<Vec<Key>, KvError> {
        let lease = self.by_id.remove(&id).ok_or(KvError::LeaseNotFound)?;
        self.by_expiry.remove(&(lease.expires_ms, id));
        Ok(lease.keys.into_iter().collect())
    }

    /// Starts the lease anew; answers with its seconds. A lease whose time is over is not
    /// renewed, though it exists until the host revokes it.
    pub(crate) fn keep_alive(&mut self, now_ms: u64, id: LeaseId) -> Option<i64> {
        let lease = self.by_id.get_mut(&id)?;
        if lease.expires_ms <= now_ms {
            return None;
        }
        self.by_expiry.remove(&(lease.expires_ms, id));
        lease.expires_ms = expiry(now_ms, lease.ttl_s);
        self.by_expiry.insert((lease.expires_ms, id));
        Some(lease.ttl_s)
    }

    /// Gives every lease its full time to live, as a new etcd leader does.
    pub(crate) fn restart(&mut self, now_ms: u64) {
        self.by_expiry.clear();
        for (id, lease) in &mut self.by_id {
            lease.expires_ms = expiry(now_ms, lease.ttl_s);
            self.by_expiry.insert((lease.expires_ms, *id));
        }
    }

    pub(crate) fn info(&self, now_ms: u64, id: LeaseId, keys: bool) -> Option<LeaseInfo> {
        let lease = self.by_id.get(&id)?;
        Some(LeaseInfo {
            remaining_s: (lease.expires_ms.saturating_sub(now_ms) / 1000) as i64,
            granted_s: lease.ttl_s,
            keys: if keys {
                lease.keys.iter().cloned().collect()
            } else {
                Vec::new()
            },
        })
    }

    /// Ids in the order of expiry.
    pub(crate) fn ids(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.by_expiry.iter().map(|(_, id)| *id)
    }

    /// Ids and granted seconds in the order of ids.
    pub(crate) fn granted(&self) -> impl Iterator<Item = (LeaseId, i64)> + '_ {
        self.by_id.iter().map(|(id, lease)| (*id, lease.ttl_s))
    }

    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.by_expiry.first().map(|(expires_ms, _)| *expires_ms)
    }

    pub(crate) fn expired(&self, now_ms: u64) -> Vec<LeaseId> {
        let over = self
            .by_expiry
            .iter()
            .take_while(|(expires_ms, _)| *expires_ms <= now_ms);
        over.map(|(_, id)| *id).collect()
    }

    pub(crate) fn attach(&mut self, id: LeaseId, key: Key) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(key);
        }
    }

    pub(crate) fn detach(&mut self, id: LeaseId, key: &Key) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    pub(crate) fn chosen(&self) -> i64 {
        self.chosen
    }

    pub(crate) fn set_chosen(&mut self, chosen: i64) {
        self.chosen = chosen;
    }
}

fn expiry(now_ms: u64, ttl_s: i64) -> u64 {
    now_ms.saturating_add(u64::try_from(ttl_s).unwrap_or(0).saturating_mul(1000))
}
