//! Standard output and error, and whether a person looks at them.

use std::io::{self, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use berth_core::Timestamp;

/// How a word is meant; becomes a colour on a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// On its way.
    Busy,
    /// Somebody should look.
    Bad,
    /// Less important.
    Dim,
    /// A heading.
    Strong,
}

impl Tone {
    const fn ansi(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Dim => "\x1b[2m",
            Self::Strong => "\x1b[1m",
        }
    }

    /// The text in this tone.
    #[must_use]
    pub fn paint(self, text: &str, colored: bool) -> String {
        if colored && self != Self::Plain && !text.is_empty() {
            format!("{}{text}\x1b[0m", self.ansi())
        } else {
            text.to_owned()
        }
    }
}

/// Where a command writes.
pub struct Console {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    colored: bool,
    live: bool,
    counter_shown: bool,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("colored", &self.colored)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl Console {
    /// The process's own streams. Colours only on a terminal, and not with `NO_COLOR` set.
    #[must_use]
    pub fn process() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            colored: io::stdout().is_terminal() && !no_color && !dumb,
            live: io::stderr().is_terminal() && !dumb,
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            counter_shown: false,
        }
    }

    /// Plain text into these writers.
    #[must_use]
    pub fn plain(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            err,
            colored: false,
            live: false,
            counter_shown: false,
        }
    }

    /// Whether to colour.
    #[must_use]
    pub const fn colored(&self) -> bool {
        self.colored
    }

    /// Whether a person watches progress on standard error.
    #[must_use]
    pub const fn live(&self) -> bool {
        self.live
    }

    /// A line to standard output.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.clear_counter()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Text to standard output as it is.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.clear_counter()?;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// A line to standard error.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        self.clear_counter()?;
        writeln!(self.err, "{text}")?;
        self.err.flush()
    }

    /// Replaces the live line at the bottom of a terminal; nothing elsewhere.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn counter(&mut self, text: &str) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        write!(self.err, "\r\x1b[K{text}")?;
        self.counter_shown = true;
        self.err.flush()
    }

    /// Takes the live line away.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn clear_counter(&mut self) -> io::Result<()> {
        if self.counter_shown {
            self.counter_shown = false;
            write!(self.err, "\r\x1b[K")?;
            self.err.flush()?;
        }
        Ok(())
    }

    /// The time by this machine's clock, for ages.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
