//! Steady state writes nothing and calls nobody to change anything.

use std::time::Duration;

use berth_tests::workloads::container;
use berth_tests::{CallKind, FakeAgent, FakeAgentOptions, Lab, secs, wait_for};

use crate::{Scheduler, create};

const WORKLOADS: usize = 200;
const PASSES: usize = 10;

/// Every pass lists every node in full, so that passes can be counted at the agents.
const TIMES: [&str; 3] = [
    "--heartbeat-interval=1s",
    "--reconcile-interval=500ms",
    "--list-interval=500ms",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_writes_nothing_and_changes_nothing() {
    let lab = Lab::new("idle");
    let scheduler = Scheduler::start_with(&lab, &TIMES).await;
    let nodes = (1..=4).map(|n| FakeAgentOptions::new(&format!("node-{n}"), 64_000, 65_536));
    let agents = scheduler.fake_agents(nodes.collect()).await;
    let rest = scheduler.server.rest();
    create(
        &rest,
        (0..WORKLOADS).map(|n| container(&format!("w-{n:03}"), &["sleep"], 0.1, 16)),
    )
    .await;
    wait_for("all to run", secs(40), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    settle(&scheduler).await;

    let (writes, calls) = (
        scheduler.history.until_now(&scheduler.etcd).await.len(),
        made(&agents),
    );
    let first = listings(&agents);
    wait_for("ten passes", secs(30), async || {
        let seen: Vec<_> = listings(&agents)
            .iter()
            .zip(&first)
            .map(|(now, then)| now - then)
            .collect();
        if seen.iter().all(|n| *n >= PASSES) {
            Ok(())
        } else {
            Err(format!("listings: {seen:?}"))
        }
    })
    .await;

    let after = scheduler.history.until_now(&scheduler.etcd).await;
    // What may be written: last heartbeats, coarsely. Leases do not make revisions.
    let written: Vec<_> = after[writes..].iter().map(|c| c.key.as_str()).collect();
    assert!(
        written.iter().all(|key| key.starts_with("/nodes/")),
        "written: {written:?}"
    );
    assert!(
        written.len() <= agents.len(),
        "more than one flush: {written:?}"
    );
    assert_eq!(made(&agents), calls, "agents were told to change something");
    let _ = rest.all_running(WORKLOADS).await.expect("all still run");
}

/// Waits until a second passes without a write: confirmations of the starts are in.
async fn settle(scheduler: &Scheduler) {
    let mut last = (0, std::time::Instant::now());
    wait_for("the writes to end", secs(30), async || {
        let revision = scheduler.etcd.revision().await;
        if revision != last.0 {
            last = (revision, std::time::Instant::now());
        }
        let quiet = last.1.elapsed();
        if quiet > Duration::from_secs(1) {
            Ok(())
        } else {
            Err(format!("quiet for {quiet:?}"))
        }
    })
    .await;
}

fn made(agents: &[FakeAgent]) -> usize {
    agents.iter().map(|a| a.book().mutations()).sum()
}

/// How often each agent was asked for everything that it holds.
fn listings(agents: &[FakeAgent]) -> Vec<usize> {
    agents
        .iter()
        .map(|a| a.book().count(CallKind::List))
        .collect()
}
