//! What a world is made of.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::knobs::Knobs;
use super::span::Span;

/// What there is, and how long it is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// Decides what nobody does: delays of messages, clocks, jitter.
    #[serde(default)]
    pub seed: u64,
    /// Schedulers that compete for leadership.
    #[serde(default = "one")]
    pub schedulers: usize,
    /// How far the clock of each scheduler may be from the truth when its process starts; the
    /// last one holds for the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clocks: Vec<Span>,
    /// The nodes.
    pub nodes: Nodes,
    /// Clients.
    #[serde(default = "one")]
    pub clients: usize,
    /// Clients and the operator try again when they are told to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub patient: bool,
    /// Clients ask one thing about a workload at a time, and again if nobody answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orderly: bool,
    /// How long anything may break.
    #[serde(default = "three_minutes")]
    pub chaos: Span,
    /// How long everything works after that, but for what is broken for ever.
    #[serde(default = "ten_minutes")]
    pub calm: Span,
    /// The scheduler's own times.
    #[serde(default)]
    pub pace: Pace,
    /// What is otherwise than usual of these, unless they are as in production.
    #[serde(default, skip_serializing_if = "Knobs::are_usual")]
    pub knobs: Knobs,
}

const fn one() -> usize {
    1
}

const fn three_minutes() -> Span {
    Span::secs(180)
}

const fn ten_minutes() -> Span {
    Span::secs(600)
}

/// The scheduler's own times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Shorter than in production, so that a short run sees many of them.
    #[default]
    Quick,
    /// As in production.
    Production,
}

/// The nodes: so many of a usual kind, or each with its own size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Nodes {
    /// So many nodes with 4 CPUs, 8 GiB and 60 GB each, in zones a, b and c by turns.
    Count(usize),
    /// These.
    Each(Vec<NodeSetup>),
}

impl Nodes {
    /// One by one.
    #[must_use]
    pub fn each(&self) -> Vec<NodeSetup> {
        match self {
            Self::Count(count) => (0..*count).map(NodeSetup::usual).collect(),
            Self::Each(nodes) => nodes.clone(),
        }
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::Each(nodes) => nodes.len(),
        }
    }
}

/// What stands for nodes decides how they are read, so that what is wrong with one is told.
struct ReadNodes;

impl<'de> Visitor<'de> for ReadNodes {
    type Value = Nodes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of nodes, or a list of {cpu, memory, disk, zone}")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Nodes, E> {
        usize::try_from(count)
            .map(Nodes::Count)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(count), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, nodes: A) -> Result<Nodes, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(nodes)).map(Nodes::Each)
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(nodes: D) -> Result<Self, D::Error> {
        nodes.deserialize_any(ReadNodes)
    }
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSetup {
    /// Millicores.
    pub cpu: u64,
    /// MiB.
    pub memory: u64,
    /// GB.
    pub disk: u64,
    /// Its label `zone`.
    pub zone: String,
}

impl NodeSetup {
    /// A node of the usual kind: the `at`th.
    #[must_use]
    pub fn usual(at: usize) -> Self {
        Self {
            cpu: 4_000,
            memory: 8_192,
            disk: 60,
            zone: ["a", "b", "c"][at % 3].to_owned(),
        }
    }
}

/// How bad the network is, between processes other than the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Links {
    /// Messages lost, of a million.
    pub lost: u64,
    /// Messages that arrive twice, of a million.
    pub doubled: u64,
    /// A tenth of the messages take up to so long.
    pub delay: Span,
    /// Transactions of a million that a member of the store hands on late: after others, or after
    /// their answers were given up.
    #[serde(skip_serializing_if = "is_none")]
    pub wandering: u64,
    /// Changes of a million that a watch is told in two parts.
    #[serde(skip_serializing_if = "is_none")]
    pub parted: u64,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_none(rate: &u64) -> bool {
    *rate == 0
}
