//! Records for tests, as a server sends them.

use berth_core::Timestamp;
use berth_core::io::view::{NodeView, WorkloadView};

/// One minute after the records were created.
pub(super) fn now() -> Timestamp {
    let created: Timestamp = serde_json::from_str("\"2026-02-17T00:00:00Z\"").expect("a time");
    created + std::time::Duration::from_secs(60)
}

/// A container that runs.
pub(super) fn workload(id: &str) -> WorkloadView {
    serde_json::from_value(serde_json::json!({
        "id": id, "type": "container", "revision_id": "rev-1", "desired_state": "Running",
        "assigned_node": "node-1", "spec": {"image": "nginx"},
        "resources": {"cpu": 0.5, "memory_mb": 64, "disk_gb": 0},
        "retry": {"attempts": 1, "max_attempts": 5},
        "status": {"actual_state": "Running", "last_updated": "2026-02-17T00:00:01Z"},
        "metadata": {"created_at": "2026-02-17T00:00:00Z", "last_action": "Apply"},
        "display_status": "Running", "resource_version": 7,
        "freshness": {"revision": 9, "stale": false},
    }))
    .expect("the shape of the design")
}

/// A node that is ready.
pub(super) fn node(id: &str) -> NodeView {
    serde_json::from_value(serde_json::json!({
        "id": id, "status": "Ready", "status_reason": "Registered",
        "status_changed_by": "register", "status_changed_at": "2026-02-17T00:00:00Z",
        "resources": {"cpu_total": 4, "cpu_allocated": 1, "memory_total": 8192,
            "memory_allocated": 128, "disk_total": 50, "disk_allocated": 0},
        "last_heartbeat": "2026-02-17T00:00:50Z", "labels": {"zone": "a"},
        "agent_endpoint": "127.0.0.1:7001", "supported_workload_types": ["container"],
        "supported_storage_drivers": ["local"], "schedulable": true,
        "created_at": "2026-02-17T00:00:00Z",
        "available": {"cpu": 3, "memory_mb": 8064, "disk_gb": 50},
        "usage": {"cpu_used": 0.2, "memory_used": 900, "disk_used": 3},
        "workloads": 2, "tombstones": 0, "strangers": 0, "resource_version": 5,
        "freshness": {"revision": 9, "stale": false},
    }))
    .expect("the shape of the design")
}
