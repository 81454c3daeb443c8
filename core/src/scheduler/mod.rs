//! The composed machine: small machines tied together over one image of the store.
//!
//! The order that never changes is decide, persist, act. A decision is a [`commit::Plan`]; it is
//! emitted as one transaction; only when that is committed the image changes, the client is
//! answered and the agent is called. Between inputs the image is what the store holds.

mod call;
mod check;
mod client;
mod commit;
mod confirm;
mod evaluate;
mod events;
mod eviction;
mod fate;
mod follow;
mod graves;
mod health;
mod image;
mod lead;
mod load;
mod node;
mod observe;
mod operator;
mod place;
mod pool;
mod quarantine;
mod query;
mod repair;
mod stats;
mod timers;
mod tombstones;
mod workload;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::io::request::RequestError;
use crate::io::{Deposed, Output, Request, Stored};
use crate::model::event::EventRecord;
use crate::model::id::{
    CallId, Epoch, EventId, NodeId, RequestId, StoreRevision, TxnId, WorkloadId,
};
use crate::model::key::Key;
use crate::model::units::Resources;
use crate::planted::{Bug, planted};
use crate::{Config, Input, Timestamp};

use commit::InFlight;
use eviction::Eviction;
use graves::Graves;
use node::{Hold, Node};
use pool::CallPool;
use timers::{Timer, Timers};
use workload::Workload;

pub use check::Violation;
pub use stats::{BUCKETS_MS, Histogram, Stats};

/// How many removed keys are remembered.
const REMOVED_MAX: usize = 50_000;

/// The request that nobody made: the core's own changes go the way of clients' changes.
const NOBODY: RequestId = RequestId(u64::MAX);

/// Whether this replica decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leadership {
    Leading { epoch: Epoch },
    Following { reason: Deposed },
}

/// The scheduler.
///
/// Driving contract: call [`handle`](Self::handle) with times that never go back; after each call
/// take outputs with [`poll_output`](Self::poll_output) until there are none; call `handle` with
/// [`Input::Wake`] at [`poll_deadline`](Self::poll_deadline) if nothing else happens before.
/// Every [`Output::Commit`] is answered by one [`Input::Commit`], every [`Output::ReadBack`] by one
/// [`Input::ReadBack`], and every [`Output::Call`] by one [`Input::Agent`], unless
/// [`Input::Deposed`], [`Input::Lead`] or [`Input::TakeOver`] comes first; later ones are ignored.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    leadership: Leadership,
    now: Timestamp,
    revision: StoreRevision,
    /// When the image was known to be what the store holds, or held.
    current_at: Timestamp,
    /// It does not lead, and the watch keeps its image up.
    mirrors: bool,
    /// Up to this revision the image was loaded, or the watch has told everything, but for the rest of
    /// this very one.
    told: StoreRevision,
    workloads: BTreeMap<WorkloadId, Workload>,
    nodes: BTreeMap<NodeId, Node>,
    /// Where each workload has tombstones.
    tombs: BTreeMap<WorkloadId, BTreeSet<NodeId>>,
    events: BTreeMap<EventId, Arc<EventRecord>>,
    /// Events whose transaction is in flight.
    open_events: BTreeSet<EventId>,
    /// Events that are committed and wait for an earlier one whose fate is open.
    held_events: BTreeMap<EventId, EventRecord>,
    in_flight: BTreeMap<TxnId, InFlight>,
    pool: CallPool,
    timers: Timers,
    /// Workloads to look at before this step ends.
    dirty: BTreeSet<WorkloadId>,
    /// Nodes to look at before this step ends.
    dirty_nodes: BTreeSet<NodeId>,
    /// Workloads that are not as they should be: all that the periodic pass looks at.
    unsettled: BTreeSet<WorkloadId>,
    /// Workloads that no node fits, in the order in which they are placed when room appears.
    waiting_for_room: BTreeSet<(Reverse<i32>, Timestamp, WorkloadId)>,
    /// Nodes on which room appeared in this step.
    room: BTreeSet<NodeId>,
    quarantined: BTreeMap<Key, String>,
    /// Tombstones at nodes that have no record, or none that can be read: they wait for it.
    stranded: BTreeMap<(NodeId, WorkloadId), (Resources, StoreRevision)>,
    /// Where workloads are held whose assignments cannot be read.
    hidden: BTreeSet<(NodeId, WorkloadId)>,
    removed: BTreeMap<Key, StoreRevision>,
    removed_order: VecDeque<Key>,
    /// The time of the newest event of former leaders: ids never go back, whatever the clock.
    event_floor: Timestamp,
    graves: Graves,
    eviction: Eviction,
    suggestions: BTreeMap<WorkloadId, Timestamp>,
    /// Workloads that a drain took off a node and that are not settled elsewhere yet.
    moves: BTreeMap<WorkloadId, BTreeSet<NodeId>>,
    outputs: VecDeque<Output>,
    next_txn: u64,
    next_call: u64,
    next_event: u64,
    stats: Stats,
}

impl Scheduler {
    /// A scheduler that does not lead yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            leadership: Leadership::Following {
                reason: Deposed::Starting,
            },
            now: Timestamp::ZERO,
            revision: StoreRevision(0),
            current_at: Timestamp::ZERO,
            mirrors: false,
            told: StoreRevision(0),
            workloads: BTreeMap::new(),
            nodes: BTreeMap::new(),
            tombs: BTreeMap::new(),
            events: BTreeMap::new(),
            open_events: BTreeSet::new(),
            held_events: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            pool: CallPool::default(),
            timers: Timers::default(),
            dirty: BTreeSet::new(),
            dirty_nodes: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            waiting_for_room: BTreeSet::new(),
            room: BTreeSet::new(),
            quarantined: BTreeMap::new(),
            stranded: BTreeMap::new(),
            hidden: BTreeSet::new(),
            removed: BTreeMap::new(),
            removed_order: VecDeque::new(),
            event_floor: Timestamp::ZERO,
            graves: Graves::default(),
            eviction: Eviction::default(),
            suggestions: BTreeMap::new(),
            moves: BTreeMap::new(),
            outputs: VecDeque::new(),
            next_txn: 0,
            next_call: 0,
            next_event: 0,
            stats: Stats::default(),
        }
    }

    /// Tells the core what happened. `now` never goes back; if it does, it stands still.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Lead { epoch, snapshot } => self.lead(epoch, snapshot),
            Input::TakeOver { epoch } => self.take_over(epoch),
            Input::Follow { snapshot } => self.follow(snapshot),
            Input::Deposed { reason } => self.give_up(reason),
            Input::Request { id, request } => self.handle_request(id, request),
            Input::Commit { txn, fate } => self.handle_fate(txn, fate),
            Input::ReadBack {
                txn,
                revision,
                records,
            } => {
                self.handle_read_back(txn, revision, records);
            }
            Input::Agent { call, result } => self.handle_agent(call, result),
            Input::Changed { revision, records } => self.handle_changes(revision, records),
            Input::Wake => {}
        }
        self.fire_timers();
        self.settle();
    }

    /// Somebody writes to the store, perhaps this very replica.
    fn handle_changes(&mut self, revision: StoreRevision, mut records: Vec<Stored>) {
        if !self.is_leading() && !self.mirrors {
            return;
        }
        // A watch that is made anew may tell again what it told, and what is past: of what was there once
        // and is gone nothing else may be known by now.
        let told = self.told;
        records.retain(|stored| stored.mod_revision >= told || planted(Bug::PastBelieved));
        self.told = told.max(revision);
        if !self.is_leading() {
            self.mirror(revision, &records);
            return;
        }
        self.revision = self.revision.max(revision);
        for stored in records {
            self.handle_change(stored);
        }
    }

    /// Takes what the core wants done, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to wake the core if nothing else happens before.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether this replica decides.
    #[must_use]
    pub const fn is_leading(&self) -> bool {
        matches!(self.leadership, Leadership::Leading { .. })
    }

    /// The newest revision of the store that the image reflects.
    #[must_use]
    pub const fn revision(&self) -> StoreRevision {
        self.revision
    }

    /// Whether this replica does not lead and its image is what the store held at this revision or
    /// a later one, provided that the watch that keeps it up told everything in order.
    #[must_use]
    pub fn follows_as_far_as(&self, revision: StoreRevision) -> bool {
        let far = self.revision >= revision || planted(Bug::TakesOverTooSoon);
        self.mirrors && !self.is_leading() && far
    }

    /// The epoch in which this replica leads; 0 when it does not.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        match self.leadership {
            Leadership::Leading { epoch } => epoch,
            Leadership::Following { .. } => Epoch(0),
        }
    }

    fn handle_request(&mut self, id: RequestId, request: Request) {
        if let Request::Read(query) = request {
            let answer = self.answer_query(&query).map_err(|error| match error {
                // What a leader created lately may be unknown here: only a leader can say no.
                RequestError::NoSuchWorkload(_) | RequestError::NoSuchNode(_)
                    if !self.is_leading() && !planted(Bug::DeniedUnseen) =>
                {
                    self.unavailable("this replica does not lead, and it does not know of that")
                }
                other => other,
            });
            self.reply(id, answer);
            return;
        }
        if let Leadership::Following { reason } = self.leadership {
            let error = self.unavailable(match reason {
                Deposed::Starting => "this replica is starting and does not lead yet",
                Deposed::LostLeadership => "this replica does not lead",
                Deposed::StoreUnavailable => "the store is out of reach: writes are refused",
                Deposed::StoreRefused => {
                    "the store is not the one that was seen before: the operator must decide"
                }
                Deposed::ShuttingDown => "this replica is shutting down",
            });
            self.reply(id, Err(error));
            return;
        }
        match request {
            Request::Register(registration) => self.register(id, registration),
            Request::Heartbeat(heartbeat) => self.heartbeat(id, heartbeat),
            Request::Apply(apply) => {
                let workload = apply.workload.clone();
                self.queue_mutation(id, &workload, workload::Mutation::Apply(apply));
            }
            Request::Delete { workload, if_match } => {
                self.queue_mutation(id, &workload, workload::Mutation::Delete { if_match });
            }
            Request::Retry { workload } => {
                self.queue_mutation(id, &workload, workload::Mutation::Retry);
            }
            Request::SetSchedulable { node, schedulable } => {
                self.queue_operation(id, &node, node::NodeMutation::SetSchedulable(schedulable));
            }
            Request::Drain {
                node,
                deadline,
                parallelism,
            } => {
                let mutation = node::NodeMutation::Drain {
                    deadline,
                    parallelism,
                };
                self.queue_operation(id, &node, mutation);
            }
            Request::CancelDrain { node } => {
                self.queue_operation(id, &node, node::NodeMutation::CancelDrain);
            }
            Request::Fence { node } => {
                self.queue_operation(id, &node, node::NodeMutation::Fence);
            }
            Request::Purge { node } => {
                self.queue_operation(id, &node, node::NodeMutation::Purge);
            }
            Request::Suggest(suggestion) => self.suggest(id, suggestion),
            Request::Read(_) => {}
        }
    }

    fn fire_timers(&mut self) {
        let mut passes = false;
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Node(id) => {
                    self.dirty_nodes.insert(id);
                }
                Timer::Listing(id) => self.list(&id),
                Timer::Workload(id) => {
                    self.dirty.insert(id);
                }
                Timer::Ghosts(id) => {
                    self.lay_old_ghosts(&id);
                    self.dirty.insert(id);
                }
                Timer::Pass => passes = true,
                Timer::Evictions => self.resume_evictions(),
            }
        }
        // After the others: what one of them wakes, the pass did not find.
        if passes {
            self.pass();
        }
    }

    /// The periodic pass: whatever an event missed stays missed no longer. Its cost follows what
    /// is not settled.
    fn pass(&mut self) {
        self.timers
            .set(Timer::Pass, self.now + self.config.reconcile_interval);
        self.rescue_pending();
        self.dirty.extend(self.unsettled.iter().cloned());
        self.dirty_nodes.extend(self.nodes.keys().cloned());
        self.retain_events();
    }

    /// Looks at everything that this step touched, until nothing is left to decide.
    fn settle(&mut self) {
        if !self.is_leading() {
            return;
        }
        let mut turn = BTreeSet::new();
        loop {
            if let Some(id) = self.dirty_nodes.pop_first() {
                self.evaluate_node(&id);
            } else if let Some(id) = self.next_in_turn(&mut turn) {
                if !self.room.is_empty() && self.waits_for_room(&id) {
                    // Others may have waited for longer, or be more urgent.
                    self.place_waiting();
                }
                self.evaluate(&id);
            } else if !self.room.is_empty() {
                self.place_waiting();
            } else if let Some(call) = self.next_call_to_send() {
                self.send(call);
            } else {
                break;
            }
        }
    }

    /// The next workload to look at, in the order in which those that wait for room are placed: what leaves a
    /// lost node takes what room there is in this order. `turn`: those that are looked at before what their
    /// turn touches.
    fn next_in_turn(&mut self, turn: &mut BTreeSet<workload::WaitingKey>) -> Option<WorkloadId> {
        if turn.is_empty() && self.dirty.len() > 1 {
            let place = |id: &WorkloadId| {
                let record = self.workloads.get(id).and_then(|w| w.record());
                let rank = record.map(|it| (Reverse(it.priority), it.metadata.created_at));
                let (priority, since) = rank.unwrap_or_default();
                (priority, since, id.clone())
            };
            let dirty = self.dirty.iter().map(place);
            turn.extend(dirty.filter(|_| !planted(Bug::LeavesByName)));
        }
        if let Some((_, _, id)) = turn.pop_first() {
            self.dirty.remove(&id);
            return Some(id);
        }
        self.dirty.pop_first()
    }

    fn waits_for_room(&self, id: &WorkloadId) -> bool {
        let workload = self.workloads.get(id);
        workload.is_some_and(|workload| workload.waits_as.is_some())
    }

    fn next_call_to_send(&mut self) -> Option<crate::io::AgentCall> {
        self.pool
            .next(self.config.calls_max, self.config.calls_per_node_max)
    }

    fn next_txn_id(&mut self) -> TxnId {
        self.next_txn += 1;
        TxnId(self.next_txn)
    }

    fn next_call_id(&mut self) -> CallId {
        self.next_call += 1;
        CallId(self.next_call)
    }

    fn next_event_id(&mut self) -> EventId {
        self.next_event += 1;
        let floor = if planted(Bug::EventsByClock) {
            Timestamp::ZERO
        } else {
            self.event_floor
        };
        EventId::new(self.now.max(floor), self.epoch(), self.next_event)
    }

    /// Changes what a workload takes on a node, and notes room that appears.
    fn change_hold(
        &mut self,
        node: &NodeId,
        workload: &WorkloadId,
        change: impl FnOnce(&mut Hold),
    ) {
        if let Some(entity) = self.nodes.get_mut(node) {
            if entity.hold(workload, change) && !planted(Bug::RoomUnnoticed) {
                self.room.insert(node.clone());
            }
            self.dirty_nodes.insert(node.clone());
        }
    }

    fn no_such_workload(id: &WorkloadId) -> RequestError {
        RequestError::NoSuchWorkload(id.clone())
    }
}
