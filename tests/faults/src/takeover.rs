//! How long nobody acts when the leader dies: `kill -9` of the leader, until the next one has acted.

use std::time::{Duration, Instant};

use berth_tests::{Lab, Rest, secs, wait_for};
use serde_json::{Value, json};

use crate::cluster::{Cluster, LEASE, Size};
use crate::load::fill;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many leaders die.
    pub runs: usize,
    /// How many workloads there are meanwhile.
    pub workloads: usize,
}

/// The times of one takeover, from the leader's death.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// The new leader's first call to an agent.
    called: Duration,
    /// A write of a client, repeated at every scheduler, was acknowledged: the first commit.
    committed: Duration,
}

/// Agents that record.
const AGENTS: usize = 20;

/// Kills leader after leader and prints a table; the figures, in milliseconds.
///
/// # Panics
/// When nobody takes over.
pub async fn measure(plan: Plan) -> Value {
    let size = Size {
        recorded: AGENTS,
        cpu_millicores: 1_000_000,
        processes: 0,
        // Heartbeats as they are in production: each tells of all workloads of its node.
        flags: vec!["--eviction-grace=10m".to_owned()],
        history: false,
    };
    let mut cluster = Cluster::start(Lab::new("takeover"), &size).await;
    if plan.workloads > 0 {
        fill(&mut cluster, plan.workloads).await;
    }
    let mut all = Vec::new();
    for run in 0..plan.runs {
        let times = once(&mut cluster, run).await;
        println!(
            "{run:>3}: first call to an agent {:.2} s, first commit {:.2} s",
            times.called.as_secs_f64(),
            times.committed.as_secs_f64()
        );
        all.push(times);
        cluster.nodes_ready(AGENTS).await;
    }
    report(plan, &all)
}

/// One leader dies.
async fn once(cluster: &mut Cluster, run: usize) -> Times {
    let (old, epoch) = wait_for("a leader", secs(300), async || {
        cluster
            .leader()
            .await
            .ok_or_else(|| "nobody leads".to_owned())
    })
    .await
    .0;
    let rests = cluster.rests(secs(2));
    cluster.kill_server(old);
    let died = Instant::now();
    let id = format!("takeover-{run}");
    let manifest = cluster.manifest(&id, 0, 0.001);
    let committed = acknowledged(&rests, &manifest, died).await;
    let (called, _) = wait_for("the new leader's first call", secs(60), async || {
        let calls = cluster
            .recorded
            .iter()
            .flat_map(|agent| agent.book().calls());
        let new = calls.filter(|call| call.epoch.is_some_and(|e| e > epoch));
        let first = new.map(|call| call.at).min();
        first.ok_or_else(|| "no call".to_owned())
    })
    .await;
    cluster.launch_server(old);
    Times {
        called: called.duration_since(died),
        committed,
    }
}

/// Asks one scheduler after the other until one takes the workload.
async fn acknowledged(rests: &[Rest], manifest: &Value, died: Instant) -> Duration {
    for rest in rests.iter().cycle() {
        let answer = rest.post("/workloads", manifest).await;
        if answer.is_ok_and(|answer| answer.status < 300) {
            break;
        }
        assert!(died.elapsed() < secs(300), "nobody takes over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    died.elapsed()
}

/// Prints the distribution.
fn report(plan: Plan, all: &[Times]) -> Value {
    println!(
        "\n{} takeovers with {} workloads, the lease is {:?}",
        all.len(),
        plan.workloads,
        LEASE
    );
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>8}",
        "from the leader's death", "min", "median", "p90", "max"
    );
    let mut figures = json!({
        "workloads": plan.workloads,
        "runs": all.len(),
        "lease_ms": LEASE.as_millis(),
    });
    for (name, of) in [
        (
            "first call to an agent",
            Times::called as fn(&Times) -> Duration,
        ),
        ("first commit", Times::committed),
    ] {
        let mut times: Vec<Duration> = all.iter().map(of).collect();
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let row = [at(0), at(50), at(90), at(100)];
        let shown = row.map(|time| format!("{:>7.2}s", time.as_secs_f64()));
        println!("{name:<24} {}", shown.join(" "));
        let [min, median, p90, max] = row.map(|time| time.as_millis());
        figures[name] = json!({"min": min, "median": median, "p90": p90, "max": max,
            "all": times.iter().map(Duration::as_millis).collect::<Vec<_>>()});
    }
    figures
}

impl Times {
    fn called(&self) -> Duration {
        self.called
    }

    fn committed(&self) -> Duration {
        self.committed
    }
}
