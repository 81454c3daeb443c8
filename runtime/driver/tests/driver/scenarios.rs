//! One driver or two, the embedded store.

use std::sync::Arc;

use berth_driver::metrics::{Category, FateKind};
use berth_driver::{Driver, DriverConfig, DriverJoin, DriverMetrics, Replica};
use berth_store::EmbeddedStore;
use tokio_util::sync::CancellationToken;

use super::fake_agent::Mood;
use super::*;

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
