//! A node never gets more than its capacity, whatever agents say that they use.

use std::collections::BTreeMap;

use berth_tests::history::{Change, replay};
use berth_tests::workloads::container;
use berth_tests::{FakeAgentOptions, Lab, Rest, secs, wait_for};
use futures::future::join_all;
use serde_json::Value;

use crate::Scheduler;

/// Three nodes of 4 cores and workloads of half a core: 24 fit.
const NODES: usize = 3;
const CORES: i64 = 4;
const WORKLOADS: usize = 100;
const FIT: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_never_fill_a_node_beyond_its_capacity() {
    let lab = Lab::new("capacity");
    let scheduler = Scheduler::start(&lab, &[]).await;
    let nodes =
        (1..=NODES).map(|n| FakeAgentOptions::new(&format!("node-{n}"), CORES * 1000, 8192));
    let _agents = scheduler.fake_agents(nodes.collect()).await;
    let rest = scheduler.server.rest();

    let manifests: Vec<_> = (0..WORKLOADS)
        .map(|n| container(&format!("w-{n:03}"), &["sleep"], 0.5, 16))
        .collect();
    let answers = join_all(manifests.iter().map(|m| rest.post("/workloads", m))).await;
    for answer in answers {
        let _ = answer.expect("the scheduler answers").ok();
    }
    wait_for("what fits to run", secs(20), async || {
        counts(&rest, FIT, WORKLOADS - FIT).await
    })
    .await;

    let waiting = one(&rest, "Pending").await;
    let why = rest
        .get(&format!("/workloads/{waiting}/explain"))
        .await
        .expect("an answer")
        .ok();
    let decision = &why.body["decision"];
    assert_eq!(decision["nodes"], NODES, "{}", why.text);
    assert_eq!(decision["candidates"], 0, "{}", why.text);
    assert_eq!(decision["refused"]["cpu"], NODES, "{}", why.text);
    assert_eq!(decision["requested"]["cpu"], 0.5, "{}", why.text);
    assert!(
        why.body["nearest"]
            .as_array()
            .is_some_and(|n| n.len() == NODES),
        "{}",
        why.text
    );
    assert!(
        why.body["would_help"]
            .as_array()
            .is_some_and(|n| !n.is_empty()),
        "{}",
        why.text
    );

    // Room appears, and nobody asks for anything.
    let gone = one(&rest, "Running").await;
    let _ = rest
        .delete(&format!("/workloads/{gone}"))
        .await
        .expect("an answer")
        .ok();
    let (_, took) = wait_for(
        "a waiting workload to take the room",
        secs(20),
        async || counts(&rest, FIT, WORKLOADS - FIT - 1).await,
    )
    .await;
    crate::measured("a waiting workload runs after another was deleted", took);

    check_every_revision(&scheduler.history.until_now(&scheduler.etcd).await);
}

/// Sums what is reserved on each node at every revision of etcd: assignments, and copies of
/// former assignments that may still be there.
fn check_every_revision(changes: &[Change]) {
    let mut seen_full = false;
    replay(changes, |revision, state| {
        let mut reserved: BTreeMap<String, f64> = BTreeMap::new();
        for (key, value) in state {
            let node = value["node_id"].as_str().unwrap_or_default();
            let cpu = value["resources"]["cpu"].as_f64();
            if key.starts_with("/assignments/") {
                let cpu = cpu.unwrap_or_else(|| panic!("{key} has no resources: {value}"));
                *reserved.entry(node.to_owned()).or_default() += cpu;
            } else if key.starts_with("/meta/tombstones/") {
                *reserved.entry(node.to_owned()).or_default() += cpu.unwrap_or_default();
            }
        }
        for (node, cpu) in reserved {
            #[allow(clippy::cast_precision_loss)]
            let total = CORES as f64;
            assert!(
                cpu <= total + 1e-9,
                "{node} has {cpu} of {total} cores at {revision}"
            );
            seen_full |= (cpu - total).abs() < 1e-9;
        }
    });
    assert!(
        seen_full,
        "the check never saw a full node: it looks at the wrong records"
    );
}

async fn counts(rest: &Rest, running: usize, pending: usize) -> Result<(), String> {
    let workloads = rest.workloads().await?;
    let of = |status: &str| {
        workloads
            .iter()
            .filter(|w| w["display_status"] == status)
            .count()
    };
    let (r, p) = (of("Running"), of("Pending"));
    if (r, p, workloads.len()) == (running, pending, running + pending) {
        Ok(())
    } else {
        Err(format!(
            "{} workloads: {r} running, {p} pending",
            workloads.len()
        ))
    }
}

/// The first workload in this state.
async fn one(rest: &Rest, status: &str) -> String {
    let workloads = rest.workloads().await.expect("an answer");
    let found = workloads.iter().find(|w| w["display_status"] == status);
    found
        .map(|w| &w["id"])
        .and_then(Value::as_str)
        .expect("there is one")
        .to_owned()
}
