//! S18: nothing is moved off a node before its grace is over, nor by a scheduler that was itself
//! blind; and no node is judged by a leader that has only just begun to look.

use std::collections::BTreeMap;

use berth_core::model::node::{NodeReason, NodeRecord, NodeStatus};
use berth_core::{Config, EventType, NodeId, Timestamp};

use super::image::{Commit, Image};
use super::rule::{Check, Finding};

/// Under which epoch each node was lost: clocks of different schedulers are not compared.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    lost_under: BTreeMap<NodeId, i64>,
}

impl Evictions {
    /// `leads_since`: when the writer began to lead, by its own clock.
    pub(crate) fn committed(
        &mut self,
        commit: &Commit,
        image: &Image,
        config: &Config,
        leads_since: Timestamp,
    ) -> Check {
        let Some(epoch) = commit.epoch() else {
            return Ok(());
        };
        for (id, pair) in &commit.nodes {
            let status = |record: &NodeRecord| record.status;
            if pair.after.as_deref().map(status) != pair.before.as_deref().map(status) {
                self.lost_under.insert(id.clone(), epoch);
            }
        }
        self.judge(epoch, commit, image, config, leads_since)
    }

    fn judge(
        &self,
        epoch: i64,
        commit: &Commit,
        image: &Image,
        config: &Config,
        leads_since: Timestamp,
    ) -> Check {
        for event in &commit.events {
            if event.event_type != EventType::Rescheduled || !event.reason.contains("was lost") {
                continue;
            }
            let Some(id) = &event.workload_id else {
                continue;
            };
            let pair = commit.assignments.get(id);
            let Some(from) = pair
                .and_then(|pair| pair.before.as_ref())
                .map(|a| &a.node_id)
            else {
                continue;
            };
            let Some(node) = image.nodes.get(from).map(|held| &held.record) else {
                continue;
            };
            let fenced = node.status_reason == NodeReason::Fenced;
            let own = self.lost_under.get(from) == Some(&epoch);
            let since = if own {
                node.status_changed_at
            } else {
                leads_since
            };
            let patient = event.timestamp >= since + config.eviction_grace;
            if node.status == NodeStatus::NotReady && (fenced || patient) {
                continue;
            }
            let expected = format!(
                "an eviction after {:?} of not being ready",
                config.eviction_grace
            );
            let seen = format!(
                "{:?} since {}, led since {leads_since}, moved at {}",
                node.status, node.status_changed_at, event.timestamp
            );
            return Err(Finding::new(expected, seen).of(id).of(from));
        }
        Ok(())
    }
}
