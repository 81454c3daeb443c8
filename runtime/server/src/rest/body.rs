//! Bodies of requests: bounded while they are read, and JSON.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Problem;
use crate::api::{Api, ApiLimits};

/// Bytes of a refused body that are read and thrown away, so that the client hears why before the
/// connection closes under it.
const DRAIN_BYTES_MAX: usize = 256 << 20;
/// For how long.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// A body of well-formed JSON.
#[derive(Debug)]
pub(crate) struct JsonBody(pub(crate) Bytes);

/// A body of well-formed JSON, or none.
#[derive(Debug)]
pub(crate) struct OptionalBody(Option<JsonBody>);

impl OptionalBody {
    /// Its fields; without a body, none.
    ///
    /// # Errors
    /// A problem that names the wrong field.
    pub(crate) fn fields<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        let Some(JsonBody(bytes)) = &self.0 else {
            return Ok(T::default());
        };
        let mut from = serde_json::Deserializer::from_slice(bytes);
        serde_path_to_error::deserialize(&mut from).map_err(|error| {
            let path = error.path().to_string();
            Problem::invalid(
                if path == "." { "body" } else { &path },
                error.inner().to_string(),
            )
        })
    }
}

impl FromRequest<Api> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read_in_time(&parts.headers, body, api.limits()).await?;
        if bytes.is_empty() {
            return Err(Problem::malformed("body", "a JSON document is expected"));
        }
        json(&parts.headers, bytes)
    }
}

impl FromRequest<Api> for OptionalBody {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read_in_time(&parts.headers, body, api.limits()).await?;
        match bytes.is_empty() {
            true => Ok(Self(None)),
            false => json(&parts.headers, bytes).map(|body| Self(Some(body))),
        }
    }
}

fn json(headers: &HeaderMap, bytes: Bytes) -> Result<JsonBody, Problem> {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| {
            value
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        });
    if essence.as_deref() != Some("application/json") {
        let (status, title) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type");
        let detail = "send JSON, with the header Content-Type: application/json";
        return Err(Problem::new(
            status,
            "unsupported-media-type",
            title,
            detail,
        ));
    }
    match serde_json::from_slice::<IgnoredAny>(&bytes) {
        // Types of the core would take a list for their fields in order.
        Ok(_) if bytes.trim_ascii_start().first() != Some(&b'{') => {
            Err(Problem::invalid("body", "expected a JSON object"))
        }
        Ok(_) => Ok(JsonBody(bytes)),
        Err(error) => Err(Problem::malformed("body", format!("is not JSON: {error}"))),
    }
}

/// Reads a body; a client that sends it too slowly must not hold a place for ever.
async fn read_in_time(
    headers: &HeaderMap,
    body: Body,
    limits: &ApiLimits,
) -> Result<Bytes, Problem> {
    let reading = read(headers, body, limits.body_bytes_max);
    match tokio::time::timeout(limits.request_timeout, reading).await {
        Ok(read) => read,
        Err(_) => {
            let (status, title) = (StatusCode::REQUEST_TIMEOUT, "Request timeout");
            let detail = "the body did not arrive in time";
            Err(Problem::new(status, "slow-body", title, detail))
        }
    }
}

/// Reads a body of at most `max` bytes. A larger one is never held.
async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut stream = body.into_data_stream();
    let mut held = Vec::new();
    let too_large = || Problem::too_large(max);
    if declared.is_some_and(|length| length > max) {
        // A client that asked before it sends needs no reading: asking it on would make it send.
        if !headers.contains_key(header::EXPECT) {
            discard(stream).await;
        }
        return Err(too_large());
    }
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::malformed("body", "ended early"))?;
        if held.len() + chunk.len() > max {
            drop(held);
            discard(stream).await;
            return Err(too_large());
        }
        held.extend_from_slice(&chunk);
    }
    Ok(held.into())
}

async fn discard(mut stream: axum::body::BodyDataStream) {
    let drain = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(chunk)) = stream.next().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whether it ended or not: the answer is the same.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, drain).await;
}
