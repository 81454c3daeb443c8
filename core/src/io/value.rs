//! The text of a record, which may be read already.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::event::EventRecord;
use crate::model::node::NodeRecord;
use crate::model::text;
use crate::model::workload::{
    AssignmentRecord, IntentRecord, RetryRecord, TombstoneRecord, WorkloadRecord,
};

/// The text of a record, canonical JSON.
///
/// A process reads each text once and has it for itself: [`Value::from`] a `String`. Where many
/// schedulers live in one process and are told the same again and again, [`Value::shared`] is read
/// by the first of them for all. Which of the two it is cannot be seen from what it says.
#[derive(Clone)]
pub struct Value(Inner);

#[derive(Clone)]
enum Inner {
    Own(String),
    Shared(Arc<Shared>),
}

/// A text, and what it says if somebody read it and it could be read.
struct Shared {
    text: Box<str>,
    read: OnceLock<Option<Record>>,
}

/// A record of any kind.
#[derive(Clone)]
pub(crate) enum Record {
    Workload(Arc<WorkloadRecord>),
    Assignment(Arc<AssignmentRecord>),
    Intent(Arc<IntentRecord>),
    Retry(Arc<RetryRecord>),
    Node(Arc<NodeRecord>),
    Tombstone(Arc<TombstoneRecord>),
    Event(Arc<EventRecord>),
}

/// A kind of record.
pub(crate) trait Kind: DeserializeOwned + Clone {
    /// As one of any kind.
    fn into_record(self: Arc<Self>) -> Record;
    /// Back, if it is of this kind.
    fn of_record(record: &Record) -> Option<&Arc<Self>>;
}

macro_rules! kinds {
    ($($variant:ident: $record:ty,)*) => {$(
        impl Kind for $record {
                    fn into_record(self: Arc<Self>) -> Record {
                Record::$variant(self)
            }
                    fn of_record(record: &Record) -> Option<&Arc<Self>> {
                match record {
                    Record::$variant(record) => Some(record),
                    _ => None,
                }
            }
        }
    )*};
}

kinds! {
    Workload: WorkloadRecord,
    Assignment: AssignmentRecord,
    Intent: IntentRecord,
    Retry: RetryRecord,
    Node: NodeRecord,
    Tombstone: TombstoneRecord,
    Event: EventRecord,
}

impl Value {
    /// A text that many will read.
    #[must_use]
    pub fn shared(text: &str) -> Self {
        Self(Inner::Shared(Arc::new(Shared {
            text: text.into(),
            read: OnceLock::new(),
        })))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Inner::Own(text) => text,
            Inner::Shared(shared) => &shared.text,
        }
    }

    /// What it says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read<T: Kind>(&self) -> Result<Arc<T>, String> {
        match &self.0 {
            Inner::Own(text) => text::read(text).map(Arc::new),
            Inner::Shared(shared) => {
                let read = || {
                    text::read(&shared.text)
                        .ok()
                        .map(|it| T::into_record(Arc::new(it)))
                };
                let record = shared.read.get_or_init(read).as_ref();
                match record.and_then(T::of_record) {
                    Some(record) => Ok(record.clone()),
                    // Wrong, and the error says in which way; or read as another kind before.
                    None => text::read(&shared.text).map(Arc::new),
                }
            }
        }
    }
}

impl Deref for Value {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(Inner::Own(text))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Inner::Shared(one), Inner::Shared(other)) if Arc::ptr_eq(one, other) => true,
            _ => self.as_str() == other.as_str(),
        }
    }
}

impl Eq for Value {}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOMBSTONE: &str = r#"{"workload_id":"w","node_id":"n","resources":{"cpu":1,"memory_mb":2,"disk_gb":3},"since":"2026-02-17T00:00:00.000Z"}"#;

    #[test]
    fn a_shared_text_is_read_once_for_all() {
        let value = Value::shared(TOMBSTONE);
        let first: Arc<TombstoneRecord> = value.read().unwrap();
        let second: Arc<TombstoneRecord> = value.clone().read().unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(*first, *Value::from(TOMBSTONE.to_owned()).read().unwrap());
    }

    #[test]
    fn what_is_wrong_is_wrong_each_time() {
        for value in [Value::shared("{"), Value::from("{".to_owned())] {
            let first = value.read::<NodeRecord>().unwrap_err();
            assert_eq!(first, value.read::<NodeRecord>().unwrap_err());
            assert!(first.contains("EOF"), "{first}");
        }
    }

    #[test]
    fn what_was_read_as_one_kind_can_be_read_as_another() {
        let value = Value::shared(TOMBSTONE);
        assert!(value.read::<TombstoneRecord>().is_ok());
        assert!(value.read::<RetryRecord>().is_err());
        let value = Value::shared(TOMBSTONE);
        assert!(value.read::<RetryRecord>().is_err());
        assert!(value.read::<TombstoneRecord>().is_ok());
    }

    #[test]
    fn it_is_its_text() {
        let (own, shared) = (Value::from("{}".to_owned()), Value::shared("{}"));
        assert_eq!(own, shared);
        assert_ne!(own, Value::shared("[]"));
        assert_ne!(shared, Value::shared("[]"));
        assert_eq!(shared, shared.clone());
        assert_eq!(format!("{own:?}"), format!("{shared:?}"));
        let text = serde_json::to_string(&shared).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), own);
    }
}
