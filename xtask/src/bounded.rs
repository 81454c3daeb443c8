//! Commands with an end: a stage that hangs is ended with everything it started, and named.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How long a stage of tests may take. The slowest takes a fraction of it on two processors.
pub(crate) const STAGE: Duration = Duration::from_secs(20 * 60);

/// Runs `command` to its end and hands every line of its output to `line`.
///
/// # Errors
/// It cannot be started, it fails, or it has no end within `limit`: then it and its descendants
/// are killed, and the error names the stage.
pub(crate) fn run(
    stage: &str,
    limit: Duration,
    command: &mut Command,
    mut line: impl FnMut(&str),
) -> Result<()> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{stage}: cannot run {}", command.get_program().display()))?;
    let output = child.stdout.take().context("a piped output is there")?;
    let id = child.id();
    let (ended, wait) = channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            kill_tree(id);
        }
        late
    });
    let mut failed = None;
    for said in BufReader::new(output).split(b'\n') {
        match said {
            Ok(said) => line(&String::from_utf8_lossy(&said)),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let status = child.wait();
    drop(ended);
    let late = watchdog.join().unwrap_or(false);
    ensure!(
        !late,
        "{stage}: no end after {} min; it was killed, and what it said last stands above",
        limit.as_secs() / 60
    );
    if let Some(error) = failed {
        bail!("{stage}: its output cannot be read: {error}");
    }
    ensure!(status?.success(), "{stage} failed");
    Ok(())
}

/// Kills a process and its descendants. Those that were handed to another parent are not found.
fn kill_tree(root: u32) {
    let parents = parents();
    let mut tree = vec![root];
    let mut at = 0;
    while at < tree.len() {
        let parent = tree[at];
        let children = parents.iter().filter(|(_, of)| *of == parent);
        tree.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    let ids: Vec<String> = tree.iter().map(ToString::to_string).collect();
    // The shell's own: a minimal Debian has no program of this name.
    let kill = format!("kill -KILL {} 2>/dev/null", ids.join(" "));
    let _ = Command::new("sh").args(["-c", &kill]).status();
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let of = |entry: std::fs::DirEntry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name stands in parentheses and may hold anything; state and parent follow it.
        let rest = stat.rsplit_once(')')?.1;
        Some((id, rest.split_whitespace().nth(1)?.parse().ok()?))
    };
    processes.filter_map(|entry| of(entry.ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_are_handed_on_and_failures_named() {
        let mut said = Vec::new();
        let take = |line: &str| said.push(line.to_owned());
        run("stage", STAGE, &mut shell("echo a; echo b"), take).unwrap();
        assert_eq!(said, ["a", "b"]);
        let error = run("stage", STAGE, &mut shell("exit 3"), |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "stage failed");
    }

    #[test]
    fn what_hangs_is_ended_with_its_children() {
        // The child holds the pipe: without its end, the reading would have none.
        let mut hangs = shell("sh -c 'echo $$; exec sleep 600' & wait");
        let mut children = Vec::new();
        let limit = Duration::from_millis(300);
        let error = run("stage", limit, &mut hangs, |line| {
            children.push(line.to_owned());
        });
        assert!(error.unwrap_err().to_string().contains("stage: no end"));
        assert_eq!(children.len(), 1);
    }
}
