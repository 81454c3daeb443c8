//! The oracle: it sees everything, and says which rule does not hold. One file for each rule.

mod avoidance;
pub(crate) mod image;
mod l01_fresh;
mod linear;
pub(crate) mod liveness;
mod memo;
mod room;
mod rule;
mod s01_persist_before_act;
mod s02_fencing;
mod s03_capacity;
mod s04_one_home;
mod s05_exact_placement;
mod s06_idempotency;
mod s07_retry_law;
mod s08_no_lost_writes;
mod s08_nodes;
mod s09_no_phantom_writes;
mod s10_deletion;
mod s11_events;
mod s12_no_hot_loop;
mod s13_no_double_run;
mod s14_isolation;
mod s15_linearizable;
mod s16_drain;
mod s17_bounded;
mod s18_eviction;
mod s18_moves;
mod s18_order;
mod s19_dry_run;
mod s20_drained;
mod s21_pending_is_explained;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_agent::FakeRuntime;
use berth_core::io::request::{Request, RequestError, Response};
use berth_core::io::{AgentCall, Fate, Input, Stored, Txn};
use berth_core::model::node::NodeReason;
use berth_core::model::workload::AssignmentRecord;
use berth_core::{Config, Epoch, Key, NodeId, RequestId, Timestamp, WorkloadId};
use berth_kv as kv;

pub use rule::{Check, Finding, Rule, Violation};
pub use s15_linearizable::Windows;

use image::{Commit, Image, Writer};

/// What the oracle keeps in mind.
#[derive(Debug)]
pub(crate) struct Oracle {
    now: Timestamp,
    step: u64,
    config: Config,
    violation: Option<Violation>,
    pub(crate) image: Image,
    /// Records that were decoded already.
    memo: memo::Memo,
    leads_since: BTreeMap<usize, Timestamp>,
    /// What each replica knows.
    views: BTreeMap<usize, view::View>,
    /// Workloads whose records somebody else edited, and when.
    touched: BTreeMap<String, Timestamp>,
    bounded: s17_bounded::Bounded,
    /// When each workload got the home that it has.
    placed: BTreeMap<WorkloadId, Timestamp>,
    /// Nodes whose id two machines use: what is true of one is not of the other.
    ambiguous: BTreeSet<NodeId>,
    /// Copies of which nothing in the store tells any more, for somebody else removed that.
    unrecorded: BTreeSet<(NodeId, WorkloadId)>,
    /// Until then what lost nodes had may be on its way, for evictions are bounded.
    left_by: Timestamp,
    /// The nodes that some scheduler may avoid, for what an agent told it, each until then.
    avoided: BTreeMap<NodeId, Timestamp>,
    fencing: s02_fencing::Fencing,
    capacity: s03_capacity::Capacity,
    register: s08_no_lost_writes::Register,
    nodes: s08_nodes::Nodes,
    asked: s09_no_phantom_writes::Asked,
    events: s11_events::Events,
    pace: s12_no_hot_loop::Pace,
    purges: s10_deletion::Purges,
    purged: s13_no_double_run::Purged,
    drains: s16_drain::Drains,
    evictions: s18_eviction::Evictions,
    eviction_order: s18_order::Order,
    histories: s15_linearizable::Histories,
    isolation: s14_isolation::Isolation,
    foretold: s19_dry_run::Foretold,
}

/// How long the traces of somebody else's edit are excused.
const EDIT_SETTLES: Duration = Duration::from_secs(90);
/// How long a runtime may not be there, at most.
const LASTS_MAX: Duration = Duration::from_secs(180);

/// The truth about the nodes: what runs where.
pub(crate) type Truth<'a> = &'a dyn Fn(&NodeId) -> Vec<WorkloadId>;
/// What is left of a workload on a node, running or not.
pub(crate) type Has<'a> = &'a dyn Fn(&NodeId, &WorkloadId) -> Left;

/// What is left of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Left {
    Nothing,
    /// On a machine that is off: an operator may have declared it gone.
    Off,
    /// On a machine that is on.
    On,
}

impl Oracle {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            now: Timestamp::ZERO,
            step: 0,
            config,
            violation: None,
            image: Image::default(),
            memo: memo::Memo::default(),
            leads_since: BTreeMap::new(),
            views: BTreeMap::new(),
            touched: BTreeMap::new(),
            bounded: s17_bounded::Bounded::default(),
            ambiguous: BTreeSet::new(),
            placed: BTreeMap::new(),
            unrecorded: BTreeSet::new(),
            left_by: Timestamp::ZERO,
            avoided: BTreeMap::new(),
            fencing: s02_fencing::Fencing::default(),
            capacity: s03_capacity::Capacity::default(),
            register: s08_no_lost_writes::Register::default(),
            nodes: s08_nodes::Nodes::default(),
            asked: s09_no_phantom_writes::Asked::default(),
            events: s11_events::Events::default(),
            pace: s12_no_hot_loop::Pace::default(),
            purges: s10_deletion::Purges::default(),
            purged: s13_no_double_run::Purged::default(),
            drains: s16_drain::Drains::default(),
            evictions: s18_eviction::Evictions::default(),
            eviction_order: s18_order::Order::default(),
            histories: s15_linearizable::Histories::default(),
            isolation: s14_isolation::Isolation::default(),
            foretold: s19_dry_run::Foretold::default(),
        }
    }

    /// What time it is, and in which step.
    pub(crate) fn at(&mut self, now: Timestamp, step: u64) {
        self.now = now;
        self.step = step;
    }

    /// How much each part keeps.
    pub(crate) fn sizes(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("memo", self.memo.size()),
            ("image: events", self.image.events.len()),
            ("views", self.views.values().map(view::View::size).sum()),
            ("S8", self.register.size()),
            ("S8: nodes", self.nodes.size()),
            ("S9", self.asked.size()),
            ("S11", self.events.size()),
            ("S12", self.pace.size()),
            ("S15", self.histories.size()),
            ("S16", self.drains.size()),
            ("S18", self.evictions.size()),
            ("S19", self.foretold.size()),
            (
                "excused",
                self.touched.len() + self.unrecorded.len() + self.placed.len(),
            ),
        ]
    }

    /// How much of what clients were told was judged.
    pub(crate) const fn windows(&self) -> Windows {
        self.histories.windows()
    }

    /// How long a workload must run until its tries are forgotten.
    pub(crate) const fn stable_after(&self) -> Duration {
        self.config.stable_after
    }

    /// From then on nothing should happen any more.
    pub(crate) fn idle_from(&mut self, at: Timestamp) {
        self.pace.idle_from = Some(at);
    }

    /// Nor before this.
    pub(crate) fn idle_not_before(&mut self, at: Timestamp) {
        let idle_from = &mut self.pace.idle_from;
        *idle_from = idle_from.map(|from| from.max(at));
    }

    /// Notes what a check came to that holds in spite of somebody else's edits.
    fn judge_in_spite(&mut self, rule: Rule, check: Check) {
        let touched = std::mem::take(&mut self.touched);
        self.judge(rule, check);
        self.touched = touched;
    }

    /// Notes what came of what a scenario expects: that holds in spite of everything.
    pub(crate) fn judge_scene(&mut self, check: Check) {
        let ambiguous = std::mem::take(&mut self.ambiguous);
        self.judge_in_spite(Rule::Scene, check);
        self.ambiguous = ambiguous;
    }

    /// Notes what a check of a rule came to; the first violation stays.
    pub(crate) fn judge(&mut self, rule: Rule, check: Check) {
        if let (Err(finding), None) = (check, &self.violation) {
            // Somebody else's edit breaks what it breaks; soon after, all must hold again.
            let recent = |entity: &String| {
                self.touched
                    .get(entity)
                    .is_some_and(|at| self.now.since(*at) < EDIT_SETTLES)
            };
            let ambiguous = |entity: &String| {
                let homes = &self.image.assignments;
                self.ambiguous.iter().any(|node| {
                    let id = entity.parse().ok();
                    let home = id.and_then(|id: WorkloadId| homes.get(&id));
                    entity == node.as_str() || home.is_some_and(|held| held.record.node_id == *node)
                })
            };
            if finding
                .entities
                .iter()
                .any(|it| recent(it) || ambiguous(it))
            {
                return;
            }
            let Finding {
                expected,
                seen,
                entities,
            } = finding;
            let (at, step) = (self.now, self.step);
            self.violation = Some(Violation {
                rule,
                expected,
                seen,
                entities,
                at,
                step,
            });
        }
    }

    pub(crate) fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    /// One revision of the store.
    pub(crate) fn committed(
        &mut self,
        revision: i64,
        writer: Writer,
        events: &[kv::Event],
        truth: Truth<'_>,
        has: Has<'_>,
        started: s14_isolation::Started<'_>,
    ) -> Commit {
        let commit = self.image.take(revision, writer, events, &mut self.memo);
        self.note_homes(&commit);
        let runs = |node: &NodeId, id: &WorkloadId| truth(node).contains(id);
        let leads_since = match writer {
            Writer::Scheduler { replica, .. } => self.leads_since.get(&replica).copied(),
            Writer::Election | Writer::Stranger => None,
        };
        self.purged.committed(&commit);
        let check = s18_moves::committed(&commit, &self.image);
        self.judge_in_spite(Rule::S18, check);
        let view = match writer {
            Writer::Scheduler { replica, .. } => self.views.get(&replica),
            Writer::Election | Writer::Stranger => None,
        };
        let told = |id: &WorkloadId, node: &NodeId| {
            let home = view.and_then(|view| view.assignments.get(id));
            home.is_some_and(|home| home.node_id == *node)
        };
        let checks = [
            (Rule::S2, self.fencing.committed(&commit, &self.image)),
            (
                Rule::S3,
                self.capacity.committed(&commit, &self.image, &told),
            ),
            (Rule::S4, s04_one_home::committed(&commit, &self.image)),
            (
                Rule::S7,
                s07_retry_law::committed(&commit, &self.image, &self.config),
            ),
            (Rule::S8, self.register.committed(&commit)),
            (Rule::S8, self.nodes.committed(self.now, &commit)),
            (Rule::S9, self.asked.committed(&commit)),
            (Rule::S10, self.purges.committed(&commit, &self.image, has)),
            (Rule::S11, self.events.committed(&commit)),
            (
                Rule::S12,
                self.pace
                    .committed(self.now, &commit, &self.image, &self.config),
            ),
            (
                Rule::S14,
                self.isolation
                    .committed(self.now, &commit, &self.image, started),
            ),
            (
                Rule::S16,
                self.drains.committed(self.now, &commit, &self.image),
            ),
            (
                Rule::S17,
                self.bounded
                    .committed(self.now, &commit, &self.image, &self.config),
            ),
            (
                Rule::S18,
                self.evictions.committed(
                    &commit,
                    &self.image,
                    &self.config,
                    leads_since.unwrap_or_default(),
                ),
            ),
            (
                Rule::S20,
                s20_drained::committed(&commit, &self.image, truth),
            ),
            (Rule::S21, s21_pending_is_explained::committed(&commit)),
        ];
        for (rule, check) in checks {
            self.judge(rule, check);
        }
        let check = s04_one_home::forgotten(&commit, &self.image, &runs);
        self.judge_in_spite(Rule::S4, check);
        self.note_unrecorded(&commit, has);
        commit
    }

    /// Somebody else edits the records of a workload.
    pub(crate) fn touched(&mut self, id: &WorkloadId) {
        let now = self.now;
        self.touched.retain(|_, at| now.since(*at) < EDIT_SETTLES);
        self.touched.insert(id.to_string(), self.now);
        self.histories.mute(id, self.now + EDIT_SETTLES);
    }

    /// Somebody else removes the last word about a copy. If the workload has no record, nobody can
    /// tell it from what was never the scheduler's own, which is left alone. That is of this very
    /// copy: not of one that is on record again, nor of one that comes when this one has gone.
    fn note_unrecorded(&mut self, commit: &Commit, has: Has<'_>) {
        if commit.writer == Writer::Stranger {
            let gone = commit
                .tombstones
                .iter()
                .filter(|(_, it)| it.after.is_none());
            self.unrecorded.extend(gone.map(|(key, _)| key.clone()));
            for (id, pair) in &commit.workloads {
                let home = pair.before.as_ref().and_then(|it| it.assigned_node.clone());
                self.unrecorded.extend(home.map(|node| (node, id.clone())));
            }
            for (id, pair) in &commit.assignments {
                let home = pair.before.as_ref().map(|it| it.node_id.clone());
                self.unrecorded.extend(home.map(|node| (node, id.clone())));
            }
        }
        let image = &self.image;
        self.unrecorded.retain(|(node, id)| {
            let home = image.assignments.get(id);
            home.is_none_or(|home| home.record.node_id != *node)
                && !image.tombstones.contains_key(&(node.clone(), id.clone()))
                && has(node, id) != Left::Nothing
        });
    }

    /// Somebody else edits the record of a node.
    pub(crate) fn touched_node(&mut self, id: &NodeId) {
        self.touched.insert(id.to_string(), self.now);
        let here = |held: &image::Held<AssignmentRecord>| held.record.node_id == *id;
        let homes = self.image.assignments.iter();
        let there: Vec<_> = homes
            .filter(|(_, held)| here(held))
            .map(|(workload, _)| workload.clone())
            .collect();
        there.iter().for_each(|workload| self.touched(workload));
    }

    /// A later version of the scheduler writes into the records of a workload: nothing is lost,
    /// but what clients were told of its version holds no more.
    pub(crate) fn annotated(&mut self, id: &WorkloadId) {
        self.histories.mute(id, self.now + EDIT_SETTLES);
    }

    /// Two machines use the id of a node, or no longer.
    pub(crate) fn ambiguous(&mut self, id: &NodeId, yes: bool) {
        self.touched_node(id);
        if yes {
            self.ambiguous.insert(id.clone());
        } else {
            self.ambiguous.remove(id);
        }
    }

    /// The agent of this node may say from now on that its runtime is not there.
    pub(crate) fn avoids(&mut self, node: &NodeId) {
        let until = self.now + LASTS_MAX + self.config.runtime_exclusion;
        self.avoided.insert(node.clone(), until);
        // What waits for such a node is placed when that is over.
        self.idle_not_before(until);
    }

    /// A replica begins to lead; `clock`: its own time, `grace`: how long it lets a node be lost.
    pub(crate) fn leads(
        &mut self,
        replica: usize,
        epoch: Epoch,
        clock: Timestamp,
        grace: Duration,
    ) {
        self.leads_since.insert(replica, clock);
        self.evictions.begins(replica, epoch.0, grace);
    }

    /// A scheduler is told something; `clock`: its own time. Answers whether a commit of unknown fate was there.
    pub(crate) fn told(&mut self, replica: usize, input: &Input, clock: Timestamp) -> Option<bool> {
        if let Input::Request { request, .. } = input {
            match request {
                Request::Heartbeat(heartbeat) => {
                    let view = self.views.get(&replica);
                    let node = view.and_then(|view| view.nodes.get(&heartbeat.node));
                    // One that was declared dead is told to register, and not heard until it does.
                    if node.is_some_and(|node| node.status_reason != NodeReason::Fenced) {
                        self.evictions.heard(replica, &heartbeat.node, clock);
                        self.evictions.told(replica, heartbeat);
                    }
                }
                Request::Register(registration) => {
                    self.evictions.heard(replica, &registration.node, clock);
                }
                Request::Apply(_)
                | Request::Delete { .. }
                | Request::Retry { .. }
                | Request::SetSchedulable { .. }
                | Request::Drain { .. }
                | Request::CancelDrain { .. }
                | Request::Fence { .. }
                | Request::Purge { .. }
                | Request::Suggest(_)
                | Request::Read(_) => {}
            }
        }
        let read_back = match input {
            Input::ReadBack { txn, .. } => self
                .views
                .get(&replica)
                .and_then(|view| view.flights.get(txn))
                .map(|flight| flight.nodes.clone()),
            _ => None,
        };
        let patience = self.config.stray_commit_max;
        let view = self.views.entry(replica).or_default();
        // A node that it did not know of is given the time of one that was heard just now.
        let news: &[Stored] = match input {
            Input::Changed { records, .. } => records,
            Input::Commit {
                fate: Fate::Conflict { current, .. },
                ..
            } => current,
            _ => &[],
        };
        for stored in news {
            if let (Key::Node(id), Some(_)) = (&stored.key, &stored.value)
                && !view.nodes.contains_key(id)
            {
                self.evictions.learns(replica, id, clock);
            }
        }
        let found = view.told(input, clock, patience, &mut self.memo);
        if let (Some(false), Some(nodes)) = (found, read_back) {
            self.drains.gave_up(&nodes);
        }
        found
    }

    /// A step of a scheduler begins.
    pub(crate) fn step_begins(&mut self, server: s15_linearizable::Server, input: &Input) {
        match input {
            Input::Request { id, request } => {
                self.foretold.comes(server, *id, request);
                self.nodes.asked(self.now, server, *id, request);
                self.purges.asked(request);
            }
            Input::Lead { .. }
            | Input::TakeOver { .. }
            | Input::Follow { .. }
            | Input::Deposed { .. }
            | Input::Commit { .. }
            | Input::ReadBack { .. }
            | Input::Agent { .. }
            | Input::Changed { .. }
            | Input::Wake => self.foretold.told(server.0),
        }
    }

    /// A scheduler answers a request.
    pub(crate) fn scheduler_answers(
        &mut self,
        server: s15_linearizable::Server,
        id: RequestId,
        result: &Result<Response, RequestError>,
    ) {
        self.nodes.answered(server, id, result);
        let check = self.foretold.answers(server, id, result);
        self.judge(Rule::S19, check);
    }

    /// How many dry runs were compared with what followed, since it was asked last.
    pub(crate) fn dry_runs_compared(&mut self) -> u64 {
        self.foretold.take_compared()
    }

    /// A scheduler asks for a commit; `clock`: its own time.
    pub(crate) fn commit_asked(&mut self, replica: usize, txn: Txn, clock: Timestamp) {
        let flight = s05_exact_placement::flight(txn, &mut self.memo);
        let view = self.views.entry(replica).or_default();
        self.drains.asks(&flight, &view.nodes);
        let grace = self.grace(replica, flight.txn.epoch.0, clock);
        if let Some(view) = self.views.get(&replica) {
            let check = self.evictions.asked(replica, view, &flight, &grace);
            if !flight.nodes.is_empty() {
                let since = self.leads_since.get(&replica).copied().unwrap_or_default();
                self.evictions
                    .changes(replica, view, since, clock, &self.config);
            }
            let law = s07_retry_law::asked(view, &flight, clock, &self.config);
            self.judge(Rule::S18, check);
            self.judge(Rule::S7, law);
        }
        let view = self.views.entry(replica).or_default();
        let foretold = self.foretold.asks(replica, view, &flight);
        avoidance::learn(view, &flight, clock, self.config.runtime_exclusion);
        let check = s05_exact_placement::asked(view, &flight, clock);
        let moves = s18_moves::asked(view, &flight, clock);
        let order = self.eviction_order.asked(replica, self.step, view, &flight);
        view.asks(flight);
        self.judge(Rule::S5, check);
        self.judge(Rule::S18, moves);
        self.judge(Rule::S18, order);
        self.judge(Rule::S19, foretold);
    }

    fn grace(&self, replica: usize, epoch: i64, clock: Timestamp) -> s18_eviction::Grace<'_> {
        s18_eviction::Grace {
            evictions: &self.evictions,
            config: &self.config,
            epoch,
            leads_since: self.leads_since.get(&replica).copied().unwrap_or_default(),
            clock,
        }
    }

    /// A call leaves a scheduler; `clock`: its own time, `copies`: where a copy of the call's
    /// workload is live, in truth.
    pub(crate) fn call_leaves(
        &mut self,
        replica: usize,
        call: &AgentCall,
        clock: Timestamp,
        copies: &[NodeId],
    ) {
        if let Some(view) = self.views.get(&replica) {
            let grace = self.grace(replica, call.epoch.0, clock);
            let wanted = s01_persist_before_act::is_wanted(view, &self.image, call);
            let check = s13_no_double_run::call_leaves(view, &grace, &self.purged, call, copies);
            self.judge(Rule::S13, check);
            self.judge(Rule::S1, wanted);
        }
        self.purged.applied(call);
        let check = s01_persist_before_act::call_leaves(&self.image, replica, call);
        self.judge(Rule::S1, check);
        let check = self
            .pace
            .call_leaves(self.now, &self.image, call, &self.config);
        self.judge(Rule::S12, check);
    }

    /// An agent took a call of an epoch, or refused it.
    /// `obeyed`: what [`epoch_obeyed`](Self::epoch_obeyed) said when the call came.
    pub(crate) fn agent_answered(&mut self, node: usize, epoch: i64, obeyed: i64, refused: bool) {
        let check = self.fencing.answered(node, epoch, obeyed, refused);
        self.judge(Rule::S2, check);
    }

    /// The newest epoch of which an agent carried a call out.
    pub(crate) fn epoch_obeyed(&self, node: usize) -> i64 {
        self.fencing.obeyed(node)
    }

    /// A node's disk was lost.
    pub(crate) fn node_replaced(&mut self, node: usize) {
        self.fencing.forget(node);
        self.isolation.replaced(self.now, node);
    }

    /// A node's agent or runtime made a step.
    pub(crate) fn node_stepped(&mut self, node: usize, runtime: &FakeRuntime) {
        self.judge(Rule::S6, s06_idempotency::node_stepped(node, runtime));
    }

    /// The periodic pass placed what an event should have placed: every event was told, so none
    /// was missed.
    pub(crate) fn rescued(&mut self, replica: usize, count: u64) {
        let seen = format!("scheduler-{replica} found {count} that could be placed and were not");
        let expected = "placements that follow the event that makes room";
        self.judge(Rule::L2, Err(Finding::new(expected, seen)));
    }

    pub(crate) fn client_asks(&mut self, name: s15_linearizable::CallName, request: &Request) {
        self.asked.asked(self.now, request);
        let check = self.histories.asked(self.now, name, request);
        self.judge(Rule::S15, check);
    }

    /// The network carries a client's request twice.
    pub(crate) fn client_doubled(&mut self, request: &Request) {
        self.histories.doubled(self.now, request);
    }

    /// A client is told, by this process of a scheduler.
    pub(crate) fn client_told(
        &mut self,
        name: s15_linearizable::CallName,
        server: s15_linearizable::Server,
        request: &Request,
        result: &Result<Response, RequestError>,
    ) {
        let dry = matches!(request, Request::Apply(apply) if apply.dry_run);
        if let (Ok(response), false) = (result, dry) {
            let check = self.register.acknowledged(&self.image, request, response);
            self.judge(Rule::S8, check);
        }
        let check = self.histories.told(name, server, result);
        self.judge(Rule::S15, check);
    }
}
