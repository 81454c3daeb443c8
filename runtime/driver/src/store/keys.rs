//! Keys of the store: the core's, behind the configured prefix.

use std::sync::Arc;

use berth_core::lineage::{GENERATION, HOLD};
use berth_core::schema::SCHEMA;
use berth_core::{EventId, Key};

/// Puts the prefix in front of keys and takes it off. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Arc<str>,
}

/// What a key of the store is to the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A record of the core.
    Record(Key),
    /// Something of the election, or what it leaves: which versions may use the store.
    Election,
    /// Below the prefix, and nothing that the core knows.
    Stranger(String),
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The key in the store.
    pub(crate) fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Everything below the prefix begins with this.
    pub(crate) fn root(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The first key after everything below the prefix: '0' follows '/'.
    pub(crate) fn root_end(&self) -> String {
        format!("{}0", self.prefix)
    }

    /// The leadership key.
    pub(crate) fn leader(&self) -> String {
        format!("{}/leader/current", self.prefix)
    }

    /// The record of the store's generation.
    pub(crate) fn generation(&self) -> String {
        format!("{}/meta/{GENERATION}", self.prefix)
    }

    /// The record that keeps every replica from leading.
    pub(crate) fn hold(&self) -> String {
        format!("{}/meta/{HOLD}", self.prefix)
    }

    /// Where the records of workloads, nodes and tombstones are: the first key of each range, and the
    /// first one after it.
    pub(crate) fn records(&self) -> [(String, String); 6] {
        let ranges = [
            "assignments",
            "meta/tombstones",
            "nodes",
            "reconciliation",
            "retries",
            "workloads",
        ];
        // '0' follows '/'.
        ranges.map(|range| {
            let name = format!("{}/{range}", self.prefix);
            (format!("{name}/"), format!("{name}0"))
        })
    }

    /// The record of the schema of all records.
    pub(crate) fn schema(&self) -> String {
        format!("{}/meta/{SCHEMA}", self.prefix)
    }

    /// What is written to find out whether anything can be.
    pub(crate) fn probe(&self) -> String {
        format!("{}/leader/probe", self.prefix)
    }

    /// The range of all events before `before`.
    pub(crate) fn events_before(&self, before: &EventId) -> (String, String) {
        let start = format!("{}/events/", self.prefix);
        let end = format!("{start}{before}");
        (start, end)
    }

    /// What a key of the store is.
    pub(crate) fn place(&self, full: &[u8]) -> Place {
        let stranger = || Place::Stranger(String::from_utf8_lossy(full).into_owned());
        let Ok(text) = std::str::from_utf8(full) else {
            return stranger();
        };
        match text.strip_prefix(&*self.prefix).and_then(Key::parse) {
            Some(Key::Leader(_)) => Place::Election,
            Some(Key::Meta(name)) if name == SCHEMA => Place::Election,
            Some(key) => Place::Record(key),
            None => stranger(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_comes_and_goes() {
        for prefix in ["", "/berth", "/a/b"] {
            let keys = Keys::new(prefix);
            let key = Key::Workload("w-1".parse().unwrap());
            let full = keys.full(&key);
            assert_eq!(full, format!("{prefix}/workloads/w-1"));
            assert_eq!(keys.place(full.as_bytes()), Place::Record(key));
            assert_eq!(keys.place(keys.leader().as_bytes()), Place::Election);
            assert_eq!(keys.place(keys.schema().as_bytes()), Place::Election);
            assert!(keys.root() < full && full < keys.root_end());
            let counted = |key: &Key| {
                let full = keys.full(key);
                let mut ranges = keys.records().into_iter();
                ranges.any(|(first, end)| first <= full && full < end)
            };
            let (id, node) = ("w".parse().unwrap(), "n".parse().unwrap());
            for key in [
                Key::Workload("w".parse().unwrap()),
                Key::Assignment("w".parse().unwrap()),
                Key::Intent("w".parse().unwrap()),
                Key::Retry("w".parse().unwrap()),
                Key::Node("n".parse().unwrap()),
                Key::Tombstone(node, id),
            ] {
                assert!(counted(&key), "{key}");
            }
            assert!(!counted(&Key::Meta("quotas".into())));
            assert!(!counted(&Key::Event(EventId::from_text("1"))));
        }
    }

    #[test]
    fn what_is_not_of_the_layout_is_a_stranger() {
        let keys = Keys::new("/berth");
        for full in [&b"/berth/skydns/x"[..], b"/workloads/w-1", b"/berth/\xff"] {
            assert!(matches!(keys.place(full), Place::Stranger(_)));
        }
    }

    #[test]
    fn events_before_one_are_a_range_without_it() {
        let keys = Keys::new("/p");
        let (start, end) = keys.events_before(&EventId::from_text("5"));
        assert_eq!(
            (start.as_str(), end.as_str()),
            ("/p/events/", "/p/events/5")
        );
    }
}
