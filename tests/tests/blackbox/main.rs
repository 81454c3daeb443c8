//! What Berth must show, from outside: a real etcd, the real binary, real processes.
//!
//! One binary for all scenarios, so that they are linked once and share the machine's cores.

mod capacity;
mod cluster;
mod crash;
mod dev;
mod full;
mod harness;
mod hung;
mod idle;
mod input;
mod nodes;
mod operations;
mod replicas;
mod restored;
mod store;

use std::io::Write as _;

use berth_tests::berth::FAST;
use berth_tests::{Etcd, FakeAgent, FakeAgentOptions, History, Lab, Server, secs, wait_for};
use serde_json::Value;

/// A store, its whole history and a scheduler with short times.
struct Scheduler {
    server: Server,
    history: History,
    etcd: Etcd,
}

impl Scheduler {
    /// With the short times of [`FAST`] and further flags.
    async fn start(lab: &Lab, flags: &[&str]) -> Self {
        let flags: Vec<_> = FAST.iter().chain(flags).copied().collect();
        Self::start_with(lab, &flags).await
    }

    /// With these flags only.
    async fn start_with(lab: &Lab, flags: &[&str]) -> Self {
        let etcd = Etcd::start(lab).await;
        let history = History::record(&etcd);
        let server = Server::start(lab, &etcd, flags).await;
        Self {
            server,
            history,
            etcd,
        }
    }

    /// As many agents inside the test as options are given; waits until their nodes are ready.
    async fn fake_agents(&self, options: Vec<FakeAgentOptions>) -> Vec<FakeAgent> {
        let mut agents = Vec::new();
        for options in options {
            agents.push(FakeAgent::start(self.server.grpc(), options).await);
        }
        let rest = self.server.rest();
        wait_for("the agents' nodes", secs(15), async || {
            rest.nodes_ready(agents.len()).await
        })
        .await;
        agents
    }
}

/// Creates workloads one after the other.
async fn create(rest: &berth_tests::Rest, manifests: impl IntoIterator<Item = Value>) {
    for manifest in manifests {
        let _ = rest
            .post("/workloads", &manifest)
            .await
            .expect("the scheduler answers")
            .ok();
    }
}

/// The value of a metric, labels and all, in the text of `/metrics`.
fn metric<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
    values.find_map(|rest| rest.strip_prefix(' '))
}

/// Says a measured figure, of a test that passes too: written past the capture of output.
fn measured(what: &str, took: std::time::Duration) {
    let line = format!("measured: {what}: {:.2} s\n", took.as_secs_f64());
    let _ = std::io::stderr().write_all(line.as_bytes());
}
