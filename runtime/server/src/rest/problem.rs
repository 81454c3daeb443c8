//! Problem documents (RFC 9457): every error of the port.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berth_core::io::request::{Effect, RequestError};
use serde::Serialize;

use crate::api::AskError;

/// What is wrong, for programs (`type`, `status`, `field`) and for people (`title`, `detail`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    detail: String,
    /// The field that is wrong, as a path in the body, or the name of a parameter or a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem of the kind `slug`.
    pub(crate) fn new(
        status: StatusCode,
        slug: &str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:berth:problem:{slug}"),
            title,
            status,
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    /// The request cannot be read.
    pub(crate) fn malformed(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "Malformed request",
            detail,
        );
        problem.field = Some(field.into());
        problem
    }

    /// A field can be read and is wrong.
    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut problem = Self::new(status, "invalid-field", "Invalid field", detail);
        problem.field = Some(field.into());
        problem
    }

    /// Not now.
    pub(crate) fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut problem = Self::new(status, "unavailable", "Unavailable", detail);
        problem.retry_after = Some(retry_after);
        problem
    }

    /// It may have happened. Without a time to come back: only who asked knows whether to ask again.
    fn not_known(detail: String) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(
            status,
            "outcome-unknown",
            "The outcome is not known",
            detail,
        )
    }

    /// The field that it names.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// Its status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let detail = error.to_string();
        match error {
            RequestError::Invalid { field, problem } => Self::invalid(field, problem),
            RequestError::NoSuchWorkload(_)
            | RequestError::NoSuchNode(_)
            | RequestError::RegisterAgain(_) => {
                Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
            }
            RequestError::Stale { .. } => {
                let title = "The record has changed";
                let status = StatusCode::PRECONDITION_FAILED;
                let mut problem = Self::new(status, "stale", title, detail);
                problem.field = Some("If-Match".to_owned());
                problem
            }
            RequestError::Refused(_) => Self::new(
                StatusCode::CONFLICT,
                "refused",
                "Refused in the present state",
                detail,
            ),
            RequestError::Unavailable {
                effect: Effect::Unknown,
                ..
            } => Self::not_known(detail),
            RequestError::Unavailable { retry_after, .. } => Self::unavailable(detail, retry_after),
            RequestError::Busy(_) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let mut problem = Self::new(status, "busy", "Too many requests", detail);
                problem.retry_after = Some(Duration::from_secs(1));
                problem
            }
            RequestError::StoreRefused(_) => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(
                    status,
                    "store-refused",
                    "The store refused the write",
                    detail,
                )
            }
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let detail = error.to_string();
        match error {
            AskError::Core(error) => error.into(),
            AskError::Timeout(_) => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                "No answer in time",
                detail,
            ),
            AskError::NotKnown(_) => Self::not_known(detail),
            AskError::TooManyForwarded => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let mut problem = Self::new(status, "busy", "Too many requests", detail);
                problem.retry_after = Some(Duration::from_secs(1));
                problem
            }
            AskError::WrongAnswer => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "internal", "Internal error", detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let media_type = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, body).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: a client that obeys does not come too early.
            let seconds = u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
            let value = HeaderValue::from(seconds.max(1));
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}
