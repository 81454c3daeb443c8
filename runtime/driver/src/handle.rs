//! The door to the core for everybody else in the process.

use std::sync::Arc;
use std::time::Duration;

use berth_core::io::request::{Effect, Request, RequestError, Response};
use berth_core::{Epoch, EventRecord, Stats, StoreRevision};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::config::Replica;
use crate::store::{Leaders, LeaseGuard, StoreCondition};

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
    /// How the store does, without the ups and downs of single answers.
    pub store: StoreCondition,
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
    /// `None`: nobody drives it.
    image: Option<watch::Receiver<Image>>,
    /// Reads who leads from the store.
    leaders: Option<Arc<dyn Leaders>>,
}

/// What the core's image stands on. Replaced as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// The newest revision of the store that it reflects.
    pub(crate) revision: StoreRevision,
    /// The term in which this replica leads.
    pub(crate) term: Option<(Epoch, LeaseGuard)>,
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
            image: None,
            leaders: None,
        }
    }

    /// The same, with a way to read who leads past the watch.
    #[must_use]
    pub fn with_leaders(mut self, leaders: Arc<dyn Leaders>) -> Self {
        self.leaders = Some(leaders);
        self
    }

    /// Reads who leads from the store itself: [`DriverHealth::leader`] is as late as the watch is.
    /// `None`: nobody does, or the store does not say. To be asked seldom, and not waited for
    /// without a limit.
    pub async fn read_leader(&self) -> Option<Replica> {
        let read = self.leaders.as_ref()?.read().await;
        read.unwrap_or_else(|why| {
            tracing::debug!(why, "cannot read who leads");
            None
        })
    }

    /// The same, over an image that a driver keeps up.
    pub(crate) fn over(mut self, image: watch::Receiver<Image>) -> Self {
        self.image = Some(image);
        self
    }

    /// The epoch in which this replica certainly leads at this moment: its lease has not run out by
    /// anyone's clock, even if this process stood still until now.
    #[must_use]
    pub fn certain_epoch(&self) -> Option<Epoch> {
        let Some(image) = &self.image else {
            let health = self.health.borrow();
            return health.leading.then_some(Epoch(health.epoch));
        };
        let image = image.borrow();
        let (epoch, lease) = image.term.as_ref()?;
        lease.is_valid().then_some(*epoch)
    }

    /// The image was loaded from the store, now or once.
    #[must_use]
    pub fn has_image(&self) -> bool {
        let image = self.image.as_ref();
        image.is_none_or(|image| image.borrow().revision > StoreRevision(0))
    }

    /// Waits until the image reflects a revision of the store, or the driver has ended.
    pub async fn reached(&self, revision: StoreRevision) {
        if let Some(mut image) = self.image.clone() {
            drop(image.wait_for(|image| image.revision >= revision).await);
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
                unavailable(reason, Effect::None)
            })?;
        let lost = "the scheduler ended before the outcome was known";
        answer
            .await
            .unwrap_or_else(|_| Err(unavailable(lost, Effect::Unknown)))
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

fn unavailable(reason: &str, effect: Effect) -> RequestError {
    RequestError::Unavailable {
        reason: reason.to_owned(),
        retry_after: Duration::from_secs(1),
        effect,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_term_is_certain_until_its_lease_may_have_run_out() {
        let (submit, _asked) = mpsc::channel(1);
        let (_stats, stats) = watch::channel(Arc::default());
        let (_health, health) = watch::channel(DriverHealth {
            leading: true,
            ..DriverHealth::default()
        });
        let (image, seen) = watch::channel(Image::default());
        let (events, _) = broadcast::channel(1);
        let core = CoreHandle::new(submit, events, stats, health).over(seen);
        assert_eq!(core.certain_epoch(), None, "health alone is no proof");
        let lease = LeaseGuard::until(Instant::now() + Duration::from_secs(2));
        image.send_modify(|image| image.term = Some((Epoch(7), lease)));
        assert_eq!(core.certain_epoch(), Some(Epoch(7)));
        // Nobody told it anything while it stood still.
        advance(Duration::from_secs(2)).await;
        assert_eq!(core.certain_epoch(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revision_is_waited_for() {
        let (submit, _asked) = mpsc::channel(1);
        let (_stats, stats) = watch::channel(Arc::default());
        let (_health, health) = watch::channel(DriverHealth::default());
        let (image, seen) = watch::channel(Image::default());
        let (events, _) = broadcast::channel(1);
        let core = CoreHandle::new(submit, events, stats, health).over(seen);
        let wait = |revision| {
            let reached = core.reached(StoreRevision(revision));
            tokio::time::timeout(Duration::from_millis(1), reached)
        };
        assert!(wait(5).await.is_err());
        image.send_modify(|image| image.revision = StoreRevision(5));
        assert!(wait(5).await.is_ok());
        assert!(wait(6).await.is_err());
    }
}
