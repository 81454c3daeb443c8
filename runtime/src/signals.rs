//! The signals that end the process.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Somebody asked for the end a second time.
static ENOUGH: Notify = Notify::const_new();

/// Runs a command to its end, or drops it where it is when the end is asked for a second time
/// (see [`Signals::no_patience`]); then `None`.
pub(crate) async fn unless_enough<T>(command: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = command => Some(done),
        () = ENOUGH.notified() => None,
    }
}

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes them from now on; without this they end the process at once.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn take() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// From now on, another signal ends the process without ceremony: whoever asks twice does not
    /// want to wait.
    pub(crate) fn no_patience(mut self) {
        tokio::spawn(async move {
            let name = self.next().await;
            eprintln!("{name} again: ending at once");
            ENOUGH.notify_one();
        });
    }
}
