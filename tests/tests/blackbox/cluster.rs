//! A scheduler, a real etcd and three agents in processes of their own.

use std::time::Duration;

use berth_tests::berth::{berth, text_of};
use berth_tests::process::{is_alive, kill_pid, workload_processes};
use berth_tests::workloads::{assignments, starter, starts};
use berth_tests::{Agent, Lab, Rest, secs, wait_for};
use serde_json::{Value, json};

use crate::Scheduler;

const WORKLOADS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_agents_run_ten_processes_and_survive_losses() {
    let lab = Lab::new("cluster");
    let scheduler = Scheduler::start(&lab, &[]).await;
    let rest = scheduler.server.rest();
    let flags = ["--runtime=exec", "--cpu=4", "--memory-mb=4096"];
    let mut agents: Vec<_> = (1..=3)
        .map(|n| Agent::start(&lab, &scheduler.server, &format!("node-{n}"), &flags))
        .collect();
    wait_for("three nodes", secs(20), async || rest.nodes_ready(3).await).await;

    apply_ten(&lab, &scheduler).await;
    let workloads = rest.all_running(WORKLOADS).await.expect("they run");
    check_layout(&scheduler, &workloads).await;
    killed_child_returns(&lab, &rest).await;
    lost_agent_is_replaced(&lab, &rest, &mut agents).await;
    scheduler_restart_changes_nothing(&lab, scheduler).await;
}

/// Ten workloads by the command line, as a person would.
async fn apply_ten(lab: &Lab, scheduler: &Scheduler) {
    let log = lab.path("starts");
    let manifests: Vec<_> = (0..WORKLOADS)
        .map(|n| starter(&format!("w-{n}"), &log))
        .collect();
    let documents: Vec<_> = manifests.iter().map(Value::to_string).collect();
    let file = lab.path("ten.yaml");
    std::fs::write(&file, documents.join("\n---\n")).expect("a file in the scratch folder");
    let started = std::time::Instant::now();
    let file = file.display().to_string();
    let output = berth(
        lab,
        scheduler.server.http(),
        &["apply", "-f", &file, "--wait"],
    );
    assert!(output.status.success(), "{}", text_of(&output));
    let rest = scheduler.server.rest();
    wait_for("ten processes", secs(15), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    crate::measured("ten real processes on three agents run", started.elapsed());
    one_process_each(lab).await;
    assert_eq!(
        starts(&log).len(),
        WORKLOADS,
        "some process was started twice"
    );
}

/// Exactly one live process per workload, none else.
async fn one_process_each(lab: &Lab) {
    wait_for("one process per workload", secs(20), async || {
        let processes = workload_processes(lab.mark());
        let mut ids: Vec<_> = processes.iter().map(|(id, _)| id.as_str()).collect();
        ids.dedup();
        if ids.len() == WORKLOADS && processes.len() == WORKLOADS {
            return Ok(());
        }
        Err(format!("{processes:?}"))
    })
    .await;
}

/// What `etcdctl get --prefix /` shows is the layout of the design.
async fn check_layout(scheduler: &Scheduler, workloads: &[Value]) {
    let rooms = [
        "nodes",
        "workloads",
        "assignments",
        "reconciliation",
        "retries",
        "events",
        "leader",
        "meta",
    ];
    let printed = scheduler
        .etcd
        .etcdctl(&["get", "--prefix", "/", "--keys-only"]);
    for key in printed.lines().filter(|l| !l.is_empty()) {
        let room = key.split('/').nth(1).unwrap_or_default();
        assert!(rooms.contains(&room), "{key} is not of the layout");
    }
    let records: std::collections::BTreeMap<_, _> =
        scheduler.etcd.all("/").await.into_iter().collect();
    let record = |key: &str| -> Value {
        let text = records
            .get(key)
            .unwrap_or_else(|| panic!("{key} is missing"));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{key}: {error}: {text}"))
    };
    for (id, node) in assignments(workloads) {
        let workload = record(&format!("/workloads/{id}"));
        for field in [
            "id",
            "type",
            "revision_id",
            "desired_state",
            "assigned_node",
            "spec",
            "resources",
            "retry",
            "status",
            "metadata",
        ] {
            assert!(
                !workload[field].is_null(),
                "{id} has no {field}: {workload}"
            );
        }
        assert_eq!(workload["desired_state"], "Running");
        assert_eq!(workload["status"]["actual_state"], "Running");
        assert_eq!(workload["assigned_node"], json!(node));
        assert_eq!(
            record(&format!("/assignments/{id}"))["node_id"],
            json!(node)
        );
        let intent = record(&format!("/reconciliation/{id}"));
        assert_eq!(intent["action"], "Apply", "{intent}");
        assert_eq!(intent["revision_id"], workload["revision_id"], "{intent}");
    }
    for node in ["node-1", "node-2", "node-3"] {
        let node = record(&format!("/nodes/{node}"));
        assert_eq!(node["status"], "Ready", "{node}");
        assert_eq!(node["resources"]["cpu_total"], 4, "{node}");
        for field in ["memory_total", "memory_allocated", "cpu_allocated"] {
            assert!(node["resources"][field].is_number(), "no {field}: {node}");
        }
        assert!(node["last_heartbeat"].is_string(), "{node}");
    }
    let kinds: Vec<_> = records
        .iter()
        .filter(|(key, _)| key.starts_with("/events/"))
        .filter_map(|(key, _)| record(key)["type"].as_str().map(ToOwned::to_owned))
        .collect();
    let scheduled = kinds.iter().filter(|k| *k == "WorkloadScheduled").count();
    assert_eq!(scheduled, WORKLOADS, "{kinds:?}");
}

/// `kill -9` of one child: the retry machine waits its 5 s and starts it again.
async fn killed_child_returns(lab: &Lab, rest: &Rest) {
    let before = workload_processes(lab.mark());
    let (id, pid) = before[0].clone();
    kill_pid(pid);
    let (_, took) = wait_for("the killed process to be back", secs(30), async || {
        let now = workload_processes(lab.mark());
        if now.iter().any(|(other, p)| *other == id && *p != pid) {
            return Ok(());
        }
        Err(format!("{now:?}"))
    })
    .await;
    crate::measured("a killed process is back", took);
    assert!(
        took > Duration::from_millis(4500),
        "before the first backoff was over: {took:?}"
    );
    wait_for("all to run again", secs(15), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    for (other, p) in before.iter().filter(|(other, _)| *other != id) {
        assert!(is_alive(*p), "{other} was disturbed");
    }
    let workload = rest
        .get(&format!("/workloads/{id}"))
        .await
        .expect("an answer")
        .ok();
    assert_eq!(workload.body["retry"]["attempts"], 1, "{}", workload.text);
    one_process_each(lab).await;
}

/// An agent is killed: what it ran is placed elsewhere after detection and grace. When it comes
/// back, the old copies are deleted there.
async fn lost_agent_is_replaced(lab: &Lab, rest: &Rest, agents: &mut [Agent]) {
    let lost = agents[0].node().to_owned();
    let workloads = rest.workloads().await.expect("an answer");
    let moving = assignments(&workloads)
        .iter()
        .filter(|(_, node)| *node == lost)
        .count();
    assert!(moving > 0, "nothing runs on {lost}: the test shows nothing");
    agents[0].kill();
    let (_, took) = wait_for("its workloads to run elsewhere", secs(30), async || {
        let running = rest.all_running(WORKLOADS).await?;
        let left = assignments(&running)
            .into_iter()
            .filter(|(_, node)| *node == lost)
            .count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} of {moving} are still on {lost}"))
        }
    })
    .await;
    crate::measured(
        "workloads of a lost agent run elsewhere (3 s + 2 s by flags)",
        took,
    );
    assert!(
        took > Duration::from_secs(4),
        "before detection and grace were over: {took:?}"
    );

    agents[0].launch(lab);
    wait_for("the agent to be back", secs(20), async || {
        rest.nodes_ready(3).await
    })
    .await;
    one_process_each(lab).await;
}

/// A restart of the scheduler moves nothing and starts nothing.
async fn scheduler_restart_changes_nothing(lab: &Lab, mut scheduler: Scheduler) {
    let rest = scheduler.server.rest();
    let before = assignments(&rest.all_running(WORKLOADS).await.expect("they run"));
    let (processes, started) = (
        workload_processes(lab.mark()),
        starts(&lab.path("starts")).len(),
    );
    let ended = scheduler.server.process().terminate(secs(20));
    assert!(ended.success(), "the scheduler ended with {ended}");
    scheduler.server.launch(lab);
    scheduler.server.wait_ready().await;
    wait_for("the agents' nodes", secs(20), async || {
        rest.nodes_ready(3).await
    })
    .await;
    berth_tests::wait::holds_for("calm after the restart", secs(4), async || {
        let running = rest.all_running(WORKLOADS).await?;
        if assignments(&running) == before {
            Ok(())
        } else {
            Err("moved".to_owned())
        }
    })
    .await;
    assert_eq!(workload_processes(lab.mark()), processes);
    assert_eq!(starts(&lab.path("starts")).len(), started);
}
