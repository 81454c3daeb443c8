//! The store as one machine: requests in, answers and watch output out.

use crate::error::KvError;
use crate::index::Index;
use crate::lease::Leases;
use crate::limits::{Limits, quota_cost};
use crate::range::View;
use crate::request::{AlarmAction, Request};
use crate::response::Response;
use crate::txn::Writer;
use crate::types::{LeaseId, Revision};
use crate::watch::{WatchOutput, Watches};

/// A model of one etcd: the data, leases and watches of a healthy cluster.
///
/// Its memory is proportional to what is alive plus what changed since the last compaction.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) limits: Limits,
    pub(crate) index: Index,
    pub(crate) leases: Leases,
    pub(crate) watches: Watches,
    pub(crate) revision: Revision,
    /// The revision of the last compaction; -1 before the first, as in etcd.
    pub(crate) compacted: Revision,
    pub(crate) no_space: bool,
    pub(crate) mutations: u64,
}

impl Default for Model {
    fn default() -> Self {
        Model::new(Limits::default())
    }
}

impl Model {
    /// An empty store at revision 1.
    pub fn new(limits: Limits) -> Self {
        Model {
            limits,
            index: Index::default(),
            leases: Leases::default(),
            watches: Watches::default(),
            revision: 1,
            compacted: -1,
            no_space: false,
            mutations: 0,
        }
    }

    /// Carries out one request. `now_ms` is monotonic time in milliseconds; only leases look at
    /// it. A refused request changes nothing, except that running out of space raises the alarm.
    pub fn apply(&mut self, now_ms: u64, request: Request) -> Result<Response, KvError> {
        self.limits.check_form(&request)?;
        self.check_quota(&request)?;
        self.limits.check_size(&request)?;
        match request {
            Request::Range(range) => Ok(Response::Range(self.view().range(&range)?)),
            Request::Put(put) => self.write(|w| w.put_checked(put).map(Response::Put)),
            Request::DeleteRange(delete) => {
                self.write(|w| Ok(Response::DeleteRange(w.delete_range(&delete))))
            }
            Request::Txn(txn) => self.write(|w| w.txn(&txn).map(Response::Txn)),
            Request::Compact { revision } => {
                self.compact(revision)?;
                self.mutations += 1;
                Ok(Response::Compact {
                    revision: self.revision,
                })
            }
            Request::LeaseGrant { id, ttl_s } => {
                let min_ttl_s = self.limits.min_lease_ttl_s;
                let (id, ttl_s) = self.leases.grant(now_ms, id, ttl_s, min_ttl_s)?;
                self.mutations += 1;
                Ok(Response::LeaseGrant {
                    revision: self.revision,
                    id,
                    ttl_s,
                })
            }
            Request::LeaseRevoke { id } => self.revoke(id),
            Request::LeaseKeepAlive { id } => {
                let ttl_s = self.leases.keep_alive(now_ms, id).unwrap_or(0);
                Ok(Response::LeaseKeepAlive {
                    revision: self.revision,
                    id,
                    ttl_s,
                })
            }
            Request::LeaseTimeToLive { id, keys } => {
                let lease = self.leases.info(now_ms, id, keys);
                Ok(Response::LeaseTimeToLive {
                    revision: self.revision,
                    id,
                    lease,
                })
            }
            Request::LeaseList => {
                let leases = self.leases.ids().collect();
                Ok(Response::LeaseList {
                    revision: self.revision,
                    leases,
                })
            }
            Request::NoSpaceAlarm(action) => Ok(self.alarm(action)),
            Request::Watch(request) => {
                let view = View {
                    index: &self.index,
                    current: self.revision,
                    compacted: self.compacted,
                };
                Ok(Response::Watch {
                    id: self.watches.handle(view, request),
                })
            }
        }
    }

    /// What watches should see, oldest first. To be drained after every `apply`: what is not
    /// taken is kept.
    pub fn poll_watch_output(&mut self) -> Option<WatchOutput> {
        self.watches.poll()
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision of the last compaction; -1 before the first.
    pub fn compacted_revision(&self) -> Revision {
        self.compacted
    }

    /// Counts what must survive a restart: a host logs a request if this grew with it (whether
    /// it was answered or refused) and replays it by the same call.
    pub fn mutations(&self) -> u64 {
        self.mutations
    }

    /// An estimate, in bytes, of the data held: all versions of all keys.
    pub fn size_bytes(&self) -> u64 {
        self.index.bytes()
    }

    /// Versions held, deletions not yet compacted included.
    pub fn version_count(&self) -> usize {
        self.index.version_count()
    }

    /// Watches that exist over all streams.
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// Whether writes are refused because the quota was used up.
    pub fn no_space(&self) -> bool {
        self.no_space
    }

    /// When, in the time of `apply`, the next lease is over.
    pub fn next_lease_expiry(&self) -> Option<u64> {
        self.leases.next_expiry()
    }

    /// The leases whose time is over and that were not revoked yet, in the order of expiry.
    pub fn expired_leases(&self, now_ms: u64) -> Vec<LeaseId> {
        self.leases.expired(now_ms)
    }

    /// Revokes every lease whose time is over; answers with their ids. A host that keeps a log
    /// rather applies a [`Request::LeaseRevoke`] for each of [`Model::expired_leases`].
    pub fn expire_leases(&mut self, now_ms: u64) -> Vec<LeaseId> {
        let over = self.leases.expired(now_ms);
        for id in &over {
            self.revoke(*id).expect("a lease that is listed exists");
        }
        over
    }

    /// Gives every lease its full time to live from `now_ms` on: after a restart, and when
    /// another member of the modelled cluster becomes its leader.
    pub fn restart_leases(&mut self, now_ms: u64) {
        self.leases.restart(now_ms);
    }

    pub(crate) fn view(&self) -> View<'_> {
        View {
            index: &self.index,
            current: self.revision,
            compacted: self.compacted,
        }
    }

    /// Runs a write transaction, and tells watches what it changed.
    fn write(
        &mut self,
        run: impl FnOnce(&mut Writer<'_>) -> Result<Response, KvError>,
    ) -> Result<Response, KvError> {
        let mut writer = Writer::new(
            &mut self.index,
            &mut self.leases,
            self.revision,
            self.compacted,
        );
        let response = run(&mut writer)?;
        if writer.changes() > 0 {
            self.revision += 1;
            self.mutations += 1;
            let view = View {
                index: &self.index,
                current: self.revision,
                compacted: self.compacted,
            };
            self.watches.notify(view);
        }
        Ok(response)
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Response, KvError> {
        let keys = self.leases.revoke(id)?;
        let before = self.mutations;
        self.write(|w| {
            w.delete_keys(&keys);
            Ok(Response::LeaseRevoke { revision: 0 })
        })?;
        self.mutations = before + 1;
        Ok(Response::LeaseRevoke {
            revision: self.revision,
        })
    }

    fn check_quota(&mut self, request: &Request) -> Result<(), KvError> {
        let (Some(quota), cost @ 1..) = (self.limits.quota_bytes, quota_cost(request)) else {
            return self.refuse_while_alarmed(request);
        };
        if self.size_bytes() + cost >= quota {
            if !self.no_space {
                self.no_space = true;
                self.mutations += 1;
            }
            return Err(KvError::NoSpace);
        }
        self.refuse_while_alarmed(request)
    }

    fn refuse_while_alarmed(&self, request: &Request) -> Result<(), KvError> {
        if self.no_space && quota_cost(request) > 0 {
            Err(KvError::NoSpace)
        } else {
            Ok(())
        }
    }

    fn alarm(&mut self, action: AlarmAction) -> Response {
        let active = match action {
            AlarmAction::Get => self.no_space,
            AlarmAction::Activate => {
                self.mutations += u64::from(!self.no_space);
                self.no_space = true;
                true
            }
            AlarmAction::Deactivate => {
                self.mutations += u64::from(self.no_space);
                std::mem::replace(&mut self.no_space, false)
            }
        };
        Response::NoSpaceAlarm {
            revision: self.revision,
            active,
        }
    }
}
