//! A process with bounds: a mutant may loop, wait for ever, or fill the memory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Sets the bounds, then becomes the process: `$1` seconds of processor, `$2` KiB of memory.
const BOUNDED: &str = r#"ulimit -t "$1"; ulimit -v "$2"; shift 2; exec "$@""#;
/// Of address space, which is more than what is used.
const MEMORY_KIB: u64 = 8 << 20;
/// What one time is multiplied by: the machine may be busy, and the mutant a little slower.
const TIMES: u32 = 4;
const SLACK: Duration = Duration::from_secs(2);
/// Of real time, for tests that wait.
const WALL_TIMES: u32 = 8;
const WALL_SLACK: Duration = Duration::from_secs(20);

/// What is run.
#[derive(Debug, Clone)]
pub(crate) struct Job<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
    /// What it takes when nothing is wrong: of the processor, and in all.
    pub(crate) usual: Usual,
}

/// How long something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usual {
    pub(crate) processor: Duration,
    pub(crate) wall: Duration,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    /// The first test that failed, if it is known.
    Failed(Option<String>),
    TooLong,
}

/// What a run said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) lines: Vec<String>,
}

/// Runs to the end, or to the first test that fails.
///
/// # Errors
/// It cannot be started.
pub(crate) fn run(job: &Job<'_>) -> Result<Ended> {
    let usual = job.usual;
    let seconds = (usual.processor * TIMES + SLACK).as_secs() + 1;
    let until =
        Instant::now() + usual.wall * WALL_TIMES + WALL_SLACK + Duration::from_secs(seconds);
    let mut child = Command::new("sh")
        .args(["-c", BOUNDED, "sh"])
        .args([seconds.to_string(), MEMORY_KIB.to_string()])
        .arg(job.binary)
        .args(&job.args)
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .current_dir(job.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", job.binary.display()))?;
    let lines = lines_of(&mut child);
    let mut told = Vec::new();
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(test) = failed_test(&line) {
                    let end = End::Failed(Some(test.to_owned()));
                    stop(&mut child);
                    return Ok(Ended { end, lines: told });
                }
                told.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                stop(&mut child);
                let end = End::TooLong;
                return Ok(Ended { end, lines: told });
            }
        }
    }
    // It closed its output: it ends now, or was ended.
    let status = child.wait().context("a test's process is lost")?;
    let end = if status.success() {
        End::Passed
    } else if out_of_time(status) {
        End::TooLong
    } else {
        End::Failed(None)
    };
    Ok(Ended { end, lines: told })
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// The process is going to be gone either way.
fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn out_of_time(status: std::process::ExitStatus) -> bool {
    use nix::sys::signal::Signal::{SIGKILL, SIGXCPU};
    use std::os::unix::process::ExitStatusExt;
    [SIGKILL as i32, SIGXCPU as i32]
        .into_iter()
        .any(|signal| status.signal() == Some(signal))
}

/// `test a::b ... FAILED`, and the same for one that should have panicked.
fn failed_test(line: &str) -> Option<&str> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.trim_end_matches(" - should panic");
    result.starts_with("FAILED").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Ended {
        let job = Job {
            binary: Path::new("sh"),
            folder: Path::new("."),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("SAID", "hello".to_owned())],
            usual: Usual::default(),
        };
        run(&job).unwrap()
    }

    #[test]
    fn a_process_passes_fails_or_is_stopped_at_the_first_failure() {
        let passed = sh("echo $SAID");
        assert_eq!(passed.end, End::Passed);
        assert_eq!(passed.lines, ["hello"]);
        assert_eq!(sh("exit 3").end, End::Failed(None));
        let started = Instant::now();
        let failed = sh("echo 'test a::b ... ok'; echo 'test a::c ... FAILED'; sleep 60");
        assert_eq!(failed.end, End::Failed(Some("a::c".to_owned())));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_process_that_loops_has_an_end() {
        assert_eq!(sh("while :; do :; done").end, End::TooLong);
    }

    #[test]
    fn lines_of_tests_are_read() {
        assert_eq!(failed_test("test a ... FAILED"), Some("a"));
        assert_eq!(failed_test("test a - should panic ... FAILED"), Some("a"));
        assert_eq!(failed_test("test a ... ok"), None);
        assert_eq!(failed_test("a ... FAILED"), None);
    }
}
