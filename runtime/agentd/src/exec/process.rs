//! Processes as the kernel tells of them: who is alive, whose child it is, who it belongs to.

use std::fs;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The environment variable that marks every process of an artifact.
pub(crate) const MARKER: &str = "BERTH_ARTIFACT";

/// A process that cannot be mistaken for another one with the same number: numbers are used again,
/// but not with the same start time. Valid within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Clock ticks from boot to its start.
    pub(crate) started: u64,
}

struct Stat {
    state: char,
    group: i32,
    started: u64,
}

/// `/proc/PID/stat`; the command in it is in parentheses and may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

impl Process {
    /// The process of this number, also when it has ended and nobody has asked how.
    pub(crate) fn of_pid(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self {
            pid,
            started: stat.started,
        })
    }

    /// It has not ended.
    pub(crate) fn is_alive(self) -> bool {
        stat(self.pid)
            .is_some_and(|stat| stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Signals its group, if it is alive: it leads one of its own.
    pub(crate) fn signal_group(self, signal: Signal) {
        if self.is_alive() {
            ignore_gone(killpg(Pid::from_raw(self.pid), signal));
        }
    }

    /// Waits until it has ended. Returns whether it has.
    pub(crate) fn wait_end(self, longest: Duration) -> bool {
        let until = Instant::now() + longest;
        loop {
            if !self.is_alive() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn ignore_gone(result: nix::Result<()>) {
    match result {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => tracing::warn!(%errno, "a process of a workload cannot be signalled"),
    }
}

/// The living processes that carry this mark, oldest first, and whether each leads its group.
pub(crate) fn marked(mark: &str) -> Vec<(Process, bool)> {
    let wanted = format!("{MARKER}={mark}");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<(Process, bool)> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|byte| *byte == 0)
                .any(|entry| entry == wanted.as_bytes())
        })
        .filter_map(|pid| {
            let stat = stat(pid)?;
            let process = Process {
                pid,
                started: stat.started,
            };
            (!matches!(stat.state, 'Z' | 'X')).then_some((process, stat.group == pid))
        })
        .collect();
    found.sort_by_key(|(process, _)| (process.started, process.pid));
    found
}

/// Kills all that carries this mark, until nothing does or the time is over.
///
/// A process shows its environment a moment after it was started: nothing is left when nothing
/// was seen twice in a row.
///
/// # Errors
/// How many are left.
pub(crate) fn kill_marked(mark: &str, longest: Duration) -> Result<(), usize> {
    let until = Instant::now() + longest;
    let mut clean = 0;
    loop {
        let found = marked(mark);
        clean = if found.is_empty() { clean + 1 } else { 0 };
        if clean == 2 {
            return Ok(());
        }
        if Instant::now() >= until && !found.is_empty() {
            return Err(found.len());
        }
        for (process, _) in found {
            ignore_gone(kill(Pid::from_raw(process.pid), Signal::SIGKILL));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_command_may_be_called_anything() {
        let text = "42 (a) R (b) S 1 42 42 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 98765 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.group, stat.started), ('S', 42, 98_765));
        assert!(parse_stat("42 (x").is_none());
    }

    #[test]
    fn marked_processes_are_found_and_killed() {
        let mark = format!("test/{}", std::process::id());
        let mut child = Command::new("sleep")
            .arg("600")
            .env(MARKER, &mark)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let process = Process::of_pid(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(process.is_alive());
        assert!(
            !Process {
                started: process.started + 1,
                ..process
            }
            .is_alive()
        );
        // A process shows its environment a moment after it was started.
        let until = Instant::now() + Duration::from_secs(10);
        while marked(&mark) != [(process, true)] && Instant::now() < until {
            std::thread::yield_now();
        }
        assert_eq!(marked(&mark), [(process, true)]);
        // The child is reaped only below: an ended process that was not waited for is not alive.
        kill_marked(&mark, Duration::from_secs(10)).unwrap();
        assert!(process.wait_end(Duration::from_secs(10)));
        child.wait().unwrap();
        assert!(marked(&mark).is_empty());
    }
}
