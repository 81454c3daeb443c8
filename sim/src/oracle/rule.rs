//! The rules by name, and what it looks like when one does not hold.

use std::fmt;

use berth_core::Timestamp;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::trace::{BEGINNING, Since};

macro_rules! rules {
    ($($rule:ident => $title:literal,)+) => {
        /// A rule of the list of invariants.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "their titles say what they are")]
        pub enum Rule {
            $($rule,)+
        }

        impl Rule {
            /// All rules, in order.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)+];

            /// Its id.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$rule => stringify!($rule),)+
                }
            }

            /// Its title.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$rule => $title,)+
                }
            }
        }
    };
}

rules! {
    S1 => "persist before act",
    S2 => "fencing",
    S3 => "capacity",
    S4 => "one home",
    S5 => "exact placement",
    S6 => "idempotency",
    S7 => "retry law",
    S8 => "no lost writes",
    S9 => "no phantom writes",
    S10 => "deletion",
    S11 => "events",
    S12 => "no hot loop",
    S13 => "no double run",
    S14 => "isolation",
    S15 => "linearizable",
    S16 => "drain",
    S17 => "bounded",
    S18 => "eviction is careful",
    S19 => "dry run and idempotence",
    S20 => "drained means stopped",
    S21 => "pending is explained",
    S22 => "determinism",
    L1 => "eventually stable",
    L2 => "explained, then placed",
    L3 => "no orphans",
    L4 => "leadership",
    L5 => "node loss",
    L6 => "deletion ends",
    L7 => "progress under partial failure",
    L8 => "rules fire",
    Scene => "what the scenario expects",
}

impl Rule {
    /// The rule of this id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.id() == id)
    }

    /// It is judged only once the faults have stopped.
    #[must_use]
    pub fn is_liveness(self) -> bool {
        self.id().starts_with('L')
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whom it concerns.
    pub entities: Vec<String>,
}

impl Finding {
    /// A finding about nobody yet.
    pub fn new(expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            seen: seen.into(),
            entities: Vec::new(),
        }
    }

    /// It concerns this one too.
    #[must_use]
    pub fn of(mut self, entity: &impl ToString) -> Self {
        self.entities.push(entity.to_string());
        self
    }
}

/// What a check comes to.
pub type Check = Result<(), Finding>;

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whom it concerns.
    pub entities: Vec<String>,
    /// When, in virtual time.
    pub at: Timestamp,
    /// At which step.
    pub step: u64,
}

/// `at_ms` is the virtual time as records have it, `elapsed_ms` the time since the beginning, as
/// scripts have it.
impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            rule,
            expected,
            seen,
            entities,
            at,
            step,
        } = self;
        let elapsed = u64::try_from(at.since(BEGINNING).as_millis()).unwrap_or(u64::MAX);
        let mut fields = serializer.serialize_struct("Violation", 7)?;
        fields.serialize_field("rule", rule)?;
        fields.serialize_field("expected", expected)?;
        fields.serialize_field("seen", seen)?;
        fields.serialize_field("entities", entities)?;
        fields.serialize_field("at_ms", &at.as_millis())?;
        fields.serialize_field("elapsed_ms", &elapsed)?;
        fields.serialize_field("step", step)?;
        fields.end()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            expected,
            seen,
            entities,
            at,
            step,
        } = self;
        let since = Since(*at);
        write!(
            f,
            "{rule} ({}) at {since} ({at}), step {step}",
            rule.title()
        )?;
        if !entities.is_empty() {
            write!(f, ", {}", entities.join(", "))?;
        }
        write!(f, ": expected {expected}; seen: {seen}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_tells_the_time_as_scripts_do_and_as_records_do() {
        let violation = Violation {
            rule: Rule::S3,
            expected: "room".to_owned(),
            seen: "none".to_owned(),
            entities: vec!["node-0".to_owned()],
            at: BEGINNING + std::time::Duration::from_secs(9),
            step: 12,
        };
        assert_eq!(
            violation.to_string(),
            "S3 (capacity) at +9.000s (2026-02-02T02:40:09.000Z), step 12, node-0: \
             expected room; seen: none"
        );
        let json = serde_json::to_value(&violation).expect("text and numbers");
        assert_eq!(json["at_ms"], 1_770_000_009_000_u64);
        assert_eq!(json["elapsed_ms"], 9_000);
    }
}
