//! `berth dev`: one command, a whole cluster.

use std::path::Path;
use std::time::Duration;

use berth_tests::berth::{FAST, berth, text_of};
use berth_tests::process::{is_alive, kill_pid};
use berth_tests::wait::holds_for;
use berth_tests::workloads::{assignments, starter, starts};
use berth_tests::{Dev, Lab, secs, wait_for};
use serde_json::Value;

use crate::create;

const WORKLOADS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_processes_within_seconds_and_a_killed_one_returns() {
    let lab = Lab::new("dev");
    let dev = Dev::start(&lab, &[]).await;
    crate::measured("berth dev is ready", dev.started_in());

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = root
        .join("examples/ten-processes.yaml")
        .display()
        .to_string();
    let started = std::time::Instant::now();
    let output = berth(&lab, dev.http(), &["apply", "-f", &file]);
    assert!(output.status.success(), "{}", text_of(&output));
    let rest = dev.rest();
    wait_for("ten processes", secs(15), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    crate::measured(
        "ten real processes run after `berth apply` (required: 3 s)",
        started.elapsed(),
    );
    let before = dev.workload_processes(&lab);
    let mut ids: Vec<_> = before.iter().map(|(id, _)| id).collect();
    ids.dedup();
    assert_eq!(ids.len(), WORKLOADS, "real processes: {before:?}");

    let (id, pid) = before[0].clone();
    kill_pid(pid);
    let (_, took) = wait_for("the killed process to be back", secs(30), async || {
        let now = dev.workload_processes(&lab);
        if now.iter().any(|(other, p)| *other == id && *p != pid) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    crate::measured("a killed process is back (5 s by the retry law)", took);
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_on_the_same_data_keeps_everything() {
    let lab = Lab::new("dev-restart");
    let mut dev = Dev::start(&lab, &FAST).await;
    let log = lab.path("starts");
    create(
        &dev.rest(),
        (0..WORKLOADS).map(|n| starter(&format!("w-{n}"), &log)),
    )
    .await;
    let rest = dev.rest();
    let (running, _) = wait_for("all to run", secs(20), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    let before = assignments(&running);

    dev.crash(&lab).await;
    same_as_before(&lab, &dev, &before).await;
    dev.restart(&lab).await;
    same_as_before(&lab, &dev, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_agents_workloads_run_elsewhere() {
    let lab = Lab::new("dev-agent");
    let dev = Dev::start(&lab, &FAST).await;
    let rest = dev.rest();
    let log = lab.path("starts");
    create(
        &rest,
        (0..WORKLOADS).map(|n| starter(&format!("w-{n}"), &log)),
    )
    .await;
    let (running, _) = wait_for("all to run", secs(20), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    let lost = assignments(&running)[0].1.clone();

    agent(&lab, &["stop", &lost]);
    let (_, took) = wait_for("its workloads to run elsewhere", secs(30), async || {
        let running = rest.all_running(WORKLOADS).await?;
        let left = assignments(&running)
            .into_iter()
            .filter(|(_, node)| *node == lost)
            .count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are still on {lost}"))
        }
    })
    .await;
    crate::measured(
        "workloads of a stopped agent run elsewhere (3 s + 2 s by flags)",
        took,
    );
    assert!(
        took > Duration::from_secs(4),
        "before detection and grace were over: {took:?}"
    );
    let processes = dev.workload_processes(&lab);
    assert_eq!(
        processes.len(),
        WORKLOADS,
        "one process each: {processes:?}"
    );

    agent(&lab, &["start", &lost]);
    wait_for("the agent to be back", secs(20), async || {
        rest.nodes_ready(3).await
    })
    .await;
    holds_for("one process each", secs(3), async || {
        let processes = dev.workload_processes(&lab);
        if processes.len() == WORKLOADS {
            Ok(())
        } else {
            Err(format!("{processes:?}"))
        }
    })
    .await;
}

/// `berth dev agent …` against the instance of this lab.
fn agent(lab: &Lab, args: &[&str]) {
    let data = format!("--data-dir={}", lab.path("dev").display());
    let args: Vec<_> = ["dev", "agent"]
        .iter()
        .chain(args)
        .copied()
        .chain([data.as_str()])
        .collect();
    let output = berth(lab, "127.0.0.1:1", &args);
    assert!(output.status.success(), "{}", text_of(&output));
}

/// The same workloads on the same nodes, and each was started once in all.
async fn same_as_before(lab: &Lab, dev: &Dev, before: &[(String, String)]) {
    let rest = dev.rest();
    wait_for("all to run again", secs(20), async || {
        rest.all_running(WORKLOADS).await
    })
    .await;
    holds_for("the same assignments", secs(3), async || {
        let now = assignments(&rest.workloads().await?);
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    let mut started = starts(&lab.path("starts"));
    started.sort();
    let once: Vec<_> = before.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(started, once, "a process was started twice");
}

/// The guide at the start names the addresses and commands to try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_of_a_person_names_what_to_try() {
    let lab = Lab::new("dev-guide");
    let args: Vec<String> = [
        "dev",
        "--agents=1",
        "--runtime=fake",
        "--http-addr=127.0.0.1:0",
        "--grpc-addr=127.0.0.1:0",
        &format!("--data-dir={}", lab.path("dev").display()),
    ]
    .map(ToOwned::to_owned)
    .to_vec();
    let process = lab.start("dev", &berth_tests::berth::binary(), &args);
    wait_for("the guide", secs(20), async || {
        let output = process.output();
        let commands = output.matches("berth ").count();
        let complete = output.contains("http://127.0.0.1:") && commands >= 3;
        if complete { Ok(()) } else { Err(output) }
    })
    .await;
    let output = berth(&lab, "127.0.0.1:1", &["status"]);
    assert_eq!(
        output.status.code(),
        Some(5),
        "nobody listens there: {}",
        text_of(&output)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_three_kinds_run_on_the_fake_runtime() {
    let lab = Lab::new("dev-fake");
    let dev = Dev::start(&lab, &["--agents=2", "--runtime=fake"]).await;
    let rest = dev.rest();
    let kinds: [Value; 3] = [
        serde_json::json!({"id": "a", "type": "container", "spec": {"image": "nginx:1"}}),
        serde_json::json!({"id": "b", "type": "compose", "spec": {
            "source_type": "inline", "inline_yaml": "services: {web: {image: nginx}}\n"}}),
        serde_json::json!({"id": "c", "type": "vm", "spec": {
            "vcpus": 1, "memory_mb": 256, "os_image": "debian-12",
            "disks": [{"pool_name": "default", "size_gb": 1, "mount_point": "vda"}]}}),
    ];
    create(&rest, kinds).await;
    wait_for("all kinds to run", secs(20), async || {
        rest.all_running(3).await
    })
    .await;
}
