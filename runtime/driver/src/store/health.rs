//! Tells health what becomes of the store and of leadership.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::condition::{Condition, StoreState};
use crate::config::Replica;
use crate::handle::DriverHealth;

/// Writes into the driver's health; watchers are woken only by changes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(Arc<watch::Sender<DriverHealth>>, Arc<Mutex<Condition>>);

impl Reporter {
    pub(crate) fn new(health: watch::Sender<DriverHealth>) -> Self {
        Self(Arc::new(health), Arc::default())
    }

    /// Changes it, if it is a change.
    pub(crate) fn update(&self, change: impl FnOnce(&mut DriverHealth)) {
        self.0.send_if_modified(|health| {
            let before = health.clone();
            change(health);
            *health != before
        });
    }

    /// The store answered, to a write if this replica leads: reads may work when writes do not.
    pub(crate) fn store_works(&self) {
        self.update(|health| health.store_error.clear());
    }

    /// The store failed.
    pub(crate) fn store_failed(&self, error: &str) {
        self.update(|health| {
            health.store_error.clear();
            health.store_error.push_str(error);
        });
    }

    /// Something happened to the store: its state follows.
    fn happens(&self, what: impl FnOnce(&mut Condition)) {
        let mut condition = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut condition);
        let now = condition.now();
        drop(condition);
        self.update(|health| health.store = now);
    }

    /// The store answered; how long that took, if it tells anything.
    pub(crate) fn answered(&self, took: Option<Duration>) {
        self.happens(|condition| condition.answered(Instant::now(), took));
    }

    /// The store did not answer.
    pub(crate) fn no_answer(&self, error: &str) {
        self.happens(|condition| condition.failed(Instant::now(), error));
    }

    /// The store carried out a write.
    pub(crate) fn wrote(&self) {
        self.happens(Condition::wrote);
    }

    /// The store takes no writes.
    pub(crate) fn refused_write(&self, error: &str) {
        self.happens(|condition| condition.refused_write(error));
    }

    /// Everything is being read anew; an empty text: that is done.
    pub(crate) fn resync(&self, why: &str) {
        self.happens(|condition| condition.resync(why));
    }

    /// The store is not the one that was seen before.
    pub(crate) fn not_believed(&self, why: &str) {
        self.happens(|condition| condition.refuse(why));
    }

    /// It is the one that was seen before, or the operator believes in it.
    pub(crate) fn believed(&self) {
        self.happens(|condition| condition.refuse(""));
    }

    /// Why the store takes no writes; `None`: it does.
    pub(crate) fn read_only(&self) -> Option<String> {
        let health = self.0.borrow();
        let state = health.store.state;
        (state == StoreState::ReadOnly).then(|| health.store.why.clone())
    }

    /// Waits until the store takes no writes.
    pub(crate) async fn until_read_only(&self) {
        let mut health = self.0.subscribe();
        let read_only = |health: &DriverHealth| health.store.state == StoreState::ReadOnly;
        // The sender is held here.
        let _ = health.wait_for(read_only).await;
    }

    /// Who leads.
    pub(crate) fn leader_is(&self, leader: Option<Replica>) {
        self.update(|health| health.leader = leader);
    }
}
