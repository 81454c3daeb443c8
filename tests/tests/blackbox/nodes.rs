//! What operators do to nodes, by the command line: cordon, drain, fence, purge.

use std::time::Duration;

use berth_tests::berth::{berth, text_of};
use berth_tests::workloads::container;
use berth_tests::{CallKind, FakeAgent, FakeAgentOptions, Lab, Rest, secs, wait_for};
use serde_json::Value;

use crate::{Scheduler, create};

/// Nobody is moved because its node is lost, as far as these tests can tell.
const FLAGS: [&str; 4] = [
    "--heartbeat-interval=1s",
    "--eviction-grace=10m",
    "--reconcile-interval=500ms",
    "--list-interval=2s",
];
const WORKLOADS: usize = 6;
/// How long a workload takes until it runs.
const STARTS_IN: Duration = Duration::from_millis(200);

/// Two nodes with room for all, and workloads on both.
async fn two_nodes(lab: &Lab) -> (Scheduler, Vec<FakeAgent>) {
    let scheduler = Scheduler::start_with(lab, &FLAGS).await;
    let nodes = (1..=2).map(|n| {
        let mut options = FakeAgentOptions::new(&format!("node-{n}"), 8_000, 8_192);
        options.start_delay = STARTS_IN;
        options
    });
    let agents = scheduler.fake_agents(nodes.collect()).await;
    let rest = scheduler.server.rest();
    create(&rest, (0..WORKLOADS).map(|n| sleeps(&format!("w-{n}")))).await;
    wait_for("all to run", secs(20), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    assert!(agents.iter().all(|agent| !agent.book().held().is_empty()));
    (scheduler, agents)
}

fn sleeps(id: &str) -> Value {
    container(id, &["sleep"], 0.1, 16)
}

/// Runs a command, which does what it is told.
fn told(lab: &Lab, scheduler: &Scheduler, args: &[&str]) -> String {
    let output = berth(lab, scheduler.server.http(), args);
    assert!(output.status.success(), "{args:?}: {}", text_of(&output));
    text_of(&output)
}

/// Runs a command, which refuses.
fn refused(lab: &Lab, scheduler: &Scheduler, args: &[&str]) -> String {
    let output = berth(lab, scheduler.server.http(), args);
    assert!(!output.status.success(), "{args:?}: {}", text_of(&output));
    text_of(&output)
}

async fn node(rest: &Rest, id: &str) -> Value {
    let answer = rest.get(&format!("/nodes/{id}")).await;
    answer.expect("an answer").ok().body
}

/// Waits until these agents hold so many workloads together, each once.
async fn held(agents: &[&FakeAgent], count: usize) {
    wait_for("the agents to hold them", secs(30), async || {
        let held = agents.iter().flat_map(|agent| agent.book().held());
        let held: Vec<_> = held.collect();
        let mut ids = held.clone();
        ids.sort();
        ids.dedup();
        if held.len() == count && ids.len() == count {
            return Ok(());
        }
        Err(format!("{held:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cordoned_node_keeps_what_it_has_and_gets_nothing_new() {
    let lab = Lab::new("cordon");
    let (scheduler, agents) = two_nodes(&lab).await;
    let rest = scheduler.server.rest();
    let before = agents[0].book().held();
    let _ = told(&lab, &scheduler, &["cordon", "node-1"]);
    assert_eq!(node(&rest, "node-1").await["schedulable"], false);
    create(&rest, (0..4).map(|n| sleeps(&format!("new-{n}")))).await;
    wait_for("all to run", secs(20), async || {
        rest.all_running(WORKLOADS + 4).await
    })
    .await;
    assert_eq!(agents[0].book().held(), before);

    // It is the emptier one, and free again.
    let _ = told(&lab, &scheduler, &["uncordon", "node-1"]);
    create(&rest, [sleeps("last")]).await;
    wait_for("the last to run", secs(20), async || {
        rest.all_running(WORKLOADS + 5).await
    })
    .await;
    assert!(agents[0].book().held().contains(&"last".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_is_empty_and_everything_runs_elsewhere() {
    let lab = Lab::new("drain");
    let (scheduler, agents) = two_nodes(&lab).await;
    let rest = scheduler.server.rest();
    let leaving = agents[0].book().held();
    let args = [
        "drain",
        "node-1",
        "--parallelism=1",
        "--wait",
        "--timeout=60s",
    ];
    let said = told(&lab, &scheduler, &args);
    assert!(said.contains("drained"), "{said}");
    // Drained means gone from the node, not told to go.
    assert_eq!(agents[0].book().held(), Vec::<String>::new());
    let drained = node(&rest, "node-1").await;
    assert_eq!(drained["status"], "Draining", "{drained}");
    wait_for("all to run", secs(20), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    held(&[&agents[1]], WORKLOADS).await;
    // One at a time: the next one goes when the last one runs, which takes as long as it starts.
    let calls = agents[1].book().calls();
    let moved = calls.iter().filter(|call| {
        let applied = call.kind == CallKind::Apply;
        applied && leaving.contains(&call.workload)
    });
    let moved: Vec<_> = moved.map(|call| call.at).collect();
    assert_eq!(moved.len(), leaving.len());
    let hasty = moved.windows(2).find(|pair| pair[1] - pair[0] < STARTS_IN);
    assert!(hasty.is_none(), "{hasty:?}");
    create(&rest, [sleeps("new")]).await;
    held(&[&agents[1]], WORKLOADS + 1).await;

    let _ = told(&lab, &scheduler, &["uncordon", "node-1"]);
    wait_for("the node to be ready", secs(10), async || {
        rest.nodes_ready(2).await
    })
    .await;
    create(&rest, [sleeps("last")]).await;
    held(&[&agents[0]], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_node_loses_everything_at_once_and_can_be_purged() {
    let lab = Lab::new("fence");
    let (scheduler, mut agents) = two_nodes(&lab).await;
    let rest = scheduler.server.rest();
    let stays = agents.remove(0);
    let dead = agents.remove(0);
    let lost = dead.book().held();
    assert!(!lost.is_empty());

    // Alive, and full: no.
    let said = refused(&lab, &scheduler, &["purge", "node-2"]);
    assert!(said.contains("fence it first"), "{said}");
    drop(dead);
    wait_for("it to be lost", secs(20), async || {
        rest.nodes_ready(1).await
    })
    .await;
    // Lost is not dead: its workloads wait for it.
    let said = refused(&lab, &scheduler, &["purge", "node-2"]);
    assert!(said.contains("still assigned"), "{said}");
    let said = refused(&lab, &scheduler, &["fence", "node-2"]);
    assert!(said.contains("--yes"), "{said}");
    let still: Vec<_> = stays.book().held();
    assert!(lost.iter().all(|id| !still.contains(id)), "{still:?}");

    let _ = told(&lab, &scheduler, &["fence", "node-2", "--yes"]);
    wait_for("all to run", secs(20), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    held(&[&stays], WORKLOADS).await;
    let _ = told(&lab, &scheduler, &["purge", "node-2"]);
    let gone = rest.get("/nodes/node-2").await.expect("an answer");
    assert_eq!(gone.status, 404, "{}", gone.text);
    let nodes = scheduler.etcd.all("/nodes/").await;
    let keys: Vec<_> = nodes.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["/nodes/node-1"]);
}
