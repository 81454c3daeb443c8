//! A core that follows a script: answers whatever a closure says, and remembers what was asked.

use std::sync::{Arc, Mutex};

use berth_core::io::request::{Freshness, Request, RequestError, Response};
use berth_core::io::view::{DisplayStatus, NodeView, WorkloadView};
use berth_core::{EventId, EventRecord, EventType, Stats, StoreRevision, Timestamp};
use berth_driver::handle::DriverHealth;
use berth_driver::store::Leaders;
use berth_driver::{CoreHandle, Submission};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::api::{Api, ApiLimits};
use crate::metrics::Metrics;

pub(crate) type Answer = Result<Response, RequestError>;

#[derive(Debug)]
pub(crate) struct Script {
    core: CoreHandle,
    seen: Arc<Mutex<Vec<Request>>>,
    events: broadcast::Sender<EventRecord>,
    health: watch::Sender<DriverHealth>,
    stats: watch::Sender<Arc<Stats>>,
}

impl Script {
    /// A leading core that answers with `answer`.
    pub(crate) fn new(mut answer: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let (submit, mut submissions) = mpsc::channel::<Submission>(64);
        let (events, _) = broadcast::channel(4);
        let (stats_send, stats) = watch::channel(Arc::new(Stats::default()));
        let (health_send, health) = watch::channel(DriverHealth {
            leading: true,
            epoch: 7,
            ..DriverHealth::default()
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(Submission { request, reply }) = submissions.recv().await {
                log.lock().unwrap().push(request.clone());
                let _ = reply.send(answer(&request));
            }
        });
        Self {
            core: CoreHandle::new(submit, events.clone(), stats, health),
            seen,
            events,
            health: health_send,
            stats: stats_send,
        }
    }

    /// A core that must not be asked.
    pub(crate) fn silent() -> Self {
        Self::new(|request| panic!("the core was asked {request:?}"))
    }

    /// A core whose requests the test itself answers, or does not.
    pub(crate) fn manual() -> (Self, mpsc::Receiver<Submission>) {
        let (submit, submissions) = mpsc::channel(64);
        let mut script = Self::silent();
        let (events, stats, health) = (
            script.events.clone(),
            script.stats.subscribe(),
            script.health.subscribe(),
        );
        script.core = CoreHandle::new(submit, events, stats, health);
        (script, submissions)
    }

    /// From now on, who leads can be read there.
    pub(crate) fn read_leaders_from(&mut self, leaders: Arc<dyn Leaders>) {
        self.core = self.core.clone().with_leaders(leaders);
    }

    /// A core that refuses everything with `error`.
    pub(crate) fn refusing(error: RequestError) -> Self {
        Self::new(move |_| Err(error.clone()))
    }

    pub(crate) fn core(&self) -> CoreHandle {
        self.core.clone()
    }

    pub(crate) fn api(&self) -> Api {
        self.api_with(ApiLimits::default())
    }

    pub(crate) fn api_with(&self, limits: ApiLimits) -> Api {
        let metrics = Metrics::new().expect("names are valid and distinct");
        let shutdown = CancellationToken::new();
        Api::new(self.core(), metrics, limits, "test-1".into(), shutdown)
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn set_health(&self, health: DriverHealth) {
        self.health.send_replace(health);
    }

    pub(crate) fn emit(&self, event: EventRecord) {
        let _ = self.events.send(event);
    }
}

pub(crate) fn event(n: u64) -> EventRecord {
    EventRecord {
        id: EventId::new(Timestamp::from_millis(1000 + n), berth_core::Epoch(7), n),
        event_type: EventType::WorkloadCreated,
        workload_id: Some("web".parse().unwrap()),
        node_id: None,
        revision_id: None,
        reason: format!("number {n}"),
        timestamp: Timestamp::from_millis(1000 + n),
        extra: Default::default(),
    }
}

pub(crate) fn fresh(revision: i64) -> Freshness {
    Freshness {
        revision: StoreRevision(revision),
        stale: false,
        age_ms: 0,
    }
}

pub(crate) fn workload(id: &str) -> WorkloadView {
    let record = serde_json::json!({
        "id": id, "revision_id": "r1", "desired_state": "Running", "assigned_node": "node-1",
        "type": "container", "spec": {"image": "alpine"},
        "resources": {"cpu": 0.5, "memory_mb": 64, "disk_gb": 0},
        "retry": {"attempts": 0, "max_attempts": 5},
        "status": {"actual_state": "Running", "last_updated": "2026-02-17T00:00:00.000Z"},
        "metadata": {"created_at": "2026-02-17T00:00:00.000Z"}
    });
    WorkloadView {
        record: serde_json::from_value(record).unwrap(),
        display_status: DisplayStatus::Running,
        resource_version: StoreRevision(42),
        freshness: fresh(50),
    }
}

pub(crate) fn node(id: &str) -> NodeView {
    let record = serde_json::json!({
        "id": id, "status": "Ready", "status_reason": "Registered",
        "status_changed_by": "register", "status_changed_at": "2026-02-17T00:00:00.000Z",
        "resources": {"cpu_total": 4, "cpu_allocated": 1, "memory_total": 8192,
            "memory_allocated": 64, "disk_total": null, "disk_allocated": 0},
        "last_heartbeat": "2026-02-17T00:00:00.000Z", "agent_endpoint": "127.0.0.1:50051",
        "supported_workload_types": ["container"], "created_at": "2026-02-17T00:00:00.000Z"
    });
    NodeView {
        record: serde_json::from_value(record).unwrap(),
        available: berth_core::model::units::Resources::new(3000, 8128, 0),
        usage: Default::default(),
        workloads: 1,
        tombstones: 0,
        strangers: Some(0),
        resource_version: StoreRevision(40),
        freshness: fresh(50),
    }
}

pub(crate) fn workload_answer(id: &str) -> Answer {
    Ok(Response::Workload(Box::new(workload(id))))
}

pub(crate) fn node_answer(id: &str) -> Answer {
    Ok(Response::Node(Box::new(node(id))))
}
