//! In front of every call: a bound on how many are in flight, the client's deadline, and metrics by
//! method and code.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use axum::middleware::Next;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::reply::{code_name, unavailable};
use crate::api::Api;
use crate::call::{BadHeader, Call};
use crate::metrics::Metrics;

/// What the layer needs.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    api: Api,
    places: Arc<Semaphore>,
}

impl Guard {
    pub(crate) fn new(api: Api) -> Self {
        let places = Arc::new(Semaphore::new(api.limits().requests_max));
        Self { api, places }
    }
}

/// Lets a call through or refuses it, and counts it when its last frame leaves.
pub(crate) async fn guard(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let method = known_method(request.uri().path());
    let mut observer = Observer {
        metrics: guard.api.metrics().clone(),
        method,
        started: Instant::now(),
        code: None,
        _place: None,
    };
    let Ok(place) = Arc::clone(&guard.places).try_acquire_owned() else {
        let status = unavailable("the scheduler has too many calls", Duration::from_secs(1));
        observer.code = Some(status.code());
        return status.into_http();
    };
    let until = client_deadline(request.headers()).map(|limit| observer.started + limit);
    let caller = request.extensions().get().cloned().unwrap_or_default();
    let call = match Call::from_headers(caller, request.headers()) {
        Ok(call) => Call { until, ..call },
        Err(BadHeader(name, problem)) => {
            let status = Status::invalid_argument(format!("{name}: {problem}"));
            observer.code = Some(status.code());
            return status.into_http();
        }
    };
    let answer = call.scope(next.run(request));
    let answered = match until {
        Some(until) => tokio::time::timeout_at(until, answer).await,
        None => Ok(answer.await),
    };
    let Ok(response) = answered else {
        let text = "the client's deadline passed; a change that it asked for may still happen";
        let status = Status::deadline_exceeded(text);
        observer.code = Some(status.code());
        return status.into_http();
    };
    observer.code = code_in(response.headers());
    // A watch holds a place of its own; its call must not hold one of these for hours.
    observer._place = (!is_stream(method)).then_some(place);
    response.map(|body| Body::new(Observed { body, observer }))
}

/// The methods that are counted by name; whatever else is asked for is one label.
fn known_method(path: &str) -> &'static str {
    METHODS
        .iter()
        .find(|method| **method == path)
        .map_or("unknown", |method| *method)
}

fn is_stream(method: &str) -> bool {
    matches!(
        method,
        "/berth.v1.Berth/WatchEvents"
            | "/grpc.health.v1.Health/Watch"
            | "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    )
}

/// Every method of the port, by full path.
pub(crate) const METHODS: [&str; 25] = [
    "/persys.control.v1.AgentControl/RegisterNode",
    "/persys.control.v1.AgentControl/Heartbeat",
    "/persys.control.v1.AgentControl/ApplyWorkload",
    "/persys.control.v1.AgentControl/DeleteWorkload",
    "/persys.control.v1.AgentControl/RetryWorkload",
    "/persys.control.v1.AgentControl/SubmitAutomationSuggestion",
    "/persys.control.v1.AgentControl/ListNodes",
    "/persys.control.v1.AgentControl/GetNode",
    "/persys.control.v1.AgentControl/ListWorkloads",
    "/persys.control.v1.AgentControl/GetWorkload",
    "/persys.control.v1.AgentControl/GetClusterSummary",
    "/persys.control.v1.AgentControl/ControlStream",
    "/berth.v1.Berth/ExplainWorkload",
    "/berth.v1.Berth/DrainNode",
    "/berth.v1.Berth/CordonNode",
    "/berth.v1.Berth/UncordonNode",
    "/berth.v1.Berth/FenceNode",
    "/berth.v1.Berth/PurgeNode",
    "/berth.v1.Berth/WatchEvents",
    "/berth.v1.Berth/GetStatus",
    "/berth.replica.v1.Replica/Forward",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The client's deadline: up to 8 digits and a unit.
fn client_deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    let value = headers.get("grpc-status")?;
    Some(Code::from_bytes(value.as_bytes()))
}

/// Counts a call once, when it is dropped.
#[derive(Debug)]
struct Observer {
    metrics: Metrics,
    method: &'static str,
    started: Instant,
    code: Option<Code>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        // No status was sent: the client went away before.
        let code = code_name(self.code.unwrap_or(Code::Cancelled));
        let took = self.started.elapsed();
        tracing::debug!(method = self.method, code, ?took, "a call was answered");
        self.metrics.grpc_request(self.method, code, took);
    }
}

/// A body that watches for the status in the trailers.
#[derive(Debug)]
struct Observed {
    body: Body,
    observer: Observer,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.observer.code = code_in(trailers).or(self.observer.code);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_of_every_unit() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            client_deadline(&headers)
        };
        assert_eq!(of("20S"), Some(Duration::from_secs(20)));
        assert_eq!(of("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "S", "20", "123456789S", "1x", "-1S"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_methods_are_those_of_the_descriptors() {
        use prost::Message;
        let read = |bytes: &[u8]| prost_types::FileDescriptorSet::decode(bytes).unwrap();
        let mut expected: Vec<String> = Vec::new();
        for set in [
            read(berth_proto::FILE_DESCRIPTOR_SET),
            read(tonic_health::pb::FILE_DESCRIPTOR_SET),
        ] {
            for file in &set.file {
                for service in file.service.iter().filter(|s| s.name() != "AgentService") {
                    for method in &service.method {
                        let (package, name) = (file.package(), service.name());
                        expected.push(format!("/{package}.{name}/{}", method.name()));
                    }
                }
            }
        }
        let ours = |method: &&&str| !method.contains("reflection") && !method.contains("List/");
        let mut known: Vec<_> = METHODS
            .iter()
            .filter(ours)
            .map(|m| (*m).to_owned())
            .collect();
        known.sort();
        expected.sort();
        assert_eq!(known, expected);
    }
}
