//! `berth dev` as a person uses it: the real binary, real processes, one machine.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const BERTH: &str = env!("CARGO_BIN_EXE_berth");
/// Nothing here takes longer, on a busy machine either.
const LONG: Duration = Duration::from_secs(40);

#[test]
fn an_agent_dies_a_restart_adopts_and_stop_ends_everything() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dev = Dev::start(&["--data-dir", text(&data)]);
    assert_eq!(dev.ready["agents"].as_array().map(Vec::len), Some(3));
    let sleep = Sleep::new(1);
    dev.apply(folder.path(), &sleep, 4);
    assert_eq!(sleep.pids().len(), 4, "real processes");

    let second = berth(&["dev", "--data-dir", text(&data), "--http-addr=127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        said(&second).contains("another `berth dev` runs on"),
        "{}",
        said(&second)
    );

    let before = dev.nodes_of_workloads();
    let killed = before.iter().filter(|node| *node == "node-1").count();
    assert!(killed > 0, "{before:?}");
    let stopped = berth(&["dev", "agent", "stop", "node-1", "--data-dir", text(&data)]);
    let expected = format!("agent node-1 stopped, {killed} processes killed\n");
    assert_eq!(
        String::from_utf8_lossy(&stopped.stdout),
        expected,
        "{}",
        said(&stopped)
    );
    until("its workloads run elsewhere", || {
        let nodes = dev.nodes_of_workloads();
        let moved = nodes.len() == 4 && !nodes.iter().any(|node| node == "node-1");
        (moved && sleep.pids().len() == 4)
            .then_some(())
            .ok_or(format!("{nodes:?}"))
    });
    let unknown = berth(&["dev", "agent", "stop", "node-9", "--data-dir", text(&data)]);
    assert!(
        said(&unknown).contains("there is no agent node-9; there are node-1"),
        "{}",
        said(&unknown)
    );

    let pids = sleep.pids();
    let goodbye = dev.end(Signal::SIGTERM);
    assert!(
        goodbye.contains("4 processes of workloads run on"),
        "{goodbye}"
    );
    assert_eq!(sleep.pids(), pids, "processes outlive `berth dev`");
    let dev = Dev::start(&["--data-dir", text(&data)]);
    until("all to be adopted", || {
        let nodes = dev.nodes_of_workloads();
        (nodes.len() == 4).then_some(()).ok_or(format!("{nodes:?}"))
    });
    assert_eq!(sleep.pids(), pids, "no process was started twice");

    let stop = berth(&["dev", "--data-dir", text(&data), "--stop"]);
    assert!(stop.status.success(), "{}", said(&stop));
    assert!(
        said(&stop).contains("stopped 4 processes"),
        "{}",
        said(&stop)
    );
    assert!(sleep.pids().is_empty());
    dev.ended();
}

#[test]
fn an_ephemeral_cluster_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&["--ephemeral", "--agents=1"]);
    let data = dev.ready["data_dir"].as_str().unwrap().to_owned();
    let sleep = Sleep::new(2);
    dev.apply(folder.path(), &sleep, 2);
    assert_eq!(sleep.pids().len(), 2);
    dev.end(Signal::SIGINT);
    assert!(sleep.pids().is_empty());
    assert!(!Path::new(&data).exists());
}

#[test]
fn two_clusters_on_one_machine_leave_each_other_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (
        Dev::start(&["--ephemeral", "--agents=1"]),
        Dev::start(&["--ephemeral", "--agents=1"]),
    );
    let (sleep_one, sleep_other) = (Sleep::new(3), Sleep::new(4));
    one.apply(folder.path(), &sleep_one, 1);
    other.apply(folder.path(), &sleep_other, 1);
    let kept = sleep_other.pids();
    let args = ["delete", "w-0", "--wait", "--server", one.url()];
    let deleted = berth(&args);
    assert!(deleted.status.success(), "{}", said(&deleted));
    assert!(sleep_one.pids().is_empty());
    assert_eq!(sleep_other.pids(), kept, "the same ids, another cluster");
    one.end(Signal::SIGTERM);
    other.end(Signal::SIGTERM);
}

#[test]
fn it_serves_this_machine_only() {
    let output = berth(&["dev", "--ephemeral", "--http-addr=0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("--http-addr 0.0.0.0:0"),
        "{}",
        said(&output)
    );
}

/// A `berth dev` that is ready.
struct Dev {
    child: Child,
    ready: Value,
    out: BufReader<ChildStdout>,
}

impl Dev {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(BERTH)
            .args([
                "dev",
                "--output=json",
                "--http-addr=127.0.0.1:0",
                "--grpc-addr=127.0.0.1:0",
            ])
            .args([
                "--heartbeat-interval=1s",
                "--eviction-grace=1s",
                "--reconcile-interval=500ms",
            ])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("berth starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it can be read");
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| {
            let output = child.wait_with_output_of_errors();
            panic!("it did not become ready: {line}{output}")
        });
        Self { child, ready, out }
    }

    fn url(&self) -> &str {
        self.ready["http"].as_str().expect("an address")
    }

    /// Applies so many workloads and waits until all run.
    fn apply(&self, folder: &Path, sleep: &Sleep, count: usize) {
        let one = |n: usize| {
            let seconds = &sleep.0;
            format!(
                "id: w-{n}\ntype: container\nspec: {{image: x, command: [sleep, '{seconds}']}}\n\
                 resources: {{cpu: 0.5}}\n"
            )
        };
        let all: Vec<String> = (0..count).map(one).collect();
        let file = folder.join(format!("{}.yaml", sleep.0));
        std::fs::write(&file, all.join("---\n")).unwrap();
        let output = berth(&["apply", "-f", text(&file), "--wait", "--server", self.url()]);
        assert!(output.status.success(), "{}", said(&output));
    }

    /// The nodes of the workloads that run.
    fn nodes_of_workloads(&self) -> Vec<String> {
        let output = berth(&["get", "workloads", "-o", "json", "--server", self.url()]);
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let running = items
            .iter()
            .filter(|item| item["display_status"] == "Running");
        running
            .filter_map(|item| item["assigned_node"].as_str().map(str::to_owned))
            .collect()
    }

    /// Ends it by a signal; what it said on standard error.
    fn end(self, signal: Signal) -> String {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).expect("it runs");
        self.ended()
    }

    /// Waits for its end.
    fn ended(mut self) -> String {
        until("berth dev to end", || match self.child.try_wait() {
            Ok(Some(status)) if status.success() => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.out, &mut rest).unwrap();
        rest + &self.child.wait_with_output_of_errors()
    }
}

impl Drop for Dev {
    /// A failed test leaves nothing running: an ephemeral cluster stops its processes when it is
    /// asked politely, and the others are found by [`Sleep`].
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
            let _ = kill(pid, Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

trait Errors {
    fn wait_with_output_of_errors(&mut self) -> String;
}

impl Errors for Child {
    fn wait_with_output_of_errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut errors) = self.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut errors, &mut text);
        }
        text
    }
}

/// Processes that sleep for a time that nobody else sleeps for; killed when this is dropped.
struct Sleep(String);

impl Sleep {
    fn new(number: u32) -> Self {
        Self(format!("9{number}{:07}", std::process::id()))
    }

    fn pids(&self) -> Vec<i32> {
        let wanted = format!("sleep\0{}\0", self.0);
        let mut found: Vec<i32> = std::fs::read_dir("/proc")
            .expect("there is /proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                line == wanted.as_bytes()
            })
            .collect();
        found.sort_unstable();
        found
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        for pid in self.pids() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn berth(args: &[&str]) -> Output {
    Command::new(BERTH)
        .args(args)
        .output()
        .expect("berth starts")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn until(what: &str, mut check: impl FnMut() -> Result<(), String>) {
    let begin = Instant::now();
    loop {
        match check() {
            Ok(()) => return,
            Err(seen) if begin.elapsed() > LONG => panic!("{what} took too long: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
