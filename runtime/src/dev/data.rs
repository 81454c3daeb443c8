//! The data folder of `berth dev`.
//!
//! ```text
//! DIR/dev.lock          held while it runs: one at a time
//! DIR/control.sock      where `berth dev agent` and `berth dev --stop` ask
//! DIR/store/            the embedded store
//! DIR/agents/NODE/      one agent's state, logs and working folders
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use berth_core::NodeId;
use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use super::args::RunArgs;

/// The data folder, locked.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
    /// Removed when this is dropped.
    _temporary: Option<TempDir>,
}

impl DataDir {
    /// The folder of a run, made if need be and locked.
    ///
    /// # Errors
    /// It cannot be made, or another `berth dev` has it.
    pub(crate) fn open(args: &RunArgs) -> anyhow::Result<Self> {
        if args.ephemeral {
            let temporary = tempfile::Builder::new()
                .prefix("berth-dev-")
                .tempdir()
                .context("cannot make a temporary folder")?;
            let mut data = Self::lock(temporary.path())?;
            data._temporary = Some(temporary);
            return Ok(data);
        }
        let path = args.data_dir();
        // What workloads are started with is nobody else's business.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the data folder {}", path.display()))?;
        Self::lock(&path)
    }

    /// A folder that exists, locked.
    ///
    /// # Errors
    /// Another `berth dev` has it.
    pub(crate) fn lock(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use the data folder {}", path.display());
        let path = path.canonicalize().with_context(cannot)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("dev.lock"))
            .with_context(cannot)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            anyhow!(
                "another `berth dev` runs on {}: use it, stop it with `berth dev --data-dir {} \
                 --stop`, or name another folder with --data-dir",
                path.display(),
                path.display()
            )
        })?;
        Ok(Self {
            path,
            _lock: lock,
            _temporary: None,
        })
    }

    /// The folder, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store is.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where an agent's state is.
    pub(crate) fn agent_dir(&self, node: &NodeId) -> PathBuf {
        self.path.join("agents").join(node.as_str())
    }

    /// The nodes that have state here, in order.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub(crate) fn nodes(&self) -> anyhow::Result<Vec<NodeId>> {
        let folder = self.path.join("agents");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut nodes = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            // What has no id for a name was not made by us.
            nodes.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok()),
            );
        }
        nodes.sort();
        Ok(nodes)
    }
}

/// Waits until whoever has the folder is gone.
///
/// # Errors
/// It takes longer than `longest`.
pub(crate) async fn wait_for_lock(path: &Path, longest: Duration) -> anyhow::Result<DataDir> {
    let begin = Instant::now();
    loop {
        match DataDir::lock(path) {
            Ok(data) => return Ok(data),
            Err(error) if begin.elapsed() > longest => {
                bail!("`berth dev` was asked to end and does not: {error:#}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataDir::lock(folder.path()).unwrap();
        let refused = DataDir::lock(folder.path()).unwrap_err().to_string();
        assert!(
            refused.starts_with("another `berth dev` runs on"),
            "{refused}"
        );
        drop(held);
        assert!(DataDir::lock(folder.path()).is_ok());
    }

    #[test]
    fn nodes_are_found_by_their_folders() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::lock(folder.path()).unwrap();
        assert!(data.nodes().unwrap().is_empty());
        for name in ["node-2", "node-1", "Not an id"] {
            std::fs::create_dir_all(data.path().join("agents").join(name)).unwrap();
        }
        let names: Vec<_> = data
            .nodes()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["node-1", "node-2"]);
    }
}
