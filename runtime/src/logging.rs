//! Logs: structured, to standard error.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How to log.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogArgs {
    /// What to log: error, warn, info, debug, trace, or filters such as warn,berth_driver=debug
    /// [default: info, of `berth dev` warn]
    #[arg(long, env = "BERTH_LOG", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How lines look
    #[arg(long, env = "BERTH_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: Format,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to log.
///
/// # Errors
/// A filter that cannot be read.
pub(crate) fn init(args: &LogArgs, default: LevelFilter) -> anyhow::Result<()> {
    let filter = match &args.log_level {
        None => EnvFilter::new(default.to_string()),
        Some(text) => EnvFilter::try_new(text).map_err(|error| {
            let rule = "expected a level such as info, or filters such as warn,berth_driver=debug";
            crate::Usage(format!("--log-level {text:?}: {error}; {rule}"))
        })?,
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match args.log_format {
        Format::Text => log.with_target(false).init(),
        Format::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
