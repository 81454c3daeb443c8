//! The layout of the store, below the configured prefix.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::{EventId, NodeId, WorkloadId};

/// A key of the store, typed. Its text begins with `/`; the runtime puts the prefix in front.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// `/nodes/<node-id>`
    Node(NodeId),
    /// `/workloads/<workload-id>`
    Workload(WorkloadId),
    /// `/assignments/<workload-id>`
    Assignment(WorkloadId),
    /// `/reconciliation/<workload-id>`
    Intent(WorkloadId),
    /// `/retries/<workload-id>`
    Retry(WorkloadId),
    /// `/events/<event-id>`
    Event(EventId),
    /// `/meta/tombstones/<node-id>/<workload-id>`
    Tombstone(NodeId, WorkloadId),
    /// `/meta/<name>`: settings of the cluster (schema version, quotas, rules).
    Meta(String),
    /// `/leader/<name>`: election; the core never writes there.
    Leader(String),
}

impl Key {
    /// Reads a key's text. `None`: it is not of this layout, or an id is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (room, rest) = text.strip_prefix('/')?.split_once('/')?;
        Some(match room {
            "nodes" => Self::Node(rest.parse().ok()?),
            "workloads" => Self::Workload(rest.parse().ok()?),
            "assignments" => Self::Assignment(rest.parse().ok()?),
            "reconciliation" => Self::Intent(rest.parse().ok()?),
            "retries" => Self::Retry(rest.parse().ok()?),
            "events" => Self::Event(EventId::from_text(rest)),
            "leader" => Self::Leader(rest.to_owned()),
            "meta" => match rest.strip_prefix("tombstones/") {
                Some(pair) => {
                    let (node, workload) = pair.split_once('/')?;
                    Self::Tombstone(node.parse().ok()?, workload.parse().ok()?)
                }
                None => Self::Meta(rest.to_owned()),
            },
            _ => return None,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "/nodes/{id}"),
            Self::Workload(id) => write!(f, "/workloads/{id}"),
            Self::Assignment(id) => write!(f, "/assignments/{id}"),
            Self::Intent(id) => write!(f, "/reconciliation/{id}"),
            Self::Retry(id) => write!(f, "/retries/{id}"),
            Self::Event(id) => write!(f, "/events/{id}"),
            Self::Tombstone(node, id) => write!(f, "/meta/tombstones/{node}/{id}"),
            Self::Meta(name) => write!(f, "/meta/{name}"),
            Self::Leader(name) => write!(f, "/leader/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let (w, n) = (
            "w-1".parse::<WorkloadId>().unwrap(),
            "n-1".parse::<NodeId>().unwrap(),
        );
        for key in [
            Key::Node(n.clone()),
            Key::Workload(w.clone()),
            Key::Assignment(w.clone()),
            Key::Intent(w.clone()),
            Key::Retry(w.clone()),
            Key::Event(EventId::from_text("1-2-3")),
            Key::Tombstone(n, w),
            Key::Meta("quotas".into()),
            Key::Leader("current".into()),
        ] {
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
        for stranger in [
            "",
            "/",
            "/workloads",
            "/workloads/A",
            "nodes/n",
            "/meta/tombstones/n",
        ] {
            assert_eq!(Key::parse(stranger), None, "{stranger}");
        }
    }
}
