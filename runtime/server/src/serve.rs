//! Puts the ports in front of a core and serves until told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use berth_driver::{
    Clock, Connect, CoreHandle, DirectConnect, Driver, DriverConfig, DriverJoin, Endpoints,
    Replica, Secret, StoreFactory,
};
use rustls::crypto::CryptoProvider;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::config::{ServerConfig, StoreConfig};
use crate::forward::Peers;
use crate::grpc;
use crate::listener::{Listener, Protocol};
use crate::metrics::{DriverSource, Metrics};
use crate::rest;
use crate::tls::{self, Alpn};

/// How long what is in flight may take to finish after the end was asked for.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often a connection to another replica is checked while calls wait on it, and how long an
/// answer may take.
const PEER_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(2));
/// How often health is looked at, for the health service and the time of its last change.
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the scheduler over a store until `shutdown` is cancelled, then ends gracefully: the ports
/// close, what is in flight finishes within [`PATIENCE`], leadership is given up.
///
/// # Errors
/// It cannot start (a port, a certificate), or a part of it panicked.
pub async fn serve(
    config: ServerConfig,
    store: impl StoreFactory,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    start(config, store, shutdown).await?.finished().await
}

/// Starts the scheduler over a store, and returns as soon as both ports are bound.
///
/// # Errors
/// It cannot start: a port cannot be bound, or a certificate cannot be used.
pub async fn start(
    config: ServerConfig,
    store: impl StoreFactory,
    shutdown: CancellationToken,
) -> anyhow::Result<Running> {
    tls::install_crypto_provider();
    let ports = Ports::bind(&config).await?;
    let agents = match &config.tls {
        None => DirectConnect::default(),
        Some(files) => {
            let identity = Some((&files.cert, &files.key));
            DirectConnect {
                tls: Some(tls::client_config(&files.ca, identity)?),
                ..DirectConnect::default()
            }
        }
    };
    let peers = DirectConnect {
        keepalive: PEER_KEEPALIVE,
        ..agents.clone()
    };
    let surroundings = Surroundings {
        ports,
        agents: Arc::new(agents),
        peers: Arc::new(peers),
        secret: secret()?,
        clock: Clock::system(),
    };
    start_in(config, surroundings, store, shutdown)
}

/// What a scheduler stands on besides its configuration and its store. Simulated worlds have
/// their own.
#[derive(Debug)]
pub struct Surroundings {
    /// Where it listens; the addresses of the configuration are not looked at.
    pub ports: Ports,
    /// How agents are reached.
    pub agents: Arc<dyn Connect>,
    /// How other replicas are reached.
    pub peers: Arc<dyn Connect>,
    /// What other replicas must show; nobody can guess it.
    pub secret: Secret,
    /// The time.
    pub clock: Clock,
}

/// A text that nobody can guess.
fn secret() -> anyhow::Result<Secret> {
    let provider = CryptoProvider::get_default().context("there is no cryptography")?;
    let mut bytes = [0; 24];
    let filled = provider.secure_random.fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
    Ok(Secret::new(
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

/// Starts the scheduler over a store, standing on `surroundings`.
///
/// # Errors
/// It cannot start.
pub fn start_in(
    config: ServerConfig,
    surroundings: Surroundings,
    store: impl StoreFactory,
    shutdown: CancellationToken,
) -> anyhow::Result<Running> {
    let ports = surroundings.ports;
    let own = Replica {
        id: config.replica_id.clone(),
        grpc_address: published(config.advertise.as_deref(), ports.grpc.address()),
        http_address: reachable(ports.http.address()),
        secret: surroundings.secret,
    };
    let peers = Peers {
        own: own.clone(),
        connect: surroundings.peers,
    };
    let mut driver = DriverConfig::new(own);
    driver.core = config.core.clone();
    driver.store.prefix.clone_from(&config.prefix);
    driver.store.lease_ttl = config.lease_ttl;
    driver.store.seen_file.clone_from(&config.seen_file);
    driver.agents = surroundings.agents;
    driver.clock = surroundings.clock;
    let driver_shutdown = driver.shutdown.clone();
    let metrics = DriverSource::from(driver.metrics.clone());
    let (core, join) = Driver::spawn(driver, store);
    let behind = Behind {
        core: core.clone(),
        driver: Some(metrics),
        peers: Some(peers),
    };
    let bound = ports.serve(&config, behind, shutdown.clone())?;
    Ok(Running {
        grpc: bound.grpc,
        http: bound.http,
        core,
        bound,
        join,
        shutdown,
        driver_shutdown,
    })
}

/// The way to the etcd of a configuration, as a driver takes it.
///
/// # Errors
/// A certificate cannot be read; the message names the file. No authority is named, and the system
/// has none.
pub fn etcd(config: &StoreConfig) -> anyhow::Result<Endpoints> {
    tls::install_crypto_provider();
    let secure = config.etcd.iter().any(|url| url.starts_with("https://"));
    let identity = config.tls.identity.as_ref();
    let identity = identity.map(|(cert, key)| (cert, key));
    let tls = match (secure, &config.tls.ca) {
        (false, _) => None,
        (true, Some(ca)) => Some(tls::client_config(ca, identity)?),
        (true, None) => Some(tls::system_client_config(identity).context(
            "etcd's certificate cannot be checked; --etcd-ca names the authority of it",
        )?),
    };
    Ok(Endpoints {
        endpoints: config.etcd.clone(),
        tls,
        user: None,
    })
}

/// A scheduler that runs.
#[derive(Debug)]
pub struct Running {
    /// Where gRPC is.
    pub grpc: SocketAddr,
    /// Where REST is.
    pub http: SocketAddr,
    /// The door to its core.
    pub core: CoreHandle,
    bound: Bound,
    join: DriverJoin,
    shutdown: CancellationToken,
    driver_shutdown: CancellationToken,
}

impl Running {
    /// Waits for the end, which begins when the token of [`start`] is cancelled or a part fails.
    ///
    /// # Errors
    /// A part of it panicked.
    pub async fn finished(self) -> anyhow::Result<()> {
        let mut driver = tokio::spawn(self.join.join());
        let early = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            ended = &mut driver => Some(ended),
        };
        // The ports first: what they still wait for needs the core.
        self.shutdown.cancel();
        self.bound.finished().await;
        self.driver_shutdown.cancel();
        let ended = match early {
            Some(ended) => ended,
            None => driver.await,
        };
        ended.context("the driver's end cannot be told")??;
        Ok(())
    }
}

/// Cancelled so long after `first`: meanwhile this replica says that it is not ready and serves all
/// the same, so that those who send clients here notice before the ports close.
fn after(first: &CancellationToken, delay: Duration) -> CancellationToken {
    if delay.is_zero() {
        return first.clone();
    }
    let (first, second) = (first.clone(), CancellationToken::new());
    let later = second.clone();
    tokio::spawn(async move {
        first.cancelled().await;
        tokio::time::sleep(delay).await;
        later.cancel();
    });
    second
}

/// What the ports stand in front of.
struct Behind {
    core: CoreHandle,
    driver: Option<DriverSource>,
    peers: Option<Peers>,
}

/// Both ports, bound.
#[derive(Debug)]
pub struct Ports {
    /// gRPC's.
    pub grpc: Listener,
    /// REST's.
    pub http: Listener,
}

impl Ports {
    async fn bind(config: &ServerConfig) -> anyhow::Result<Self> {
        let tls = |alpn| {
            let files = config.tls.as_ref();
            files
                .map(|files| tls::server_config(files, alpn))
                .transpose()
        };
        let most = config.limits.connections_max;
        let (grpc_tls, http_tls) = (tls(Alpn::Http2)?, tls(Alpn::Http1AndHttp2)?);
        Ok(Self {
            grpc: Listener::bind(config.grpc_addr, Protocol::Grpc, grpc_tls, most).await?,
            http: Listener::bind(config.http_addr, Protocol::Http, http_tls, most).await?,
        })
    }

    fn serve(
        self,
        config: &ServerConfig,
        behind: Behind,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Bound> {
        let ending = shutdown;
        let shutdown = after(&ending, config.shutdown_delay);
        let (grpc, http) = (self.grpc.address(), self.http.address());
        let metrics = Metrics::new()?.with_driver(behind.driver);
        let replica = config.replica_id.clone();
        let mut api = Api::new(
            behind.core,
            metrics,
            config.limits.clone(),
            replica,
            shutdown.clone(),
        )
        .ending_with(ending);
        if let Some(peers) = behind.peers {
            api = api.with_peers(peers);
        }
        let (grpc_router, reporter) = grpc::router(&api)?;
        let http_router = rest::router(&api);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.grpc.serve(grpc_router, shutdown.clone(), PATIENCE));
        tasks.spawn(self.http.serve(http_router, shutdown.clone(), PATIENCE));
        tasks.spawn(watch_health(api, reporter, shutdown));
        tracing::info!(%grpc, %http, tls = config.tls.is_some(), "serving");
        Ok(Bound { grpc, http, tasks })
    }
}

/// The ports of a server that serves.
#[derive(Debug)]
pub struct Bound {
    /// Where gRPC is.
    pub grpc: SocketAddr,
    /// Where REST is.
    pub http: SocketAddr,
    tasks: JoinSet<()>,
}

impl Bound {
    /// Waits until every port has closed, which begins when the token of [`serve_apis`] is
    /// cancelled and takes at most [`PATIENCE`].
    pub async fn finished(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Serves both ports in front of a core that somebody else drives, until `shutdown` is cancelled.
/// Returns as soon as both are bound; port 0 takes any that is free.
///
/// # Errors
/// A port cannot be bound, or a certificate cannot be used; the message says which.
pub async fn serve_apis(
    config: &ServerConfig,
    core: CoreHandle,
    driver: Option<DriverSource>,
    shutdown: CancellationToken,
) -> anyhow::Result<Bound> {
    let behind = Behind {
        core,
        driver,
        peers: None,
    };
    Ports::bind(config).await?.serve(config, behind, shutdown)
}

/// Where other replicas reach a port that listens here.
fn published(advertise: Option<&str>, listens: SocketAddr) -> String {
    advertise.map_or_else(|| reachable(listens), ToOwned::to_owned)
}

/// How others reach an address: a port on every interface is reached by the host's name.
fn reachable(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("{}:{}", crate::config::host_name(), address.port()),
        false => address.to_string(),
    }
}

async fn watch_health(
    api: Api,
    reporter: tonic_health::server::HealthReporter,
    shutdown: CancellationToken,
) {
    let (mut told, mut told_ready) = (None, None);
    while !shutdown.is_cancelled() {
        let report = api.health().report();
        if told != Some(report.mode) {
            if told.is_some() {
                let (mode, reason) = (report.mode.name(), report.reason);
                tracing::info!(mode, reason, "the mode changed");
            }
            told = Some(report.mode);
        }
        let ready = api.not_ready().is_none();
        if told_ready != Some(ready) {
            grpc::report_health(&reporter, ready).await;
            told_ready = Some(ready);
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
    // Balancers look elsewhere while what is in flight finishes.
    grpc::report_health(&reporter, false).await;
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
