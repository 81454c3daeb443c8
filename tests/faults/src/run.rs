//! One run: a cluster, clients that write all the time, faults from a seed, and the verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use berth_tests::{Lab, Schedule, secs};

use crate::client::{Ledger, Orders, write_all_the_time};
use crate::cluster::{Cluster, Size};
use crate::draw::{Planned, draw};
use crate::fault::{Begun, begin, end};
use crate::verdict;

/// What a run is.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides the faults and what clients write.
    pub seed: u64,
    /// How many faults.
    pub faults: usize,
    /// Agents that record, and agents that are processes.
    pub agents: (usize, usize),
    /// Clients.
    pub clients: usize,
}

impl Plan {
    /// More than fifty faults on a cluster with twenty agents, those left out not counted: a few
    /// minutes.
    #[must_use]
    pub const fn long(seed: u64) -> Self {
        Self {
            seed,
            faults: 55,
            agents: (16, 4),
            clients: 4,
        }
    }

    /// A dozen faults: what every test of the project has time for.
    #[must_use]
    pub const fn short(seed: u64) -> Self {
        Self {
            seed,
            faults: 10,
            agents: (18, 2),
            clients: 3,
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Faults that were begun.
    pub faults: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// The longest wait of a client.
    pub slowest: Duration,
    /// Elections that were won, the first among them.
    pub leaders: usize,
    /// Revisions of etcd that were checked.
    pub revisions: usize,
    /// How long it took until everything had converged, once the faults were over.
    pub converged: Duration,
}

/// Times that let faults be noticed within seconds; nobody is evicted by a fault of this test.
const FLAGS: [&str; 9] = [
    "--heartbeat-interval=1s",
    "--eviction-grace=10m",
    "--reconcile-interval=500ms",
    "--list-interval=2s",
    "--agent-call-timeout=2s",
    "--apply-timeout=3s",
    "--delete-timeout=3s",
    "--missing-grace=3s",
    "--request-timeout=5s",
];

/// Millicores of a recording agent; a process offers a thousand.
const CPU: u32 = 2_000;

/// Runs a plan to its verdict.
///
/// # Panics
/// When a rule is broken; what was seen stands in the message, the logs of all processes follow.
pub async fn run(plan: &Plan) -> Outcome {
    println!("seed {}: {} faults", plan.seed, plan.faults);
    let mut schedule = Schedule::of(plan.seed);
    let planned = draw(&mut schedule, plan.faults, plan.agents.1);
    let size = Size {
        recorded: plan.agents.0,
        cpu_millicores: i64::from(CPU),
        processes: plan.agents.1,
        flags: FLAGS.map(ToOwned::to_owned).to_vec(),
        history: true,
    };
    let mut cluster = Cluster::start(Lab::new("faults"), &size).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients = start_clients(plan, &cluster, &mut schedule, &stop);

    let count = play(&mut cluster, planned).await;
    let healed = Instant::now();
    cluster.members.disarm().await;
    cluster.members.wait_healthy().await;
    stop.store(true, Ordering::Relaxed);
    let mut ledger = Ledger::default();
    for client in clients {
        ledger.add(client.await.expect("no client panics"));
    }
    println!(
        "{} writes acknowledged, {} workloads wanted, the slowest write took {:.1} s",
        ledger.acknowledged(),
        ledger.wanted.len(),
        ledger.slowest.as_secs_f64()
    );
    let seen = verdict::judge(&mut cluster, &ledger, plan.agents).await;
    let outcome = Outcome {
        faults: count,
        acknowledged: ledger.acknowledged(),
        slowest: ledger.slowest,
        leaders: seen.leaders,
        revisions: seen.revisions,
        converged: seen.converged_at.duration_since(healed),
    };
    println!("seed {}: passed: {outcome:?}", plan.seed);
    outcome
}

/// Begins and ends all faults, each at its time: how many were begun.
async fn play(cluster: &mut Cluster, planned: Vec<Planned>) -> usize {
    let began = Instant::now();
    let mut active: Vec<(Instant, Begun)> = Vec::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for fault in planned {
        if !fault.overlaps {
            end_all(cluster, &mut active, began).await;
        }
        tokio::time::sleep(fault.after).await;
        let others: Vec<Begun> = active.iter().map(|(_, begun)| begun.clone()).collect();
        let begun = begin(cluster, fault.fault, &others).await;
        let at = began.elapsed().as_secs_f64();
        match begun {
            Some(begun) => {
                println!("{at:7.2} s  {fault} = {begun:?}");
                *kinds.entry(fault.fault.kind()).or_default() += 1;
                active.push((Instant::now() + fault.lasts, begun));
            }
            None => println!("{at:7.2} s  {fault} = left out, its process has another fault"),
        }
    }
    end_all(cluster, &mut active, began).await;
    println!(
        "{:7.2} s  the faults are over",
        began.elapsed().as_secs_f64()
    );
    let told = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    println!("begun: {}", told.collect::<Vec<_>>().join(", "));
    kinds.values().sum()
}

fn start_clients(
    plan: &Plan,
    cluster: &Cluster,
    schedule: &mut Schedule,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<Ledger>> {
    let all = u32::try_from(plan.agents.0).unwrap_or(0) * CPU
        + u32::try_from(plan.agents.1).unwrap_or(0) * 1_000;
    let each = all / u32::try_from(plan.clients).unwrap_or(1);
    let start = |number| {
        let orders = Orders {
            number,
            servers: cluster.rests(secs(3)),
            starts: cluster.starts(),
            // More than fits well while it writes; at its end what fits anywhere.
            bounds: (each, each / 2),
            pause: Duration::from_millis(30),
            stop: Arc::clone(stop),
        };
        tokio::spawn(write_all_the_time(
            orders,
            Schedule::of(schedule.next_u64()),
        ))
    };
    (0..plan.clients).map(start).collect()
}

/// Waits for the end of all faults that have begun, each at its time.
async fn end_all(cluster: &mut Cluster, active: &mut Vec<(Instant, Begun)>, began: Instant) {
    active.sort_by_key(|(at, _)| *at);
    let mut full = false;
    for (at, begun) in active.drain(..) {
        tokio::time::sleep_until(at.into()).await;
        println!("{:7.2} s  ends: {begun:?}", began.elapsed().as_secs_f64());
        full |= matches!(begun, Begun::Full(_));
        if let Some(said) = end(cluster, begun) {
            println!("           {said}");
        }
    }
    // With every member back, an operator can take the alarm back. Until then none is healthy.
    if full {
        cluster.members.disarm().await;
    }
}
