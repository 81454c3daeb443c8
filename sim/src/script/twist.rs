//! One thing that goes wrong at a point that is counted: what the systematic search varies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What goes wrong, and at which of the points of its kind, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "at")]
pub enum Twist {
    /// The scheduler that wrote dies right after its write took effect, before it hears of it.
    CrashAfterWrite(u64),
    /// A scheduler dies right after this order of its core went out.
    CrashAfterOutput(u64),
    /// A message is lost, and with it its connection's state if it was one to the store.
    Drop(u64),
    /// A message arrives twice, the second time late.
    Double(u64),
    /// A message arrives after those that follow it.
    Delay(u64),
    /// What a watch tells is held back until its connection is made anew.
    HideWatch(u64),
    /// A read of the store is answered from an older revision: so many revisions back, at a read.
    StaleRead {
        /// Which read.
        read: u64,
        /// How old its answer is.
        back: u64,
    },
    /// A commit takes effect and its answer is lost.
    UnknownDone(u64),
    /// A commit is lost on its way, and nobody says so.
    UnknownNotDone(u64),
    /// A scheduler stands still for longer than its lease, right before a step of its core.
    Pause(u64),
    /// An agent's process dies between an act and its record: right after this order to its
    /// runtime, or right before this write to its disk.
    CrashAgent(u64),
}

impl Twist {
    /// What goes wrong in a word, and at which point.
    const fn parts(self) -> (&'static str, u64) {
        match self {
            Self::CrashAfterWrite(at) => ("crash-after-write", at),
            Self::CrashAfterOutput(at) => ("crash-after-output", at),
            Self::Drop(at) => ("drop", at),
            Self::Double(at) => ("double", at),
            Self::Delay(at) => ("delay", at),
            Self::HideWatch(at) => ("hide-watch", at),
            Self::StaleRead { read, .. } => ("stale-read", read),
            Self::UnknownDone(at) => ("unknown-done", at),
            Self::UnknownNotDone(at) => ("unknown-not-done", at),
            Self::Pause(at) => ("pause", at),
            Self::CrashAgent(at) => ("crash-agent", at),
        }
    }

    /// Whether a run that passed so many points came to this one.
    #[must_use]
    pub const fn is_reached(self, counters: &Counters) -> bool {
        let (_, at) = self.parts();
        let passed = match self {
            Self::CrashAfterWrite(_) => counters.writes,
            Self::CrashAfterOutput(_) => counters.outputs,
            Self::Drop(_) | Self::Double(_) | Self::Delay(_) => counters.messages,
            Self::HideWatch(_) => counters.watched,
            Self::StaleRead { .. } => counters.reads,
            Self::UnknownDone(_) | Self::UnknownNotDone(_) => counters.commits,
            Self::Pause(_) => counters.steps,
            Self::CrashAgent(_) => counters.deeds,
        };
        at < passed
    }
}

/// As [`FromStr`] reads it: `drop:17`; an old read says how many revisions back: `stale-read:4-2`.
impl fmt::Display for Twist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, at) = self.parts();
        write!(f, "{kind}:{at}")?;
        match self {
            Self::StaleRead { back, .. } => write!(f, "-{back}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for Twist {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected a kind and a point such as drop:17, or stale-read:4-2 (the read, and how \
                 many revisions back), found `{text}`; kinds: crash-after-write, \
                 crash-after-output, drop, double, delay, hide-watch, stale-read, unknown-done, \
                 unknown-not-done, pause, crash-agent"
            )
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let (kind, at) = text.split_once(':').ok_or_else(wrong)?;
        if kind == "stale-read" {
            let (read, back) = at.split_once('-').ok_or_else(wrong)?;
            let (read, back) = (number(read)?, number(back)?);
            return Ok(Self::StaleRead { read, back });
        }
        let point = match kind {
            "crash-after-write" => Self::CrashAfterWrite,
            "crash-after-output" => Self::CrashAfterOutput,
            "drop" => Self::Drop,
            "double" => Self::Double,
            "delay" => Self::Delay,
            "hide-watch" => Self::HideWatch,
            "unknown-done" => Self::UnknownDone,
            "unknown-not-done" => Self::UnknownNotDone,
            "pause" => Self::Pause,
            "crash-agent" => Self::CrashAgent,
            _ => return Err(wrong()),
        };
        number(at).map(point)
    }
}

/// How often each point was passed while anything could break.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes of schedulers that took effect.
    pub writes: u64,
    /// Orders of the cores: commits, reads, calls, answers.
    pub outputs: u64,
    /// Messages between processes other than the store.
    pub messages: u64,
    /// What watches told.
    pub watched: u64,
    /// Reads of the store that may be old: pages of a load, and who leads.
    pub reads: u64,
    /// Transactions sent by the cores.
    pub commits: u64,
    /// Steps of the cores.
    pub steps: u64,
    /// Orders of agents to their runtimes and disks.
    pub deeds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exhaust::{KINDS, twists};

    #[test]
    fn the_short_form_of_every_kind_is_read_as_it_is_written() {
        let counters = Counters {
            writes: 2,
            outputs: 2,
            messages: 2,
            watched: 2,
            reads: 2,
            commits: 2,
            steps: 2,
            deeds: 2,
        };
        let all = twists(&counters);
        let kinds: std::collections::BTreeSet<_> = all.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds.len(), KINDS.len(), "all kinds are tried");
        for (_, twist) in all {
            let text = twist.to_string();
            assert_eq!(text.parse(), Ok(twist), "{text}");
            assert!(twist.is_reached(&counters), "{text}");
            assert!(!twist.is_reached(&Counters::default()), "{text}");
            assert!(!text.contains(char::is_whitespace), "{text} is one word");
        }
        assert_eq!(Twist::Drop(17).to_string(), "drop:17");
        let stale = Twist::StaleRead { read: 4, back: 2 };
        assert_eq!(stale.to_string(), "stale-read:4-2");
        let wrong = [
            "",
            "drop",
            "drop:",
            "drop:x",
            "drop:-1",
            "drop:1-2",
            "stale-read:4",
            "explode:1",
        ];
        for text in wrong {
            let error = text.parse::<Twist>().expect_err(text);
            assert!(error.contains("drop:17"), "{text}: {error}");
        }
    }
}
