//! A scheduler's process: the core, its election, and its connections.

mod codec;
mod commit;
mod election;
mod follow;
mod lineage;
mod pace;
mod standing;
mod talk;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_core::drive::{self, Sink};
use berth_core::io::request::{RequestError, Response};
use berth_core::io::{AgentCall, Deposed, Fate, Input, Txn};
use berth_core::lineage::Lineage;
use berth_core::planted::{Bug, planted};
use berth_core::{
    CallId, Config, Epoch, EventRecord, Key, RequestId, Scheduler, StoreRevision, Timestamp, TxnId,
};
use berth_kv as kv;
use berth_kv::{LeaseId, RangeRequest, TxnOp, TxnRequest};

use crate::marks::Mark;
use crate::oracle::{Finding, Rule};
use crate::process::Process;
use crate::rng::{Stream, Streams};
use crate::script::Span;

pub(super) use standing::Role;

use codec::{encode_txn, gets};
use standing::{Next, Purpose, Standing};

use super::World;
use super::clock::Clock;
use super::door::Form;
use super::message::{Body, Envelope, RefusedCall};
use super::store::stream_of;
use super::twist::StoreTwist;

pub(super) const LEADER_KEY: &str = "/leader/current";
/// The lease's time to live.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// A leader stops this long before its lease can have run out by anyone's clock.
const MARGIN: Duration = Duration::from_millis(700);
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
const PAGE: i64 = 500;
/// How many nodes and workloads of a core's image are checked for each of its steps, on average: in
/// a small world almost everything each time, in a large one what costs little beside the step.
const CHECKED_PER_STEP: usize = 16;
const CHECKED_PER_STEP_OF_MANY: usize = 4;
/// From so many on they are many.
const MANY: usize = 500;

/// A scheduler's process.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) core: Scheduler,
    pub(super) config: Config,
    pub(super) life: u64,
    pub(super) up: bool,
    standing: Standing,
    lease: LeaseId,
    /// By its own clock.
    lease_until: Timestamp,
    epoch: Epoch,
    /// How many records the store held when that began: of workloads, nodes and tombstones.
    records: usize,
    next_campaign: Timestamp,
    /// It was told that nobody leads, and its watch said nothing of it.
    unled: bool,
    next_keep_alive: Timestamp,
    calls: BTreeMap<u64, Purpose>,
    next_call: u64,
    agent_calls: BTreeMap<CallId, AgentCall>,
    requests: BTreeMap<RequestId, Asker>,
    next_request: u64,
    /// The newest revision that its watch told of.
    seen: StoreRevision,
    /// It does not lead, and its watch keeps its image up, while it campaigns too.
    follows: bool,
    /// The revisions at which the leadership key was last made and removed, as its watch told.
    key_made: i64,
    key_gone: i64,
    /// How far the store was seen; a new life knows it from its disk.
    lineage: Lineage,
    /// The furthest revision of the right store that any of its lives was told of, whatever it
    /// remembers itself: what it is judged by.
    told_of: i64,
    /// Watches so far in this life: each has a stream of its own.
    round: u64,
    /// When its watch told something last, and when it asks how far it is.
    heard_at: Timestamp,
    next_progress: Timestamp,
    steps: u64,
    /// The step after which its core's image is checked against itself again.
    next_check: u64,
    rescued: u64,
    /// The whole process stands still; what arrives is handled when it goes on.
    pub(super) paused: bool,
    pub(super) backlog: VecDeque<Envelope>,
    /// It is never started again.
    pub(super) dead: bool,
    /// What its watch tells is lost until its connection is made anew.
    pub(super) watch_broken: bool,
    /// It takes so long for everything.
    pub(super) slow: Duration,
    /// Its own time, in this life.
    time: Clock,
    clocks: Stream,
    clock_spread_ms: u64,
}

/// Who asked the core something.
#[derive(Debug, Clone, Copy)]
enum Asker {
    Client(Process, u64, Form),
    Register(Process, u64),
    Heartbeat(Process, u64),
}

/// Collects what the core asks for.
#[derive(Debug, Default)]
struct Orders {
    commits: Vec<Txn>,
    read_backs: Vec<(TxnId, Vec<Key>)>,
    calls: Vec<AgentCall>,
    replies: Vec<(RequestId, Result<Response, RequestError>)>,
}

impl Sink for Orders {
    fn commit(&mut self, txn: Txn) {
        self.commits.push(txn);
    }
    fn read_back(&mut self, txn: TxnId, keys: Vec<Key>) {
        self.read_backs.push((txn, keys));
    }
    fn call(&mut self, call: AgentCall) {
        self.calls.push(call);
    }
    fn reply(&mut self, request: RequestId, result: Box<Result<Response, RequestError>>) {
        self.replies.push((request, *result));
    }
    // The oracle reads events from the store.
    fn event(&mut self, _event: EventRecord) {}
}

impl Replica {
    pub(super) fn new(at: usize, config: Config, spread: Span, streams: &Streams) -> Self {
        let clocks = streams.fork(&format!("clock {at}"));
        let mut replica = Self::born(at, config, clocks, spread.as_millis());
        replica.set_clock();
        replica
    }

    /// The wall clock is read once, at the start of a process.
    fn set_clock(&mut self) {
        let spread = self.clock_spread_ms;
        let drawn = self.clocks.between(0, 2 * spread);
        self.time = Clock::off_by(drawn.cast_signed() - spread.cast_signed());
    }

    /// The next life has another configuration.
    pub(super) fn reconfigure(&mut self, grace: Duration, calls: usize) {
        self.config.eviction_grace = grace;
        self.config.calls_max = calls;
        self.config.calls_per_node_max = self.config.calls_per_node_max.min(calls);
        self.core = Scheduler::new(self.config.clone());
    }

    pub(super) const fn is_skewed(&self) -> bool {
        self.clock_spread_ms > 0
    }

    /// The process's own time at an instant of the world.
    pub(super) fn clock(&self, now: Timestamp) -> Timestamp {
        self.time.at(now)
    }

    /// Its clock runs faster by so many millionths.
    pub(super) fn drift(&mut self, now: Timestamp, ppm: i64) {
        self.time.drift(now, ppm);
    }

    /// The instant of the world at which its own time will be `at`.
    fn instant_of(&self, at: Timestamp) -> Timestamp {
        self.time.instant_of(at)
    }

    /// The process of this life is there and not paused.
    pub(super) const fn is_alive(&self, life: u64) -> bool {
        self.life == life && !self.paused
    }

    fn born(at: usize, config: Config, clocks: Stream, clock_spread_ms: u64) -> Self {
        Self {
            core: Scheduler::new(config.clone()),
            config,
            life: 0,
            up: true,
            standing: Standing::Idle,
            lease: LeaseId((at as i64) << 32 | 1),
            lease_until: Timestamp::ZERO,
            epoch: Epoch(0),
            records: 0,
            next_campaign: Timestamp::ZERO,
            unled: false,
            next_keep_alive: Timestamp::ZERO,
            calls: BTreeMap::new(),
            next_call: 0,
            agent_calls: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            seen: StoreRevision(0),
            follows: false,
            key_made: 0,
            key_gone: 0,
            lineage: Lineage::default(),
            told_of: 0,
            round: 0,
            heard_at: Timestamp::ZERO,
            next_progress: Timestamp::ZERO,
            steps: 0,
            next_check: 0,
            rescued: 0,
            paused: false,
            backlog: VecDeque::new(),
            dead: false,
            watch_broken: false,
            slow: Duration::ZERO,
            time: Clock::default(),
            clocks,
            clock_spread_ms,
        }
    }

    /// The process died: everything that is not in the store is gone.
    pub(super) fn crash(&mut self) {
        let (life, lease, call) = (self.life + 1, self.lease, self.next_call);
        let told_of = self.told_of;
        let seen = self.lineage.seen();
        let (dead, seen) = (self.dead, seen.filter(|_| !planted(Bug::RestoreForgotten)));
        *self = Self::born(
            0,
            self.config.clone(),
            self.clocks.clone(),
            self.clock_spread_ms,
        );
        self.set_clock();
        self.life = life;
        self.lease = LeaseId(lease.0 + 1_000);
        self.next_call = call;
        self.lineage = Lineage::remembering(seen);
        self.told_of = told_of;
        self.dead = dead;
        self.up = false;
    }

    /// How much it keeps beside its core.
    pub(super) fn size(&self) -> usize {
        let calls = self.calls.len() + self.agent_calls.len();
        calls + self.requests.len() + self.backlog.len()
    }

    /// The epoch in which it led last.
    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) const fn role(&self) -> Role {
        match self.standing {
            Standing::Idle | Standing::Looking => Role::Waits,
            Standing::Granting | Standing::Campaigning => Role::Campaigns,
            Standing::Loading { follows: true, .. } | Standing::Following => Role::Waits,
            Standing::Loading { follows: false, .. } | Standing::Awaiting(_) => {
                Role::Loads(self.epoch.0)
            }
            Standing::Leading => Role::Leads(self.epoch.0),
        }
    }

    pub(super) fn is_leading(&self) -> bool {
        matches!(self.standing, Standing::Leading)
    }

    /// Its watch keeps its image up.
    pub(super) fn is_watching(&self) -> bool {
        self.is_leading() || self.follows
    }

    /// The furthest revision of the right store that it was told of.
    pub(super) const fn knows_revision(&self) -> i64 {
        self.told_of
    }

    /// The stream of its present watch.
    pub(super) fn stream(&self, at: usize) -> kv::StreamId {
        stream_of(at, self.life, self.round)
    }
}

impl World {
    pub(super) fn replica_wake(&mut self, at: usize) {
        let now = self.now;
        let replica = &mut self.replicas[at];
        if !replica.up || replica.paused || self.stopped_in_time(at) {
            return;
        }
        let replica = &mut self.replicas[at];
        if matches!(replica.standing, Standing::Idle) && now >= replica.next_campaign {
            replica.standing = Standing::Looking;
            let request = kv::Request::Range(RangeRequest::key(LEADER_KEY));
            self.ask_store(at, request, Purpose::Look);
        } else if replica.is_leading() && now >= replica.next_keep_alive {
            replica.next_keep_alive = now + LEASE / 3;
            let id = replica.lease;
            let asked_at = replica.clock(now);
            let purpose = Purpose::KeepAlive { asked_at };
            self.ask_store(at, kv::Request::LeaseKeepAlive { id }, purpose);
        }
        self.await_no_longer(at);
        self.ask_for_progress(at);
        self.feed(at, vec![Input::Wake]);
    }

    /// A leader whose lease may have run out by anyone's clock stops before it does anything.
    fn stopped_in_time(&mut self, at: usize) -> bool {
        let replica = &self.replicas[at];
        let over = replica.clock(self.now) >= replica.lease_until - MARGIN;
        let expired = replica.is_leading() && over;
        if expired {
            self.mark(Mark::LeaderStoppedInTime);
            self.depose(at, Deposed::StoreUnavailable);
        }
        expired
    }

    /// Feeds the core and carries out what it asks for: the same loop as in production.
    fn feed(&mut self, at: usize, inputs: Vec<Input>) {
        let mut orders = Orders::default();
        let replica = &mut self.replicas[at];
        let clock = replica.clock(self.now);
        let server = (at, replica.life);
        for input in &inputs {
            self.oracle.step_begins(server, input);
            match self.oracle.told(at, input, clock) {
                Some(true) => self.coverage.reach(Mark::CommitUnknownDone),
                Some(false) => self.coverage.reach(Mark::CommitUnknownNotDone),
                None => {}
            }
        }
        drive::step(&mut replica.core, clock, inputs, &mut orders);
        // The check looks at everything: the more there is, the rarer.
        replica.steps += 1;
        let checked = replica.is_leading() && replica.steps >= replica.next_check;
        if checked {
            let size = self.agents.len() + self.oracle.image.workloads.len();
            let share = if size < MANY {
                CHECKED_PER_STEP
            } else {
                CHECKED_PER_STEP_OF_MANY
            };
            replica.next_check = replica.steps + 1 + (size / share) as u64;
        }
        if checked && let Err(violation) = replica.core.check_invariants() {
            let rule = Rule::from_id(violation.rule).unwrap_or(Rule::S17);
            let entity = violation
                .problem
                .split(':')
                .next()
                .unwrap_or_default()
                .to_owned();
            let seen = format!("scheduler-{at}: {}", violation.problem);
            self.oracle
                .judge(rule, Err(Finding::new("a sound image", seen).of(&entity)));
        }
        let rescued = self.replicas[at].core.counters().rescued_by_pass;
        if rescued > self.replicas[at].rescued {
            if self.damage.hidden.contains(&at) {
                self.mark(Mark::RescuedByPass);
            } else {
                let count = rescued - self.replicas[at].rescued;
                self.oracle.rescued(at, count);
            }
            self.replicas[at].rescued = rescued;
        }
        let life = self.replicas[at].life;
        for txn in orders.commits {
            if self.replicas[at].life != life {
                return;
            }
            let keys = txn.compares.iter().map(|(key, _)| key.clone()).collect();
            let purpose = Purpose::Commit(txn.id, keys, self.replicas[at].lineage.seen());
            let request = kv::Request::Txn(encode_txn(&txn));
            self.oracle.commit_asked(at, txn, clock);
            self.ask_store(at, request, purpose);
            self.twist_output(at);
        }
        for (txn, keys) in orders.read_backs {
            if self.replicas[at].life != life {
                return;
            }
            let gets = keys
                .iter()
                .map(|key| TxnOp::Range(RangeRequest::key(key.to_string())));
            let request = TxnRequest {
                success: gets.collect(),
                ..TxnRequest::default()
            };
            let purpose = Purpose::ReadBack(txn, keys, self.replicas[at].lineage.seen());
            self.ask_store(at, kv::Request::Txn(request), purpose);
            self.twist_output(at);
        }
        for call in orders.calls {
            if self.replicas[at].life != life {
                return;
            }
            self.call_agent(at, call);
            self.twist_output(at);
        }
        for (request, result) in orders.replies {
            if self.replicas[at].life != life {
                return;
            }
            self.oracle.scheduler_answers(server, request, &result);
            self.answer(at, request, result);
            self.twist_output(at);
        }
        for _ in 0..self.oracle.dry_runs_compared() {
            self.mark(Mark::DryRunCompared);
        }
        if self.replicas[at].life == life {
            self.schedule_wake(at);
            self.twist_step(at);
        }
    }

    fn schedule_wake(&mut self, at: usize) {
        let replica = &self.replicas[at];
        let mut next = replica
            .core
            .poll_deadline()
            .map(|at| replica.instant_of(at));
        let mut sooner = |when: Timestamp| next = Some(next.map_or(when, |n| n.min(when)));
        match replica.standing {
            Standing::Idle => sooner(replica.next_campaign),
            Standing::Leading => {
                sooner(replica.next_keep_alive);
                sooner(replica.instant_of(replica.lease_until - MARGIN));
            }
            Standing::Following => sooner(replica.next_progress),
            Standing::Awaiting(until) => sooner(until),
            Standing::Looking
            | Standing::Granting
            | Standing::Campaigning
            | Standing::Loading { .. } => {}
        }
        let Some(when) = next else { return };
        self.wake(
            Process::Replica(at),
            when.max(self.now + Duration::from_millis(1)),
        );
    }

    fn ask_store(&mut self, at: usize, request: kv::Request, purpose: Purpose) {
        let twists = match purpose {
            Purpose::Look => self.twist_read(true),
            Purpose::Load(_) => self.twist_read(false),
            Purpose::Commit(..) => self.twist_commit(),
            _ => StoreTwist::None,
        };
        let replica = &mut self.replicas[at];
        let call = replica.next_call;
        replica.next_call += 1;
        replica.calls.insert(call, purpose);
        let life = replica.life;
        let overdue = super::Happening::StoreOverdue {
            replica: at,
            life,
            call,
        };
        self.queue.push(self.now + STORE_TIMEOUT, overdue);
        let from = Process::Replica(at);
        match twists {
            StoreTwist::None => {}
            StoreTwist::Stale(back) => {
                self.store.stale.insert((from, call), back);
            }
            StoreTwist::Mute => {
                self.store.mute.insert((from, call));
            }
            StoreTwist::Lost => return,
        }
        let body = Body::StoreCall {
            call,
            request: Box::new(request),
        };
        self.send(from, Process::Store, body);
    }

    fn depose(&mut self, at: usize, reason: Deposed) {
        let now = self.now;
        let stream = self.replicas[at].stream(at);
        let replica = &mut self.replicas[at];
        replica.standing = Standing::Idle;
        replica.follows = false;
        replica.next_campaign = now
            + match planted(Bug::NeverLeadsAgain) {
                true => Duration::from_secs(86_400),
                false => Duration::from_millis(500),
            };
        replica.calls.clear();
        replica.agent_calls.clear();
        let close = kv::WatchRequest::Close { stream };
        self.ask_store(at, kv::Request::Watch(close), Purpose::Watch);
        self.feed(at, vec![Input::Deposed { reason }]);
    }

    pub(super) fn replica_overdue(&mut self, at: usize, call: u64) {
        let Some(purpose) = self.replicas[at].calls.remove(&call) else {
            return;
        };
        match purpose {
            Purpose::Commit(txn, ..) => {
                self.mark(Mark::CommitUnknown);
                self.feed(
                    at,
                    vec![Input::Commit {
                        txn,
                        fate: Fate::Unknown,
                    }],
                );
            }
            Purpose::ReadBack(txn, keys, _) => {
                let gets = keys
                    .iter()
                    .map(|key| TxnOp::Range(RangeRequest::key(key.to_string())));
                let request = TxnRequest {
                    success: gets.collect(),
                    ..TxnRequest::default()
                };
                let purpose = Purpose::ReadBack(txn, keys, self.replicas[at].lineage.seen());
                self.ask_store(at, kv::Request::Txn(request), purpose);
            }
            Purpose::Verify(_, Next::Watch(from)) => self.resume_watch(at, from),
            Purpose::KeepAlive { .. }
            | Purpose::Watch
            | Purpose::Hold
            | Purpose::Verify(_, Next::Follow) => {}
            Purpose::Look
            | Purpose::Verify(_, Next::Begin)
            | Purpose::Grant { .. }
            | Purpose::Campaign
            | Purpose::Load(_) => {
                self.depose(at, Deposed::StoreUnavailable);
            }
        }
    }

    pub(super) fn replica_receive(&mut self, at: usize, from: Process, body: Body) {
        if !self.replicas[at].up {
            if let Body::Watched { output } = &body {
                self.refuse_watch(output.stream);
            }
            if let Some(refused) = body.refused() {
                self.send(Process::Replica(at), from, refused);
            }
            return;
        }
        self.stopped_in_time(at);
        match body {
            Body::StoreAnswer { call, result } => self.store_answered(at, call, *result),
            Body::Watched { output } => self.watched(at, *output),
            Body::AgentAnswered { call, answer } => self.agent_answered(at, from, call, answer),
            Body::Refused {
                call: RefusedCall::Agent(call),
            } => self.agent_refused(at, call),
            Body::ControlCall { call, message } => self.control_called(at, from, call, message),
            Body::ClientCall {
                call,
                message,
                meant,
            } => self.client_called(at, from, call, &message, &meant),
            Body::StoreCall { .. }
            | Body::AgentCall { .. }
            | Body::ControlAnswered { .. }
            | Body::ClientAnswered { .. }
            | Body::Refused { .. } => {}
        }
    }

    fn store_answered(&mut self, at: usize, call: u64, result: Result<kv::Response, kv::KvError>) {
        let Some(purpose) = self.replicas[at].calls.remove(&call) else {
            return;
        };
        match (purpose, result) {
            // Who leads may be told by a member that is behind: it is asked again before it counts.
            (Purpose::Look, Ok(kv::Response::Range(_))) => self.verify(at, Next::Begin),
            (Purpose::Verify(before, next), Ok(kv::Response::Txn(found))) => {
                self.verified(at, before, next, &found);
            }
            (Purpose::Verify(_, Next::Watch(from)), _) => self.resume_watch(at, from),
            (Purpose::Grant { asked_at }, Ok(kv::Response::LeaseGrant { .. })) => {
                self.campaign(at, asked_at);
            }
            (Purpose::Campaign, Ok(kv::Response::Txn(answer))) => self.campaigned(at, &answer),
            (Purpose::Load(before), Ok(kv::Response::Range(page))) => {
                self.loaded(at, before, page);
            }
            (Purpose::KeepAlive { asked_at }, Ok(kv::Response::LeaseKeepAlive { ttl_s, .. })) => {
                if ttl_s > 0 {
                    self.replicas[at].lease_until = asked_at + LEASE;
                    self.schedule_wake(at);
                } else {
                    self.depose(at, Deposed::LostLeadership);
                }
            }
            (Purpose::Commit(txn, keys, before), result) => {
                if planted(Bug::LeaderUnverified) || !self.is_other_store(at, before, &result) {
                    self.commit_answered(at, txn, &keys, result);
                }
            }
            (Purpose::ReadBack(txn, keys, before), Ok(kv::Response::Txn(answer))) => {
                let unverified = planted(Bug::ReadBackUnverified);
                if !unverified && !self.is_believed(at, before, answer.revision) {
                    return;
                }
                let revision = StoreRevision(answer.revision);
                let records = gets(&mut self.texts, &keys, &answer.responses);
                self.feed(
                    at,
                    vec![Input::ReadBack {
                        txn,
                        revision,
                        records,
                    }],
                );
            }
            (Purpose::Watch | Purpose::Hold | Purpose::Verify(_, Next::Follow), _) => {}
            (
                Purpose::Look
                | Purpose::Grant { .. }
                | Purpose::Campaign
                | Purpose::Verify(..)
                | Purpose::Load(_)
                | Purpose::KeepAlive { .. }
                | Purpose::ReadBack(..),
                _,
            ) => self.depose(at, Deposed::LostLeadership),
        }
    }
}
