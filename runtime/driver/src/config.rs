//! What the driver needs to know.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_core::Config;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::agents::{Connect, DirectConnect};
use crate::clock::Clock;
use crate::metrics::DriverMetrics;

/// This replica, as the others and their clients see it. Stored in the leadership key as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Tells replicas apart.
    pub id: String,
    /// Where clients and agents reach its gRPC, `host:port`; may be empty.
    #[serde(default)]
    pub grpc_address: String,
    /// Where clients reach its REST, `host:port`; may be empty.
    #[serde(default)]
    pub http_address: String,
    /// What another replica must show for a call that it sends on. Whoever can read the leadership
    /// key knows it: replicas, and nobody who only reaches the ports. Empty: none is accepted.
    #[serde(default, skip_serializing_if = "Secret::is_empty")]
    pub secret: Secret,
}

/// A text that is neither logged nor shown.
#[derive(Clone, Default, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// This text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// There is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, for whom it is meant.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether somebody knows it. Takes as long for a nearly right text as for a wrong one.
    #[must_use]
    pub fn is_known_as(&self, shown: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), shown.as_bytes());
        let difference = ours
            .iter()
            .zip(theirs)
            .fold(0, |difference, (one, other)| difference | (one ^ other));
        !ours.is_empty() && ours.len() == theirs.len() && difference == 0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is_known_as(&other.0) || (self.is_empty() && other.is_empty())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "***" })
    }
}

/// How the store is used.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// In front of every key; empty, or a text that begins with `/` and does not end with it.
    pub prefix: String,
    /// The leadership lease's time to live; whole seconds, at least 1. What the store grants
    /// counts, which may be more.
    pub lease_ttl: Duration,
    /// Deadline of a transaction; after it, its fate is unknown.
    pub commit_timeout: Duration,
    /// Deadline of every other request.
    pub request_timeout: Duration,
    /// Deadline of connecting.
    pub connect_timeout: Duration,
    /// The first pause between two tries to reach the store; doubles up to `backoff_max`.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Keys in one page of a load.
    pub page_keys: usize,
    /// Limits of one transaction.
    pub group: GroupLimits,
    /// Transactions in flight at once; beyond 8 large ones only latency grows.
    pub commits_in_flight_max: usize,
    /// How often the store's history is compacted; `None`: somebody else does it.
    pub compact_interval: Option<Duration>,
    /// Revisions that a compaction keeps at least.
    pub compact_keep: i64,
    /// Where it is written how far the store was seen, for the next life of this process; `None`:
    /// a restarted process does not notice that the store was restored meanwhile, unless another
    /// replica or the agents do.
    pub seen_file: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            lease_ttl: Duration::from_secs(5),
            commit_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            page_keys: 3_000,
            group: GroupLimits::default(),
            commits_in_flight_max: 8,
            compact_interval: Some(Duration::from_secs(300)),
            compact_keep: 1_000,
            seen_file: None,
        }
    }
}

/// What fits into one transaction of the store. etcd allows 128 operations, as many compares, and
/// 1.5 MiB by default.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// Operations.
    pub ops_max: usize,
    /// Compares, the fence not counted. As many reads tell what is when they fail.
    pub compares_max: usize,
    /// Bytes of keys and values.
    pub bytes_max: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        Self {
            ops_max: 120,
            compares_max: 120,
            bytes_max: 1024 * 1024,
        }
    }
}

/// Everything that [`crate::Driver::spawn`] needs besides the way to the store.
#[derive(Debug, Clone)]
pub struct DriverConfig {
    /// The core's.
    pub core: Config,
    /// This replica.
    pub replica: Replica,
    /// The store's.
    pub store: StoreConfig,
    /// How agents are reached.
    pub agents: Arc<dyn Connect>,
    /// The time.
    pub clock: Clock,
    /// Cancelled to shut down: what is in flight is finished, then leadership is given up.
    pub shutdown: CancellationToken,
    /// How long shutting down waits for the transactions in flight.
    pub shutdown_grace: Duration,
    /// Where to count.
    pub metrics: Arc<DriverMetrics>,
    /// Requests that may wait for the core; beyond it they are refused as overload.
    pub submissions_max: usize,
    /// Events that a slow watcher may lag behind before it loses some.
    pub events_buffered: usize,
}

impl DriverConfig {
    /// The defaults: agents in the clear, the system's clock. To be called inside a tokio runtime.
    #[must_use]
    pub fn new(replica: Replica) -> Self {
        Self {
            core: Config::default(),
            replica,
            store: StoreConfig::default(),
            agents: Arc::new(DirectConnect::default()),
            clock: Clock::system(),
            shutdown: CancellationToken::new(),
            shutdown_grace: Duration::from_secs(5),
            metrics: Arc::default(),
            submissions_max: 4_096,
            events_buffered: 4_096,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_the_whole_text_and_shown_to_nobody() {
        let secret = Secret::new("0123".to_owned());
        assert!(secret.is_known_as("0123"));
        for wrong in ["", "0124", "012", "01234", "1123"] {
            assert!(!secret.is_known_as(wrong), "{wrong}");
        }
        assert!(
            !Secret::default().is_known_as(""),
            "no secret is no password"
        );
        let replica = Replica {
            secret,
            ..Replica::default()
        };
        assert!(!format!("{replica:?}").contains("0123"));
        let stored = serde_json::to_string(&replica).unwrap();
        assert_eq!(serde_json::from_str::<Replica>(&stored).unwrap(), replica);
    }

    #[test]
    fn a_record_of_an_older_version_has_no_secret() {
        let old: Replica = serde_json::from_str(r#"{"id":"a"}"#).unwrap();
        assert!(old.secret.is_empty());
    }
}
