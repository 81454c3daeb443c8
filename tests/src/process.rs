//! Processes: started with a log, signalled, ended when their owner goes.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A program that runs until this is dropped, killed or stopped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; its output is appended to `log`, `mark` goes into its environment.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(
        name: &str,
        program: &Path,
        args: &[String],
        log: &Path,
        mark: (&str, &str),
    ) -> Self {
        let open =
            || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).open(log) };
        let output = open().expect("a log in the scratch folder");
        let child = Command::new(program)
            .args(args)
            .env(mark.0, mark.1)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output is.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its output so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) {
        let sent = kill(to_pid(self.pid()), signal);
        assert!(sent.is_ok(), "{signal} to {}: {sent:?}", self.name);
    }

    /// Whether it still runs; how it ended if not.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it at once, as a loss of power would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                started.elapsed() < deadline,
                "{} ignores SIGTERM for {deadline:?}; its log ends:\n{}",
                self.name,
                tail(&self.log, 30)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn to_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("process ids are small"))
}

/// Ends a process that is not our child.
pub fn kill_pid(pid: u32) {
    let _ = kill(to_pid(pid), Signal::SIGKILL);
}

/// Whether a process exists and is not a zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|s| s != 'Z' && s != 'X')
}

/// Live processes with this variable in their environment.
#[must_use]
pub fn marked_processes(variable: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{variable}={value}");
    processes_where(|environment| environment.contains(&wanted.as_str()))
}

/// Live processes of workloads below `mark`: the value of `BERTH_WORKLOAD_ID` and the pid.
#[must_use]
pub fn workload_processes(mark: &str) -> Vec<(String, u32)> {
    let mark = format!("{}={mark}", crate::lab::MARK);
    let mut found = Vec::new();
    for pid in processes_where(|environment| environment.contains(&mark.as_str())) {
        let environment = environment_of(pid);
        let id = environment
            .split('\0')
            .find_map(|v| v.strip_prefix("BERTH_WORKLOAD_ID="));
        if let Some(id) = id {
            found.push((id.to_owned(), pid));
        }
    }
    found.sort();
    found
}

fn environment_of(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn processes_where(mut wanted: impl FnMut(&[&str]) -> bool) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let environment = environment_of(*pid);
        wanted(&environment.split('\0').collect::<Vec<_>>()) && is_alive(*pid)
    })
    .collect()
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
