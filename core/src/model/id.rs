//! Identifiers: checked once, when they enter, and typed ever after.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::name::Name;

/// The longest id that is accepted, in bytes: ids end up in store keys, paths and container names.
pub const ID_LENGTH_MAX: usize = 128;

/// Why a text is not an id. The message states the rule, so that it can be shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error(
        "is empty; expected 1 to 128 of a-z, 0-9, '.', '_', '-', beginning and ending with a letter or digit"
    )]
    Empty,
    /// Longer than [`ID_LENGTH_MAX`].
    #[error("is {0} bytes long; at most 128 are allowed")]
    TooLong(usize),
    /// A character outside the alphabet.
    #[error(
        "has {0:?} at byte {1}; only a-z, 0-9, '.', '_' and '-' are allowed, beginning and ending with a letter or digit"
    )]
    BadCharacter(char, usize),
}

/// The rule of every id: `[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?`.
fn check_id(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > ID_LENGTH_MAX {
        return Err(IdError::TooLong(text.len()));
    }
    let last = text.len() - 1;
    for (at, c) in text.char_indices() {
        let plain = c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = at > 0 && at < last && matches!(c, '.' | '_' | '-');
        if !plain && !inner {
            return Err(IdError::BadCharacter(c, at));
        }
    }
    Ok(())
}

/// Reads what a text must follow a rule for, without a copy of the text.
struct Checked<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Checked<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Serde for what is text outside and checked when it enters. Most of these names are short: kept in
/// place, they cost no allocation and are compared without a look elsewhere.
macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.0.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Checked(std::marker::PhantomData))
            }
        }
    };
}

macro_rules! checked_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Name);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_id(text).map(|()| Self(Name::new(text)))
            }
        }
        as_text!($name);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.0.as_str())
            }
        }
    };
}

checked_id!(
    /// A workload, named by whoever created it.
    WorkloadId
);
checked_id!(
    /// A node, named by its agent.
    NodeId
);
checked_id!(
    /// A tenant: what quotas are counted for.
    TenantId
);

/// The revision of a workload's spec: the client's label, or one made from the spec's hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(Name);

/// Why a text is not a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 128 of A-Z, a-z, 0-9, '.', '_', '-', '+', ':'")]
pub struct RevisionError;

impl Revision {
    /// The revision as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}
impl FromStr for Revision {
    type Err = RevisionError;
    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_+:".contains(c);
        if text.is_empty() || text.len() > 160 || !text.chars().all(allowed) {
            return Err(RevisionError);
        }
        Ok(Self(Name::new(text)))
    }
}
as_text!(Revision);
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_str())
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $int);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// The create revision of the leadership key: grows with every leader (S2).
    Epoch(i64)
);
number_id!(
    /// A revision of the store. 0: the key is absent.
    StoreRevision(i64)
);
number_id!(
    /// Names a request until it is answered; chosen by whoever drives the core.
    RequestId(u64)
);
number_id!(
    /// Names a transaction until its fate is known; chosen by the core.
    TxnId(u64)
);
number_id!(
    /// Names a call to an agent until its outcome is known; chosen by the core.
    CallId(u64)
);

/// Names an event. Its text sorts by time: milliseconds, then epoch, then a counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Name);

impl FromStr for EventId {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from_text(text))
    }
}
as_text!(EventId);

impl EventId {
    /// The id of the `sequence`-th event that the leader of `epoch` writes.
    #[must_use]
    pub fn new(at: crate::Timestamp, epoch: Epoch, sequence: u64) -> Self {
        let (millis, epoch) = (at.as_millis(), epoch.0);
        Self(Name::new(&format!(
            "{millis:014}-{epoch:010x}-{sequence:08x}"
        )))
    }
    /// The time in it; `None`: it is not an id of ours.
    #[must_use]
    pub fn time(&self) -> Option<crate::Timestamp> {
        let (millis, _) = self.0.as_str().split_once('-')?;
        millis.parse().ok().map(crate::Timestamp::from_millis)
    }
    /// Takes a text as it was stored or as a client sends it back; any text orders somewhere.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(Name::new(text))
    }
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}
impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_rule() {
        for good in ["a", "0", "web-1", "a.b_c-d", &"x".repeat(128)] {
            assert!(good.parse::<WorkloadId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a/b",
            "..",
            "a b",
            "ä",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<WorkloadId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_text_is_no_id() {
        let told = serde_json::from_str::<WorkloadId>("7").unwrap_err();
        assert!(told.to_string().contains("expected a string"), "{told}");
        assert_eq!(EventId::from_text("any").as_str(), "any");
    }

    #[test]
    fn event_ids_sort_by_time_then_epoch_then_sequence() {
        let at = |ms, epoch, n| EventId::new(crate::Timestamp::from_millis(ms), Epoch(epoch), n);
        assert!(at(9, 5, 5) < at(10, 1, 0));
        assert!(at(10, 9, 5) < at(10, 10, 0));
        assert!(at(10, 10, 255) < at(10, 10, 256));
    }
}
