//! The command-line client, over REST. See the README for the map.
//!
//! ```text
//!  clap ── ClientCommand ── run ── cmd::* ──┬── manifest  files → checked JSON bodies
//!                                           ├── api       requests, problem documents
//!                                           ├── sse       the stream of events, resumed
//!                                           └── output    tables, units, colours
//! ```
//!
//! Nothing here knows rules of the scheduler: it shows what the server says, and translates
//! refusals into exit codes ([`exit::Exit`]) and into what to do next.

pub mod api;
pub mod cmd;
pub mod exit;
pub mod manifest;
pub mod output;
pub mod sse;

pub use cmd::ClientCommand;
pub use exit::{Exit, Failure};
pub use output::Console;

/// Runs a command; whatever it has to say goes to `console`.
pub async fn run(command: ClientCommand, mut console: Console) -> Exit {
    let result = cmd::dispatch(command, &mut console).await;
    // A closed standard error is nothing to complain about, and nowhere to do so.
    let _ = console.clear_counter();
    let Err(failure) = result else {
        return Exit::Done;
    };
    if !failure.message.is_empty() {
        let tone = output::Tone::Bad.paint("error:", console.colored());
        let _ = console.note(&format!("{tone} {}", failure.message));
    }
    if let Some(hint) = &failure.hint {
        let _ = console.note(&format!("hint: {hint}"));
    }
    failure.exit
}
