//! A test's own corner: a scratch folder, the logs of what it starts, and the end of all of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::process::{Process, marked_processes};

/// Every process of a test has its scratch space in the lab's folder, whoever started it: this
/// variable survives the clean environment in which agents start workloads.
pub const MARK: &str = "TMPDIR";

/// Declare it first in a test, so that it goes last.
#[derive(Debug)]
pub struct Lab {
    inner: Arc<Inner>,
    folder: Option<TempDir>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    mark: String,
    folder: PathBuf,
    logs: Mutex<Vec<PathBuf>>,
}

impl Lab {
    /// A new corner for the test `name`.
    ///
    /// # Panics
    /// When there is no room for a folder.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("berth-test-").tempdir();
        let folder = folder.expect("a scratch folder");
        let mark = folder.path().join("tmp");
        std::fs::create_dir(&mark).expect("a folder in the scratch folder");
        let inner = Inner {
            name: name.to_owned(),
            mark: mark.display().to_string(),
            folder: folder.path().to_owned(),
            logs: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
            folder: Some(folder),
        }
    }

    /// A path in the scratch folder.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.inner.folder.join(name)
    }

    /// The value of [`MARK`] that every process of this test carries.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.inner.mark
    }

    /// Starts a program whose output goes into a log of its own.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(&self, name: &str, program: &Path, args: &[String]) -> Process {
        let log = self.path(format!("{name}.log"));
        {
            let mut logs = self.inner.logs.lock().expect("no other user panics");
            if !logs.contains(&log) {
                logs.push(log.clone());
            }
        }
        Process::start(name, program, args, &log, (MARK, self.mark()))
    }

    /// The live processes that this test, or what it started, has started.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        marked_processes(MARK, self.mark())
    }

    fn print_logs(&self) {
        let logs = self
            .inner
            .logs
            .lock()
            .map(|l| l.clone())
            .unwrap_or_default();
        for log in logs {
            let name = log
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            println!("---- {}: the end of {name}", self.inner.name);
            println!("{}", crate::process::tail(&log, 60));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A process may be starting another right now: look until nothing is left.
        for _ in 0..20 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for pid in left {
                crate::process::kill_pid(pid);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if std::thread::panicking() {
            self.print_logs();
        }
        if std::env::var_os("BERTH_TEST_KEEP").is_some()
            && let Some(folder) = self.folder.take()
        {
            println!("kept: {}", folder.keep().display());
        }
    }
}
