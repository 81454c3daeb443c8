//! Connections to agents: one for each endpoint, made when it is first needed, dropped when it
//! has not been used for a while.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// Makes channels to agents. The server's own may take certificates that change; simulated
/// networks have theirs.
pub trait Connect: fmt::Debug + Send + Sync + 'static {
    /// A channel to `endpoint` (`host:port`) that connects when it is first used, and again after
    /// it broke.
    ///
    /// # Errors
    /// When `endpoint` is not an address; the text is for people.
    fn channel(&self, endpoint: &str) -> Result<Channel, String>;
}

/// Connects over TCP, with TLS if configured.
#[derive(Debug, Clone)]
pub struct DirectConnect {
    /// Certificates; `None`: in the clear.
    pub tls: Option<ClientTlsConfig>,
    /// Deadline of connecting.
    pub connect_timeout: Duration,
    /// How often a connection that carries calls is checked, and how long an answer may take.
    pub keepalive: (Duration, Duration),
}

impl Default for DirectConnect {
    fn default() -> Self {
        Self {
            tls: None,
            connect_timeout: Duration::from_secs(3),
            keepalive: (Duration::from_secs(10), Duration::from_secs(5)),
        }
    }
}

impl DirectConnect {
    /// The endpoint with everything but the way to reach it, for other [`Connect`]s.
    ///
    /// # Errors
    /// When `endpoint` is not an address, or the certificates do not fit together.
    pub fn endpoint(&self, endpoint: &str) -> Result<Endpoint, String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let wrong = |error: tonic::transport::Error| {
            format!("{endpoint:?} is not an address of an agent: {error}")
        };
        let (interval, timeout) = self.keepalive;
        // Agents in Go tear down connections that are pinged often without calls: not while idle.
        let made = Endpoint::from_shared(format!("{scheme}://{endpoint}"))
            .map_err(wrong)?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(false)
            .tcp_nodelay(true);
        match &self.tls {
            Some(tls) => made.tls_config(tls.clone()).map_err(wrong),
            None => Ok(made),
        }
    }
}

impl Connect for DirectConnect {
    fn channel(&self, endpoint: &str) -> Result<Channel, String> {
        Ok(self.endpoint(endpoint)?.connect_lazy())
    }
}

/// After this long without a call, a connection is dropped.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// How often idle connections are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The connections.
#[derive(Debug)]
pub(crate) struct Pool {
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    /// In order, so that they are dropped in the same order in every run.
    channels: BTreeMap<String, Entry>,
    swept: Instant,
}

#[derive(Debug)]
struct Entry {
    channel: Channel,
    used: Instant,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::new(Entries {
                channels: BTreeMap::new(),
                swept: Instant::now(),
            }),
        }
    }

    /// The channel of an endpoint, made if there is none.
    pub(crate) fn get(&self, endpoint: &str, connect: &dyn Connect) -> Result<Channel, String> {
        let now = Instant::now();
        // Nothing panics while it holds the lock; were it so, the map would still be whole.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(entries.swept) >= SWEEP_INTERVAL {
            entries.swept = now;
            entries
                .channels
                .retain(|_, entry| now.duration_since(entry.used) < IDLE_MAX);
        }
        if let Some(entry) = entries.channels.get_mut(endpoint) {
            entry.used = now;
            return Ok(entry.channel.clone());
        }
        let channel = connect.channel(endpoint)?;
        let entry = Entry {
            channel: channel.clone(),
            used: now,
        };
        entries.channels.insert(endpoint.to_owned(), entry);
        Ok(channel)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.lock().unwrap().channels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_dropped() {
        let (pool, connect) = (Pool::new(), DirectConnect::default());
        pool.get("127.0.0.1:1", &connect).unwrap();
        pool.get("127.0.0.1:2", &connect).unwrap();
        assert_eq!(pool.len(), 2);
        tokio::time::advance(IDLE_MAX / 2).await;
        pool.get("127.0.0.1:2", &connect).unwrap();
        tokio::time::advance(IDLE_MAX / 2).await;
        pool.get("127.0.0.1:2", &connect).unwrap();
        assert_eq!(pool.len(), 1);
    }

    #[tokio::test]
    async fn what_is_not_an_address_is_refused_with_its_name() {
        let connect = DirectConnect::default();
        let error = Pool::new().get("no address", &connect).unwrap_err();
        assert!(error.contains("no address"), "{error}");
    }
}
