//! What goes wrong with the store itself.

use std::time::Duration;

use berth_kv as kv;

use crate::marks::Mark;

use super::World;
use super::replica::LEADER_KEY;
use super::store::stream_of;

/// For so long after the store lost its leader, requests are still carried out; their answers are
/// lost.
const LAST_WORDS: Duration = Duration::from_millis(5);

impl World {
    /// The store answers nobody any more.
    pub(super) fn lose_store(&mut self) {
        self.store.gone = true;
        self.store.last_words_until = self.now + LAST_WORDS;
    }

    /// The store is there again, with everything that it carried out. Leases begin anew.
    pub(super) fn regain_store(&mut self) {
        if !std::mem::take(&mut self.store.gone) {
            return;
        }
        self.store.model.restart_leases(self.now.as_millis());
        for at in 0..self.replicas.len() {
            let stream = stream_of(at, self.replicas[at].life);
            self.store_watch_request(kv::WatchRequest::Close { stream });
            self.reset_store_connection(at);
        }
        self.store_tick();
    }

    /// Somebody revokes the lease that the leadership hangs on.
    pub(super) fn revoke_lease(&mut self) {
        if self.store.gone {
            return;
        }
        let range = kv::RangeRequest::key(LEADER_KEY);
        let request = kv::Request::Range(range);
        let Ok(kv::Response::Range(found)) = self.store.model.apply(self.now.as_millis(), request)
        else {
            return;
        };
        if let Some(leader) = found.kvs.first() {
            self.mark(Mark::LeaseRevoked);
            let id = leader.lease;
            self.store_write_by_stranger(kv::Request::LeaseRevoke { id });
        }
    }

    /// The store has no space, or has some again.
    pub(super) fn fill_store(&mut self, full: bool) {
        let action = if full {
            kv::AlarmAction::Activate
        } else {
            kv::AlarmAction::Deactivate
        };
        self.store_write_by_stranger(kv::Request::NoSpaceAlarm(action));
    }
}
