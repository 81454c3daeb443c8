//! The whole driver: the real core, the embedded store, agents over loopback.

mod fake_agent;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_core::admission::parse_manifest;
use berth_core::io::request::{Heartbeat, Query, Registration, Request, RequestError, Response};
use berth_core::model::node::NodeUsage;
use berth_core::model::spec::WorkloadType;
use berth_core::model::units::{Mebibytes, Millicores};
use berth_core::model::workload::ActualState;
use berth_core::{EventType, NodeId, WorkloadId};
use berth_driver::metrics::{Category, FateKind};
use berth_driver::{CoreHandle, Driver, DriverConfig, DriverJoin, DriverMetrics, Replica};
use berth_store::EmbeddedStore;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use fake_agent::{FakeAgent, Mood};

/// Long enough for any machine; nothing waits so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    core: CoreHandle,
    join: DriverJoin,
    shutdown: CancellationToken,
    metrics: Arc<DriverMetrics>,
}

fn start(store: &EmbeddedStore, id: &str) -> Running {
    let replica = Replica {
        id: id.into(),
        ..Replica::default()
    };
    let mut config = DriverConfig::new(replica);
    config.store.prefix = "/berth".into();
    let (shutdown, metrics) = (config.shutdown.clone(), Arc::clone(&config.metrics));
    let channel = store.channel();
    let factory = move || etcd_client::Client::from_channel(channel.clone(), None);
    let (core, join) = Driver::spawn(config, factory);
    Running {
        core,
        join,
        shutdown,
        metrics,
    }
}

/// Asks until the answer is not that nobody leads (yet).
async fn ask(core: &CoreHandle, request: Request) -> Response {
    let asking = async {
        loop {
            match core.request(request.clone()).await {
                Ok(answer) => return answer,
                Err(RequestError::Unavailable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("somebody leads in time")
}

fn registration(node: &str, agent: &FakeAgent) -> Request {
    Request::Register(Registration {
        node: node.parse().unwrap(),
        endpoint: agent.endpoint(),
        cpu_total: Millicores(4_000),
        memory_total: Mebibytes(4_096),
        disk_total: None,
        supported_workload_types: BTreeSet::from([WorkloadType::Container]),
        supported_storage_drivers: BTreeSet::new(),
        labels: Default::default(),
        agent_version: String::new(),
        boot_id: String::new(),
        incarnation: String::new(),
    })
}

fn heartbeat(node: &str) -> Request {
    Request::Heartbeat(Heartbeat {
        node: node.parse::<NodeId>().unwrap(),
        usage: NodeUsage::default(),
        statuses: Vec::new(),
    })
}

fn apply(id: &str) -> Request {
    let manifest = serde_json::json!({
        "id": id,
        "type": "container",
        "spec": {"image": "busybox:1"},
        "resources": {"cpu": 0.1, "memory_mb": 16, "disk_gb": 0},
    });
    let manifest = parse_manifest(manifest.to_string().as_bytes()).unwrap();
    Request::Apply(manifest.into_apply().unwrap())
}

/// Waits for an event of this type about this workload.
async fn event(
    events: &mut broadcast::Receiver<berth_core::EventRecord>,
    kind: EventType,
    id: &str,
) {
    let id: WorkloadId = id.parse().unwrap();
    let seen = async {
        loop {
            let event = events.recv().await.expect("the driver runs");
            if event.event_type == kind && event.workload_id.as_ref() == Some(&id) {
                return;
            }
        }
    };
    let seen = tokio::time::timeout(PATIENCE, seen).await;
    seen.unwrap_or_else(|_| panic!("no event {kind} about {id}"));
}

async fn actual_state(core: &CoreHandle, id: &str) -> ActualState {
    match ask(core, Request::Read(Query::Workload(id.parse().unwrap()))).await {
        Response::Workload(view) => view.record.status.actual_state,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_workload_is_accepted_persisted_and_started() {
    let store = EmbeddedStore::open(None).unwrap();
    let (agent, driver) = (FakeAgent::start().await, start(&store, "a"));
    let mut events = driver.core.events();
    ask(&driver.core, registration("node-1", &agent)).await;
    ask(&driver.core, heartbeat("node-1")).await;
    ask(&driver.core, apply("w-1")).await;
    event(&mut events, EventType::WorkloadRunning, "w-1").await;
    assert_eq!(
        actual_state(&driver.core, "w-1").await,
        ActualState::Running
    );

    let calls = agent
        .wait_for(|calls| calls.iter().any(|call| call.what == "apply w-1"))
        .await;
    let applies = calls.iter().filter(|call| call.what == "apply w-1").count();
    assert_eq!(applies, 1);
    let epoch = driver.core.health().epoch;
    assert!(
        calls.iter().all(|call| call.epoch == Some(epoch)),
        "{calls:?}"
    );
    assert!(driver.core.health().leading);
    assert!(driver.metrics.keys_written(Category::Workload) > 0);
    assert!(driver.metrics.keys_written(Category::Assignment) > 0);
    assert_eq!(driver.metrics.fates(FateKind::Unknown), 0);
    let mut client = store.client().await.unwrap();
    let record = client.get("/berth/assignments/w-1", None).await.unwrap();
    assert_eq!(record.count(), 1);

    driver.shutdown.cancel();
    driver.join.join().await.unwrap();
    let leader = client.get("/berth/leader/current", None).await.unwrap();
    assert_eq!(leader.count(), 0, "leadership was given up");
    let refused = driver.core.request(heartbeat("node-1")).await.unwrap_err();
    assert!(
        matches!(refused, RequestError::Unavailable { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn another_driver_takes_over_and_knows_everything() {
    let store = EmbeddedStore::open(None).unwrap();
    let (agent, first) = (FakeAgent::start().await, start(&store, "a"));
    let mut events = first.core.events();
    ask(&first.core, registration("node-1", &agent)).await;
    ask(&first.core, heartbeat("node-1")).await;
    ask(&first.core, apply("w-1")).await;
    event(&mut events, EventType::WorkloadRunning, "w-1").await;
    let second = start(&store, "b");
    let refused = second.core.request(apply("w-2")).await.unwrap_err();
    assert!(
        matches!(refused, RequestError::Unavailable { .. }),
        "{refused}"
    );

    let epoch = first.core.health().epoch;
    first.shutdown.cancel();
    first.join.join().await.unwrap();
    assert!(!first.core.health().leading);
    let mut events = second.core.events();
    ask(&second.core, heartbeat("node-1")).await;
    assert!(second.core.health().epoch > epoch);
    assert_eq!(second.core.health().leader.unwrap().id, "b");
    ask(&second.core, apply("w-2")).await;
    event(&mut events, EventType::WorkloadRunning, "w-2").await;
    assert_eq!(
        actual_state(&second.core, "w-1").await,
        ActualState::Running
    );
    let calls = agent
        .wait_for(|calls| calls.iter().any(|call| call.what == "apply w-2"))
        .await;
    let applies = calls.iter().filter(|call| call.what == "apply w-1").count();
    assert_eq!(applies, 1, "what runs is left alone");
    second.shutdown.cancel();
    second.join.join().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_hangs_delays_neither_answers_nor_other_nodes() {
    let store = EmbeddedStore::open(None).unwrap();
    let (hung, good) = (FakeAgent::start().await, FakeAgent::start().await);
    hung.set_mood(Mood::Silent);
    let driver = start(&store, "a");
    let mut events = driver.core.events();
    ask(&driver.core, registration("node-1", &hung)).await;
    ask(&driver.core, heartbeat("node-1")).await;
    ask(&driver.core, apply("w-1")).await;
    hung.wait_for(|calls| !calls.is_empty()).await;
    ask(&driver.core, registration("node-2", &good)).await;
    ask(&driver.core, heartbeat("node-2")).await;
    ask(&driver.core, apply("w-2")).await;
    event(&mut events, EventType::WorkloadRunning, "w-2").await;
    driver.shutdown.cancel();
    driver.join.join().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_refuses_is_asked_again() {
    let store = EmbeddedStore::open(None).unwrap();
    let (agent, driver) = (FakeAgent::start().await, start(&store, "a"));
    agent.set_mood(Mood::Refusing(tonic::Code::Unavailable, "starting"));
    let mut events = driver.core.events();
    ask(&driver.core, registration("node-1", &agent)).await;
    ask(&driver.core, heartbeat("node-1")).await;
    ask(&driver.core, apply("w-1")).await;
    agent.wait_for(|calls| !calls.is_empty()).await;
    agent.set_mood(Mood::Good);
    event(&mut events, EventType::WorkloadRunning, "w-1").await;
    driver.shutdown.cancel();
    driver.join.join().await.unwrap();
}

#[tokio::test]
async fn a_store_that_dies_makes_the_scheduler_degraded_and_reads_still_work() {
    let store = EmbeddedStore::open(None).unwrap();
    let (agent, driver) = (FakeAgent::start().await, start(&store, "a"));
    ask(&driver.core, registration("node-1", &agent)).await;
    ask(&driver.core, heartbeat("node-1")).await;
    ask(&driver.core, apply("w-1")).await;
    store.shutdown().await;
    let degraded = async {
        while driver.core.health().leading || driver.core.health().store_error.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, degraded)
        .await
        .expect("it is noticed");
    let refused = driver.core.request(apply("w-2")).await.unwrap_err();
    assert!(
        matches!(refused, RequestError::Unavailable { .. }),
        "{refused}"
    );
    let read = Request::Read(Query::Workload("w-1".parse().unwrap()));
    match driver.core.request(read).await.unwrap() {
        Response::Workload(view) => assert!(view.freshness.stale),
        other => panic!("{other:?}"),
    }
    driver.shutdown.cancel();
    driver.join.join().await.unwrap();
}
