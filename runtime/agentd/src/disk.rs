//! The agent's state on disk: one JSON file per workload, the highest epoch, the incarnation.
//!
//! ```text
//! DATA/agent.lock             held while the agent runs: one agent per folder
//! DATA/epoch                  the highest epoch that was seen
//! DATA/incarnation            how often the agent was started here
//! DATA/workloads/ID.json      a workload's record
//! DATA/quarantine/            files that could not be read, for people to look at
//! ```
//!
//! A file is replaced as a whole: written beside, synced, renamed, its folder synced. After a crash
//! it is the old one or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use berth_agent::{AgentInput, Record, Write, WriteId};
use berth_core::{Epoch, WorkloadId};
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::mpsc;
use tracing::{error, warn};

/// The folder of one agent, locked.
#[derive(Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    _lock: Flock<File>,
}

/// What was found there.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) epoch: Option<Epoch>,
    pub(crate) incarnation: u64,
    pub(crate) records: Vec<Record>,
}

impl StateDir {
    /// Makes the folder if need be and locks it.
    ///
    /// # Errors
    /// The folder cannot be made, or another agent has it.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        for folder in ["workloads", "quarantine", "run", "logs", "work"] {
            // What workloads are started with is nobody else's business.
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(root.join(folder))?;
        }
        let root = root.canonicalize()?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("agent.lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            let text = format!("{} is in use by another agent: {errno}", root.display());
            io::Error::new(io::ErrorKind::AddrInUse, text)
        })?;
        Ok(Self { root, _lock: lock })
    }

    /// The folder, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Reads everything, and counts this start. What cannot be read is put aside.
    ///
    /// # Errors
    /// The folder cannot be listed, or the incarnation cannot be written.
    pub(crate) fn load(&self) -> io::Result<Loaded> {
        let incarnation = self.number("incarnation")?.unwrap_or(0) + 1;
        let incarnation = u64::try_from(incarnation).unwrap_or(1);
        replace(
            &self.root.join("incarnation"),
            format!("{incarnation}\n").as_bytes(),
        )?;
        let mut records = Vec::new();
        let mut paths: Vec<PathBuf> = fs::read_dir(self.root.join("workloads"))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        paths.sort();
        for path in paths {
            if path.extension().is_some_and(|end| end == "tmp") {
                // A write that did not come to its end: nobody was told that it did.
                fs::remove_file(&path)?;
                continue;
            }
            match read_record(&path) {
                Ok(record) => records.push(record),
                Err(reason) => self.quarantine(&path, &reason),
            }
        }
        Ok(Loaded {
            epoch: self.number("epoch")?.map(Epoch),
            incarnation,
            records,
        })
    }

    /// Carries a write out. When it returns, it is durable.
    ///
    /// # Errors
    /// It may not be durable.
    pub(crate) fn write(&self, write: &Write) -> io::Result<()> {
        match write {
            Write::Epoch(epoch) => replace(
                &self.root.join("epoch"),
                format!("{}\n", epoch.0).as_bytes(),
            ),
            Write::Record(record) => {
                let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
                replace(&self.record_path(&record.id), &text)
            }
            Write::Forget(id) => remove(&self.record_path(id)),
        }
    }

    /// Ids follow a rule that has no separators and no leading dot: they are safe as names.
    fn record_path(&self, id: &WorkloadId) -> PathBuf {
        self.root.join("workloads").join(format!("{id}.json"))
    }

    /// `None`: there is none yet, or what is there is none and was put aside. A disk that does not
    /// read is an error: what an agent has forgotten for a moment it must not take for never heard.
    fn number(&self, name: &str) -> io::Result<Option<i64>> {
        let path = self.root.join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => String::new(),
            Err(error) => return Err(error),
        };
        let number = text.trim().parse().ok();
        if number.is_none() {
            self.quarantine(&path, "it is not a number");
        }
        Ok(number)
    }

    /// Puts a file aside, so that the agent starts without it and a person can look at it.
    fn quarantine(&self, path: &Path, reason: &str) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = self.root.join("quarantine");
        let free = (0..1_000)
            .map(|n| folder.join(format!("{name}.{n}")))
            .find(|to| !to.exists());
        let to = free.unwrap_or_else(|| folder.join(format!("{name}.last")));
        let moved = fs::rename(path, &to);
        error!(
            file = %path.display(), to = %to.display(), reason, moved = moved.is_ok(),
            "unreadable state file put aside; its workload is unknown to this agent now"
        );
    }
}

fn read_record(path: &Path) -> Result<Record, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let record: Record = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if record.id.as_str() != name {
        return Err(format!("it holds the record of {}", record.id));
    }
    Ok(record)
}

/// Replaces a file as a whole, durably.
///
/// # Errors
/// The old file may still be there, or the new one may not be durable.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path)
}

/// Removes a file, durably. One that is not there is removed.
///
/// # Errors
/// The file may still be there, or come back after a crash.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => sync_folder(path),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Where writes go.
pub(crate) type Writer = mpsc::UnboundedSender<(WriteId, Write)>;

/// What carries writes out. Ends, with all of them carried out, when the sender is dropped.
#[derive(Debug)]
pub(crate) enum WriterEnd {
    Thread(std::thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl WriterEnd {
    /// Waits for the end.
    ///
    /// # Errors
    /// It panicked.
    pub(crate) async fn join(self) -> anyhow::Result<()> {
        let panicked = "the writer of the agent's state panicked";
        match self {
            Self::Thread(thread) => tokio::task::spawn_blocking(move || thread.join())
                .await?
                .map_err(|_| anyhow::anyhow!(panicked)),
            Self::Task(task) => task.await.context(panicked),
        }
    }
}

/// Carries writes out in their order on a thread of its own.
pub(crate) fn spawn_writer(
    state: StateDir,
    written: impl Fn(AgentInput) + Send + 'static,
) -> io::Result<(Writer, WriterEnd)> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let thread = std::thread::Builder::new()
        .name("agent-state".to_owned())
        .spawn(move || {
            while let Some((id, write)) = receiver.blocking_recv() {
                written(carry_out(&state, id, &write));
            }
        })?;
    Ok((sender, WriterEnd::Thread(thread)))
}

/// The same on a task, for simulated worlds: every write takes `pace` of tokio's time.
pub(crate) fn spawn_paced_writer(
    state: StateDir,
    pace: Duration,
    written: impl Fn(AgentInput) + Send + 'static,
) -> (Writer, WriterEnd) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        while let Some((id, write)) = receiver.recv().await {
            tokio::time::sleep(pace).await;
            written(carry_out(&state, id, &write));
        }
    });
    (sender, WriterEnd::Task(task))
}

fn carry_out(state: &StateDir, id: WriteId, write: &Write) -> AgentInput {
    let result = state.write(write).map_err(|error| error.to_string());
    if let Err(error) = &result {
        warn!(error, "the agent's state cannot be written");
    }
    AgentInput::Written { id, result }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_agent::{SpecBlob, Target, Want};
    use berth_core::Timestamp;
    use berth_proto::agent::v1::{ContainerSpec, workload_spec::Spec};

    fn record(id: &str) -> Record {
        let now = Timestamp::from_millis(1_771_286_400_000);
        Record {
            id: id.parse().unwrap(),
            target: Target::Present(Want {
                revision: "r1".parse().unwrap(),
                running: true,
                spec: SpecBlob::new(Spec::Container(ContainerSpec::default())),
            }),
            artifact: None,
            last_artifact: 0,
            stamp: None,
            created_at: now,
            updated_at: now,
        }
    }

    #[test]
    fn what_is_written_is_found_and_starts_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        {
            let state = StateDir::open(folder.path()).unwrap();
            assert_eq!(state.load().unwrap().incarnation, 1);
            state.write(&Write::Record(Box::new(record("a")))).unwrap();
            state.write(&Write::Record(Box::new(record("b")))).unwrap();
            state.write(&Write::Forget("a".parse().unwrap())).unwrap();
            state
                .write(&Write::Forget("never-there".parse().unwrap()))
                .unwrap();
            state.write(&Write::Epoch(Epoch(7))).unwrap();
            assert!(
                StateDir::open(folder.path()).is_err(),
                "one agent per folder"
            );
        }
        let found = StateDir::open(folder.path()).unwrap().load().unwrap();
        assert_eq!(found.records, [record("b")]);
        assert_eq!(found.epoch, Some(Epoch(7)));
        assert_eq!(found.incarnation, 2);
    }

    #[test]
    fn what_cannot_be_read_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let workloads = state.root().join("workloads");
        fs::write(workloads.join("torn.json"), b"{\"id\": \"to").unwrap();
        fs::write(workloads.join("half.tmp"), b"{").unwrap();
        let other = serde_json::to_vec(&record("x")).unwrap();
        fs::write(workloads.join("y.json"), other).unwrap();
        fs::write(state.root().join("epoch"), b"seven").unwrap();
        state
            .write(&Write::Record(Box::new(record("good"))))
            .unwrap();
        let found = state.load().unwrap();
        assert_eq!(found.records, [record("good")]);
        assert_eq!(found.epoch, None);
        let mut aside: Vec<_> = fs::read_dir(state.root().join("quarantine"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        aside.sort();
        assert_eq!(aside, ["epoch.0", "torn.json.0", "y.json.0"]);
    }
}
