//! The real agent with real processes, before a scheduler that only listens.

mod scripted;

use std::net::SocketAddr;
use std::time::Duration;

use berth_agentd::RuntimeKind;
use berth_proto::agent::v1::{self as agent, ActualState};
use berth_proto::metadata;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scripted::{Agent, Cluster, Scheduler, apply, command, pid, runs, until};
use tokio_util::sync::CancellationToken;
use tonic::Code;

#[tokio::test]
async fn a_node_registers_and_tells_what_it_is() {
    let mut cluster = Cluster::new().await;
    cluster
        .config
        .labels
        .insert("zone".to_owned(), "a".to_owned());
    cluster.config.capacity.cpu_millicores = Some(2_500);
    let agent = cluster.agent().await;
    until("a heartbeat", || async {
        cluster.scheduler.heard(|h| !h.heartbeats.is_empty())
    })
    .await;
    cluster.scheduler.heard(|heard| {
        let (node, boot, incarnation) = &heard.registrations[0];
        assert_eq!(node.node_id, agent.handle.node_id().as_str());
        assert_eq!(node.grpc_endpoint, agent.handle.local_addr().to_string());
        assert_eq!(node.labels["zone"], "a");
        assert_eq!(node.labels["os"], "linux");
        let capabilities = node.capabilities.as_ref().unwrap();
        assert_eq!(capabilities.cpu_total_millicores, 2_500);
        assert!(capabilities.memory_total_mb > 0);
        assert_eq!(capabilities.supported_workload_types, ["container"]);
        assert!(boot.len() > 10);
        assert_eq!(*incarnation, 1);
        assert!(heard.heartbeats[0].usage.unwrap().memory_used_mb > 0);
    });
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_is_started_once_and_its_death_is_told_at_once() {
    let cluster = Cluster::new().await;
    let mut agent = cluster.agent().await;
    let reply = agent.apply("web", "r1", command(&["sleep", "600"])).await;
    assert!(reply.applied);
    assert_eq!(reply.status.unwrap().actual_state(), ActualState::Pending);
    let first = agent.until("web", ActualState::Running).await;
    assert_eq!(first.revision_id, "r1");
    assert_eq!(
        first.message,
        "running as a host process; image alpine:latest recorded only"
    );
    let reply = agent.apply("web", "r1", command(&["sleep", "600"])).await;
    assert!(reply.applied && reply.skipped);
    let again = agent.until("web", ActualState::Running).await;
    assert_eq!(pid(&first), pid(&again), "one artifact");

    let told = || async {
        cluster
            .scheduler
            .told("web")
            .is_some_and(|w| w.state == "Running")
    };
    until("a heartbeat that says Running", told).await;
    kill(Pid::from_raw(pid(&first)), Signal::SIGKILL).unwrap();
    let told = || async {
        cluster
            .scheduler
            .told("web")
            .is_some_and(|w| w.state == "Failed")
    };
    until("a heartbeat that says Failed", told).await;
    let status = agent.status("web").await.unwrap();
    assert_eq!(status.actual_state(), ActualState::Failed);
    assert_eq!(status.message, "ended by signal 9");
    assert_eq!(status.metadata["failure_reason"], "RUNTIME_ERROR");

    agent.apply("web", "r1", command(&["sleep", "600"])).await;
    let next = agent.until("web", ActualState::Running).await;
    assert_ne!(pid(&next), pid(&first), "a new attempt");
    agent.delete("web").await;
    agent.until_gone("web").await;
    assert!(!runs(pid(&next)));
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn the_next_agent_adopts_what_the_last_one_started() {
    let cluster = Cluster::new().await;
    let mut agent = cluster.agent().await;
    agent.apply("known", "r1", command(&["sleep", "600"])).await;
    agent
        .apply("marked", "r1", command(&["sleep", "601"]))
        .await;
    let known = pid(&agent.until("known", ActualState::Running).await);
    let marked = pid(&agent.until("marked", ActualState::Running).await);
    agent.handle.stop().await.unwrap();
    assert!(runs(known) && runs(marked), "processes outlive the agent");

    // As after a crash between the start of the process and its record.
    let entry = cluster.data().join("run/marked.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&entry).unwrap()).unwrap();
    json["process"] = serde_json::Value::Null;
    std::fs::write(&entry, serde_json::to_vec(&json).unwrap()).unwrap();
    let record = cluster.data().join("workloads/marked.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    json["artifact"]["phase"] = "starting".into();
    std::fs::write(&record, serde_json::to_vec(&json).unwrap()).unwrap();

    let mut agent = cluster.agent().await;
    assert_eq!(
        pid(&agent.until("known", ActualState::Running).await),
        known
    );
    assert_eq!(
        pid(&agent.until("marked", ActualState::Running).await),
        marked
    );
    let incarnation = || async {
        cluster
            .scheduler
            .heard(|heard| heard.registrations.last().is_some_and(|r| r.2 == 2))
    };
    until("the second incarnation registers", incarnation).await;
    kill(Pid::from_raw(known), Signal::SIGKILL).unwrap();
    let status = agent.until("known", ActualState::Failed).await;
    assert!(status.message.contains("vanished"), "{}", status.message);
    for id in ["known", "marked"] {
        agent.delete(id).await;
        agent.until_gone(id).await;
    }
    assert!(!runs(marked));
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn what_died_while_no_agent_ran_has_failed() {
    let cluster = Cluster::new().await;
    let mut agent = cluster.agent().await;
    agent.apply("web", "r1", command(&["sleep", "600"])).await;
    let dead = pid(&agent.until("web", ActualState::Running).await);
    agent.handle.stop().await.unwrap();
    kill(Pid::from_raw(dead), Signal::SIGKILL).unwrap();
    until("it ends", || async { !runs(dead) }).await;
    let mut agent = cluster.agent().await;
    let status = agent.until("web", ActualState::Failed).await;
    assert!(
        status.message.contains("vanished while no agent ran"),
        "{}",
        status.message
    );
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn a_stubborn_process_and_what_it_left_are_killed() {
    let cluster = Cluster::new().await;
    let mut agent = cluster.agent().await;
    let script = "trap '' TERM; setsid sleep 602 & echo $! > child; while :; do sleep 0.1; done";
    agent
        .apply("web", "r1", command(&["sh", "-c", script]))
        .await;
    let leader = pid(&agent.until("web", ActualState::Running).await);
    let note = cluster.data().join("work/web/child");
    let written =
        || async { std::fs::read_to_string(&note).is_ok_and(|text| text.ends_with('\n')) };
    until("its child is noted", written).await;
    let child: i32 = std::fs::read_to_string(&note)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(runs(leader) && runs(child));
    let mut stop = apply("web", "r1", command(&["sh", "-c", script]));
    stop.desired_state = agent::DesiredState::Stopped.into();
    agent.client.apply_workload(stop).await.unwrap();
    agent.until("web", ActualState::Stopped).await;
    assert!(!runs(leader) && !runs(child));
    assert!(note.exists(), "stopped in place");
    agent.delete("web").await;
    agent.until_gone("web").await;
    assert!(!note.exists());
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_that_hangs_ends_with_its_delete() {
    let cluster = Cluster::new().await;
    let mut agent = cluster.agent().await;
    let log = cluster.data().join("logs/web.log");
    // Whoever opens it to write waits until somebody reads, as on a disk that hangs.
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&log).status();
    assert!(made.unwrap().success());
    agent.apply("web", "r1", command(&["sleep", "603"])).await;
    // The step before the log.
    let folder = cluster.data().join("work/web");
    until("its folder is there", || async { folder.exists() }).await;
    agent.delete("web").await;
    agent.until_gone("web").await;
    // The start could go on now. A process of it would keep the log open.
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(log));
    let read = tokio::time::timeout(Duration::from_secs(30), read).await;
    let text = read.expect("nothing was started").unwrap().unwrap();
    assert!(text.starts_with("--- start"), "{text}");
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_knows_where_it_is_and_its_words_are_kept() {
    let cluster = Cluster::new().await;
    let mut agent = cluster.agent().await;
    let script = "echo $BERTH_WORKLOAD_ID $BERTH_REVISION $BERTH_NODE_ID $COLOUR; exit 3";
    let mut spec = command(&["sh", "-c"]);
    spec.args.push(script.to_owned());
    spec.env.insert("COLOUR".to_owned(), "green".to_owned());
    agent.apply("job", "r7", spec).await;
    let status = agent.until("job", ActualState::Failed).await;
    assert_eq!(status.metadata["exit_code"], "3");
    let log = std::fs::read_to_string(cluster.data().join("logs/job.log")).unwrap();
    let node = agent.handle.node_id();
    assert!(log.contains(&format!("job r7 {node} green\n")), "{log}");
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_run_fails_for_good() {
    let cluster = Cluster::new().await;
    let mut agent = cluster.agent().await;
    agent.apply("empty", "r1", command(&[])).await;
    agent
        .apply("missing", "r1", command(&["no-such-program-anywhere"]))
        .await;
    for id in ["empty", "missing"] {
        let status = agent.until(id, ActualState::Failed).await;
        assert_eq!(
            status.metadata["failure_reason"], "INVALID_SPECIFICATION",
            "{id}"
        );
    }
    let mut vm = apply("vm", "r1", command(&[]));
    vm.r#type = agent::WorkloadType::Vm.into();
    let machine = agent::workload_spec::Spec::Vm(agent::VmSpec::default());
    vm.spec = Some(agent::WorkloadSpec {
        spec: Some(machine),
    });
    let reply = agent.client.apply_workload(vm).await.unwrap().into_inner();
    assert!(!reply.applied);
    assert_eq!(reply.message, "runtime not available for type: vm");
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn an_older_leader_is_refused() {
    let cluster = Cluster::new().await;
    let mut agent = cluster.agent().await;
    let with_epoch = |epoch: &str| {
        let mut request = tonic::Request::new(apply("web", "r1", command(&["sleep", "600"])));
        request
            .metadata_mut()
            .insert(metadata::EPOCH, epoch.parse().unwrap());
        request
    };
    agent.client.apply_workload(with_epoch("12")).await.unwrap();
    let status = agent
        .client
        .apply_workload(with_epoch("11"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(
        status.message().starts_with("stale epoch"),
        "{}",
        status.message()
    );
    agent.handle.stop().await.unwrap();

    let mut agent = cluster.agent().await;
    let status = agent
        .client
        .apply_workload(with_epoch("11"))
        .await
        .unwrap_err();
    assert_eq!(
        status.code(),
        Code::FailedPrecondition,
        "also after a restart"
    );
    agent.until("web", ActualState::Running).await;
    agent.delete("web").await;
    agent.until_gone("web").await;
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn the_agent_comes_back_to_a_scheduler_that_was_away() {
    let mut cluster = Cluster::new().await;
    let away = Scheduler::default();
    // A port that nobody listens on now.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    cluster.config.schedulers = vec![free.to_string()];
    let agent = cluster.agent().await;
    let ended = CancellationToken::new();
    away.serve(free, ended.clone()).await;
    until("it registers", || async {
        away.heard(|heard| !heard.heartbeats.is_empty())
    })
    .await;
    // A scheduler that lost its memory: a heartbeat is refused, the agent registers again.
    away.heard(|heard| heard.forgetful = true);
    let mut agent = Agent {
        client: agent.client,
        handle: agent.handle,
    };
    agent.apply("web", "r1", command(&["sleep", "600"])).await;
    until("it registers again", || async {
        away.heard(|h| h.registrations.len() > 1)
    })
    .await;
    away.heard(|heard| heard.forgetful = false);
    let told = || async {
        away.told("web")
            .is_some_and(|status| status.state == "Running")
    };
    until("the workload is told", told).await;
    agent.delete("web").await;
    agent.until_gone("web").await;
    agent.handle.stop().await.unwrap();
    ended.cancel();
}

#[tokio::test]
async fn listings_health_and_actions_answer() {
    let mut cluster = Cluster::new().await;
    cluster.config.runtime = RuntimeKind::Fake;
    let mut agent = cluster.agent().await;
    let mut spec = command(&[]);
    spec.labels
        .insert("fake/fail-starts".to_owned(), "1".to_owned());
    spec.labels
        .insert("fake/fail-reason".to_owned(), "IMAGE_NOT_FOUND".to_owned());
    agent.apply("bad", "r1", spec).await;
    agent.apply("good", "r2", command(&[])).await;
    agent.until("bad", ActualState::Failed).await;
    agent.until("good", ActualState::Running).await;
    let list = agent
        .client
        .list_workloads(agent::ListWorkloadsRequest::default())
        .await;
    let list = list.unwrap().into_inner().workloads;
    let told: Vec<_> = list
        .iter()
        .map(|w| (w.id.as_str(), w.revision_id.as_str()))
        .collect();
    assert_eq!(told, [("bad", "r1"), ("good", "r2")]);
    let health = agent
        .client
        .health_check(agent::HealthCheckRequest {})
        .await
        .unwrap();
    let health = health.into_inner();
    assert!(health.healthy && health.memory_utilization > 0.0);
    assert_eq!(health.runtime_status.len(), 3);
    // A task has ended when that is durable, a moment after the state shows it.
    until("both tasks have ended", || {
        let mut client = agent.client.clone();
        async move {
            let actions = client
                .list_actions(agent::ListActionsRequest::default())
                .await;
            let actions = actions.unwrap().into_inner().actions;
            let told: Vec<_> = actions
                .iter()
                .map(|a| (&*a.workload_id, &*a.status))
                .collect();
            told == [("bad", "failed"), ("good", "completed")]
        }
    })
    .await;
    agent.handle.stop().await.unwrap();
}

#[tokio::test]
async fn one_folder_has_one_agent_and_a_torn_record_stops_nothing() {
    let cluster = Cluster::new().await;
    let workloads = cluster.data().join("workloads");
    std::fs::create_dir_all(&workloads).unwrap();
    std::fs::write(workloads.join("torn.json"), "{\"id\":").unwrap();
    let agent = cluster.agent().await;
    let mut second = cluster.config.clone();
    second.grpc_addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let refused = berth_agentd::start(second, CancellationToken::new()).await;
    assert!(format!("{:#}", refused.unwrap_err()).contains("in use by another agent"));
    assert!(cluster.data().join("quarantine/torn.json.0").exists());
    let ends = tokio::time::timeout(Duration::from_secs(10), agent.handle.stop()).await;
    ends.expect("an agent ends soon, also with clients connected")
        .unwrap();
    cluster.agent().await.handle.stop().await.unwrap();
}
