//! Somebody else at the store: records changed, removed, made unreadable; history compacted under
//! a watch that fell behind.

use berth_core::model::workload::DesiredState;
use berth_core::{Key, WorkloadId};
use berth_kv as kv;

use crate::marks::Mark;
use crate::script::Edit;

use super::World;
use super::store::{put, stream_of};

impl World {
    pub(super) fn edit_store(&mut self, edit: Edit, which: u64) {
        let ids: Vec<WorkloadId> = self.oracle.image.workloads.keys().cloned().collect();
        let at = usize::try_from(which % ids.len().max(1) as u64).unwrap_or(0);
        let Some(id) = ids.get(at) else { return };
        self.oracle.touched(id);
        self.note(&format_args!("somebody else: {edit:?} {id}"));
        match edit {
            Edit::FlipDesired => self.flip_desired(id),
            Edit::RemoveWorkload => self.remove_key(&Key::Workload(id.clone())),
            Edit::RemoveAssignment => self.remove_key(&Key::Assignment(id.clone())),
            Edit::RemoveIntent => self.remove_key(&Key::Intent(id.clone())),
            Edit::RemoveRetry => self.remove_key(&Key::Retry(id.clone())),
            Edit::Corrupt => self.corrupt(&Key::Workload(id.clone())),
        }
    }

    fn flip_desired(&mut self, id: &WorkloadId) {
        let Some(held) = self.oracle.image.workloads.get(id) else {
            return;
        };
        let mut record = (*held.record).clone();
        record.desired_state = match record.desired_state {
            DesiredState::Running => DesiredState::Stopped,
            DesiredState::Stopped => DesiredState::Running,
            DesiredState::Deleted => return,
        };
        let Ok(value) = serde_json::to_vec(&record) else {
            return;
        };
        self.mark(Mark::RecordChanged);
        self.store_write_by_stranger(put(Key::Workload(id.clone()).to_string(), value));
    }

    fn remove_key(&mut self, key: &Key) {
        self.mark(Mark::RecordDeleted);
        let range = kv::KeyRange::Single(key.to_string().into());
        let request = kv::DeleteRequest {
            range,
            prev_kv: false,
        };
        self.store_write_by_stranger(kv::Request::DeleteRange(request));
    }

    fn corrupt(&mut self, key: &Key) {
        let key = key.to_string();
        let Some(value) = self.store_peek(&key) else {
            return;
        };
        self.mark(Mark::RecordCorrupted);
        self.damage.broken.push((key.clone(), value.to_vec()));
        self.store_write_by_stranger(put(key, b"{\"id\": not a record".to_vec()));
    }

    /// What was made unreadable is put back as it was.
    pub(super) fn repair_records(&mut self) {
        for (key, value) in std::mem::take(&mut self.damage.broken) {
            let broken = self.store_peek(&key);
            if broken.is_some_and(|now| serde_json::from_slice::<serde_json::Value>(&now).is_err())
            {
                self.store_write_by_stranger(put(key, value));
            }
        }
    }

    /// A replica's watch falls behind.
    pub(super) fn hide_watch(&mut self, at: usize) {
        if self.replicas[at].up && self.replicas[at].is_leading() {
            self.damage.hidden.insert(at);
            let stream = stream_of(at, self.replicas[at].life);
            self.store_watch_request(kv::WatchRequest::Pause {
                stream,
                id: kv::WatchId::AUTO,
            });
        }
    }

    /// What a watch that fell behind should see next is compacted.
    pub(super) fn compact_store(&mut self, at: usize) {
        let revision = self.store.model.revision();
        if revision > self.store.model.compacted_revision() {
            self.mark(Mark::StoreCompacted);
            self.store_compact(revision);
        }
        self.show_watch(at);
    }

    /// A watch that fell behind goes on.
    pub(super) fn show_watch(&mut self, at: usize) {
        if self.damage.hidden.remove(&at) {
            let stream = stream_of(at, self.replicas[at].life);
            self.store_watch_request(kv::WatchRequest::Resume {
                stream,
                id: kv::WatchId::AUTO,
            });
        }
    }
}
