//! Which versions may use the records of one store.
//!
//! A record of the store (`/meta/schema`) says which schema its records are at, and the oldest schema
//! that a scheduler must know to use them. Whoever is elected writes it, in the transaction that
//! elects it, if it says less than this version needs; nobody ever takes it back. A scheduler that is
//! too old neither leads nor follows. One that is old, but not too old, keeps what it does not know.

use serde::{Deserialize, Serialize};

use crate::model::Extra;

/// The name, below `/meta/`, of the record of the schema.
pub const SCHEMA: &str = "schema";

/// The schema that this version writes.
pub const WRITES: u32 = 1;

/// The oldest schema that a scheduler must know to use what this version writes. To be raised when
/// a record of today, read and written by a version of yesterday, would come to harm: a field that
/// must not be overlooked, a value of an old field that is new.
pub const NEEDS: u32 = 1;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The newest schema that anything was written in.
    pub schema: u32,
    /// What a scheduler must know to use the store.
    pub oldest_reader: u32,
    /// The version of Berth that said so.
    pub by: String,
    /// Fields of other versions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// This version is too old for a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this berth knows schema {WRITES} of the store's records, and they need {needs}: berth {by} has \
     written here. Start that version or a newer one; to go back, restore a backup from before"
)]
pub struct TooOld {
    /// The schema that is needed.
    pub needs: u32,
    /// The version that needs it.
    pub by: String,
}

impl Schema {
    /// Whether this version may use a store with this record.
    ///
    /// # Errors
    /// It is too old.
    pub fn check(&self) -> Result<(), TooOld> {
        if self.oldest_reader <= WRITES {
            return Ok(());
        }
        Err(TooOld {
            needs: self.oldest_reader,
            by: self.by.clone(),
        })
    }

    /// What this version, `by` name, writes in its place when it begins to lead; `None`: it says
    /// enough.
    #[must_use]
    pub fn raised(found: Option<&Self>, by: &str) -> Option<Self> {
        let enough = |found: &&Self| found.schema >= WRITES && found.oldest_reader >= NEEDS;
        if found.filter(enough).is_some() {
            return None;
        }
        let of = |part: fn(&Self) -> u32| found.map_or(0, part);
        Some(Self {
            schema: of(|found| found.schema).max(WRITES),
            oldest_reader: of(|found| found.oldest_reader).max(NEEDS),
            by: by.to_owned(),
            extra: found.map(|found| found.extra.clone()).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(schema: u32, oldest_reader: u32) -> Schema {
        Schema {
            schema,
            oldest_reader,
            by: "9.9.9".to_owned(),
            extra: Extra::new(),
        }
    }

    #[test]
    fn who_is_too_old_is_told_what_is_needed() {
        assert_eq!(record(WRITES + 5, WRITES).check(), Ok(()));
        let refused = record(WRITES + 5, WRITES + 1).check().unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("need 2: berth 9.9.9 has written"), "{text}");
    }

    #[test]
    fn the_marker_is_raised_and_never_lowered() {
        let first = Schema::raised(None, "1.0.0").unwrap();
        assert_eq!((first.schema, first.oldest_reader), (WRITES, NEEDS));
        assert_eq!(Schema::raised(Some(&first), "1.0.1"), None);
        assert_eq!(Schema::raised(Some(&record(7, 1)), "1.0.0"), None);
        let mut old = record(0, 0);
        old.extra.insert("more".into(), true.into());
        let raised = Schema::raised(Some(&old), "1.0.0").unwrap();
        assert_eq!((raised.schema, raised.by.as_str()), (WRITES, "1.0.0"));
        assert_eq!(raised.extra, old.extra);
        assert_eq!(
            Schema::raised(Some(&record(0, 9)), "1")
                .unwrap()
                .oldest_reader,
            9
        );
    }
}
