//! How long nobody acts when the leader ends, killed or told to end: until the next one has acted.

use std::time::{Duration, Instant};

use berth_tests::{Lab, secs, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cluster::{Cluster, LEASE, Size};
use crate::load::fill;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many leaders end in each way.
    pub runs: usize,
    /// How many workloads there are meanwhile.
    pub workloads: usize,
}

/// How a leader ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `kill -9`: its lease has to run out.
    Killed,
    /// `SIGTERM`: it gives its lease back.
    Told,
}

impl Way {
    const ALL: [Self; 2] = [Self::Killed, Self::Told];

    const fn words(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Told => "told to end",
        }
    }
}

/// The times of one takeover, from the leader's end.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// The new leader's first call to an agent.
    called: Duration,
    /// The longest time without an acknowledged write, of a client that asks one scheduler after the
    /// other until the new leader has acted.
    waited: Duration,
    /// What the new leader computed until then, user and system.
    cpu: Duration,
}

/// A figure of [`Times`] with its name.
type Figure = (&'static str, fn(&Times) -> Duration);

const FIGURES: [Figure; 3] = [
    ("first call to an agent", |times| times.called),
    ("no write acknowledged", |times| times.waited),
    ("CPU of the new leader", |times| times.cpu),
];

/// Agents that record.
const AGENTS: usize = 20;

/// Ends leader after leader and prints a table; the figures, in milliseconds.
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
    let mut figures = json!({
        "workloads": plan.workloads,
        "runs": plan.runs,
        "lease_ms": LEASE.as_millis(),
    });
    for way in Way::ALL {
        let mut all = Vec::new();
        for run in 0..plan.runs {
            let times = once(&mut cluster, way, run).await;
            println!("{run:>3}: {} {times:.2?}, load {}", way.words(), load());
            all.push(times);
            cluster.nodes_ready(AGENTS).await;
            // Who is killed while nobody else has an image is replaced when somebody has read one.
            cluster.servers_ready().await;
        }
        figures[way.words()] = report(plan, way, &all);
    }
    figures
}

/// One leader ends.
async fn once(cluster: &mut Cluster, way: Way, run: usize) -> Times {
    let (old, epoch) = wait_for("a leader", secs(300), async || {
        let leader = cluster.leader().await;
        leader.ok_or_else(|| "nobody leads".to_owned())
    })
    .await
    .0;
    let before = cluster.cpu();
    match way {
        Way::Killed => cluster.kill_server(old),
        Way::Told => cluster.signal_server(old, Signal::SIGTERM),
    }
    let ended = Instant::now();
    let waited = longest_wait(cluster, &format!("takeover-{}-{run}", way as u8), epoch).await;
    let after = cluster.cpu();
    let called = first_call(cluster, epoch).expect("waited for");
    let (new, _) = cluster.leader().await.unwrap_or((old, 0));
    cluster.launch_server(old);
    Times {
        called: called.duration_since(ended),
        waited,
        cpu: after[new].saturating_sub(before[new]),
    }
}

/// When a leader after this epoch called any agent first.
fn first_call(cluster: &Cluster, epoch: i64) -> Option<Instant> {
    let agents = cluster.recorded.iter();
    agents
        .filter_map(|a| a.book().first_call_after(epoch))
        .min()
}

/// Asks one scheduler after the other to take a workload, until one has taken one that was asked for
/// after the new leader's first call: the longest time between two that were taken.
async fn longest_wait(cluster: &Cluster, id: &str, epoch: i64) -> Duration {
    let began = Instant::now();
    let (mut last, mut longest) = (began, Duration::ZERO);
    for (number, rest) in cluster.rests(secs(2)).iter().cycle().enumerate() {
        let acted = first_call(cluster, epoch).is_some();
        let manifest = cluster.manifest(&format!("{id}-{number}"), 0, 0.001);
        let answer = rest.post("/workloads", &manifest).await;
        if answer.is_ok_and(|answer| answer.status < 300) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if acted {
                break;
            }
        }
        assert!(began.elapsed() < secs(300), "nobody takes over");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    longest
}

/// The load of this machine, as the kernel tells it: others may be busy here, too.
fn load() -> String {
    let told = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    told.split(' ').next().unwrap_or_default().to_owned()
}

/// Prints the distribution.
fn report(plan: Plan, way: Way, all: &[Times]) -> Value {
    println!(
        "\n{} leaders {} with {} workloads, the lease is {LEASE:?}",
        all.len(),
        way.words(),
        plan.workloads,
    );
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>8}",
        "from its end", "min", "median", "p90", "max"
    );
    let mut figures = json!({});
    for (name, of) in FIGURES {
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
    println!();
    figures
}
