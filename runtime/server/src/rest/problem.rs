//! Problem documents (RFC 9457): every error of the port.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berth_core::io::request::RequestError;
use berth_core::wire::rest;

use crate::api::AskError;

/// A document that answers as itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(rest::Problem);

impl Problem {
    /// A problem of the kind `slug`.
    pub(crate) fn new(
        status: StatusCode,
        slug: &str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(rest::Problem::new(status.as_u16(), slug, title, detail))
    }

    /// The request cannot be read.
    pub(crate) fn malformed(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self(rest::Problem::malformed(field, detail))
    }

    /// A field can be read and is wrong.
    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self(rest::Problem::invalid(field, detail))
    }

    /// The body is larger than `max` bytes.
    pub(crate) fn too_large(max: usize) -> Self {
        Self(rest::Problem::too_large(max))
    }

    /// Not now.
    pub(crate) fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self(rest::Problem::unavailable(detail, retry_after))
    }

    /// The field that it names.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// Its status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        // Every one is made of a status code.
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<rest::Problem> for Problem {
    fn from(document: rest::Problem) -> Self {
        Self(document)
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self(error.into())
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
            AskError::NotKnown(_) => Self(rest::Problem::not_known(detail)),
            AskError::TooManyForwarded => Self(rest::Problem::busy(detail)),
            AskError::WrongAnswer => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "internal", "Internal error", detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let media_type = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status(), body).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
        if let Some(after) = self.0.retry_after {
            // Whole seconds, rounded up: a client that obeys does not come too early.
            let seconds = u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
            let value = HeaderValue::from(seconds.max(1));
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}
