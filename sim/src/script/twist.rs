//! One thing that goes wrong at a point that is counted: what the systematic search varies.

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
}
