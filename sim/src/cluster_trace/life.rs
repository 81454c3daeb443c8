//! One pod's life, as the world saw it.

use std::collections::BTreeMap;
use std::fmt;

use berth_core::NodeId;
use berth_core::placement::Filter;
use serde::Serialize;

/// Why a pod had no place when it left, or at the end; found in what was free, not in what the
/// scheduler said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No node was ready.
    NoNode,
    /// It is larger than every node, were it empty.
    TooLarge,
    /// No node had so much CPU, and some had the memory.
    Cpu,
    /// No node had so much memory, and some had the CPU.
    Memory,
    /// No node had either.
    Both,
    /// Some had the CPU, others the memory, none had both.
    Scattered,
    /// A node had room for it.
    Room,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNode => "no node was ready",
            Self::TooLarge => "larger than every node",
            Self::Cpu => "CPU: no node had so much free",
            Self::Memory => "memory: no node had so much free",
            Self::Both => "CPU and memory: no node had either",
            Self::Scattered => "CPU free on some nodes, memory on others",
            Self::Room => "there was room when it left",
        })
    }
}

/// What happened to one pod; instants are virtual milliseconds.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// What it asks for.
    pub(super) cpu: u64,
    pub(super) memory: u64,
    /// Its client asked for it first.
    pub(super) asked: Option<u64>,
    /// Its client was told that it is accepted.
    pub(super) told: Option<u64>,
    /// Its client was refused.
    pub(super) refused: Option<String>,
    /// The store held its first assignment.
    pub(super) placed: Option<u64>,
    /// A node's runtime had started it.
    pub(super) ran: Option<u64>,
    /// Where it was last.
    pub(super) home: Option<NodeId>,
    pub(super) moves: u64,
    /// It is accepted, should run, and has no home.
    pub(super) waits: bool,
    /// It left.
    pub(super) left: bool,
    /// Nodes that each filter refused for it, the last time that it was written down.
    pub(super) refusals: BTreeMap<Filter, u32>,
    /// Why it was never placed, once it left.
    pub(super) why: Option<Why>,
}
