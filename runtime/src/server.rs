//! `berth server`.

use berth_server::ServerArgs;
use berth_server::config::{Log, LogFormat, LogLevel};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use crate::logging::{self, Format, LogArgs};
use crate::signals::Signals;

/// Runs a scheduler until a signal ends it.
///
/// # Errors
/// A wrong configuration, a port that is taken, or a fault.
pub(crate) async fn run(args: ServerArgs) -> anyhow::Result<()> {
    let config = args.resolve()?;
    init_log(config.log)?;
    let store = berth_server::etcd(&config.store())?;
    let mut signals = Signals::take()?;
    let shutdown = CancellationToken::new();
    let running = berth_server::start(config, store, shutdown.clone()).await?;
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "ending");
        shutdown.cancel();
        signals.no_patience();
    });
    running.finished().await
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
