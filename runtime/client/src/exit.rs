//! How a command ends: exit codes that scripts can rely on, and failures that say what to do next.

use std::fmt;

/// What the exit codes mean; shown by `berth --help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something went wrong that has no code of its own; a workload failed for good
  2  the command line is wrong
  3  not found
  4  refused or invalid: fix the request
  5  unavailable: the scheduler or its store cannot be reached; try again
  6  waiting took longer than --timeout";

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done.
    Done,
    /// Anything without a code of its own.
    Error,
    /// The command line is wrong.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// The server understood and refused; the same request will be refused again.
    Refused,
    /// Nobody answered, or not now.
    Unavailable,
    /// What was waited for did not happen in time.
    Timeout,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Unavailable => 5,
            Self::Timeout => 6,
        }
    }

    /// What an HTTP status means for the caller.
    #[must_use]
    pub const fn from_http(status: u16) -> Self {
        match status {
            200..=299 => Self::Done,
            404 => Self::NotFound,
            408 | 425 | 429 | 502 | 503 | 504 => Self::Unavailable,
            400..=499 => Self::Refused,
            _ => Self::Error,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong; empty when it was said already (or nobody reads, as with a closed pipe).
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with a message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// Ends with this code; what went wrong was said already.
    #[must_use]
    pub fn said(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    /// A reader that went away (`berth get ... | head`) is no failure.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::said(Exit::Done),
            _ => Self::new(Exit::Error, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_statuses_map_to_exit_codes() {
        let table = [
            (200, 0),
            (202, 0),
            (400, 4),
            (401, 4),
            (403, 4),
            (404, 3),
            (409, 4),
            (412, 4),
            (413, 4),
            (422, 4),
            (429, 5),
            (500, 1),
            (503, 5),
            (504, 5),
        ];
        for (status, code) in table {
            assert_eq!(Exit::from_http(status).code(), code, "{status}");
        }
    }

    #[test]
    fn the_help_names_every_code() {
        let all = [
            Exit::Done,
            Exit::Error,
            Exit::Usage,
            Exit::NotFound,
            Exit::Refused,
            Exit::Unavailable,
            Exit::Timeout,
        ];
        for exit in all {
            let line = format!("\n  {}  ", exit.code());
            assert!(EXIT_CODES.contains(&line), "{exit:?}");
        }
    }
}
