//! Who leads. The watch of the store tells it; when whom it names turns out not to lead, because it
//! lags behind, the store itself is read: by one call for all, and at most once a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_driver::{CoreHandle, Replica};
use tokio::time::{Instant, timeout_at};

/// Between two reads.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a call waits for one, and never longer than half of the time that it has left.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Somebody who is believed to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) leader: Replica,
    /// Whom the watch named then: the same one, or one that it names too long.
    pub(super) told: Replica,
}

/// Finds who leads.
#[derive(Debug)]
pub(super) struct Finder {
    core: CoreHandle,
    /// When the store was read last. Held while it is read.
    looked: tokio::sync::Mutex<Option<Instant>>,
    /// Who was found while the watch named another one; of no use once it names somebody else.
    found: Mutex<Option<Lead>>,
}

impl Finder {
    pub(super) fn new(core: CoreHandle) -> Self {
        Self {
            core,
            looked: tokio::sync::Mutex::default(),
            found: Mutex::default(),
        }
    }

    /// Who leads as far as is known.
    pub(super) fn lead(&self) -> Option<Lead> {
        let told = self.core.health().leader?;
        // Nothing panics while it holds the lock.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.as_ref().is_some_and(|found| found.told != told) {
            *found = None;
        }
        Some(found.clone().unwrap_or_else(|| Lead {
            leader: told.clone(),
            told,
        }))
    }

    /// Who leads instead of `missed`, which does not. `None`: nobody else is known to.
    pub(super) async fn instead_of(&self, missed: &Replica, until: Instant) -> Option<Lead> {
        let now = Instant::now();
        let patience = until.saturating_duration_since(now) / 2;
        let looking = timeout_at(now + patience.min(LOOK_MAX), self.look(missed));
        looking.await.ok().flatten()
    }

    async fn look(&self, missed: &Replica) -> Option<Lead> {
        let mut looked = self.looked.lock().await;
        // The watch went on, or somebody else looked meanwhile.
        if let Some(lead) = self.lead()
            && lead.leader != *missed
        {
            return Some(lead);
        }
        if looked.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return None;
        }
        // Counted even if the call that waits for it is given up.
        *looked = Some(Instant::now());
        let leader = self.core.read_leader().await?;
        let told = self.core.health().leader?;
        if leader == *missed {
            return None;
        }
        tracing::info!(
            leader = leader.id,
            told = told.id,
            "the store names another leader than the watch did"
        );
        let lead = Lead { leader, told };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = (lead.leader != lead.told).then(|| lead.clone());
        Some(lead)
    }
}
