//! What the exec runtime knows of each workload's process, durably: written before the process
//! exists, and again once it does.

use std::io;
use std::path::{Path, PathBuf};

use berth_agent::LaunchId;
use berth_core::WorkloadId;
use serde::{Deserialize, Serialize};

use super::process::{Process, marked};
use crate::disk::{remove, replace};

/// One start of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) launch: LaunchId,
    /// What its processes carry in their environment.
    pub(crate) mark: String,
    /// The boot that it belongs to.
    pub(crate) boot_id: String,
    /// Its image, which is recorded only.
    pub(crate) image: String,
    /// The process; `None`: it was about to be started.
    pub(crate) process: Option<Process>,
    /// How it ended, if somebody saw it.
    pub(crate) end: Option<EndSeen>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndSeen {
    pub(crate) code: Option<i32>,
    pub(crate) message: String,
}

impl Entry {
    /// The living process of this start, if there is one. One that was started just before the
    /// agent died is found by its mark.
    pub(crate) fn find(&self, boot_id: &str) -> Option<Process> {
        if self.boot_id != boot_id {
            return None;
        }
        match self.process {
            Some(process) => process.is_alive().then_some(process),
            None => marked(&self.mark)
                .into_iter()
                .find(|(_, leads)| *leads)
                .map(|found| found.0),
        }
    }
}

/// The entries, one file per workload.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    fn path(&self, workload: &WorkloadId) -> PathBuf {
        self.folder.join(format!("{workload}.json"))
    }

    /// The workload's entry. One that cannot be read counts as none: its processes are still
    /// found by their mark when they are to be stopped.
    pub(crate) fn read(&self, workload: &WorkloadId) -> Option<Entry> {
        let path = self.path(workload);
        let text = std::fs::read(&path).ok()?;
        match serde_json::from_slice(&text) {
            Ok(entry) => Some(entry),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "unreadable process record");
                set_aside(&path);
                None
            }
        }
    }

    pub(crate) fn write(&self, entry: &Entry) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(entry).map_err(io::Error::other)?;
        replace(&self.path(&entry.launch.workload), &text)
    }

    pub(crate) fn remove(&self, workload: &WorkloadId) -> io::Result<()> {
        remove(&self.path(workload))
    }
}

fn set_aside(path: &Path) {
    if let Err(error) = std::fs::rename(path, path.with_extension("unreadable")) {
        tracing::error!(file = %path.display(), %error, "cannot be put aside");
    }
}
