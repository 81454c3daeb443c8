//! What REST has that is no value of the core's: problem documents (RFC 9457) and entity tags.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::io::RequestError;
use crate::io::request::Effect;
use crate::model::id::StoreRevision;

/// What is wrong, for programs (`type`, `status`, `field`) and for people (`title`, `detail`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: Cow<'static, str>,
    /// The status code of HTTP.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// The field that is wrong, as a path in the body, or the name of a parameter or a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// When to come back: a header, not a part of the document.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of the kind `slug`.
    #[must_use]
    pub fn new(status: u16, slug: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:berth:problem:{slug}"),
            title: Cow::Borrowed(title),
            status,
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    /// The request cannot be read.
    #[must_use]
    pub fn malformed(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(400, "malformed", "Malformed request", detail).at(field)
    }

    /// A field can be read and is wrong.
    #[must_use]
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(422, "invalid-field", "Invalid field", detail).at(field)
    }

    /// The body is larger than `max` bytes.
    #[must_use]
    pub fn too_large(max: usize) -> Self {
        let detail = format!("at most {max} bytes are accepted");
        Self::new(413, "too-large", "Body too large", detail)
    }

    /// Not now.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(503, "unavailable", "Unavailable", detail).again_after(retry_after)
    }

    /// It may have happened. Without a time to come back: only who asked knows whether to ask again.
    #[must_use]
    pub fn not_known(detail: impl Into<String>) -> Self {
        Self::new(503, "outcome-unknown", "The outcome is not known", detail)
    }

    /// Too much is asked at once.
    #[must_use]
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(429, "busy", "Too many requests", detail).again_after(Duration::from_secs(1))
    }

    fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    fn again_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let detail = error.to_string();
        match error {
            RequestError::Invalid { field, problem } => Self::invalid(field, problem),
            RequestError::NoSuchWorkload(_)
            | RequestError::NoSuchNode(_)
            | RequestError::RegisterAgain(_) => Self::new(404, "not-found", "Not found", detail),
            RequestError::Stale { .. } => {
                Self::new(412, "stale", "The record has changed", detail).at("If-Match")
            }
            RequestError::Refused(_) => {
                Self::new(409, "refused", "Refused in the present state", detail)
            }
            RequestError::Unavailable {
                effect: Effect::Unknown,
                ..
            } => Self::not_known(detail),
            RequestError::Unavailable { retry_after, .. } => Self::unavailable(detail, retry_after),
            RequestError::Busy(_) => Self::busy(detail),
            RequestError::StoreRefused(_) => {
                Self::new(507, "store-refused", "The store refused the write", detail)
            }
        }
    }
}

/// The body of a drain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainFields {
    /// From now, seconds; then what is left is moved at once.
    pub deadline_seconds: Option<u32>,
    /// How many workloads may be on the move at once.
    pub parallelism: Option<u32>,
}

/// The entity tag of a record that was written at `revision`.
#[must_use]
pub fn entity_tag(revision: StoreRevision) -> String {
    format!("\"{revision}\"")
}

/// The revision in an entity tag; `None`: it is none of [`entity_tag`]'s.
#[must_use]
pub fn tagged_revision(tag: &str) -> Option<StoreRevision> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let revision: i64 = Some(digits).filter(|_| plain)?.parse().ok()?;
    (revision > 0).then_some(StoreRevision(revision))
}

/// The revision that `If-Match` demands.
///
/// # Errors
/// A problem that names the header.
pub fn if_match(tag: &str) -> Result<StoreRevision, Problem> {
    tagged_revision(tag).ok_or_else(|| {
        let detail = "expected one entity tag as a GET answers it, such as \"42\"";
        Problem::malformed("If-Match", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        assert_eq!(
            tagged_revision(&entity_tag(StoreRevision(42))),
            Some(StoreRevision(42))
        );
        for bad in ["42", "*", "\"\"", "\"0\"", "\"-1\"", "\"+1\"", "W/\"42\""] {
            assert_eq!(tagged_revision(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_problem_is_a_document() {
        let problem = Problem::from(RequestError::invalid("spec.image", "is empty"));
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            json,
            r#"{"type":"urn:berth:problem:invalid-field","title":"Invalid field","status":422,"detail":"is empty","field":"spec.image"}"#
        );
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
    }

    #[test]
    fn who_may_come_back_is_told_when() {
        let of = |effect| {
            Problem::from(RequestError::Unavailable {
                reason: "no leader".to_owned(),
                retry_after: Duration::from_secs(2),
                effect,
            })
        };
        assert_eq!(of(Effect::None).retry_after, Some(Duration::from_secs(2)));
        let unknown = of(Effect::Unknown);
        assert_eq!((unknown.status, unknown.retry_after), (503, None));
        assert_eq!(unknown.kind, "urn:berth:problem:outcome-unknown");
    }
}
