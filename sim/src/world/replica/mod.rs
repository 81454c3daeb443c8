//! A scheduler's process: the core, its election, and its connections.

mod codec;
mod commit;
mod election;
mod feed;
mod follow;
mod lineage;
mod pace;
mod standing;
mod store;
mod talk;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_core::io::{AgentCall, Deposed, Input};
use berth_core::lineage::Lineage;
use berth_core::planted::{Bug, planted};
use berth_core::{CallId, Config, Epoch, RequestId, Scheduler, StoreRevision, Timestamp};
use berth_kv as kv;
use berth_kv::{LeaseId, RangeRequest};

use crate::marks::Mark;
use crate::process::Process;
use crate::rng::{Stream, Streams};
use crate::script::Span;

pub(super) use standing::Role;

use standing::{Next, Purpose, Standing};

use super::World;
use super::clock::Clock;
use super::door::Form;
use super::message::{Body, Envelope, RefusedCall};
use super::store::stream_of;

pub(super) const LEADER_KEY: &str = "/leader/current";
/// The lease's time to live.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// A leader stops this long before its lease can have run out by anyone's clock.
const MARGIN: Duration = Duration::from_millis(700);
const PAGE: i64 = 500;
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
}
