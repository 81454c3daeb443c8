//! The store's process: the model of etcd behind messages, and the oracle's eye on every commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use berth_core::Timestamp;
use berth_kv::{
    CompareTarget, KeyRange, LeaseId, Model, PutRequest, Request, Response, StreamId, WatchId,
    WatchOutput, WatchOutputKind, WatchRequest,
};

use berth_core::WorkloadId;
use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::workload::ActualState;

use crate::marks::{Coverage, Mark};
use crate::oracle::Truth;
use crate::oracle::image::{Commit, Image, Writer};
use crate::process::Process;

use super::inspect::{has_left, runs_on, started_on};
use super::message::{Body, Envelope};
use super::{Happening, World};

/// The stream of the oracle's own watch: it sees every revision at once.
const ORACLE: StreamId = StreamId(u64::MAX);

/// How often the history is cut, and how many revisions are kept whatever their age: what the
/// leader sees to in production.
const CUT_INTERVAL: Duration = Duration::from_secs(300);
const REVISIONS_KEPT: i64 = 1_000;

/// The store.
#[derive(Debug)]
pub(super) struct StoreProcess {
    pub(super) model: Model,
    /// When its history is cut next, and the newest revision at the last cut.
    cut_at: Timestamp,
    cut_before: i64,
    /// Requests arrive and nothing is answered: a leader change, a stall.
    pub(super) stalled: bool,
    /// What arrived while stalled.
    held: Vec<(Process, Body)>,
    /// Whether an applied request loses its answer, and how many more do.
    pub(super) lose_answers: u32,
    /// It has no leader, or is down: what arrives is lost, but for what it was about to do.
    pub(super) gone: bool,
    pub(super) last_words_until: Timestamp,
    /// So many of the schedulers' next transactions are refused.
    pub(super) refuse: u32,
    /// So many of the next reads that may be old are so many revisions behind.
    pub(super) stale_reads: (u32, i64),
    /// Reads that a member answers that is so many revisions behind.
    pub(super) stale: BTreeMap<(Process, u64), i64>,
    /// Calls whose answers are lost.
    pub(super) mute: BTreeSet<(Process, u64)>,
    /// Transactions that were handed on late once, and not again.
    pub(super) wandered: BTreeSet<(Process, u64)>,
    /// Copies of it, the oldest first, if the script restores one.
    pub(super) backups: VecDeque<(Timestamp, Model)>,
    /// When the next ones are made.
    pub(super) backups_due: VecDeque<Timestamp>,
    /// What it was before it was restored, while it is.
    pub(super) right_one: Option<Box<Model>>,
    /// Since when.
    pub(super) restored_at: Timestamp,
}

impl Default for StoreProcess {
    fn default() -> Self {
        let mut model = Model::default();
        let watch = WatchRequest::Create {
            stream: ORACLE,
            id: WatchId::AUTO,
            range: KeyRange::prefix("/"),
            start_revision: 1,
            prev_kv: false,
            progress_notify: false,
            filters: Vec::new(),
        };
        let watching = model.apply(0, Request::Watch(watch));
        debug_assert!(watching.is_ok(), "an empty store takes a watch");
        Self {
            model,
            cut_at: crate::trace::BEGINNING,
            cut_before: 0,
            stalled: false,
            held: Vec::new(),
            lose_answers: 0,
            gone: false,
            last_words_until: Timestamp::ZERO,
            refuse: 0,
            stale_reads: (0, 0),
            stale: BTreeMap::new(),
            mute: BTreeSet::new(),
            wandered: BTreeSet::new(),
            backups: VecDeque::new(),
            backups_due: VecDeque::new(),
            right_one: None,
            restored_at: Timestamp::ZERO,
        }
    }
}

impl StoreProcess {
    /// A call that was to be answered otherwise may never have come.
    pub(super) fn forget_twists(&mut self, from: Process, call: u64) {
        self.stale.remove(&(from, call));
        self.mute.remove(&(from, call));
    }
}

/// Replica `at`'s stream for its watch number `round` in its life `life`.
pub(super) fn stream_of(at: usize, life: u64, round: u64) -> StreamId {
    StreamId(((at as u64) << 32) | ((life & 0xffff) << 16) | (round & 0xffff))
}

fn replica_of(stream: StreamId) -> usize {
    usize::try_from(stream.0 >> 32).unwrap_or(usize::MAX)
}

impl World {
    pub(super) fn store_receive(&mut self, from: Process, body: Body) {
        if self.store.gone && self.now > self.store.last_words_until {
            return;
        }
        if self.store.stalled {
            self.store.held.push((from, body));
            return;
        }
        self.store_tick();
        let Body::StoreCall { call, request } = body else {
            return;
        };
        let writer = self.writer_of(from, &request);
        if matches!(writer, Writer::Scheduler { .. })
            && !self.store.wandered.remove(&(from, call))
            && !self.damage.healed
            && let Some(after) = self.network.wanders()
        {
            self.mark(Mark::CommitWandered);
            self.store.wandered.insert((from, call));
            let body = Body::StoreCall { call, request };
            let to = Process::Store;
            let arrives = Happening::Deliver(Box::new(Envelope { from, to, body }));
            self.queue.push(self.now + after, arrives);
            return;
        }
        let stale = self.store.stale.remove(&(from, call));
        let result = if self.refuses(writer) {
            Err(berth_kv::KvError::RequestTooLarge)
        } else {
            self.store_apply(*request, stale)
        };
        if matches!(result, Err(berth_kv::KvError::NoSpace)) {
            self.mark(Mark::StoreFull);
        }
        self.carry_watches(writer);
        if let (Writer::Scheduler { epoch, .. }, Ok(Response::Txn(answer))) = (writer, &result)
            && !answer.succeeded
            && epoch != self.oracle.image.leader
        {
            self.mark(Mark::CommitFenced);
        }
        if let (Writer::Scheduler { replica, .. }, Ok(Response::Txn(answer))) = (writer, &result)
            && answer.succeeded
        {
            self.twist_write(replica);
        }
        if self.store.mute.remove(&(from, call)) {
            self.mark(Mark::StoreAnswerLost);
            return;
        }
        if self.store.gone || self.store.lose_answers > 0 {
            self.store.lose_answers = self.store.lose_answers.saturating_sub(1);
            self.mark(Mark::StoreAnswerLost);
            return;
        }
        self.send(
            Process::Store,
            from,
            Body::StoreAnswer {
                call,
                result: Box::new(result),
            },
        );
        self.watch_leases();
    }

    /// Whether a transaction is one of those that are too large.
    fn refuses(&mut self, writer: Writer) -> bool {
        let refuses = self.store.refuse > 0 && matches!(writer, Writer::Scheduler { .. });
        if refuses {
            self.store.refuse -= 1;
            self.mark(Mark::StoreRefuses);
        }
        refuses
    }

    /// Carries a request out; `stale`: a read is answered as it would have been so many revisions
    /// ago.
    fn store_apply(&mut self, mut request: Request, stale: Option<i64>) -> StoreResult {
        let model = &mut self.store.model;
        let mut seen_at = None;
        if let (Some(back), Request::Range(range)) = (stale, &mut request)
            && range.revision == 0
        {
            let revision = (model.revision() - back)
                .max(model.compacted_revision())
                .max(1);
            range.revision = revision;
            seen_at = Some(revision);
        }
        let mut result = model.apply(millis(self.now), request);
        if let (Some(revision), Ok(Response::Range(answer))) = (seen_at, &mut result) {
            answer.revision = revision;
        }
        result
    }

    /// Somebody else writes, beside the schedulers.
    pub(super) fn store_write_by_stranger(&mut self, request: Request) {
        let done = self.store.model.apply(millis(self.now), request);
        debug_assert!(
            matches!(done, Ok(_) | Err(berth_kv::KvError::NoSpace)),
            "the adversary's own writes are well formed: {done:?}"
        );
        self.carry_watches(Writer::Stranger);
    }

    /// What a host of the store does with a watch.
    pub(super) fn store_watch_request(&mut self, request: WatchRequest) {
        // The watch may be gone already.
        let _ = self
            .store
            .model
            .apply(millis(self.now), Request::Watch(request));
        self.carry_watches(Writer::Election);
    }

    /// Forgets history.
    pub(super) fn store_compact(&mut self, revision: i64) {
        // A revision that was compacted already is no news.
        let _ = self
            .store
            .model
            .apply(millis(self.now), Request::Compact { revision });
        self.carry_watches(Writer::Election);
    }

    /// The value of a key, past the network.
    pub(super) fn store_peek(&mut self, key: &str) -> Option<bytes::Bytes> {
        self.store_peek_at(key, 0)
    }

    /// What a key was at a revision; 0: what it is.
    pub(super) fn store_peek_at(&mut self, key: &str, revision: i64) -> Option<bytes::Bytes> {
        let range = berth_kv::RangeRequest {
            revision,
            ..berth_kv::RangeRequest::key(key.to_owned())
        };
        match self
            .store
            .model
            .apply(millis(self.now), Request::Range(range))
        {
            Ok(Response::Range(mut range)) => range.kvs.pop().map(|kv| kv.value),
            Ok(_) | Err(_) => None,
        }
    }

    /// Keeps the history as short as production does: the last interval and some revisions.
    fn cut_history(&mut self) {
        if self.now < self.store.cut_at {
            return;
        }
        self.store.cut_at = self.now + CUT_INTERVAL;
        self.forget_copies();
        self.texts.forget();
        let newest = self.store.model.revision();
        let target = self.store.cut_before.min(newest - REVISIONS_KEPT);
        self.store.cut_before = newest;
        if target > self.store.model.compacted_revision().max(0) {
            self.store_compact(target);
        }
    }

    /// Leases that ran out are expired before anything else happens.
    pub(super) fn store_tick(&mut self) {
        if self.store.gone {
            return;
        }
        self.back_up();
        self.cut_history();
        let expired = self.store.model.expire_leases(millis(self.now));
        for _ in &expired {
            self.mark(Mark::LeaseExpired);
        }
        if !expired.is_empty() {
            self.carry_watches(Writer::Election);
        }
        self.watch_leases();
    }

    fn watch_leases(&mut self) {
        if let Some(at) = self.store.model.next_lease_expiry() {
            self.wake(Process::Store, Timestamp::from_millis(at + 1));
        }
    }

    fn carry_watches(&mut self, writer: Writer) {
        while let Some(output) = self.store.model.poll_watch_output() {
            if output.stream == ORACLE && self.store.right_one.is_some() {
                // Nothing of it will have been: the right one comes back.
                continue;
            }
            if output.stream == ORACLE {
                if let WatchOutputKind::Events(events) = output.kind {
                    self.observe(writer, &events);
                }
                continue;
            }
            if let WatchOutputKind::Created = output.kind {
                continue;
            }
            let replica = replica_of(output.stream);
            if self.twist_watched(replica) {
                continue;
            }
            let to = Process::Replica(replica);
            for output in self.in_parts(output) {
                let output = Box::new(output);
                self.send(Process::Store, to, Body::Watched { output });
            }
        }
    }

    /// What a watch is told at once: the changes of one revision, or a part of them.
    fn in_parts(&mut self, output: WatchOutput) -> Vec<WatchOutput> {
        let WatchOutputKind::Events(events) = &output.kind else {
            return vec![output];
        };
        let mut parts = Vec::new();
        for of_one in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
            match self.network.parts(of_one.len()) {
                None => parts.push(of_one),
                Some(at) => {
                    self.mark(Mark::WatchParted);
                    parts.extend(<[_; 2]>::from(of_one.split_at(at)));
                }
            }
        }
        if parts.len() < 2 {
            return vec![output];
        }
        let parts = parts.into_iter().map(|events| WatchOutput {
            revision: events
                .first()
                .map_or(output.revision, |it| it.kv.mod_revision),
            kind: WatchOutputKind::Events(events.to_vec()),
            ..output
        });
        parts.collect()
    }

    fn observe(&mut self, writer: Writer, events: &[berth_kv::Event]) {
        let agents = &self.agents;
        for of_one in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
            let Some(first) = of_one.first() else {
                continue;
            };
            let revision = first.kv.mod_revision;
            let truth = |node: &berth_core::NodeId| runs_on(agents, node);
            let has = |node: &_, id: &_| has_left(agents, node, id);
            let started = |node: &_, id: &_, revision: &_| started_on(agents, node, id, revision);
            let commit = self
                .oracle
                .committed(revision, writer, of_one, &truth, &has, &started);
            if let Some(camera) = &mut self.camera {
                camera.committed(self.now, &commit, &self.oracle.image);
            }
            if let Some(meter) = &mut self.meter {
                meter.committed(self.now, &commit);
            }
            for event in &commit.events {
                self.coverage.reach(Mark::of_event(event.event_type));
            }
            if commit.tombstones.values().any(|pair| pair.after.is_some()) {
                self.coverage.reach(Mark::Tombstone);
            }
            if !commit.events_removed.is_empty() {
                self.coverage.reach(Mark::Retention);
            }
            reach_situations(&mut self.coverage, &commit, &self.oracle.image, &truth);
        }
    }

    /// Who writes, by the fence of the transaction: elections compare the key's absence. Without a
    /// fence it is whoever sends it.
    fn writer_of(&self, from: Process, request: &Request) -> Writer {
        let (Process::Replica(replica), Request::Txn(txn)) = (from, request) else {
            return Writer::Election;
        };
        let epoch = match txn.compare.first().map(|compare| &compare.target) {
            Some(CompareTarget::Create(0)) => return Writer::Election,
            Some(CompareTarget::Create(epoch)) => *epoch,
            Some(_) | None => self.replicas[replica].epoch().0,
        };
        Writer::Scheduler { replica, epoch }
    }

    /// The store answers again: what arrived meanwhile is carried out late.
    pub(super) fn unstall_store(&mut self) {
        self.store.stalled = false;
        for (from, body) in std::mem::take(&mut self.store.held) {
            // A member of the store that was cut off hands on late what it took.
            let late = match &body {
                Body::StoreCall { request, .. } if matches!(**request, Request::Txn(_)) => {
                    self.network.strays()
                }
                _ => None,
            };
            match late {
                None => self.store_receive(from, body),
                Some(after) => {
                    self.mark(Mark::CommitLate);
                    let to = Process::Store;
                    let envelope = Envelope { from, to, body };
                    let arrives = Happening::Deliver(Box::new(envelope));
                    self.queue.push(self.now + after, arrives);
                }
            }
        }
    }
}

/// What a request came to.
type StoreResult = Result<Response, berth_kv::KvError>;

/// A write of somebody else.
pub(super) fn put(key: String, value: Vec<u8>) -> Request {
    let mut put = PutRequest::new(key, value);
    put.lease = LeaseId::NONE;
    Request::Put(put)
}

fn millis(at: Timestamp) -> u64 {
    at.as_millis()
}

/// Situations that should be seen sometimes.
fn reach_situations(coverage: &mut Coverage, commit: &Commit, image: &Image, truth: Truth<'_>) {
    for (node, pair) in &commit.nodes {
        let Some(after) = &pair.after else { continue };
        let was = pair.before.as_ref().map(|before| before.status);
        let buried = |id: &WorkloadId| image.tombstones.contains_key(&(node.clone(), id.clone()));
        if was == Some(NodeStatus::NotReady)
            && after.status == NodeStatus::Ready
            && truth(node).iter().any(buried)
        {
            coverage.reach(Mark::ReturnedRunning);
        }
        let elsewhere = |id: &WorkloadId| {
            let home = image.assignments.get(id);
            let record = image.workloads.get(id);
            home.is_some_and(|home| home.record.node_id != *node)
                && record.is_some_and(|w| w.record.status.actual_state == ActualState::Pending)
        };
        if was == Some(NodeStatus::NotReady)
            && after.status == NodeStatus::Ready
            && image
                .tombstones
                .keys()
                .any(|(at, id)| at == node && elsewhere(id))
        {
            coverage.reach(Mark::BackWhileStartingElsewhere);
        }
        let starting = || {
            image.assignments.values().any(|held| {
                held.record.node_id == *node
                    && image
                        .workloads
                        .get(&held.record.workload_id)
                        .is_some_and(|w| w.record.status.actual_state == ActualState::Pending)
            })
        };
        if was == Some(NodeStatus::Ready) && after.status == NodeStatus::NotReady && starting() {
            coverage.reach(Mark::LostWhileStarting);
        }
        let done = |record: &NodeRecord| record.drain.is_some_and(|d| d.completed_at.is_some());
        if done(after) && !pair.before.as_deref().is_some_and(done) {
            coverage.reach(Mark::DrainDone);
        }
    }
    for (id, pair) in &commit.assignments {
        let Some(home) = &pair.after else { continue };
        if image
            .tombstones
            .contains_key(&(home.node_id.clone(), id.clone()))
        {
            coverage.reach(Mark::MovedBack);
        }
    }
}
