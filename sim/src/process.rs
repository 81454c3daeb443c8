//! Who talks to whom: the processes of a world, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A process, or its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Process {
    /// The store.
    Store,
    /// A scheduler: `scheduler-0`.
    Replica(usize),
    /// A node's agent: `node-0`.
    Agent(usize),
    /// A client: `client-0`. The one after the last is the operator.
    Client(usize),
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => write!(f, "store"),
            Self::Replica(at) => write!(f, "scheduler-{at}"),
            Self::Agent(at) => write!(f, "node-{at}"),
            Self::Client(at) => write!(f, "client-{at}"),
        }
    }
}

impl From<Process> for String {
    fn from(process: Process) -> Self {
        process.to_string()
    }
}

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected `store`, `scheduler-N`, `node-N` or `client-N`, found `{text}`");
        if text == "store" {
            return Ok(Self::Store);
        }
        let (kind, number) = text.split_once('-').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        match kind {
            "scheduler" => Ok(Self::Replica(number)),
            "node" => Ok(Self::Agent(number)),
            "client" => Ok(Self::Client(number)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Process {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let all = [
            Process::Store,
            Process::Replica(1),
            Process::Agent(20),
            Process::Client(0),
        ];
        for process in all {
            assert_eq!(process.to_string().parse(), Ok(process));
        }
        for wrong in ["", "node", "node-", "node-x", "rack-1", "store-1"] {
            assert!(wrong.parse::<Process>().is_err(), "{wrong}");
        }
    }
}
