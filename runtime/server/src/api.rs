//! What every door of the server shares: the core's handle, health, metrics, limits.

use std::sync::Arc;
use std::time::Duration;

use berth_core::io::request::{Effect, Query, Request, RequestError, Response};
use berth_core::wire::bound::BODY_BYTES_MAX;
use berth_core::{EventId, NodeId, StoreRevision, WorkloadId};
use berth_driver::{CoreHandle, Replica};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::call::Call;
use crate::forward::{Forwarder, Peers};
use crate::health::{HealthTracker, Mode};
use crate::metrics::Metrics;

/// Bounds of the server. None of them is about workloads: those are the core's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiLimits {
    /// Requests that one port works on at once; more are refused with a retry hint.
    pub requests_max: usize,
    /// Requests that are on their way to the leader at once, over both ports.
    pub forwards_max: usize,
    /// Clients that watch events at once, over both ports.
    pub watchers_max: usize,
    /// How long a client waits for the core at most; what it asked for may still happen.
    pub request_timeout: Duration,
    /// Bytes of a REST body.
    pub body_bytes_max: usize,
    /// Open connections to one port.
    pub connections_max: usize,
    /// Entries of a page when the client names no limit, and the largest that it may name.
    pub page_max: usize,
    /// How long a drain may take before what is left is moved at once, unless it says otherwise.
    pub drain_deadline: Duration,
    /// Workloads that a drain moves at once, unless it says otherwise.
    pub drain_parallelism: u32,
    /// After so much silence those who watch events hear that the stream lives, and the core is
    /// asked whether something was missed.
    pub events_idle: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            requests_max: 1024,
            forwards_max: 512,
            watchers_max: 256,
            request_timeout: Duration::from_secs(30),
            body_bytes_max: BODY_BYTES_MAX,
            connections_max: 16_384,
            page_max: 1000,
            drain_deadline: Duration::from_secs(600),
            drain_parallelism: 2,
            events_idle: Duration::from_secs(15),
        }
    }
}

/// What every door of the server shares. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    inner: Arc<Inner>,
    /// The way to the leader; `None`: there are no other replicas.
    forwarder: Option<Arc<Forwarder>>,
    /// Cancelled when the end was asked for, some time before [`Self::shutdown`].
    ending: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    core: CoreHandle,
    health: HealthTracker,
    metrics: Metrics,
    limits: ApiLimits,
    replica_id: String,
    watchers: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Why [`Api::ask`] has no answer of the core's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The core says no.
    #[error(transparent)]
    Core(#[from] RequestError),
    /// The core did not answer in time; what was asked for may still happen.
    #[error(
        "no answer within {} s; whether the request took effect is not known, and it is safe to \
         repeat it", .0.as_secs()
    )]
    Timeout(Duration),
    /// The leader went away before it answered.
    #[error("{0}; whether the request took effect is not known")]
    NotKnown(String),
    /// Too many requests are on their way to the leader; this one was not sent.
    #[error("too many requests are on their way to the leader; try again in 1 s")]
    TooManyForwarded,
    /// The core answered something else than was asked: a bug.
    #[error("the scheduler gave an answer of the wrong kind")]
    WrongAnswer,
}

impl Api {
    /// An API in front of `core`. `shutdown` ends streams.
    #[must_use]
    pub fn new(
        core: CoreHandle,
        metrics: Metrics,
        limits: ApiLimits,
        replica_id: String,
        shutdown: CancellationToken,
    ) -> Self {
        let health = HealthTracker::new(core.clone());
        Self {
            ending: shutdown.clone(),
            inner: Arc::new(Inner {
                health,
                metrics,
                watchers: Arc::new(Semaphore::new(limits.watchers_max)),
                limits,
                replica_id,
                shutdown,
                core,
            }),
            forwarder: None,
        }
    }

    /// The same, one replica of several: what only the leader can answer is sent on to it.
    #[must_use]
    pub fn with_peers(mut self, peers: Peers) -> Self {
        let (core, most) = (self.core().clone(), self.limits().forwards_max);
        self.forwarder = Some(Arc::new(Forwarder::new(peers, core, most)));
        self
    }

    /// The same, with a token that says earlier that the end is near.
    #[must_use]
    pub fn ending_with(mut self, ending: CancellationToken) -> Self {
        self.ending = ending;
        self
    }

    /// Why clients should go to another replica; `None`: whatever they ask is answered here, by
    /// this replica or by the leader that it knows.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        if self.ending.is_cancelled() {
            return Some("this replica is shutting down".to_owned());
        }
        let report = self.health().report();
        let follows = || {
            let leader = self
                .forwarder
                .as_ref()
                .and_then(|forwarder| forwarder.leader());
            leader.is_some() && self.core().has_image()
        };
        if report.mode == Mode::Normal && !report.store.takes_writes {
            let store = &report.store;
            return Some(format!("the store is {}: {}", store.state, store.why));
        }
        let ready = match report.mode {
            Mode::Normal => true,
            Mode::Standby => follows(),
            Mode::Degraded => false,
        };
        (!ready).then(|| format!("{}: {}", report.mode.name(), report.reason))
    }

    /// This replica as the others know it; `None`: there are no others.
    pub(crate) fn peer(&self) -> Option<&Replica> {
        self.forwarder.as_ref().map(|forwarder| forwarder.own())
    }

    /// The door to the core.
    #[must_use]
    pub fn core(&self) -> &CoreHandle {
        &self.inner.core
    }

    /// Health, with the time of its last change.
    #[must_use]
    pub fn health(&self) -> &HealthTracker {
        &self.inner.health
    }

    /// The metrics of the process.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &ApiLimits {
        &self.inner.limits
    }

    /// The name of this replica.
    #[must_use]
    pub fn replica_id(&self) -> &str {
        &self.inner.replica_id
    }

    /// Ends when the server shuts down.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.inner.shutdown
    }

    /// A place among those who watch events, or `None` when all are taken.
    #[must_use]
    pub fn watcher(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.inner.watchers).try_acquire_owned().ok()
    }

    /// Asks the core, or the leader's if this replica does not lead and only the leader can
    /// answer, and waits for the answer within the limit and the caller's deadline.
    ///
    /// # Errors
    /// What the core says, that there is no leader, or that there was no answer in time.
    pub async fn ask(&self, request: Request) -> Result<Response, AskError> {
        let call = Call::current();
        let latest = Instant::now() + self.inner.limits.request_timeout;
        let until = call.until.map_or(latest, |until| until.min(latest));
        match &request {
            // Of the replica that is asked.
            Request::Read(Query::Status) => self.ask_here(request, until).await,
            Request::Read(_) if call.strong => self.read_strongly(request, &call, until).await,
            Request::Read(_) => self.read(request, &call, until).await,
            _ => match self.leader_elsewhere(&call) {
                Some(forwarder) => forwarder.ask(&request, &call, until).await,
                None => self.ask_here(request, until).await,
            },
        }
    }

    /// As [`Self::ask`], with a read that the leader answers: for what is about to be changed.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_strong(&self, request: Request) -> Result<Response, AskError> {
        let mut call = Call::current();
        call.strong = true;
        call.scope(self.ask(request)).await
    }

    /// The way to the leader, if this replica does not lead and the call may be sent on.
    fn leader_elsewhere(&self, call: &Call) -> Option<&Forwarder> {
        let forwarder = self.forwarder.as_deref()?;
        (!call.forwarded && !self.core().health().leading).then_some(forwarder)
    }

    /// A read that reflects everything that was acknowledged before it.
    async fn read_strongly(
        &self,
        request: Request,
        call: &Call,
        until: Instant,
    ) -> Result<Response, AskError> {
        if let Some(forwarder) = self.leader_elsewhere(call) {
            return forwarder.ask(&request, call, until).await;
        }
        // Nobody else can have written since the question, if it leads in one term throughout.
        let before = self.core().certain_epoch();
        let answer = self.read_here(request, call.at_least, until).await;
        if before.is_some() && self.core().certain_epoch() == before {
            return answer;
        }
        Err(unavailable("this replica does not certainly lead"))
    }

    /// A read from this replica's image, if that suffices.
    async fn read(
        &self,
        request: Request,
        call: &Call,
        until: Instant,
    ) -> Result<Response, AskError> {
        let Some(forwarder) = self.leader_elsewhere(call) else {
            return self.read_here(request, call.at_least, until).await;
        };
        if forwarder.leader().is_none() {
            return self.read_here(request, call.at_least, until).await;
        }
        // A replica that has loaded nothing yet knows nothing.
        let at_least = call.at_least.max(StoreRevision(1));
        match self.read_here(request.clone(), at_least, until).await {
            // Only the leader knows that something does not exist, or what is newer.
            Err(AskError::Core(RequestError::Unavailable { .. })) => {
                forwarder.ask(&request, call, until).await
            }
            answer => answer,
        }
    }

    /// A read from this replica's image, once that is as new as it has to be.
    async fn read_here(
        &self,
        request: Request,
        at_least: StoreRevision,
        until: Instant,
    ) -> Result<Response, AskError> {
        if at_least > StoreRevision(0) {
            let patience = until.min(Instant::now() + CATCH_UP_MAX);
            // If it was in vain, the answer shows it.
            drop(timeout_at(patience, self.core().reached(at_least)).await);
        }
        let answer = self.ask_here(request, until).await?;
        match revision_of(&answer) {
            Some(revision) if revision < at_least => Err(unavailable(&format!(
                "the caller has seen revision {at_least} of the store, this replica {revision}"
            ))),
            _ => Ok(answer),
        }
    }

    /// Asks the core of this replica.
    async fn ask_here(&self, request: Request, until: Instant) -> Result<Response, AskError> {
        let began = Instant::now();
        match timeout_at(until, self.inner.core.request(request)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(AskError::Timeout(until - began)),
        }
    }
}

/// How long a replica waits for what a client has seen elsewhere, before the leader is asked.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);

fn unavailable(reason: &str) -> AskError {
    AskError::Core(RequestError::Unavailable {
        reason: reason.to_owned(),
        retry_after: Duration::from_secs(1),
        effect: Effect::None,
    })
}

/// The revision that an answer to a read reflects.
fn revision_of(answer: &Response) -> Option<StoreRevision> {
    let freshness = match answer {
        Response::Workload(view) => view.freshness,
        Response::Node(view) => view.freshness,
        Response::Workloads { freshness, .. } | Response::Nodes { freshness, .. } => *freshness,
        Response::Summary(summary) => summary.freshness,
        Response::Explanation(explained) => explained.freshness,
        Response::Events(page) => page.freshness,
        Response::Registered { .. }
        | Response::HeartbeatAck { .. }
        | Response::Purged
        | Response::Suggestion { .. }
        | Response::Status(_) => return None,
    };
    Some(freshness.revision)
}

/// Takes one kind of answer, and calls any other a bug.
macro_rules! expect_answer {
    ($answer:expr, $($pattern:pat => $value:expr),+ $(,)?) => {
        match $answer {
            $($pattern => Ok($value),)+
            _ => Err($crate::api::AskError::WrongAnswer),
        }
    };
}
pub(crate) use expect_answer;

/// The id of an event as a client sends it back. A mangled one orders somewhere, and a client that
/// resumed behind the end would wait for ever: it is refused.
///
/// # Errors
/// What was expected.
pub(crate) fn event_id(text: &str) -> Result<EventId, &'static str> {
    let part = |text: &str, least: usize, digits: fn(&u8) -> bool| {
        (least..=20).contains(&text.len()) && text.as_bytes().iter().all(digits)
    };
    let hex: fn(&u8) -> bool = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut parts = text.split('-');
    let known = parts
        .next()
        .is_some_and(|p| part(p, 14, u8::is_ascii_digit))
        && parts.next().is_some_and(|p| part(p, 10, hex))
        && parts.next().is_some_and(|p| part(p, 8, hex))
        && parts.next().is_none();
    if known {
        Ok(EventId::from_text(text))
    } else {
        Err("is not the id of an event; expected one that was answered here, or none")
    }
}

/// Which events somebody wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those of this workload.
    pub workload: Option<WorkloadId>,
    /// Only those of this node.
    pub node: Option<NodeId>,
}

impl EventFilter {
    /// Whether an event is wanted.
    #[must_use]
    pub fn wants(&self, event: &berth_core::EventRecord) -> bool {
        let same = |wanted: &Option<_>, is: &Option<_>| wanted.is_none() || wanted == is;
        same(&self.workload, &event.workload_id)
            && (self.node.is_none() || self.node == event.node_id)
    }

    /// The question for a page of them.
    #[must_use]
    pub fn page(&self, after: Option<EventId>, limit: usize) -> Request {
        Request::Read(Query::Events {
            after,
            workload: self.workload.clone(),
            node: self.node.clone(),
            limit,
        })
    }
}
