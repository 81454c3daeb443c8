//! The door to the core for everybody else in the process.

use std::sync::Arc;
use std::time::Duration;

use berth_core::EventRecord;
use berth_core::Stats;
use berth_core::io::request::{Request, RequestError, Response};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::config::Replica;

/// A request on its way to the core, and where its answer goes.
#[derive(Debug)]
pub struct Submission {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes. Nobody may be listening any more.
    pub reply: oneshot::Sender<Result<Response, RequestError>>,
}

/// What the driver tells about itself, for health and metrics. Replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverHealth {
    /// It leads and the store answers.
    pub leading: bool,
    /// Its epoch; 0 before it led.
    pub epoch: i64,
    /// The last failure of the store, with what to do about it; empty when all is well.
    pub store_error: String,
    /// Inputs that wait for the core; refreshed at most once a second.
    pub inputs_waiting: usize,
    /// Who leads, this replica or another one, as far as it is known.
    pub leader: Option<Replica>,
}

/// Asks the core. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CoreHandle {
    submit: mpsc::Sender<Submission>,
    events: broadcast::Sender<EventRecord>,
    stats: watch::Receiver<Arc<Stats>>,
    health: watch::Receiver<DriverHealth>,
}

impl CoreHandle {
    /// Built by the driver, which holds the other ends.
    #[must_use]
    pub fn new(
        submit: mpsc::Sender<Submission>,
        events: broadcast::Sender<EventRecord>,
        stats: watch::Receiver<Arc<Stats>>,
        health: watch::Receiver<DriverHealth>,
    ) -> Self {
        Self {
            submit,
            events,
            stats,
            health,
        }
    }

    /// Asks, and waits for the answer. A mutation is answered after the commit that the answer
    /// speaks of; dropping the future does not take the request back.
    ///
    /// # Errors
    /// Whatever the core answers; `Unavailable` when its queue is full or it has shut down.
    pub async fn request(&self, request: Request) -> Result<Response, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.submit
            .try_send(Submission { request, reply })
            .map_err(|full| {
                let reason = match full {
                    mpsc::error::TrySendError::Full(_) => "the scheduler is overloaded",
                    mpsc::error::TrySendError::Closed(_) => "the scheduler is shutting down",
                };
                unavailable(reason)
            })?;
        answer
            .await
            .unwrap_or_else(|_| Err(unavailable("the scheduler is shutting down")))
    }

    /// Events as they are committed. A slow receiver loses the oldest and is told so.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<EventRecord> {
        self.events.subscribe()
    }

    /// The core's counters and gauges, refreshed at most once a second.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        self.stats.borrow().clone()
    }

    /// The driver's health.
    #[must_use]
    pub fn health(&self) -> DriverHealth {
        self.health.borrow().clone()
    }

    /// The driver's health as it changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<DriverHealth> {
        self.health.clone()
    }
}

fn unavailable(reason: &str) -> RequestError {
    RequestError::Unavailable {
        reason: reason.to_owned(),
        retry_after: Duration::from_secs(1),
    }
}
