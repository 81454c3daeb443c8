//! What goes wrong with the store itself.

use std::time::Duration;

use berth_core::Timestamp;
use berth_kv as kv;

use crate::marks::Mark;

use super::replica::LEADER_KEY;
use crate::trace::BEGINNING;

use super::World;

/// For so long after the store lost its leader, requests are still carried out; their answers are
/// lost.
const LAST_WORDS: Duration = Duration::from_millis(5);
/// A copy of the store is made so much earlier than it must be, and so many are kept.
const BACKUP_EARLY: Duration = Duration::from_secs(5);
const BACKUPS: usize = 8;
/// So many revisions a backup is behind at least.
const BEHIND_MIN: i64 = 20;

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
            let stream = self.replicas[at].stream(at);
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

    /// Keeps a copy of the store for each time that the script restores one: as old as it says, or a
    /// little older.
    pub(super) fn back_up(&mut self) {
        let due = self.store.backups_due.front();
        if due.is_none_or(|due| self.now < *due) || self.store.right_one.is_some() {
            return;
        }
        while self
            .store
            .backups_due
            .front()
            .is_some_and(|due| *due <= self.now)
        {
            self.store.backups_due.pop_front();
        }
        if self.store.backups.len() >= BACKUPS {
            self.store.backups.pop_front();
        }
        // As a snapshot is: without anybody's watches.
        let snapshot = self.store.model.snapshot();
        let copy = kv::Model::restore(kv::Limits::default(), self.now.as_millis(), snapshot);
        self.store.backups.push_back((self.now, copy));
    }

    /// When copies must be made of the store, for what a script restores and when.
    pub(super) fn plan_backups(&mut self, restores: impl Iterator<Item = (Duration, Duration)>) {
        let early = restores.map(|(at, age)| at.saturating_sub(age + BACKUP_EARLY));
        let mut due: Vec<_> = early.map(|after| BEGINNING + after).collect();
        due.sort_unstable();
        self.store.backups_due = due.into();
    }

    /// The store is what it was some time ago: everybody finds it so when it connects again.
    pub(super) fn restore_store(&mut self, age: Duration) {
        // Who repairs a record repairs the right store.
        if self.store.gone || self.store.right_one.is_some() || !self.damage.broken.is_empty() {
            return;
        }
        let now = self.now;
        let old = |(at, _): &&(Timestamp, kv::Model)| now.since(*at) >= age;
        let Some((_, backup)) = self.store.backups.iter().rfind(old) else {
            return;
        };
        // What is hardly behind has caught up before anybody looks.
        if backup.revision() + BEHIND_MIN > self.store.model.revision() {
            return;
        }
        // Who was away since before the backup cannot know: it would lead over the wrong store
        // until another one that does know closes that.
        let behind = backup.revision() + BEHIND_MIN;
        if self.replicas.iter().any(|it| it.knows_revision() < behind) {
            return;
        }
        let mut restored = backup.clone();
        self.mark(Mark::StoreRestored);
        for at in 0..self.replicas.len() {
            let stream = self.replicas[at].stream(at);
            self.store_watch_request(kv::WatchRequest::Close { stream });
        }
        restored.restart_leases(now.as_millis());
        let right = std::mem::replace(&mut self.store.model, restored);
        self.store.right_one = Some(Box::new(right));
        self.store.restored_at = now;
        self.connect_anew();
    }

    /// The right store is back.
    pub(super) fn return_store(&mut self) {
        let Some(mut right) = self.store.right_one.take() else {
            return;
        };
        right.restart_leases(self.now.as_millis());
        self.store.model = *right;
        self.connect_anew();
    }

    fn connect_anew(&mut self) {
        for at in 0..self.replicas.len() {
            self.reset_store_connection(at);
        }
        self.store_tick();
    }
}
