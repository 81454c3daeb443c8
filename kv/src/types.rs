//! The words of the data model: keys, ranges, revisions, records, events.

use std::fmt;
use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A key: any bytes, ordered bytewise, never empty in a valid request.
pub type Key = Bytes;
/// A value: any bytes, possibly none.
pub type Value = Bytes;
/// The store's logical time: grows by one with every transaction that changes something.
pub type Revision = i64;

/// Names a lease; 0 means "no lease".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// The absence of a lease.
    pub const NONE: LeaseId = LeaseId(0);

    /// Whether this names no lease.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Names a watch within its stream. In a request 0 means "choose one".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WatchId(pub i64);

impl WatchId {
    /// Asks for an id chosen by the store.
    pub const AUTO: WatchId = WatchId(0);
    /// In answers that concern no watch: refusals and progress of the whole stream.
    pub const INVALID: WatchId = WatchId(-1);
}

/// One client's stream of watches; chosen by the host, never reused by it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StreamId(pub u64);

/// One version of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    pub key: Key,
    pub value: Value,
    /// The revision at which the key was created (0 in the record of a deletion).
    pub create_revision: Revision,
    /// The revision of the last change of the key.
    pub mod_revision: Revision,
    /// 1 when created, then one more with each put (0 in the record of a deletion).
    pub version: i64,
    /// The lease that the key is attached to.
    pub lease: LeaseId,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    Put,
    Delete,
}

/// One change of one key, as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    /// For a deletion: only the key and the revision of the deletion.
    pub kv: KeyValue,
    /// The version before this change, if asked for, existing and not compacted.
    pub prev_kv: Option<KeyValue>,
}

impl Event {
    /// Whether this is the put that created the key.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.kv.create_revision == self.kv.mod_revision
    }
}

/// Lower and upper bound, for an ordered map.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A set of neighbouring keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRange {
    /// Exactly this key.
    Single(Key),
    /// From `start` (with it) to `end` (without it); empty when `start >= end`.
    Span { start: Key, end: Key },
    /// This key and all after it.
    From(Key),
}

impl KeyRange {
    /// From etcd's pair of `key` and `range_end`: an empty end is one key, a single zero byte is
    /// "to the end of the key space".
    pub fn from_wire(key: impl Into<Key>, range_end: impl Into<Key>) -> Self {
        let (key, end) = (key.into(), range_end.into());
        match end.as_ref() {
            [] => KeyRange::Single(key),
            [0] => KeyRange::From(key),
            [..] => KeyRange::Span { start: key, end },
        }
    }

    /// All keys that begin with `prefix`; an empty prefix is the whole key space.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start: Key = prefix.into();
        let Some(last) = start.iter().rposition(|byte| *byte != 0xff) else {
            let from = if start.is_empty() {
                Key::from_static(b"\0")
            } else {
                start
            };
            return KeyRange::From(from);
        };
        let mut end = start[..=last].to_vec();
        end[last] += 1;
        KeyRange::Span {
            start,
            end: end.into(),
        }
    }

    /// Every key.
    pub fn all() -> Self {
        KeyRange::From(Key::from_static(b"\0"))
    }

    /// The first key that can belong to the range.
    pub fn start(&self) -> &Key {
        match self {
            KeyRange::Single(key) | KeyRange::From(key) => key,
            KeyRange::Span { start, .. } => start,
        }
    }

    /// etcd's `range_end` for this range.
    pub fn wire_end(&self) -> Key {
        match self {
            KeyRange::Single(_) => Key::new(),
            KeyRange::From(_) => Key::from_static(b"\0"),
            KeyRange::Span { end, .. } => end.clone(),
        }
    }

    /// Whether the key belongs to the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::Single(own) => own.as_ref() == key,
            KeyRange::Span { start, end } => start.as_ref() <= key && key < end.as_ref(),
            KeyRange::From(start) => start.as_ref() <= key,
        }
    }

    /// The range as bounds for an ordered map; `None` when no key can belong to it.
    pub(crate) fn bounds(&self) -> Option<Bounds<'_>> {
        match self {
            KeyRange::Single(key) => Some((Bound::Included(key), Bound::Included(key))),
            KeyRange::Span { start, end } if start >= end => None,
            KeyRange::Span { start, end } => Some((Bound::Included(start), Bound::Excluded(end))),
            KeyRange::From(start) => Some((Bound::Included(start), Bound::Unbounded)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_forms_of_ranges_survive_the_round_trip() {
        for end in ["", "\0", "b", "a"] {
            let range = KeyRange::from_wire("a", end);
            assert_eq!(range.wire_end(), end);
            assert_eq!(range.start(), "a");
        }
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_can_grow() {
        let ff = KeyRange::prefix(&b"a\xff"[..]);
        assert_eq!(
            ff,
            KeyRange::Span {
                start: Key::from_static(b"a\xff"),
                end: "b".into()
            }
        );
        assert_eq!(
            KeyRange::prefix(&b"\xff"[..]),
            KeyRange::From(Key::from_static(b"\xff"))
        );
        assert!(KeyRange::prefix("").contains(b"anything"));
    }

    #[test]
    fn an_inverted_span_is_empty() {
        let inverted = KeyRange::from_wire("b", "a");
        assert!(inverted.bounds().is_none());
        assert!(!inverted.contains(b"a") && !inverted.contains(b"b"));
    }
}
