//! Compaction: forgetting what no permitted read can see.

use crate::error::KvError;
use crate::model::Model;
use crate::types::Revision;

impl Model {
    /// Forgets history before `revision`; reads and watches below it are refused from now on.
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<(), KvError> {
        if revision <= self.compacted {
            return Err(KvError::Compacted);
        }
        if revision > self.revision {
            return Err(KvError::FutureRevision);
        }
        self.compacted = revision;
        self.index.compact(revision);
        Ok(())
    }
}
