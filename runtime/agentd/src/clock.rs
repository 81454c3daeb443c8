//! The time that the machine is told: the wall clock's at the start, and steady from there on.

use std::future::Future;
use std::time::{Duration, SystemTime};

use berth_core::Timestamp;
use tokio::time::Instant;

/// Never goes back, whatever happens to the wall clock meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    steady: Instant,
}

impl Clock {
    /// Starts at the wall clock's time. To be called inside a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self::starting_at(Timestamp::from_millis(millis))
    }

    /// Starts at a given time, for simulated worlds. To be called inside a tokio runtime.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            steady: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Timestamp {
        self.wall + self.steady.elapsed()
    }

    /// Sleeps until an instant; for ever without one. Not shorter: a machine that is woken too
    /// early has nothing to do and would be asked again at once.
    pub(crate) fn sleep_until(self, at: Option<Timestamp>) -> impl Future<Output = ()> + use<> {
        let at = at.map(|at| self.steady + at.since(self.wall) + Duration::from_micros(1));
        async move {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }
}
