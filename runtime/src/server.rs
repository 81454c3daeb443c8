//! `berth server`.

use anyhow::Context;
use berth_driver::store::Endpoints;
use berth_server::config::{Log, LogFormat, LogLevel};
use berth_server::{ServerArgs, ServerConfig};
use etcd_client::{Certificate, Identity, TlsOptions};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use crate::logging::{self, Format, LogArgs};
use crate::scheduler;
use crate::signals::Signals;

/// Runs a scheduler until a signal ends it.
///
/// # Errors
/// A wrong configuration, a port that is taken, or a fault.
pub(crate) async fn run(args: ServerArgs) -> anyhow::Result<()> {
    let config = args.resolve()?;
    init_log(config.log)?;
    berth_server::tls::install_crypto_provider();
    let store = Endpoints {
        endpoints: config.etcd.clone(),
        tls: etcd_tls(&config)?,
        user: None,
    };
    let mut signals = Signals::take()?;
    let shutdown = CancellationToken::new();
    let running = scheduler::start(&config, store, shutdown.clone()).await?;
    let driver = running.driver.join();
    tokio::pin!(driver);
    tokio::select! {
        failed = &mut driver => {
            shutdown.cancel();
            running.bound.finished().await;
            return failed.context("the scheduler ended by itself");
        }
        name = signals.next() => tracing::info!(signal = name, "ending"),
    }
    signals.no_patience();
    shutdown.cancel();
    running.bound.finished().await;
    driver.await?;
    Ok(())
}

fn init_log(log: Log) -> anyhow::Result<()> {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let args = LogArgs {
        // Finer than the setting: filters by module.
        log_level: std::env::var("BERTH_LOG")
            .ok()
            .filter(|text| !text.is_empty()),
        log_format: match log.format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        },
    };
    logging::init(&args, level)
}

fn etcd_tls(config: &ServerConfig) -> anyhow::Result<Option<TlsOptions>> {
    if !config.etcd.iter().any(|url| url.starts_with("https://")) {
        return Ok(None);
    }
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut tls = TlsOptions::new();
    if let Some(ca) = &config.etcd_tls.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let Some((cert, key)) = &config.etcd_tls.identity {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(Some(tls))
}
