//! One agent that hangs delays no other.

use berth_tests::workloads::container;
use berth_tests::{Agent, Lab, secs, wait_for};
use futures::future::join_all;

use crate::Scheduler;

const WORKLOADS: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hung_agent_delays_no_other() {
    let lab = Lab::new("hung");
    // Long heartbeats: the hung node must count as ready while it hangs.
    let scheduler = Scheduler::start_with(&lab, &["--heartbeat-interval=20s"]).await;
    let rest = scheduler.server.rest();
    let flags = ["--runtime=fake", "--cpu=8", "--memory-mb=8192"];
    let agents: Vec<_> = (1..=3)
        .map(|n| Agent::start(&lab, &scheduler.server, &format!("node-{n}"), &flags))
        .collect();
    wait_for("three nodes", secs(20), async || rest.nodes_ready(3).await).await;

    let hung = agents[1].node();
    agents[1].pause();
    let manifests: Vec<_> = (0..WORKLOADS)
        .map(|n| container(&format!("w-{n:02}"), &["sleep"], 0.1, 16))
        .collect();
    let answers = join_all(manifests.iter().map(|m| rest.post("/workloads", m))).await;
    for answer in answers {
        let _ = answer.expect("the scheduler answers").ok();
    }
    let (_, took) = wait_for("the other agents' workloads", secs(8), async || {
        let workloads = rest.workloads().await?;
        let elsewhere: Vec<_> = workloads
            .iter()
            .filter(|w| w["assigned_node"] != hung)
            .collect();
        let running = elsewhere
            .iter()
            .filter(|w| w["display_status"] == "Running")
            .count();
        let all = elsewhere.len();
        if running == all && all > 0 && workloads.len() == WORKLOADS {
            return Ok(());
        }
        Err(format!(
            "{running} of {all} run, {} in all",
            workloads.len()
        ))
    })
    .await;
    crate::measured("workloads on two agents run while a third hangs", took);
    let hanging = rest.workloads().await.expect("an answer");
    let waiting = hanging
        .iter()
        .filter(|w| w["assigned_node"] == hung)
        .count();
    assert!(
        waiting > 0,
        "nothing was placed on the agent that hangs: the test shows nothing"
    );

    agents[1].resume();
    wait_for("all to run once it goes on", secs(60), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
}
