//! The leadership lease: renewed well before it expires, and given up before anybody else can
//! believe that it has (S2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{LeaseClient, LeaseKeepAliveStream, LeaseKeeper};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::StoreError;
use super::health::Reporter;

/// How long this replica may act on its lease. Shared with whoever acts on it. Once anybody has seen
/// it end, it stays ended, even if a renewal is answered later.
#[derive(Debug, Clone)]
pub(crate) struct LeaseGuard {
    base: Instant,
    valid_ms: Arc<AtomicU64>,
}

impl LeaseGuard {
    /// Valid until `until`.
    pub(crate) fn until(until: Instant) -> Self {
        let base = Instant::now();
        let valid = until.saturating_duration_since(base).as_millis();
        let valid = u64::try_from(valid).unwrap_or(u64::MAX);
        Self {
            base,
            valid_ms: Arc::new(AtomicU64::new(valid)),
        }
    }

    /// Valid until `until` from now on, unless it has ended.
    fn extend(&self, until: Instant) {
        let valid = until.saturating_duration_since(self.base).as_millis();
        let valid = u64::try_from(valid).unwrap_or(u64::MAX);
        while self.is_valid() {
            let now = self.valid_ms.load(Ordering::Acquire);
            if now == 0 || self.exchange(now, valid) {
                return;
            }
        }
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        let done = self
            .valid_ms
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        done.is_ok()
    }

    /// When it ends unless it is renewed.
    fn end(&self) -> Instant {
        self.base + Duration::from_millis(self.valid_ms.load(Ordering::Acquire))
    }

    /// Whether the lease certainly still stands.
    pub(crate) fn is_valid(&self) -> bool {
        loop {
            let valid = self.valid_ms.load(Ordering::Acquire);
            if Instant::now() < self.base + Duration::from_millis(valid) {
                return true;
            }
            if valid == 0 || self.exchange(valid, 0) {
                return false;
            }
        }
    }
}

/// How long a lease that was asked for at one instant may be acted upon from then on: clocks may
/// run differently by 10 %, and stopping takes a moment.
pub(crate) fn usable(ttl: Duration) -> Duration {
    ttl.saturating_sub(ttl / 10 + Duration::from_millis(200))
}

/// A lease that was granted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    pub(crate) ttl: Duration,
    /// Before it was asked for.
    pub(crate) since: Instant,
}

/// Why a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// The store says that it does not exist any more.
    Gone,
    /// It could not be renewed in time.
    Expired,
}

type Stream = (LeaseKeeper, LeaseKeepAliveStream);

/// Renews the lease until it ends, and says why it did. Every answer extends `guard`, counted from the question.
pub(crate) async fn keep(
    mut client: LeaseClient,
    lease: Lease,
    guard: LeaseGuard,
    health: Reporter,
) -> LeaseEnd {
    let pause = (lease.ttl / 20).min(Duration::from_millis(500));
    let mut stream = None;
    let mut renewed = lease.since;
    let mut next = lease.since + lease.ttl / 3;
    loop {
        let end = guard.end();
        let wanted = next.min(end);
        sleep_until(wanted).await;
        let asked = Instant::now();
        if asked >= end {
            // A process that stood still is told from a store that is silent.
            tracing::warn!(
                ttl = ?lease.ttl, last_renewed_ago = ?asked - renewed, woke_late = ?asked - wanted,
                "the leadership lease could not be renewed in time"
            );
            return LeaseEnd::Expired;
        }
        // A try that hangs leaves time for another one.
        let patience = (asked + lease.ttl / 3).min(end);
        match timeout_at(patience, renew(&mut client, &mut stream, lease.id)).await {
            Ok(Ok(true)) => {
                health.answered(Some(asked.elapsed()));
                guard.extend(asked + usable(lease.ttl));
                renewed = asked;
                next = asked + lease.ttl / 3;
            }
            Ok(Ok(false)) => {
                tracing::warn!(
                    ttl = ?lease.ttl, last_renewed_ago = ?asked - renewed,
                    "the store has the leadership lease no more"
                );
                return LeaseEnd::Gone;
            }
            Ok(Err(error)) => {
                let error = StoreError::from(error);
                health.no_answer(&error.to_string());
                tracing::warn!(%error, "cannot renew the leadership lease, trying again");
                stream = None;
                next = Instant::now() + pause;
            }
            Err(_) => {
                health.no_answer("the renewal of the leadership lease is late");
                tracing::warn!("the renewal of the leadership lease is late, trying again");
                stream = None;
                next = Instant::now();
            }
        }
    }
}

/// Renews once. `false`: the lease does not exist any more.
async fn renew(
    client: &mut LeaseClient,
    stream: &mut Option<Stream>,
    id: i64,
) -> Result<bool, etcd_client::Error> {
    if let Some((keeper, answers)) = stream {
        keeper.keep_alive().await?;
        return match answers.message().await? {
            Some(answer) => Ok(answer.ttl() > 0),
            None => {
                let text = "the store closed the stream".to_owned();
                Err(etcd_client::Error::LeaseKeepAliveError(text))
            }
        };
    }
    match client.keep_alive(id).await {
        Ok(open) => {
            *stream = Some(open);
            Ok(true)
        }
        Err(etcd_client::Error::LeaseKeepAliveError(text)) if text == "lease not found" => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_given_up_before_it_expires() {
        let ttl = Duration::from_secs(5);
        assert_eq!(usable(ttl), Duration::from_millis(4_300));
        assert_eq!(usable(Duration::from_millis(100)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guard_ends_by_itself() {
        let guard = LeaseGuard::until(Instant::now() + Duration::from_secs(2));
        let shared = guard.clone();
        assert!(shared.is_valid());
        tokio::time::advance(Duration::from_secs(1)).await;
        guard.extend(Instant::now() + Duration::from_secs(2));
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert!(shared.is_valid());
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(!shared.is_valid());
        // An answer that came too late: who saw the end has stopped acting.
        guard.extend(Instant::now() + Duration::from_secs(1));
        assert!(!shared.is_valid());
    }
}
