//! The whole driver: the real core, agents over loopback, the embedded store and a real etcd.

mod fake_agent;
mod real_etcd;
mod scenarios;

use std::collections::BTreeSet;
use std::time::Duration;

use berth_core::admission::parse_manifest;
use berth_core::io::request::{Heartbeat, Query, Registration, Request, RequestError, Response};
use berth_core::model::node::NodeUsage;
use berth_core::model::spec::WorkloadType;
use berth_core::model::units::{Mebibytes, Millicores};
use berth_core::model::workload::ActualState;
use berth_core::{EventRecord, EventType, NodeId, WorkloadId};
use berth_driver::CoreHandle;
use tokio::sync::broadcast;

use fake_agent::FakeAgent;

/// Long enough for any machine; nothing waits so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

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
        cpu_total: Millicores(64_000),
        memory_total: Mebibytes(65_536),
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
        statuses: [].into(),
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
async fn event(events: &mut broadcast::Receiver<EventRecord>, kind: EventType, id: &str) {
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
