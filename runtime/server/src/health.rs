//! Health: what the driver says, in the words of the predecessor's `/health`, with the time of
//! the last change.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use berth_core::Timestamp;
use berth_driver::CoreHandle;
use berth_driver::handle::DriverHealth;
use serde::Serialize;

/// What this replica can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It leads: reads and writes.
    Normal,
    /// The store answers and another replica leads, or none does yet: reads, marked stale.
    Standby,
    /// The store is out of reach: reads, marked stale.
    Degraded,
}

impl Mode {
    /// All modes, in order.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Standby, Self::Degraded];

    /// The name in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Standby => "standby",
            Self::Degraded => "degraded",
        }
    }

    fn of(health: &DriverHealth) -> Self {
        if health.leading {
            Self::Normal
        } else if health.store_error.is_empty() {
            Self::Standby
        } else {
            Self::Degraded
        }
    }
}

/// The body of `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthReport {
    /// `ok` while it leads, else the mode.
    pub status: &'static str,
    /// What it can do.
    pub mode: Mode,
    /// Why it is not `normal`; empty when it is.
    pub reason: String,
    /// Since when.
    pub mode_changed_at: Timestamp,
    /// It leads and the store answers.
    pub leading: bool,
    /// Its epoch; 0 before it led.
    pub epoch: i64,
    /// The name of the replica that leads, as far as it is known.
    pub leader: Option<String>,
    /// The store.
    pub store: StoreReport,
    /// Inputs that wait for the core.
    pub inputs_waiting: usize,
}

/// What is known of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreReport {
    /// It answers.
    pub available: bool,
    /// Its last failure, with what to do about it; empty when all is well.
    pub error: String,
    /// How it does: fine, slow, resync, no-leader, unreachable, read-only or refused. Single answers
    /// do not change it.
    pub state: &'static str,
    /// Why, with what to do about it; empty when it is fine.
    pub why: String,
    /// It takes writes as far as is known.
    pub takes_writes: bool,
}

/// Health with the time of its last change.
#[derive(Debug)]
pub struct HealthTracker {
    core: CoreHandle,
    last: Mutex<(Mode, Timestamp)>,
}

impl HealthTracker {
    /// Watches the health behind `core`. It looks when asked: [`Self::report`] must be called now
    /// and then for an exact time of change, which the server's refresh task does.
    #[must_use]
    pub fn new(core: CoreHandle) -> Self {
        let mode = Mode::of(&core.health());
        Self {
            core,
            last: Mutex::new((mode, now())),
        }
    }

    /// Health now.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        let health = self.core.health();
        let mode = Mode::of(&health);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != mode {
            *last = (mode, now());
        }
        let reason = match mode {
            Mode::Normal => String::new(),
            Mode::Standby => "this replica does not lead".to_owned(),
            Mode::Degraded => health.store_error.clone(),
        };
        HealthReport {
            status: if mode == Mode::Normal {
                "ok"
            } else {
                mode.name()
            },
            mode,
            reason,
            mode_changed_at: last.1,
            leading: health.leading,
            epoch: health.epoch,
            leader: health.leader.map(|replica| replica.id),
            store: StoreReport {
                available: health.store_error.is_empty(),
                error: health.store_error,
                state: health.store.state.name(),
                takes_writes: health.store.state.takes_writes(),
                why: health.store.why,
            },
            inputs_waiting: health.inputs_waiting,
        }
    }
}

/// The wall clock, for people to read.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::from_millis(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;

    #[tokio::test]
    async fn the_time_of_change_moves_with_the_mode_only() {
        let script = Script::silent();
        let tracker = HealthTracker::new(script.core());
        let first = tracker.report();
        assert_eq!((first.mode, first.status), (Mode::Normal, "ok"));
        assert_eq!(tracker.report().mode_changed_at, first.mode_changed_at);
        script.set_health(DriverHealth {
            store_error: "etcd does not answer".into(),
            ..DriverHealth::default()
        });
        let second = tracker.report();
        assert_eq!(second.mode, Mode::Degraded);
        assert_eq!(second.reason, "etcd does not answer");
        assert!(second.mode_changed_at >= first.mode_changed_at);
        assert!(!second.store.available);
        script.set_health(DriverHealth::default());
        assert_eq!(tracker.report().mode, Mode::Standby);
    }
}
