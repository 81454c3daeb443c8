//! What this replica remembers of the store: in memory, and in a file that a restarted process reads.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use berth_core::StoreRevision;
use berth_core::lineage::{Break, Lineage, Look, Sight};
use serde::{Deserialize, Serialize};

/// The file, as JSON. One for each prefix: another one is another cluster's.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    prefix: String,
    seen: Sight,
}

#[derive(Debug)]
struct Inner {
    lineage: Lineage,
    saved: Option<Sight>,
    complained: bool,
}

/// Shared by everything that asks the store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    inner: Arc<Mutex<Inner>>,
    file: Option<PathBuf>,
    prefix: Arc<str>,
}

impl Memory {
    /// Takes up what the file says, if there is one. What cannot be read is said and not believed.
    pub(crate) fn open(file: Option<PathBuf>, prefix: &str) -> Self {
        let remembered = file.as_ref().and_then(|path| match std::fs::read(path) {
            Ok(bytes) => match serde_json::from_slice::<File>(&bytes) {
                Ok(found) if found.prefix == prefix => Some(found.seen),
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot read what was seen of the store");
                    None
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read what was seen of the store");
                None
            }
        });
        Self {
            inner: Arc::new(Mutex::new(Inner {
                lineage: Lineage::remembering(remembered),
                saved: remembered,
                complained: false,
            })),
            file,
            prefix: prefix.into(),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is known now, to be taken before the store is asked.
    pub(crate) fn asks(&self) -> Option<Sight> {
        self.with(|inner| inner.lineage.seen())
    }

    /// Whether the store was seen in this life of the process.
    pub(crate) fn in_this_life(&self) -> bool {
        self.with(|inner| inner.lineage.in_this_life())
    }

    /// Holds an answer against what was known when it was asked for.
    pub(crate) fn judge(&self, before: Option<Sight>, look: Look) -> Result<(), Break> {
        self.with(|inner| inner.lineage.judge(before, look))
    }

    /// An answer during a term: the generation is known, and only revision and cluster are told.
    pub(crate) fn judge_answer(
        &self,
        before: Option<Sight>,
        cluster: u64,
        revision: i64,
    ) -> Result<(), Break> {
        let look = Look {
            cluster,
            generation: before.map_or(0, |seen| seen.generation),
            revision: StoreRevision(revision),
            held: None,
        };
        self.judge(before, look)
    }

    /// A record was written at this revision: the watch told of it, or it was us.
    pub(crate) fn told(&self, revision: i64) {
        self.with(|inner| {
            if let Some(seen) = inner.lineage.seen() {
                inner.lineage.heard(Sight {
                    revision: StoreRevision(revision),
                    held: true,
                    ..seen
                });
            }
        });
    }

    /// Writes what is new into the file. A file that cannot be written is said once.
    pub(crate) fn save(&self) {
        let Some(path) = &self.file else { return };
        let Some(seen) =
            self.with(|inner| inner.lineage.seen().filter(|s| inner.saved != Some(*s)))
        else {
            return;
        };
        let file = File {
            prefix: self.prefix.to_string(),
            seen,
        };
        let written = serde_json::to_vec(&file)
            .map_err(io::Error::other)
            .and_then(|bytes| {
                // Whoever reads it sees all of it, the old or the new.
                let aside = path.with_extension("new");
                std::fs::write(&aside, bytes)?;
                std::fs::rename(&aside, path)
            });
        self.with(|inner| match written {
            Ok(()) => {
                inner.saved = Some(seen);
                inner.complained = false;
            }
            Err(error) if !std::mem::replace(&mut inner.complained, true) => {
                tracing::warn!(path = %path.display(), %error, "cannot write what was seen of the store");
            }
            Err(_) => {}
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_life_remembers_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        let memory = Memory::open(Some(path.clone()), "/berth");
        assert_eq!(memory.asks(), None);
        memory.judge_answer(None, 7, 50).unwrap();
        memory.save();
        let next = Memory::open(Some(path.clone()), "/berth");
        assert!(!next.in_this_life());
        let back = next.judge_answer(next.asks(), 7, 49);
        assert!(matches!(back, Err(Break::WentBack { .. })), "{back:?}");
        assert_eq!(Memory::open(Some(path.clone()), "/other").asks(), None);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Memory::open(Some(path), "/berth").asks(), None);
    }
}
