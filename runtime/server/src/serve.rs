//! Puts the ports in front of a core and serves until told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use berth_driver::CoreHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::config::ServerConfig;
use crate::grpc;
use crate::listener::{Listener, Protocol};
use crate::metrics::{DriverSource, Metrics};
use crate::rest;
use crate::tls::{self, Alpn};

/// How long what is in flight may take to finish after the end was asked for.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often health is looked at, for the health service and the time of its last change.
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);

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

/// Serves both ports in front of `core` until `shutdown` is cancelled. Returns as soon as both are
/// bound; port 0 takes any that is free.
///
/// # Errors
/// A port cannot be bound, or a certificate cannot be used; the message says which.
pub async fn serve_apis(
    config: &ServerConfig,
    core: CoreHandle,
    driver: Option<DriverSource>,
    shutdown: CancellationToken,
) -> anyhow::Result<Bound> {
    let tls = |alpn| {
        let files = config.tls.as_ref();
        files
            .map(|files| tls::server_config(files, alpn))
            .transpose()
    };
    let most = config.limits.connections_max;
    let grpc_port =
        Listener::bind(config.grpc_addr, Protocol::Grpc, tls(Alpn::Http2)?, most).await?;
    let http_port = Listener::bind(
        config.http_addr,
        Protocol::Http,
        tls(Alpn::Http1AndHttp2)?,
        most,
    )
    .await?;
    let (grpc_addr, http_addr) = (grpc_port.address()?, http_port.address()?);
    let metrics = Metrics::new()?.with_driver(driver);
    let replica = config.replica_id.clone();
    let api = Api::new(
        core,
        metrics,
        config.limits.clone(),
        replica,
        shutdown.clone(),
    );
    let (grpc_router, reporter) = grpc::router(&api)?;
    let http_router = rest::router(&api);

    let mut tasks = JoinSet::new();
    tasks.spawn(grpc_port.serve(grpc_router, shutdown.clone(), PATIENCE));
    tasks.spawn(http_port.serve(http_router, shutdown.clone(), PATIENCE));
    tasks.spawn(watch_health(api, reporter, shutdown));
    tracing::info!(grpc = %grpc_addr, http = %http_addr, tls = config.tls.is_some(), "serving");
    Ok(Bound {
        grpc: grpc_addr,
        http: http_addr,
        tasks,
    })
}

async fn watch_health(
    api: Api,
    reporter: tonic_health::server::HealthReporter,
    shutdown: CancellationToken,
) {
    let mut told = None;
    while !shutdown.is_cancelled() {
        let report = api.health().report();
        if told != Some(report.mode) {
            grpc::report_health(&reporter, report.mode).await;
            if told.is_some() {
                let (mode, reason) = (report.mode.name(), report.reason);
                tracing::info!(mode, reason, "the mode changed");
            }
            told = Some(report.mode);
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
    // Balancers look elsewhere while what is in flight finishes.
    grpc::report_health(&reporter, crate::health::Mode::Standby).await;
}
