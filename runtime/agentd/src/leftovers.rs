//! Processes that go on without an agent: what is left in a data folder, and how to stop it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use berth_core::WorkloadId;
use nix::sys::signal::Signal;

use crate::disk::StateDir;
use crate::exec::{Ledger, kill_marked};
use crate::host::boot_id;

/// After the impolite signal: a process that does not end now is stuck in the kernel.
const KILL_WAIT_MAX: Duration = Duration::from_secs(5);

/// The workloads whose processes live, in order. An agent may have the folder.
#[must_use]
pub fn leftovers(data_dir: &Path) -> Vec<WorkloadId> {
    let ledger = Ledger::new(data_dir.join("run"));
    let boot_id = boot_id();
    let lives = |id: &WorkloadId| ledger.read(id).is_some_and(|e| e.find(&boot_id).is_some());
    entries(data_dir).into_iter().filter(lives).collect()
}

/// Stops the processes that an agent of this folder left behind: politely, and what has not ended
/// after `grace` not. Returns of how many workloads there were any.
///
/// # Errors
/// An agent has the folder, or processes do not end.
pub fn stop_leftovers(data_dir: &Path, grace: Duration) -> io::Result<usize> {
    let _state = StateDir::open(data_dir)?;
    let ledger = Ledger::new(data_dir.join("run"));
    let boot_id = boot_id();
    let found: Vec<_> = entries(data_dir)
        .iter()
        .filter_map(|id| ledger.read(id))
        .collect();
    let leaders: Vec<_> = found
        .iter()
        .filter_map(|entry| entry.find(&boot_id))
        .collect();
    if !grace.is_zero() {
        for leader in &leaders {
            leader.signal_group(Signal::SIGTERM);
        }
        let until = std::time::Instant::now() + grace;
        for leader in &leaders {
            leader.wait_end(until.saturating_duration_since(std::time::Instant::now()));
        }
    }
    for leader in &leaders {
        leader.signal_group(Signal::SIGKILL);
    }
    for entry in &found {
        kill_marked(&entry.mark, KILL_WAIT_MAX).map_err(|left| {
            let id = &entry.launch.workload;
            io::Error::other(format!("{left} processes of {id} do not end after SIGKILL"))
        })?;
    }
    Ok(leaders.len())
}

/// Has the next agent of this folder know of no workload, as after a new installation. Only when
/// nothing runs any more: see [`stop_leftovers`].
///
/// # Errors
/// An agent has the folder, or files cannot be removed.
pub fn forget_workloads(data_dir: &Path) -> io::Result<()> {
    let _state = StateDir::open(data_dir)?;
    for folder in ["workloads", "run"] {
        for entry in fs::read_dir(data_dir.join(folder))? {
            fs::remove_file(entry?.path())?;
        }
    }
    Ok(())
}

/// The workloads that have a process record.
fn entries(data_dir: &Path) -> Vec<WorkloadId> {
    let Ok(files) = fs::read_dir(data_dir.join("run")) else {
        return Vec::new();
    };
    let id = |path: std::path::PathBuf| match path.extension() {
        Some(end) if end == "json" => path.file_stem()?.to_str()?.parse().ok(),
        Some(_) | None => None,
    };
    let mut found: Vec<_> = files.filter_map(|entry| id(entry.ok()?.path())).collect();
    found.sort();
    found
}
