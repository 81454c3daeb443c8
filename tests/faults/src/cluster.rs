//! The cluster under test: members, schedulers and agents as processes, with the network between.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_tests::berth::binary;
use berth_tests::etcd::free_address;
use berth_tests::{FakeAgent, FakeAgentOptions, Lab, Process, Rest, secs, wait_for};
use futures::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::members::Members;
use crate::net::{Net, Place};

/// How many schedulers there are.
pub const SERVERS: usize = 3;

/// The leadership's lease.
pub const LEASE: Duration = secs(2);

/// How large a cluster is.
#[derive(Debug, Clone)]
pub struct Size {
    /// Agents inside this process, which record everything. Each is one on the wire.
    pub recorded: usize,
    /// Of each, millicores.
    pub cpu_millicores: i64,
    /// `berth agent` processes with the `exec` runtime.
    pub processes: usize,
    /// Further flags of the schedulers.
    pub flags: Vec<String>,
    /// The history of each member of etcd is recorded; each has a small disk of its own.
    pub history: bool,
}

/// A scheduler.
#[derive(Debug)]
struct Server {
    process: Process,
    args: Vec<String>,
    http: String,
}

/// An agent as a process of its own.
#[derive(Debug)]
struct AgentProcess {
    process: Process,
    args: Vec<String>,
    node: String,
}

/// All of it. Declared in the order in which it must end.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
    agents: Vec<AgentProcess>,
    /// The agents inside this process: `recorded-0` and so on.
    pub recorded: Vec<FakeAgent>,
    /// The store.
    pub members: Members,
    /// The network.
    pub net: Arc<Net>,
    /// The corner of the run.
    pub lab: Lab,
}

impl Cluster {
    /// Starts everything and waits until a scheduler leads and all nodes are ready.
    pub async fn start(lab: Lab, size: &Size) -> Self {
        let net = Net::new();
        let members = Members::start(&lab, &net, size.history).await;
        let mut cluster = Self {
            servers: Vec::new(),
            agents: Vec::new(),
            recorded: Vec::new(),
            members,
            net,
            lab,
        };
        let mut links = Vec::new();
        for number in 0..SERVERS {
            links.push(cluster.start_server(number, &size.flags).await);
        }
        cluster.start_agents(size, &links).await;
        cluster.nodes_ready(size.recorded + size.processes).await;
        cluster.peers_meet_in(&links).await;
        cluster
    }

    /// Whoever leads is called by the others through the network, not past it.
    async fn peers_meet_in(&self, links: &[String]) {
        let (record, _) = wait_for("somebody to lead", secs(30), async || {
            let words = |error: etcd_client::Error| error.to_string();
            let mut client = self.members.client().await.map_err(words)?;
            let answer = client.get("/leader/current", None).await.map_err(words)?;
            let record = answer.kvs().first().ok_or("nobody leads")?;
            serde_json::from_slice::<Value>(record.value()).map_err(|e| e.to_string())
        })
        .await;
        let address = record["grpc_address"].as_str().unwrap_or_default();
        assert!(links.iter().any(|link| link == address), "{record}");
    }

    async fn start_server(&mut self, number: usize, flags: &[String]) -> String {
        let (http, grpc) = (free_address(), free_address());
        let link = self.net.proxy(Place::Server(number), &grpc).await;
        let mut args: Vec<String> = [
            "server",
            "--insecure",
            &format!("--lease-ttl={}s", LEASE.as_secs()),
            &format!("--replica-id=server-{number}"),
            &format!("--etcd={}", self.members.links()),
            &format!("--http-addr={http}"),
            &format!("--grpc-addr={grpc}"),
            &format!("--advertise={link}"),
        ]
        .map(ToOwned::to_owned)
        .to_vec();
        args.extend(flags.iter().cloned());
        let process = self
            .lab
            .start(&format!("server-{number}"), &binary(), &args);
        self.net.stands(process.pid(), Place::Server(number));
        self.servers.push(Server {
            process,
            args,
            http,
        });
        link
    }

    async fn start_agents(&mut self, size: &Size, schedulers: &[String]) {
        for number in 0..size.recorded {
            let mut options = recorded_options(number, size.cpu_millicores);
            let link = self.net.proxy(Place::Agents, &options.listen).await;
            options.advertise = Some(link);
            let agent = FakeAgent::start_at(schedulers, options).await;
            self.recorded.push(agent);
        }
        for number in 0..size.processes {
            let (node, listen) = (format!("process-{number}"), free_address());
            let link = self.net.proxy(Place::Agents, &listen).await;
            let args: Vec<String> = [
                "agent",
                "--cpu=1",
                "--memory-mb=4096",
                &format!("--node-id={node}"),
                &format!("--scheduler={}", schedulers.join(",")),
                &format!("--grpc-addr={listen}"),
                &format!("--advertise={link}"),
                &format!("--data-dir={}", self.lab.path(&node).display()),
            ]
            .map(ToOwned::to_owned)
            .to_vec();
            let process = self.lab.start(&node, &binary(), &args);
            self.net.stands(process.pid(), Place::Agents);
            self.agents.push(AgentProcess {
                process,
                args,
                node,
            });
        }
    }

    /// The REST interfaces of all schedulers, past the network.
    #[must_use]
    pub fn rests(&self, patience: Duration) -> Vec<Rest> {
        let rest = |server: &Server| Rest::patient(&server.http, patience);
        self.servers.iter().map(rest).collect()
    }

    /// The scheduler that says that it leads, the one with the highest epoch if several do.
    pub async fn leader(&self) -> Option<(usize, i64)> {
        let rests = self.rests(Duration::from_millis(500));
        let told = join_all(rests.iter().map(|rest| rest.get("/health"))).await;
        let leading = told.into_iter().enumerate().filter_map(|(number, told)| {
            let body = told.ok()?.body;
            (body["leading"] == true).then(|| (number, body["epoch"].as_i64().unwrap_or(0)))
        });
        leading.max_by_key(|(_, epoch)| *epoch)
    }

    /// Waits until somebody leads: its interface.
    pub async fn wait_leader(&self) -> Rest {
        let (leader, _) = wait_for("a leader", secs(60), async || {
            self.leader().await.ok_or_else(|| "nobody leads".to_owned())
        })
        .await;
        self.rests(secs(20)).swap_remove(leader.0)
    }

    /// Waits until this many nodes are ready.
    pub async fn nodes_ready(&self, count: usize) {
        wait_for("all nodes to be ready", secs(90), async || {
            self.wait_leader().await.nodes_ready(count).await
        })
        .await;
    }

    /// Waits until every scheduler leads or follows, with an image.
    pub async fn servers_ready(&self) {
        for number in 0..SERVERS {
            self.server_ready(number).await;
        }
    }

    /// A scheduler ends at once.
    pub fn kill_server(&mut self, number: usize) {
        self.servers[number].process.kill();
    }

    /// A scheduler that ended starts again.
    pub fn launch_server(&mut self, number: usize) {
        let server = &mut self.servers[number];
        server.process.kill();
        let name = format!("server-{number}");
        server.process = self.lab.start(&name, &binary(), &server.args);
        self.net.stands(server.process.pid(), Place::Server(number));
    }

    /// Sends a signal to a scheduler.
    pub fn signal_server(&self, number: usize, signal: Signal) {
        self.servers[number].process.signal(signal);
    }

    /// A scheduler is told to end, ends, starts again and serves: one step of a rolling restart.
    ///
    /// # Panics
    /// When it does not end well, or does not serve.
    pub async fn restart_server(&mut self, number: usize) {
        // It may have started just now, and would end at once.
        self.server_ready(number).await;
        self.signal_server(number, Signal::SIGTERM);
        let what = format!("server-{number} to end");
        let (status, _) = wait_for(&what, secs(60), async || {
            let ended = self.server_ended(number);
            ended.ok_or_else(|| "it runs".to_owned())
        })
        .await;
        assert!(status.success(), "server-{number} ended with {status}");
        self.launch_server(number);
        self.server_ready(number).await;
    }

    /// Waits until a scheduler says that it serves.
    async fn server_ready(&self, number: usize) {
        let rest = self.rests(secs(2)).swap_remove(number);
        let what = format!("server-{number} to be ready");
        wait_for(&what, secs(60), async || {
            match rest.get("/readyz").await? {
                answer if answer.status == 200 => Ok(()),
                answer => Err(answer.text),
            }
        })
        .await;
    }

    /// Whether every thread of a scheduler stands still. `SIGSTOP` reaches one, which tells the others
    /// when it is its turn to run: on a busy machine they may serve for a while longer.
    #[must_use]
    pub fn stands_still(&self, number: usize) -> bool {
        let threads = format!("/proc/{}/task", self.servers[number].process.pid());
        let stopped = |thread: std::fs::DirEntry| {
            let told = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            told.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        let mut threads = std::fs::read_dir(threads).into_iter().flatten().flatten();
        threads.all(stopped)
    }

    /// What each scheduler's process computed so far, user and system; nothing if it is gone.
    #[must_use]
    pub fn cpu(&self) -> Vec<Duration> {
        let of = |server: &Server| {
            let path = format!("/proc/{}/stat", server.process.pid());
            let told = std::fs::read_to_string(path).unwrap_or_default();
            // After the name in brackets: the 12th and 13th are ticks, a hundred a second.
            let fields = told.rsplit_once(") ").map_or("", |(_, rest)| rest);
            let ticks = fields.split(' ').skip(11).take(2);
            let sum: u64 = ticks.filter_map(|t| t.parse::<u64>().ok()).sum();
            Duration::from_millis(sum * 10)
        };
        self.servers.iter().map(of).collect()
    }

    /// How a scheduler ended, if it did.
    pub fn server_ended(&mut self, number: usize) -> Option<std::process::ExitStatus> {
        self.servers[number].process.ended()
    }

    /// An agent's process ends at once; what it started runs on.
    pub fn kill_agent(&mut self, number: usize) {
        self.agents[number].process.kill();
    }

    /// It starts again on its data.
    pub fn launch_agent(&mut self, number: usize) {
        let agent = &mut self.agents[number];
        agent.process.kill();
        agent.process = self.lab.start(&agent.node, &binary(), &agent.args);
        self.net.stands(agent.process.pid(), Place::Agents);
    }

    /// Where workloads on agents' processes say that they were started, a line each.
    #[must_use]
    pub fn starts(&self) -> PathBuf {
        self.lab.path("starts")
    }

    /// A workload that says in [`Self::starts`] that it was started: node, id, revision.
    #[must_use]
    pub fn manifest(&self, id: &str, generation: u32, cpu: f64) -> Value {
        manifest(&self.starts(), id, generation, cpu)
    }
}

/// A manifest of [`Cluster::manifest`]: the generation makes each its own revision.
#[must_use]
pub fn manifest(starts: &std::path::Path, id: &str, generation: u32, cpu: f64) -> Value {
    let script = format!(
        ": {}; echo $BERTH_NODE_ID $BERTH_WORKLOAD_ID $BERTH_REVISION >> {}; exec sleep 3600",
        stamp(generation),
        starts.display()
    );
    json!({
        "id": id,
        "type": "container",
        "spec": {"image": "busybox:1", "command": ["sh", "-c", script]},
        "resources": {"cpu": cpu, "memory_mb": 8, "disk_gb": 0},
    })
}

/// How a generation can be told from a record.
#[must_use]
pub fn stamp(generation: u32) -> String {
    format!("generation-{generation}-")
}

fn recorded_options(number: usize, cpu_millicores: i64) -> FakeAgentOptions {
    let mut options =
        FakeAgentOptions::new(&format!("recorded-{number}"), cpu_millicores, 1_000_000);
    options.disk_gb = 100_000;
    options.start_delay = Duration::from_millis(20);
    options.patience = secs(3);
    options.listen = free_address();
    options
}
