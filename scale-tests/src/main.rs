//! A capacity run: a real etcd, a real server, agents over real gRPC. See the README.

mod agents;
mod report;
mod usage;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use berth_tests::workloads::container;
use berth_tests::{Etcd, Lab, Process, Rest, Server, secs};
use clap::{Args, Parser, Subcommand, ValueEnum};
use futures::future::join_all;

use report::{Processes, Report, Store};
use usage::Usage;

/// A capacity run against a real etcd
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hosts the agents (started by the run)
    #[command(hide = true)]
    Agents(agents::Agents),
}

#[derive(Debug, Args)]
struct Run {
    /// How many nodes, each with an agent
    #[arg(long, default_value_t = 500)]
    nodes: usize,
    /// How many workloads
    #[arg(long, default_value_t = 5000)]
    workloads: usize,
    /// How many requests are in flight at once
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long an agent takes to start a workload
    #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
    start_delay: Duration,
    /// How long to watch the idle cluster afterwards
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// When to give up
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Agents(agents)) => agents.run().await,
        None => {
            let report = cli.run.run().await?;
            match cli.run.output {
                Output::Table => print!("{}", report.table()),
                Output::Json => println!("{}", report.json()),
            }
            Ok(())
        }
    }
}

impl Run {
    async fn run(&self) -> Result<Report> {
        let lab = Lab::new("scale");
        let etcd = Etcd::start(&lab).await;
        let mut server = Server::start(&lab, &etcd, &["--log-level=warn"]).await;
        let rest = server.rest();
        let agents = self.start_agents(&lab, &server)?;
        let nodes = self.until(
            "all nodes to be ready",
            async || ready_nodes(&rest).await,
            self.nodes,
        );
        let registered = nodes.await?;
        self.progress(&format!(
            "{} nodes are ready after {registered:.1?}",
            self.nodes
        ));

        let before = Store::read(&etcd).await?;
        let started = Instant::now();
        self.create(&rest).await?;
        let accepted = started.elapsed();
        self.progress(&format!(
            "{} workloads are accepted after {accepted:.1?}",
            self.workloads
        ));
        self.until(
            "all workloads to run",
            async || running(&rest).await,
            self.workloads,
        )
        .await?;
        let running = started.elapsed();
        self.progress(&format!("all run after {running:.1?}"));
        settle(&etcd).await;
        let store = Store::read(&etcd).await?.since(&before);

        let pids = [server.process().pid(), etcd.pid(), agents.pid()];
        let busy = pids.map(Usage::of);
        let calm = Store::read(&etcd).await?;
        tokio::time::sleep(self.idle).await;
        let idle_store = Store::read(&etcd).await?.since(&calm);
        let idle = pids.map(Usage::of);
        let mut processes = Vec::new();
        for (name, (busy, idle)) in ["server", "etcd", "agents"]
            .into_iter()
            .zip(busy.into_iter().zip(idle))
        {
            let busy = busy.context("a process ended")?;
            let idle = idle.context("a process ended")?;
            processes.push(Processes {
                name,
                busy,
                idle: idle.since(&busy),
            });
        }
        Ok(Report {
            nodes: self.nodes,
            workloads: self.workloads,
            registered,
            accepted,
            running,
            store,
            idle_span: self.idle,
            idle_store,
            processes,
        })
    }

    /// The agents in a process of their own, so that what they use is counted apart.
    fn start_agents(&self, lab: &Lab, server: &Server) -> Result<Process> {
        let program: PathBuf = std::env::current_exe().context("where is this program?")?;
        let args = [
            "agents".to_owned(),
            format!("--scheduler={}", server.grpc()),
            format!("--nodes={}", self.nodes),
            format!(
                "--start-delay={}",
                humantime::format_duration(self.start_delay)
            ),
        ];
        Ok(lab.start("agents", &program, &args))
    }

    /// Creates all workloads, a bounded number of requests at a time.
    async fn create(&self, rest: &Rest) -> Result<()> {
        let next = AtomicUsize::new(0);
        let client = async || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.workloads {
                    return Ok(());
                }
                let manifest = container(&format!("w-{number:06}"), &["sleep"], 0.5, 256);
                let answer = rest
                    .post("/workloads", &manifest)
                    .await
                    .map_err(anyhow::Error::msg)?;
                ensure!(answer.status < 300, "{}: {}", answer.status, answer.text);
            }
        };
        let done = join_all((0..self.clients.max(1)).map(|_| client())).await;
        done.into_iter().collect()
    }

    /// Waits until a count reaches `wanted`; how long that took.
    async fn until(
        &self,
        what: &str,
        count: impl AsyncFn() -> Result<u64>,
        wanted: usize,
    ) -> Result<Duration> {
        let started = Instant::now();
        let mut told = Instant::now();
        loop {
            let seen = count().await?;
            if seen >= wanted as u64 {
                return Ok(started.elapsed());
            }
            if started.elapsed() > self.timeout {
                bail!("waited {:?} for {what}: {seen} of {wanted}", self.timeout);
            }
            if told.elapsed() > secs(5) {
                self.progress(&format!("waiting for {what}: {seen} of {wanted}"));
                told = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn progress(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// Waits until a second passes without a write: the last outcomes are in the store.
async fn settle(etcd: &Etcd) {
    let mut revision = etcd.revision().await;
    let mut since = Instant::now();
    while since.elapsed() < secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = etcd.revision().await;
        if now != revision {
            (revision, since) = (now, Instant::now());
        }
    }
}

async fn ready_nodes(rest: &Rest) -> Result<u64> {
    summary(rest, "ready_nodes").await
}

async fn running(rest: &Rest) -> Result<u64> {
    summary(rest, "running_workloads").await
}

async fn summary(rest: &Rest, field: &str) -> Result<u64> {
    let answer = rest.get("/summary").await.map_err(anyhow::Error::msg)?;
    answer.body[field]
        .as_u64()
        .with_context(|| format!("no {field} in {}", answer.text))
}
