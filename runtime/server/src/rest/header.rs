//! Headers: preconditions of writes, entity tags, the age of answers.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berth_core::StoreRevision;
use berth_core::io::request::Freshness;
use berth_core::wire::rest::{entity_tag, if_match};
use serde::Serialize;

use super::Problem;

/// `true` when the answer may be old.
pub(crate) const STALE: HeaderName = HeaderName::from_static(berth_proto::metadata::STALE);
/// The revision of the store that the answer reflects.
pub(crate) const REVISION: HeaderName = HeaderName::from_static(berth_proto::metadata::REVISION);

/// What a write demands of the record: the revision that wrote it, 0 for "there is none".
///
/// # Errors
/// A problem that names the header.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Option<StoreRevision>, Problem> {
    let text = |name: HeaderName| {
        let mut values = headers.get_all(&name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match value.to_str() {
                Ok(text) => Ok(Some(text.trim())),
                Err(_) => Err(Problem::malformed(name.as_str(), "is not ASCII")),
            },
            (Some(_), Some(_)) => Err(Problem::malformed(name.as_str(), "is given twice")),
        }
    };
    match (text(header::IF_MATCH)?, text(header::IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(StoreRevision(0))),
        (None, Some(_)) => {
            let detail = "on a write only * is understood: only if there is no such record";
            Err(Problem::malformed("If-None-Match", detail))
        }
        (Some(tag), None) => Ok(Some(if_match(tag)?)),
        (Some(_), Some(_)) => {
            let detail = "If-Match and If-None-Match exclude each other";
            Err(Problem::malformed("If-Match", detail))
        }
    }
}

/// Says how old an answer is.
pub(crate) fn date(response: &mut Response, freshness: Freshness) {
    let headers = response.headers_mut();
    headers.insert(REVISION, HeaderValue::from(freshness.revision.0));
    if freshness.stale {
        headers.insert(STALE, HeaderValue::from_static("true"));
    }
}

/// An answer that says how old it is.
pub(crate) fn dated(body: impl Serialize, freshness: Freshness) -> Response {
    let mut response = Json(body).into_response();
    date(&mut response, freshness);
    response
}

/// A single record with its entity tag.
pub(crate) fn record(
    status: StatusCode,
    body: impl Serialize,
    version: StoreRevision,
    freshness: Freshness,
) -> Response {
    let mut response = dated(body, freshness);
    *response.status_mut() = status;
    // A dry run has no version.
    if version.0 > 0
        && let Ok(value) = HeaderValue::from_str(&entity_tag(version))
    {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// Whether a reader has this version already.
pub(crate) fn not_modified(headers: &HeaderMap, version: StoreRevision) -> bool {
    let tag = entity_tag(version);
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// More follow after the last of these.
    pub(crate) more: bool,
    /// What `after` of the next page is; absent on the last page of a list, and always there for
    /// events, which go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    #[serde(flatten)]
    pub(crate) freshness: Freshness,
}

impl<T: Serialize> Page<T> {
    /// The page as an answer; `query` are the parameters that the next page has too.
    pub(crate) fn answer(self, path: &str, query: &[(&str, Option<String>)]) -> Response {
        let freshness = self.freshness;
        let link = self.next.as_ref().filter(|_| self.more).map(|next| {
            let mut link = format!("<{path}?after={}", encoded(next));
            for (name, value) in query {
                if let Some(value) = value {
                    link.push_str(&format!("&{name}={}", encoded(value)));
                }
            }
            link + ">; rel=\"next\""
        });
        let mut response = dated(self, freshness);
        if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// Percent-encodes what is not unreserved in a URL.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preconditions() {
        let of = |pairs: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value.parse().unwrap());
            }
            precondition(&headers).map_err(|problem| problem.field().unwrap().to_owned())
        };
        use header::{IF_MATCH, IF_NONE_MATCH};
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[(IF_MATCH, "\"42\"")]), Ok(Some(StoreRevision(42))));
        assert_eq!(of(&[(IF_NONE_MATCH, "*")]), Ok(Some(StoreRevision(0))));
        for bad in [
            "42",
            "*",
            "\"\"",
            "\"0\"",
            "\"-1\"",
            "\"+1\"",
            "W/\"42\"",
            "\"1\", \"2\"",
        ] {
            assert_eq!(of(&[(IF_MATCH, bad)]), Err("If-Match".into()), "{bad}");
        }
        assert_eq!(of(&[(IF_NONE_MATCH, "\"1\"")]), Err("If-None-Match".into()));
        let both = of(&[(IF_MATCH, "\"1\""), (IF_NONE_MATCH, "*")]);
        assert_eq!(both, Err("If-Match".into()));
        assert!(of(&[(IF_MATCH, "\"1\""), (IF_MATCH, "\"1\"")]).is_err());
    }

    #[test]
    fn a_reader_that_has_it() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, "\"1\", W/\"42\"".parse().unwrap());
        assert!(not_modified(&headers, StoreRevision(42)));
        assert!(!not_modified(&headers, StoreRevision(2)));
    }
}
