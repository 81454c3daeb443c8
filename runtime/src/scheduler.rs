//! A scheduler put together: the driver over a store, the ports in front of it. `berth server` and
//! `berth dev` differ in the store that they hand in, and in nothing else.

use std::sync::Arc;

use anyhow::Context;
use berth_driver::store::StoreFactory;
use berth_driver::{
    CoreHandle, DirectConnect, Driver, DriverConfig, DriverJoin, Replica, StoreConfig,
};
use berth_server::{Bound, ServerConfig, serve_apis};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// A scheduler that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// The door to its core.
    pub(crate) core: CoreHandle,
    /// Its ports.
    pub(crate) bound: Bound,
    /// Its end, also when it fails.
    pub(crate) driver: DriverJoin,
}

/// Starts a scheduler; returns when its ports are bound, before it leads. It ends when `shutdown`
/// is cancelled.
///
/// # Errors
/// A port is taken, or a certificate cannot be read.
pub(crate) async fn start(
    config: &ServerConfig,
    store: impl StoreFactory,
    shutdown: CancellationToken,
) -> anyhow::Result<Running> {
    let replica = Replica {
        id: config.replica_id.clone(),
        grpc_address: config.grpc_addr.to_string(),
        http_address: config.http_addr.to_string(),
    };
    let mut driver = DriverConfig::new(replica);
    driver.core = config.core.clone();
    driver.store = StoreConfig {
        prefix: config.prefix.clone(),
        lease_ttl: config.lease_ttl,
        ..StoreConfig::default()
    };
    driver.agents = Arc::new(DirectConnect {
        tls: agent_tls(config)?,
        ..DirectConnect::default()
    });
    // Not the caller's token: leadership is given up after the ports have closed.
    let end = CancellationToken::new();
    driver.shutdown = end.clone();
    let (core, join) = Driver::spawn(driver, store);
    match serve_apis(config, core.clone(), None, shutdown.clone()).await {
        Ok(bound) => {
            tokio::spawn(async move {
                shutdown.cancelled().await;
                end.cancel();
            });
            Ok(Running {
                core,
                bound,
                driver: join,
            })
        }
        Err(error) => {
            end.cancel();
            // The reason is the port's; what the driver says to being ended is not.
            let _ = join.join().await;
            Err(error)
        }
    }
}

/// Agents are called with the certificate of the ports.
fn agent_tls(config: &ServerConfig) -> anyhow::Result<Option<ClientTlsConfig>> {
    let Some(files) = &config.tls else {
        return Ok(None);
    };
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let identity = Identity::from_pem(read(&files.cert)?, read(&files.key)?);
    let authority = Certificate::from_pem(read(&files.ca)?);
    let tls = ClientTlsConfig::new()
        .ca_certificate(authority)
        .identity(identity);
    Ok(Some(tls))
}
