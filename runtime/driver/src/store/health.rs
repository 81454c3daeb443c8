//! Tells health what becomes of the store and of leadership.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Replica;
use crate::handle::DriverHealth;

/// Writes into the driver's health; watchers are woken only by changes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(Arc<watch::Sender<DriverHealth>>);

impl Reporter {
    pub(crate) fn new(health: watch::Sender<DriverHealth>) -> Self {
        Self(Arc::new(health))
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

    /// Who leads.
    pub(crate) fn leader_is(&self, leader: Option<Replica>) {
        self.update(|health| health.leader = leader);
    }
}
