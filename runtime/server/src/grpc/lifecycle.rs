//! A node's life as `berth.v1` tells it.

use berth_core::Timestamp;
use berth_core::io::view::NodeView;
use berth_core::model::node::{NodeReason, NodeStatus};
use berth_proto::berth::v1 as wire;
use berth_proto::time::timestamp_from_unix_ms_u64;

/// What operators set on a node, and where it stands.
pub(crate) fn lifecycle(view: &NodeView) -> wire::NodeLifecycle {
    let record = &view.record;
    let status = match record.status {
        NodeStatus::Ready => wire::NodeStatus::Ready,
        NodeStatus::NotReady => wire::NodeStatus::NotReady,
        NodeStatus::Draining => wire::NodeStatus::Draining,
    };
    let at = |time: Timestamp| Some(timestamp_from_unix_ms_u64(time.as_millis()));
    wire::NodeLifecycle {
        node_id: record.id.to_string(),
        status: status.into(),
        status_reason: format!("{:?}", record.status_reason),
        cordoned: !record.schedulable,
        fenced: record.status_reason == NodeReason::Fenced,
        drain: record.drain.as_ref().map(|drain| wire::DrainProgress {
            started_at: at(drain.started_at),
            deadline_at: at(drain.deadline),
            parallelism: drain.parallelism,
            workloads_moving: view.tombstones,
            workloads_remaining: view.workloads,
            complete: drain.completed_at.is_some(),
            ..wire::DrainProgress::default()
        }),
        store_revision: view.resource_version.0,
    }
}
