//! What every door of the server shares: the core's handle, health, metrics, limits.

use std::sync::Arc;
use std::time::Duration;

use berth_core::EventId;
use berth_core::io::request::{Query, Request, RequestError, Response};
use berth_core::{NodeId, WorkloadId};
use berth_driver::{CoreHandle, Replica};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::call::Call;
use crate::forward::{Forwarder, Peers};
use crate::health::HealthTracker;
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
            body_bytes_max: 1 << 20,
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
        let forwarder = match &self.forwarder {
            Some(forwarder) if !call.forwarded && !self.core().health().leading => forwarder,
            Some(_) | None => return self.ask_here(request, until).await,
        };
        match &request {
            Request::Read(Query::Status) => self.ask_here(request, until).await,
            Request::Read(query) if !call.strong => {
                let single = matches!(
                    query,
                    Query::Workload(_) | Query::Node(_) | Query::Explain(_)
                );
                match self.ask_here(request.clone(), until).await {
                    // Only the leader knows that something does not exist.
                    Err(AskError::Core(RequestError::Unavailable { .. }))
                        if single && forwarder.leader().is_some() =>
                    {
                        forwarder.ask(&request, &call, until).await
                    }
                    answer => answer,
                }
            }
            _ => forwarder.ask(&request, &call, until).await,
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

    /// Asks the core of this replica.
    async fn ask_here(&self, request: Request, until: Instant) -> Result<Response, AskError> {
        let began = Instant::now();
        match timeout_at(until, self.inner.core.request(request)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(AskError::Timeout(until - began)),
        }
    }
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
