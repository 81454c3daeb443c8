//! Waiting for something, with a deadline and the last state that was seen.

use std::time::{Duration, Instant};

/// How long between two looks.
const POLL: Duration = Duration::from_millis(25);

/// Seconds.
#[must_use]
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Looks until `condition` holds and returns what it found and how long it took. `Err` of the
/// condition is the state that was seen instead; it stands in the failure.
///
/// # Panics
/// When the condition does not hold within `deadline`.
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> (T, Duration) {
    let started = Instant::now();
    loop {
        match condition().await {
            Ok(found) => return (found, started.elapsed()),
            Err(state) if started.elapsed() > deadline => {
                panic!("waited {deadline:?} for {what}; last seen: {state}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Looks again and again for the whole of `span`: the condition must hold all the time.
///
/// # Panics
/// When it does not.
pub async fn holds_for(
    what: &str,
    span: Duration,
    mut condition: impl AsyncFnMut() -> Result<(), String>,
) {
    let started = Instant::now();
    while started.elapsed() < span {
        if let Err(state) = condition().await {
            panic!("{what} did not hold after {:?}: {state}", started.elapsed());
        }
        tokio::time::sleep(POLL).await;
    }
}
