//! `berth.v1.Berth`: what the wire contract of the predecessor lacks.

use std::pin::Pin;
use std::time::Duration;

use berth_core::io::request::{Query, Request as Ask, Response as Answer};
use berth_core::io::view::{ClusterSummary, NodeView, SchedulerStatus, WorkloadView};
use berth_core::{EventId, NodeId, WorkloadId};
use berth_proto::berth::v1::{self as wire, berth_server::Berth};
use berth_proto::time::timestamp_from_unix_ms_u64;
use futures::Stream;
use tonic::{Request, Response, Status};

use super::lifecycle::lifecycle;
use super::reply::{dated, unavailable};
use crate::api::{Api, AskError, EventFilter, event_id, expect_answer};
use crate::feed::{Feed, FeedItem, Origin};
use crate::health::Mode;

/// The service.
#[derive(Debug, Clone)]
pub struct BerthService {
    api: Api,
}

impl BerthService {
    /// The service in front of `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn change_node(&self, request: Ask) -> Result<NodeView, AskError> {
        expect_answer!(self.api.ask(request).await?, Answer::Node(view) => *view)
    }

    /// A node that is about to be changed.
    async fn node(&self, node: NodeId) -> Result<NodeView, AskError> {
        let answer = self.api.ask_strong(Ask::Read(Query::Node(node))).await?;
        expect_answer!(answer, Answer::Node(view) => *view)
    }

    async fn workload(&self, workload: WorkloadId) -> Result<WorkloadView, AskError> {
        let request = Ask::Read(Query::Workload(workload));
        expect_answer!(self.api.ask(request).await?, Answer::Workload(view) => *view)
    }

    async fn status(&self) -> Result<SchedulerStatus, AskError> {
        let request = Ask::Read(Query::Status);
        expect_answer!(self.api.ask(request).await?, Answer::Status(status) => *status)
    }

    async fn summary(&self) -> Result<ClusterSummary, AskError> {
        let request = Ask::Read(Query::Summary);
        expect_answer!(self.api.ask(request).await?, Answer::Summary(summary) => summary)
    }
}

/// Ends a cordon and, if there is one, a drain. Also behind REST.
pub(crate) async fn uncordon(api: &Api, node: NodeId) -> Result<NodeView, AskError> {
    let ask =
        |request| async { expect_answer!(api.ask_strong(request).await?, Answer::Node(v) => *v) };
    let view = ask(Ask::Read(Query::Node(node.clone()))).await?;
    if view.record.drain.is_some() {
        ask(Ask::CancelDrain { node: node.clone() }).await?;
    }
    let schedulable = true;
    ask(Ask::SetSchedulable { node, schedulable }).await
}

fn node_id(text: &str) -> Result<NodeId, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("node_id: {error}")))
}

fn workload_id(text: &str) -> Result<WorkloadId, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("workload_id: {error}")))
}

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Berth for BerthService {
    async fn explain_workload(
        &self,
        request: Request<wire::ExplainWorkloadRequest>,
    ) -> Answered<wire::ExplainWorkloadResponse> {
        let id = workload_id(&request.get_ref().workload_id)?;
        let view = self.workload(id.clone()).await?;
        let answer = self.api.ask(Ask::Read(Query::Explain(id))).await?;
        let explained = expect_answer!(answer, Answer::Explanation(explained) => explained)?;
        let freshness = explained.freshness;
        let explanation = Some(super::placement::explanation(&explained, &view));
        Ok(dated(
            wire::ExplainWorkloadResponse { explanation },
            freshness,
        ))
    }

    async fn drain_node(
        &self,
        request: Request<wire::DrainNodeRequest>,
    ) -> Answered<wire::DrainNodeResponse> {
        let message = request.into_inner();
        let limits = self.api.limits();
        let view = self
            .change_node(Ask::Drain {
                node: node_id(&message.node_id)?,
                deadline: match message.deadline_seconds {
                    0 => limits.drain_deadline,
                    seconds => Duration::from_secs(seconds.into()),
                },
                parallelism: match message.parallelism {
                    0 => limits.drain_parallelism,
                    parallelism => parallelism,
                },
            })
            .await?;
        note_reason("drain", &message.node_id, &message.reason);
        let node = Some(lifecycle(&view));
        Ok(dated(wire::DrainNodeResponse { node }, view.freshness))
    }

    async fn cordon_node(
        &self,
        request: Request<wire::CordonNodeRequest>,
    ) -> Answered<wire::CordonNodeResponse> {
        let message = request.into_inner();
        let node = node_id(&message.node_id)?;
        let schedulable = false;
        let view = self
            .change_node(Ask::SetSchedulable { node, schedulable })
            .await?;
        note_reason("cordon", &message.node_id, &message.reason);
        let node = Some(lifecycle(&view));
        Ok(dated(wire::CordonNodeResponse { node }, view.freshness))
    }

    async fn uncordon_node(
        &self,
        request: Request<wire::UncordonNodeRequest>,
    ) -> Answered<wire::UncordonNodeResponse> {
        let view = uncordon(&self.api, node_id(&request.get_ref().node_id)?).await?;
        let node = Some(lifecycle(&view));
        Ok(dated(wire::UncordonNodeResponse { node }, view.freshness))
    }

    async fn fence_node(
        &self,
        request: Request<wire::FenceNodeRequest>,
    ) -> Answered<wire::FenceNodeResponse> {
        let message = request.into_inner();
        let node = node_id(&message.node_id)?;
        let workloads_released = self.node(node.clone()).await?.workloads;
        let view = self.change_node(Ask::Fence { node }).await?;
        note_reason("fence", &message.node_id, &message.reason);
        let node = Some(lifecycle(&view));
        let response = wire::FenceNodeResponse {
            node,
            workloads_released,
        };
        Ok(dated(response, view.freshness))
    }

    async fn purge_node(
        &self,
        request: Request<wire::PurgeNodeRequest>,
    ) -> Answered<wire::PurgeNodeResponse> {
        let node = node_id(&request.get_ref().node_id)?;
        let before = self.node(node.clone()).await?;
        let answer = self.api.ask(Ask::Purge { node }).await?;
        expect_answer!(answer, Answer::Purged => ())?;
        Ok(Response::new(wire::PurgeNodeResponse {
            workloads_released: before.workloads,
            confirmations_dropped: before.tombstones,
            store_revision: 0,
        }))
    }

    type WatchEventsStream =
        Pin<Box<dyn Stream<Item = Result<wire::WatchEventsResponse, Status>> + Send + 'static>>;

    async fn watch_events(
        &self,
        request: Request<wire::WatchEventsRequest>,
    ) -> Answered<Self::WatchEventsStream> {
        let message = request.into_inner();
        let (filter, origin) = watch_question(&message)?;
        let place = self
            .api
            .watcher()
            .ok_or_else(|| unavailable("too many clients watch", Duration::from_secs(5)))?;
        let feed = Feed::open(self.api.clone(), filter, origin).await?;
        let stream = futures::stream::unfold(Some((feed, place)), |state| async {
            let (mut feed, place) = state?;
            match feed.next().await {
                Ok(Some(item)) => Some((Ok(watch_item(item)), Some((feed, place)))),
                Ok(None) => {
                    let status = unavailable("the server shuts down", Duration::from_secs(1));
                    Some((Err(status), None))
                }
                Err(error) => Some((Err(error.into()), None)),
            }
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_status(
        &self,
        _request: Request<wire::GetStatusRequest>,
    ) -> Answered<wire::GetStatusResponse> {
        let (status, summary) = (self.status().await?, self.summary().await?);
        let health = self.api.health().report();
        let leading = health.mode == Mode::Normal;
        let response = wire::GetStatusResponse {
            server_id: self.api.replica_id().to_owned(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            leader_id: health.leader.unwrap_or_default(),
            leader_epoch: status.epoch.0,
            is_leader: leading,
            store_revision: status.revision.0,
            store_state: match health.mode {
                Mode::Normal | Mode::Standby => wire::StoreState::Available.into(),
                Mode::Degraded => wire::StoreState::Degraded.into(),
            },
            store_message: health.store.error,
            stale: summary.freshness.stale,
            eviction_paused: status.eviction_paused,
            eviction_paused_reason: match status.eviction_paused {
                true => "many nodes vanished at once".to_owned(),
                false => String::new(),
            },
            counts: Some(counts(&summary, &status)),
            ..wire::GetStatusResponse::default()
        };
        Ok(dated(response, summary.freshness))
    }
}

/// The record of a node has a typed reason; the operator's own words go to the log.
fn note_reason(action: &'static str, node: &str, reason: &str) {
    let reason: String = reason.chars().take(256).collect();
    tracing::info!(action, node, reason, "an operator changed a node");
}

fn watch_question(message: &wire::WatchEventsRequest) -> Result<(EventFilter, Origin), Status> {
    let given = |text: &str| !text.is_empty();
    let filter = EventFilter {
        workload: Some(&message.workload_id)
            .filter(|id| given(id))
            .map(|id| workload_id(id))
            .transpose()?,
        node: Some(&message.node_id)
            .filter(|id| given(id))
            .map(|id| node_id(id))
            .transpose()?,
    };
    let origin = wire::WatchOrigin::try_from(message.origin).map_err(|_| {
        Status::invalid_argument(format!("origin: {} is not a known value", message.origin))
    })?;
    let origin = match origin {
        _ if given(&message.after_event_id) => {
            let after = event_id(&message.after_event_id).map_err(|problem| {
                Status::invalid_argument(format!("after_event_id: {problem}"))
            })?;
            Origin::After(after)
        }
        wire::WatchOrigin::Unspecified | wire::WatchOrigin::Now => Origin::Now,
        wire::WatchOrigin::Oldest => Origin::Oldest,
    };
    Ok((filter, origin))
}

fn watch_item(item: FeedItem) -> wire::WatchEventsResponse {
    use wire::watch_events_response::Item;
    let text = |id: Option<EventId>| id.map_or_else(String::new, |id| id.to_string());
    let item = match item {
        FeedItem::Lost => Item::Lost(wire::EventsLost::default()),
        FeedItem::Idle(at) => Item::Progress(wire::EventsProgress { event_id: text(at) }),
        FeedItem::Event(event, _) => Item::Event(wire::Event {
            id: event.id.to_string(),
            r#type: event.event_type.to_string(),
            workload_id: event
                .workload_id
                .map_or_else(String::new, |id| id.to_string()),
            node_id: event.node_id.map_or_else(String::new, |id| id.to_string()),
            reason: event.event_type.to_string(),
            message: event.reason,
            time: Some(timestamp_from_unix_ms_u64(event.timestamp.as_millis())),
            revision_id: event
                .revision_id
                .map_or_else(String::new, |id| id.to_string()),
            store_revision: 0,
        }),
    };
    wire::WatchEventsResponse { item: Some(item) }
}

fn counts(summary: &ClusterSummary, status: &SchedulerStatus) -> wire::ClusterCounts {
    wire::ClusterCounts {
        nodes: summary.total_nodes,
        nodes_ready: summary.ready_nodes,
        nodes_not_ready: summary.not_ready_nodes,
        nodes_draining: summary.draining_nodes,
        workloads: summary.total_workloads,
        workloads_running: summary.running_workloads,
        workloads_pending: status.pending,
        workloads_in_progress: summary.pending_workloads.saturating_sub(status.pending),
        workloads_stopped: summary.stopped_workloads,
        workloads_failed: summary.failed_workloads,
        workloads_deleting: summary.deleted_workloads,
        agent_calls_outstanding: status.calls_in_flight,
        ..wire::ClusterCounts::default()
    }
}

#[cfg(test)]
#[path = "berth_tests.rs"]
mod tests;
