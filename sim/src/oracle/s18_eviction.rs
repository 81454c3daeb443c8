//! S18: nothing is moved off a node before its grace is over, nor by a scheduler that was itself
//! blind; no node is judged by a leader that has only just begun to look; evictions stay under
//! their rate, and pause when too many nodes are lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use berth_core::io::request::Heartbeat;
use berth_core::io::{AgentState, AgentStatus};
use berth_core::model::node::{NodeReason, NodeRecord, NodeStatus};
use berth_core::model::workload::AssignmentRecord;
use berth_core::{Config, EventRecord, EventType, NodeId, Timestamp, WorkloadId};

use super::image::{Commit, Image};
use super::rule::{Check, Finding};
use super::view::{Flight, View, events};

/// What is known of nodes that were lost. Clocks of different schedulers are not compared.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    /// Under which epoch each node was lost.
    lost_under: BTreeMap<NodeId, i64>,
    /// The records of nodes that are back, as they were when they were lost, and under which epoch
    /// that was: an eviction that was decided before may land after.
    returned: BTreeMap<NodeId, (Arc<NodeRecord>, Option<i64>)>,
    /// When each scheduler heard of each node, by its own clock.
    heard: BTreeMap<(usize, NodeId), Timestamp>,
    /// When each scheduler was told of the record of a node that it did not know of.
    learnt: BTreeMap<(usize, NodeId), Timestamp>,
    /// What each node told each scheduler of its workloads, in its last heartbeat.
    told: BTreeMap<(usize, NodeId), Arc<[AgentStatus]>>,
    /// How long a node may be lost under the leader of each of the last terms.
    graces: BTreeMap<i64, Duration>,
    /// When each scheduler last changed a node while too many were lost, by its own clock.
    many_lost: BTreeMap<usize, Timestamp>,
    /// When workloads were evicted, under each epoch, by the leader's clock.
    evicted: BTreeMap<i64, VecDeque<Timestamp>>,
}

/// For so many terms it is known how long a node might be lost.
const TERMS_KEPT: usize = 16;

/// What a leader must have waited for before it gives a node up.
#[derive(Debug)]
pub(crate) struct Grace<'a> {
    pub(crate) evictions: &'a Evictions,
    pub(crate) config: &'a Config,
    pub(crate) epoch: i64,
    /// When it began to lead, by its own clock.
    pub(crate) leads_since: Timestamp,
    /// Its own clock.
    pub(crate) clock: Timestamp,
}

impl Grace<'_> {
    /// The node of this record may be given up.
    pub(crate) fn is_over(&self, record: &NodeRecord) -> bool {
        let under = self.evictions.lost_under.get(&record.id).copied();
        self.over_since(record, under)
    }

    /// It could be given up at that instant, and came back after it.
    fn was_over(&self, record: &NodeRecord) -> bool {
        let returned = self.evictions.returned.get(&record.id);
        let later = self.clock <= record.status_changed_at;
        later && returned.is_some_and(|(was, under)| self.over_since(was, *under))
    }

    /// How long a node may be lost under the leader of this term.
    fn eviction(&self) -> Duration {
        let of_term = self.evictions.graces.get(&self.epoch).copied();
        of_term.unwrap_or(self.config.eviction_grace)
    }

    fn over_since(&self, record: &NodeRecord, under: Option<i64>) -> bool {
        let since = if under == Some(self.epoch) {
            record.status_changed_at
        } else {
            self.leads_since
        };
        let patient = self.clock >= since + self.eviction();
        let fenced = record.status_reason == NodeReason::Fenced;
        record.status == NodeStatus::NotReady && (fenced || patient)
    }
}

impl Evictions {
    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        let nodes =
            self.lost_under.len() + self.returned.len() + self.heard.len() + self.told.len();
        let nodes = nodes + self.learnt.len();
        let terms = self.graces.len() + self.many_lost.len();
        nodes + terms + self.evicted.values().map(VecDeque::len).sum::<usize>()
    }

    /// A scheduler begins to lead: what it heard before, perhaps by another clock, is nothing.
    /// `grace`: how long it lets a node be lost, which a new configuration may change.
    pub(crate) fn begins(&mut self, replica: usize, epoch: i64, grace: Duration) {
        self.graces.insert(epoch, grace);
        // Commits of a term may land a little after it; not those of one that is long past.
        while self.graces.len() > TERMS_KEPT {
            self.graces.pop_first();
        }
        self.many_lost.remove(&replica);
        self.heard.retain(|(of, _), _| *of != replica);
        self.told.retain(|(of, _), _| *of != replica);
        self.learnt.retain(|(of, _), _| *of != replica);
    }

    /// A scheduler is told what a node runs.
    pub(crate) fn told(&mut self, replica: usize, heartbeat: &Heartbeat) {
        let key = (replica, heartbeat.node.clone());
        self.told.insert(key, Arc::clone(&heartbeat.statuses));
    }

    /// A scheduler hears of a node.
    pub(crate) fn heard(&mut self, replica: usize, node: &NodeId, clock: Timestamp) {
        self.heard.insert((replica, node.clone()), clock);
    }

    /// A scheduler is told of the record of a node that it did not know of.
    pub(crate) fn learns(&mut self, replica: usize, node: &NodeId, clock: Timestamp) {
        self.learnt.insert((replica, node.clone()), clock);
    }

    /// A scheduler asks for a commit.
    pub(crate) fn asked(
        &self,
        replica: usize,
        view: &View,
        flight: &Flight,
        grace: &Grace<'_>,
    ) -> Check {
        for (id, next) in &flight.nodes {
            let missed = next.as_ref().is_some_and(|next| {
                next.status == NodeStatus::NotReady
                    && next.status_reason == NodeReason::HeartbeatMissed
            });
            let was = view.nodes.get(id).map(|record| record.status);
            if missed && was.is_some_and(|was| was != NodeStatus::NotReady) {
                self.is_silent(replica, id, grace)?;
            }
        }
        let leaves = |(id, home): (&WorkloadId, &Option<Arc<AssignmentRecord>>)| {
            let from = &view.assignments.get(id)?.node_id;
            let to = home
                .as_ref()
                .map(|home: &Arc<AssignmentRecord>| &home.node_id);
            let record = view.nodes.get(from)?;
            (to != Some(from) && record.status == NodeStatus::NotReady)
                .then_some((id.clone(), record))
        };
        for (id, node) in flight.homes.iter().filter_map(leaves) {
            let evicted = events(&flight.txn).any(|event| is_eviction(&event) == Some(&id));
            if evicted && node.status_reason != NodeReason::Fenced {
                self.few_are_lost(replica, view, grace.leads_since, grace.clock, grace.config)
                    .map_err(|finding| finding.of(&id).of(&node.id))?;
                self.others_had_time(replica, grace)
                    .map_err(|finding| finding.of(&id).of(&node.id))?;
                self.is_not_heard_of(replica, &id, node, grace)?;
            }
        }
        Ok(())
    }

    /// A scheduler changes the record of a node.
    pub(crate) fn changes(
        &mut self,
        replica: usize,
        view: &View,
        leads_since: Timestamp,
        clock: Timestamp,
        config: &Config,
    ) {
        let few = self.few_are_lost(replica, view, leads_since, clock, config);
        if few.is_err() {
            self.many_lost.insert(replica, clock);
        }
    }

    /// What kept so many silent may keep those that are lost still from being heard, for as long as
    /// a heartbeat may be late.
    fn others_had_time(&self, replica: usize, grace: &Grace<'_>) -> Check {
        let many = self.many_lost.get(&replica).copied();
        if many.is_none_or(|at| grace.clock >= at + grace.config.lease()) {
            return Ok(());
        }
        let expected = "no eviction for a lease after so many nodes were lost";
        let seen = format!("moved at {}, many were lost at {many:?}", grace.clock);
        Err(Finding::new(expected, seen))
    }

    /// A node that cannot be called and still says that it runs a workload keeps it.
    fn is_not_heard_of(
        &self,
        replica: usize,
        id: &WorkloadId,
        node: &NodeRecord,
        grace: &Grace<'_>,
    ) -> Check {
        let key = (replica, node.id.clone());
        let heard = self.heard.get(&key);
        let fresh = heard.is_some_and(|at| grace.clock < *at + grace.config.lease());
        let runs = |status: &AgentStatus| {
            status.state == AgentState::Running && status.workload.as_ref() == Some(id)
        };
        if !fresh
            || !self
                .told
                .get(&key)
                .is_some_and(|told| told.iter().any(runs))
        {
            return Ok(());
        }
        let expected = "what a node says it runs to stay there";
        let seen = format!("moved at {}, heard at {heard:?}", grace.clock);
        Err(Finding::new(expected, seen).of(id).of(&node.id))
    }

    /// When so many nodes are silent at once, the scheduler is the likelier fault.
    fn few_are_lost(
        &self,
        replica: usize,
        view: &View,
        leads_since: Timestamp,
        clock: Timestamp,
        config: &Config,
    ) -> Check {
        let unheard = |record: &NodeRecord| {
            let key = (replica, record.id.clone());
            let heard = [&self.heard, &self.learnt];
            let heard = heard.iter().filter_map(|all| all.get(&key).copied()).max();
            clock >= heard.unwrap_or_default().max(leads_since) + config.lease()
        };
        let silent = |record: &&Arc<NodeRecord>| {
            record.status == NodeStatus::NotReady
                && match record.status_reason {
                    NodeReason::HeartbeatMissed => true,
                    NodeReason::AgentUnreachable => unheard(record),
                    _ => false,
                }
        };
        let lost = view.nodes.values().filter(silent).count();
        let coming = view.flights.values().flat_map(|flight| &flight.nodes);
        let coming = coming.filter(|(id, next)| next.is_some() && !view.nodes.contains_key(*id));
        let all = view.nodes.len() + coming.count();
        let many = lost >= config.eviction_pause_nodes_min as usize
            && lost * 100 > all * config.eviction_pause_percent as usize;
        if !many {
            return Ok(());
        }
        let expected = "evictions to pause while so many nodes are lost";
        Err(Finding::new(expected, format!("{lost} of {all} are lost")))
    }

    /// A node is declared lost: nothing was heard of it for a whole lease, by a leader that listened
    /// for as long.
    fn is_silent(&self, replica: usize, id: &NodeId, grace: &Grace<'_>) -> Check {
        let heard = self.heard.get(&(replica, id.clone())).copied();
        let since = heard.unwrap_or_default().max(grace.leads_since);
        if grace.clock >= since + grace.config.lease() {
            return Ok(());
        }
        let expected = format!("silence for {:?}", grace.config.lease());
        let seen = format!(
            "lost at {}; heard at {heard:?}, led since {}",
            grace.clock, grace.leads_since
        );
        Err(Finding::new(expected, seen).of(id))
    }

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
                let lost = |record: &&Arc<NodeRecord>| record.status == NodeStatus::NotReady;
                if let Some(was) = pair.before.as_ref().filter(lost) {
                    let under = self.lost_under.get(id).copied();
                    self.returned.insert(id.clone(), (was.clone(), under));
                }
                self.lost_under.insert(id.clone(), epoch);
            }
        }
        for event in &commit.events {
            let Some(id) = is_eviction(event) else {
                continue;
            };
            self.keeps_the_rate(epoch, event, config)
                .map_err(|finding| finding.of(id))?;
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
            let grace = Grace {
                evictions: self,
                config,
                epoch,
                leads_since,
                clock: event.timestamp,
            };
            if grace.is_over(node) || grace.was_over(node) {
                continue;
            }
            let expected = format!(
                "an eviction after {:?} of not being ready",
                grace.eviction()
            );
            let seen = format!(
                "{:?} since {}, led since {leads_since}, moved at {}",
                node.status, node.status_changed_at, event.timestamp
            );
            return Err(Finding::new(expected, seen).of(id).of(from));
        }
        Ok(())
    }

    /// The allowance is for whole seconds that begin when the first one needs it: in any second at
    /// most two of them are used up.
    fn keeps_the_rate(&mut self, epoch: i64, event: &EventRecord, config: &Config) -> Check {
        self.evicted.retain(|of, _| *of >= epoch);
        let evicted = self.evicted.entry(epoch).or_default();
        let (at, second) = (event.timestamp, Duration::from_secs(1));
        // Commits may land in another order than they were decided in.
        evicted.retain(|other| *other + Duration::from_secs(30) > at);
        evicted.push_back(at);
        let most = 2 * config.evictions_per_second_max as usize;
        let within = evicted
            .iter()
            .filter(|other| **other <= at && **other + second > at);
        let seen = within.count();
        if seen <= most {
            return Ok(());
        }
        let expected = format!("at most {most} evictions in any second");
        Err(Finding::new(expected, format!("{seen} until {at}")))
    }
}

/// The workload that an event tells the eviction of.
pub(super) fn is_eviction(event: &EventRecord) -> Option<&WorkloadId> {
    let evicts = match event.event_type {
        EventType::Rescheduled | EventType::WorkloadStopped => event.reason.contains("was lost"),
        _ => false,
    };
    event.workload_id.as_ref().filter(|_| evicts)
}
