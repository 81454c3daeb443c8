//! Reads: from the image, marked stale when this replica does not lead.

use crate::io::request::{Freshness, NodeFilter, Query, RequestError, Response, WorkloadFilter};
use crate::io::view::{
    ClusterSummary, DisplayStatus, EventPage, Explanation, NodeView, SchedulerStatus, WorkloadView,
};
use crate::model::id::{EventId, NodeId, RequestId, StoreRevision, WorkloadId};
use crate::model::node::NodeStatus;
use crate::model::workload::WorkloadRecord;
use crate::placement::{self, Demand};
use crate::planted::{Bug, planted};

use super::commit::Plan;
use super::node::Node;
use super::workload::Workload;
use super::{Leadership, Scheduler};

impl Scheduler {
    fn freshness(&self) -> Freshness {
        Freshness {
            revision: self.revision,
            stale: !self.is_leading() && !planted(Bug::AgeUnsaid),
            age_ms: if self.is_leading() {
                0
            } else {
                u64::try_from(self.now.since(self.current_at).as_millis()).unwrap_or(u64::MAX)
            },
        }
    }

    fn node_lost(&self, workload: &Workload) -> bool {
        let node = workload
            .durable
            .node()
            .and_then(|node| self.nodes.get(node));
        node.is_some_and(|entity| entity.status() == NodeStatus::NotReady)
    }

    pub(super) fn display(&self, workload: &Workload) -> DisplayStatus {
        workload.display(self.node_lost(workload))
    }

    fn view(&self, workload: &Workload) -> Option<WorkloadView> {
        Some(WorkloadView {
            record: workload.record()?.clone(),
            display_status: self.display(workload),
            resource_version: workload.revisions.record,
            freshness: self.freshness(),
        })
    }

    /// Answers who changed a workload. `last`: its record, if it is gone by now.
    pub(super) fn answer_workload(
        &mut self,
        request: RequestId,
        id: &WorkloadId,
        last: Option<WorkloadRecord>,
    ) {
        let view = match last {
            Some(record) => Some(WorkloadView {
                record,
                display_status: DisplayStatus::Deleting,
                resource_version: StoreRevision(0),
                freshness: self.freshness(),
            }),
            None => self
                .workloads
                .get(id)
                .and_then(|workload| self.view(workload)),
        };
        let answer = view.map(|view| Response::Workload(Box::new(view)));
        self.reply(request, answer.ok_or_else(|| Self::no_such_workload(id)));
    }

    /// Answers what a change would do (S19).
    pub(super) fn answer_dry_run(&mut self, request: RequestId, plan: Plan) {
        let mut next = plan.next;
        if planted(Bug::ForetoldNowhere) {
            next.assignment = None;
        }
        next.mirror();
        let mut foretold = Workload::unknown();
        foretold.durable = next;
        let view = self
            .view(&foretold)
            .map(|view| Response::Workload(Box::new(view)));
        let gone = || RequestError::Refused("nothing would remain".to_owned());
        self.reply(request, view.ok_or_else(gone));
    }

    pub(super) fn answer_query(&self, query: &Query) -> Result<Response, RequestError> {
        match query {
            Query::Workload(id) => {
                self.check_readable(id)?;
                let view = self
                    .workloads
                    .get(id)
                    .and_then(|workload| self.view(workload));
                let view = view.ok_or_else(|| Self::no_such_workload(id))?;
                Ok(Response::Workload(Box::new(view)))
            }
            Query::Workloads(filter) => Ok(self.list_workloads(filter)),
            Query::Node(id) => match self.node_view(id) {
                Some(view) => Ok(Response::Node(Box::new(view))),
                None if self.is_node_quarantined(id) => Err(Self::unreadable_node(id)),
                None => Err(RequestError::NoSuchNode(id.clone())),
            },
            Query::Nodes(filter) => Ok(self.list_nodes(filter)),
            Query::Summary => Ok(Response::Summary(self.summary())),
            Query::Explain(id) => Ok(Response::Explanation(Box::new(self.explain(id)?))),
            Query::Events {
                after,
                workload,
                node,
                limit,
            } => Ok(Response::Events(self.page_events(
                after.as_ref(),
                workload.as_ref(),
                node.as_ref(),
                *limit,
            ))),
            Query::Status => Ok(Response::Status(Box::new(self.status()))),
        }
    }

    fn list_workloads(&self, filter: &WorkloadFilter) -> Response {
        let limit = if filter.limit == 0 {
            usize::MAX
        } else {
            filter.limit
        };
        let from = match &filter.after {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Unbounded,
        };
        let wanted = |workload: &&Workload| {
            let Some(record) = workload.record() else {
                return false;
            };
            let display = self.display(workload).name();
            filter
                .node
                .as_ref()
                .is_none_or(|node| record.assigned_node.as_ref() == Some(node))
                && filter
                    .status
                    .as_ref()
                    .is_none_or(|s| s.eq_ignore_ascii_case(display))
                && filter
                    .actual_state
                    .is_none_or(|state| record.status.actual_state == state)
                && filter
                    .tenant
                    .as_ref()
                    .is_none_or(|tenant| record.tenant.as_ref() == Some(tenant))
        };
        let range = self
            .workloads
            .range::<WorkloadId, _>((from, std::ops::Bound::Unbounded));
        let mut matching = range.map(|(_, workload)| workload).filter(wanted);
        let page: Vec<_> = matching
            .by_ref()
            .take(limit)
            .filter_map(|w| self.view(w))
            .collect();
        let more = matching.next().is_some();
        Response::Workloads {
            workloads: page,
            more,
            freshness: self.freshness(),
        }
    }

    fn list_nodes(&self, filter: &NodeFilter) -> Response {
        let limit = if filter.limit == 0 {
            usize::MAX
        } else {
            filter.limit
        };
        let from = match &filter.after {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Unbounded,
        };
        let wanted = |(_, entity): &(&NodeId, &Node)| {
            let status = format!("{:?}", entity.status());
            entity.record.is_some()
                && filter
                    .status
                    .as_ref()
                    .is_none_or(|s| s.eq_ignore_ascii_case(&status))
        };
        let range = self
            .nodes
            .range::<NodeId, _>((from, std::ops::Bound::Unbounded));
        let mut matching = range.filter(wanted);
        let page: Vec<_> = matching
            .by_ref()
            .take(limit)
            .filter_map(|(id, _)| self.node_view(id))
            .collect();
        let more = matching.next().is_some();
        Response::Nodes {
            nodes: page,
            more,
            freshness: self.freshness(),
        }
    }

    pub(super) fn node_view(&self, id: &NodeId) -> Option<NodeView> {
        let entity = self.nodes.get(id)?;
        let mut record = entity.record.clone()?;
        record.resources.set_allocated(self.allocated(entity));
        if entity.heard {
            record.last_heartbeat = record.last_heartbeat.max(entity.heard_at);
        }
        let totals = crate::model::units::Resources {
            cpu: record.resources.cpu_total,
            memory_mb: record.resources.memory_total,
            disk_gb: record.resources.disk_total.unwrap_or_default(),
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(NodeView {
            available: totals - entity.reserved,
            usage: entity.usage,
            workloads: count(entity.assigned.len()),
            tombstones: count(entity.tombstones.len()),
            strangers: self.is_leading().then(|| count(entity.strangers.len())),
            resource_version: entity.revision,
            freshness: self.freshness(),
            record,
        })
    }

    fn summary(&self) -> ClusterSummary {
        let mut sum = ClusterSummary {
            generated_at: self.now,
            freshness: self.freshness(),
            ..ClusterSummary::default()
        };
        for entity in self.nodes.values() {
            let Some(record) = &entity.record else {
                continue;
            };
            sum.total_nodes += 1;
            match record.status {
                NodeStatus::Ready => sum.ready_nodes += 1,
                NodeStatus::NotReady => sum.not_ready_nodes += 1,
                NodeStatus::Draining => sum.draining_nodes += 1,
            }
            sum.capacity.cpu += record.resources.cpu_total;
            sum.capacity.memory_mb += record.resources.memory_total;
            sum.capacity.disk_gb += record.resources.disk_total.unwrap_or_default();
            sum.allocated += self.allocated(entity);
        }
        for workload in self.workloads.values().filter(|w| w.record().is_some()) {
            sum.total_workloads += 1;
            match self.display(workload) {
                DisplayStatus::Running => sum.running_workloads += 1,
                DisplayStatus::Failed => sum.failed_workloads += 1,
                DisplayStatus::Stopped => sum.stopped_workloads += 1,
                DisplayStatus::Deleting => sum.deleted_workloads += 1,
                DisplayStatus::Pending
                | DisplayStatus::Scheduled
                | DisplayStatus::Updating
                | DisplayStatus::Unknown
                | DisplayStatus::RetryPending => sum.pending_workloads += 1,
            }
        }
        sum
    }

    fn explain(&self, id: &WorkloadId) -> Result<Explanation, RequestError> {
        self.check_readable(id)?;
        let workload = self
            .workloads
            .get(id)
            .ok_or_else(|| Self::no_such_workload(id))?;
        let record = workload
            .record()
            .ok_or_else(|| Self::no_such_workload(id))?;
        let home = workload.durable.node().cloned();
        let decision = match (&home, &record.status.placement) {
            (Some(node), Some(note)) if note.node.as_ref() == Some(node) => note.clone(),
            _ => self.choose(id, record),
        };
        let demand = Demand {
            workload: id,
            resources: record.resources,
            workload_type: record.workload_type(),
            drivers: &workload.drivers,
            constraints: &record.constraints,
        };
        let nodes = self
            .nodes
            .iter()
            .filter_map(|(node, entity)| entity.candidate(node, Some(id)));
        let advice = placement::explain(&decision, nodes, &demand);
        Ok(Explanation {
            workload: id.clone(),
            assigned_node: home,
            summary: advice.summary,
            decision,
            nearest: advice.nearest,
            would_help: advice.would_help,
            freshness: self.freshness(),
        })
    }

    fn page_events(
        &self,
        after: Option<&EventId>,
        workload: Option<&WorkloadId>,
        node: Option<&NodeId>,
        limit: usize,
    ) -> EventPage {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let wanted = |event: &&std::sync::Arc<crate::EventRecord>| {
            workload.is_none_or(|id| event.workload_id.as_ref() == Some(id))
                && node.is_none_or(|id| event.node_id.as_ref() == Some(id))
        };
        let freshness = self.freshness();
        let Some(after) = after else {
            let mut events: Vec<_> = self
                .events
                .values()
                .rev()
                .filter(wanted)
                .take(limit)
                .map(|event| (**event).clone())
                .collect();
            events.reverse();
            return EventPage {
                events,
                gap: false,
                freshness,
            };
        };
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let range = self.events.range::<EventId, _>(from);
        let events = range
            .map(|(_, event)| event)
            .filter(wanted)
            .take(limit)
            .map(|event| (**event).clone())
            .collect();
        let gap = self
            .events
            .keys()
            .next()
            .is_some_and(|oldest| oldest > after);
        EventPage {
            events,
            gap,
            freshness,
        }
    }

    fn status(&self) -> SchedulerStatus {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        SchedulerStatus {
            leading: self.is_leading(),
            epoch: self.epoch(),
            deposed: match self.leadership {
                Leadership::Leading { .. } => None,
                Leadership::Following { reason } => Some(reason),
            },
            eviction_paused: self.eviction.paused,
            revision: self.revision,
            pending: count(self.waiting_for_room.len()),
            commits_in_flight: count(self.in_flight.len()),
            calls_in_flight: count(self.pool.in_flight()),
            calls_queued: count(self.pool.waiting()),
            quarantined: count(self.quarantined.len()),
        }
    }
}
