//! Somebody else at the store: records changed, removed, made unreadable; history compacted under
//! a watch that fell behind.

use berth_core::model::workload::DesiredState;
use berth_core::{Key, WorkloadId};
use berth_kv as kv;

use crate::marks::Mark;
use crate::script::Edit;

use super::World;
use super::store::put;

impl World {
    pub(super) fn edit_store(&mut self, edit: Edit, which: u64) {
        // Who edits a store that nobody believes edits nothing.
        if self.store.right_one.is_some() {
            return;
        }
        if self.store.gone {
            return;
        }
        if self.edit_others(edit, which) {
            return;
        }
        let ids: Vec<WorkloadId> = self.oracle.image.workloads.keys().cloned().collect();
        let at = usize::try_from(which % ids.len().max(1) as u64).unwrap_or(0);
        let Some(id) = ids.get(at) else { return };
        if edit == Edit::AddFields {
            self.add_fields(id, which);
            return;
        }
        self.oracle.touched(id);
        self.note(&format_args!("somebody else: {edit:?} {id}"));
        match edit {
            Edit::FlipDesired => self.flip_desired(id),
            Edit::RemoveWorkload => self.remove_key(&Key::Workload(id.clone())),
            Edit::RemoveAssignment => self.remove_key(&Key::Assignment(id.clone())),
            Edit::RemoveIntent => self.remove_key(&Key::Intent(id.clone())),
            Edit::RemoveRetry => self.remove_key(&Key::Retry(id.clone())),
            Edit::Corrupt => self.corrupt(&Key::Workload(id.clone())),
            Edit::CorruptAssignment => self.corrupt(&Key::Assignment(id.clone())),
            Edit::CorruptIntent => self.corrupt(&Key::Intent(id.clone())),
            Edit::CorruptRetry => self.corrupt(&Key::Retry(id.clone())),
            Edit::PutBackAssignment => self.put_back(&Key::Assignment(id.clone()), which),
            Edit::PutBackRetry => self.put_back(&Key::Retry(id.clone()), which),
            Edit::PutBackNode
            | Edit::RemoveTombstone
            | Edit::CorruptTombstone
            | Edit::RemoveNode
            | Edit::CorruptNode
            | Edit::ForeignKey
            | Edit::AddFields
            | Edit::AddFieldToNode => {}
        }
    }

    /// Edits of what is not a workload's own. Answers whether this is one.
    fn edit_others(&mut self, edit: Edit, which: u64) -> bool {
        match edit {
            Edit::RemoveTombstone | Edit::CorruptTombstone => {
                let all: Vec<_> = self.oracle.image.tombstones.keys().cloned().collect();
                if let Some((node, id)) = chosen(&all, which) {
                    self.mark(Mark::TombstoneEdited);
                    self.oracle.touched(id);
                    self.oracle.touched_node(node);
                    let key = Key::Tombstone(node.clone(), id.clone());
                    match edit {
                        Edit::CorruptTombstone => self.corrupt(&key),
                        _ => self.remove_key(&key),
                    }
                }
            }
            Edit::RemoveNode | Edit::CorruptNode | Edit::PutBackNode => {
                let all: Vec<_> = self.oracle.image.nodes.keys().cloned().collect();
                if let Some(node) = chosen(&all, which) {
                    self.mark(Mark::NodeRecordEdited);
                    self.oracle.touched_node(node);
                    let key = Key::Node(node.clone());
                    match edit {
                        Edit::CorruptNode => self.corrupt(&key),
                        Edit::PutBackNode => self.put_back(&key, which),
                        _ => self.remove_key(&key),
                    }
                }
            }
            Edit::ForeignKey => {
                self.mark(Mark::ForeignKey);
                let keys = ["/workloads/Not An Id", "/elsewhere/of/others", "/nodes/"];
                let key = chosen(&keys, which).copied().unwrap_or_default();
                self.store_write_by_stranger(put(key.to_owned(), b"not ours".to_vec()));
            }
            Edit::AddFieldToNode => {
                let all: Vec<_> = self.oracle.image.nodes.keys().cloned().collect();
                if let Some(node) = chosen(&all, which) {
                    self.add_field(&Key::Node(node.clone()), &[], which);
                }
            }
            _ => return false,
        }
        true
    }

    /// What a later version of the scheduler knows, it writes beside what this one knows.
    fn add_fields(&mut self, id: &WorkloadId, which: u64) {
        self.oracle.annotated(id);
        self.add_field(&Key::Workload(id.clone()), &["status", "metadata"], which);
        self.add_field(&Key::Assignment(id.clone()), &[], which);
        self.add_field(&Key::Retry(id.clone()), &[], which);
    }

    fn add_field(&mut self, key: &Key, parts: &[&str], which: u64) {
        let key = key.to_string();
        let stored = self.store_peek(&key);
        let Some(serde_json::Value::Object(mut record)) =
            stored.and_then(|value| serde_json::from_slice(&value).ok())
        else {
            return;
        };
        let name = format!("later_{}", which % 3);
        record.insert(name.clone(), which.into());
        for part in parts {
            if let Some(serde_json::Value::Object(part)) = record.get_mut(*part) {
                part.insert(name.clone(), which.into());
            }
        }
        if let Ok(value) = serde_json::to_vec(&record) {
            self.mark(Mark::FieldsAdded);
            self.store_write_by_stranger(put(key, value));
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

    /// A record becomes what it was some revisions ago.
    fn put_back(&mut self, key: &Key, which: u64) {
        let ago = i64::try_from(which / 7 % 60).unwrap_or(0) + 1;
        let at = self.store.model.revision() - ago;
        if at < 1 {
            return;
        }
        let key = key.to_string();
        let Some(earlier) = self.store_peek_at(&key, at) else {
            return;
        };
        if self.store_peek(&key).as_ref() != Some(&earlier) {
            self.mark(Mark::RecordPutBack);
            self.store_write_by_stranger(put(key, earlier.to_vec()));
        }
    }

    /// What was made unreadable is put back as it was.
    pub(super) fn repair_records(&mut self) {
        for (key, value) in std::mem::take(&mut self.damage.broken) {
            let broken = self.store_peek(&key);
            if broken.is_some_and(|now| serde_json::from_slice::<serde_json::Value>(&now).is_err())
            {
                // What it was then may be long outdated.
                match Key::parse(&key) {
                    Some(
                        Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id),
                    ) => self.oracle.touched(&id),
                    Some(Key::Tombstone(node, id)) => {
                        self.oracle.touched(&id);
                        self.oracle.touched_node(&node);
                    }
                    Some(Key::Node(node)) => self.oracle.touched_node(&node),
                    Some(Key::Event(_) | Key::Meta(_) | Key::Leader(_)) | None => {}
                }
                self.store_write_by_stranger(put(key, value));
            }
        }
    }

    /// A replica's watch falls behind.
    pub(super) fn hide_watch(&mut self, at: usize) {
        if self.replicas[at].up && self.replicas[at].is_watching() {
            self.damage.hidden.insert(at);
            let stream = self.replicas[at].stream(at);
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
            let stream = self.replicas[at].stream(at);
            self.store_watch_request(kv::WatchRequest::Resume {
                stream,
                id: kv::WatchId::AUTO,
            });
        }
    }
}

fn chosen<T>(of: &[T], which: u64) -> Option<&T> {
    let at = which.checked_rem(of.len() as u64)?;
    of.get(usize::try_from(at).ok()?)
}
