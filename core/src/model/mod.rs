//! The typed model: ids, units, specs, records and the keys they live under.

pub mod event;
pub mod id;
pub mod key;
pub(crate) mod name;
pub mod node;
pub mod spec;
pub(crate) mod text;
pub mod time;
pub mod units;
pub mod workload;

/// Fields of a record that this version does not know; they survive a rewrite.
pub type Extra = std::collections::BTreeMap<String, serde_json::Value>;
