//! The `berth` binary: where it is, and its long-running commands.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::etcd::{Etcd, START, free_address};
use crate::lab::{Lab, MARK};
use crate::process::{Process, workload_processes};
use crate::rest::Rest;
use crate::wait::{secs, wait_for};

/// The binary: `BERTH_BIN`, or the one that stands beside this test in the target folder.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("BERTH_BIN") {
        return given.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let found = test
        .ancestors()
        .map(|a| a.join("berth"))
        .find(|p| p.is_file());
    found.expect("build it first: cargo build -p berth-runtime --bin berth")
}

/// Runs a client command against a scheduler and waits for its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn berth(lab: &Lab, server: &str, args: &[&str]) -> Output {
    std::process::Command::new(binary())
        .args(args)
        .env("BERTH_SERVER", format!("http://{server}"))
        .env(MARK, lab.mark())
        .output()
        .expect("berth starts")
}

/// Both streams of a command, for messages.
#[must_use]
pub fn text_of(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|a| (*a).to_owned()).collect()
}

/// Flags that make a cluster notice and move within seconds: heartbeats of 1 s, not ready after
/// 3 s, moved 2 s later.
pub const FAST: [&str; 4] = [
    "--heartbeat-interval=1s",
    "--eviction-grace=2s",
    "--reconcile-interval=500ms",
    "--list-interval=2s",
];

/// `berth server` on loopback.
#[derive(Debug)]
pub struct Server {
    process: Process,
    args: Vec<String>,
    http: String,
    grpc: String,
}

impl Server {
    /// Starts it against `etcd` and waits until it leads.
    pub async fn start(lab: &Lab, etcd: &Etcd, flags: &[&str]) -> Self {
        let (http, grpc) = (free_address(), free_address());
        let mut args = owned(&[
            "server",
            "--insecure",
            "--lease-ttl=2s",
            &format!("--etcd={}", etcd.url()),
            &format!("--http-addr={http}"),
            &format!("--grpc-addr={grpc}"),
        ]);
        args.extend(owned(flags));
        let process = lab.start("server", &binary(), &args);
        let server = Self {
            process,
            args,
            http,
            grpc,
        };
        server.wait_ready().await;
        server
    }

    /// Waits until it leads and the store answers.
    pub async fn wait_ready(&self) {
        let rest = self.rest();
        wait_for("the server to be ready", START, async || {
            let answer = rest.get("/readyz").await?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.text)
            }
        })
        .await;
    }

    /// Its REST interface.
    #[must_use]
    pub fn rest(&self) -> Rest {
        Rest::new(&self.http)
    }

    /// Its HTTP address.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Its gRPC address.
    #[must_use]
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// Its process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// It ends at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again with the same flags, without waiting until it is ready.
    pub fn launch(&mut self, lab: &Lab) {
        self.process.kill();
        self.process = lab.start("server", &binary(), &self.args);
    }
}

/// `berth agent`.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    args: Vec<String>,
    node: String,
}

impl Agent {
    /// Starts an agent for `node` with its data in the scratch folder.
    #[must_use]
    pub fn start(lab: &Lab, server: &Server, node: &str, flags: &[&str]) -> Self {
        let mut args = owned(&[
            "agent",
            &format!("--node-id={node}"),
            &format!("--scheduler={}", server.grpc()),
            "--grpc-addr=127.0.0.1:0",
            &format!("--data-dir={}", lab.path(node).display()),
        ]);
        args.extend(owned(flags));
        let process = lab.start(node, &binary(), &args);
        Self {
            process,
            args,
            node: node.to_owned(),
        }
    }

    /// Its node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// It ends at once; what it started stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again on the same data.
    pub fn launch(&mut self, lab: &Lab) {
        self.process.kill();
        self.process = lab.start(&self.node, &binary(), &self.args);
    }

    /// It hangs: connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }
}

/// `berth dev`.
#[derive(Debug)]
pub struct Dev {
    process: Process,
    args: Vec<String>,
    http: String,
    grpc: String,
    started_in: Duration,
}

impl Dev {
    /// Starts it with data in the scratch folder and waits until it says that it is ready.
    pub async fn start(lab: &Lab, flags: &[&str]) -> Self {
        let mut args = owned(&[
            "dev",
            "--output=json",
            "--http-addr=127.0.0.1:0",
            "--grpc-addr=127.0.0.1:0",
            &format!("--data-dir={}", lab.path("dev").display()),
        ]);
        args.extend(owned(flags));
        let process = lab.start("dev", &binary(), &args);
        let mut dev = Self {
            process,
            args,
            http: String::new(),
            grpc: String::new(),
            started_in: Duration::ZERO,
        };
        dev.wait_ready(0).await;
        dev
    }

    /// Waits for the line of JSON after the first `seen` bytes of its log.
    async fn wait_ready(&mut self, seen: usize) {
        let process = &mut self.process;
        let (ready, took) = wait_for("berth dev to be ready", START, async || {
            if let Some(status) = process.ended() {
                return Err(format!("it ended: {status}; {}", process.output()));
            }
            let output = process.output();
            let new = output.get(seen..).unwrap_or_default();
            let mut lines = new
                .lines()
                .filter_map(|l| serde_json::from_str::<Value>(l).ok());
            lines
                .find(|v| v["http_addr"].is_string())
                .ok_or_else(|| new.to_owned())
        })
        .await;
        self.http = ready["http_addr"].as_str().unwrap_or_default().to_owned();
        self.grpc = ready["grpc_addr"].as_str().unwrap_or_default().to_owned();
        self.started_in = took;
    }

    /// From its start until it said that it is ready.
    #[must_use]
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Its REST interface.
    #[must_use]
    pub fn rest(&self) -> Rest {
        Rest::new(&self.http)
    }

    /// Its HTTP address.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// Its gRPC address.
    #[must_use]
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// Its process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it as Ctrl-C would, and starts it again on the same data.
    pub async fn restart(&mut self, lab: &Lab) {
        self.process.terminate(secs(20));
        self.launch(lab).await;
    }

    /// Ends it at once, and starts it again on the same data.
    pub async fn crash(&mut self, lab: &Lab) {
        self.process.kill();
        self.launch(lab).await;
    }

    async fn launch(&mut self, lab: &Lab) {
        let seen = self.process.output().len();
        self.process = lab.start("dev", &binary(), &self.args);
        self.wait_ready(seen).await;
    }

    /// The live processes of workloads: id and pid.
    #[must_use]
    pub fn workload_processes(&self, lab: &Lab) -> Vec<(String, u32)> {
        workload_processes(lab.mark())
    }
}
