//! The HTTP port: REST in JSON, server-sent events, probes, metrics, its own description.
//!
//! Every route stands in [`routes`], and `openapi.json` describes exactly those.

mod body;
mod events;
mod header;
mod nodes;
mod problem;
mod query;
mod system;
mod workloads;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::api::Api;
use crate::call::{BadHeader, Call, Consistency};
pub use problem::Problem;

/// The description of the port, OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// A path, its methods, and what answers them.
type Route = (&'static str, &'static [Method], MethodRouter<Api>);

/// All routes, in the order of the description.
fn routes() -> Vec<Route> {
    use Method as M;
    vec![
        ("/", &[M::GET], get(system::index)),
        (
            "/workloads",
            &[M::GET, M::POST],
            get(workloads::list).post(workloads::apply),
        ),
        (
            "/workloads/{id}",
            &[M::GET, M::PUT, M::DELETE],
            get(workloads::read)
                .put(workloads::replace)
                .delete(workloads::remove),
        ),
        ("/workloads/{id}/retry", &[M::POST], post(workloads::retry)),
        ("/workloads/{id}/start", &[M::POST], post(workloads::start)),
        ("/workloads/{id}/stop", &[M::POST], post(workloads::stop)),
        (
            "/workloads/{id}/explain",
            &[M::GET],
            get(workloads::explain),
        ),
        ("/nodes", &[M::GET], get(nodes::list)),
        (
            "/nodes/{id}",
            &[M::GET, M::DELETE],
            get(nodes::read).merge(delete(nodes::purge)),
        ),
        ("/nodes/{id}/cordon", &[M::POST], post(nodes::cordon)),
        ("/nodes/{id}/uncordon", &[M::POST], post(nodes::uncordon)),
        ("/nodes/{id}/drain", &[M::POST], post(nodes::drain)),
        ("/nodes/{id}/fence", &[M::POST], post(nodes::fence)),
        ("/events", &[M::GET], get(events::events)),
        ("/summary", &[M::GET], get(system::summary)),
        ("/status", &[M::GET], get(system::status)),
        ("/health", &[M::GET], get(system::health)),
        ("/livez", &[M::GET], get(system::livez)),
        ("/readyz", &[M::GET], get(system::readyz)),
        ("/metrics", &[M::GET], get(system::metrics)),
        ("/openapi.json", &[M::GET], get(system::openapi)),
    ]
}

/// The whole port.
pub fn router(api: &Api) -> Router {
    let mut router = Router::new();
    for (path, _, methods) in routes() {
        router = router.route(path, methods);
    }
    let places = Arc::new(Semaphore::new(api.limits().requests_max));
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::middleware::from_fn_with_state(
            (api.clone(), places),
            guard,
        ))
        .with_state(api.clone())
}

/// Bounds what is in flight, except for what tells how the server is, and counts.
async fn guard(
    State((api, places)): State<(Api, Arc<Semaphore>)>,
    request: Request,
    next: Next,
) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let method = known_method(request.method());
    let started = Instant::now();
    let probe = matches!(
        route.as_str(),
        "/health" | "/livez" | "/readyz" | "/metrics"
    );
    let response = match (probe, places.try_acquire()) {
        (true, _) => next.run(request).await,
        (_, Ok(_)) => match call_of(&request) {
            Ok(call) => call.scope(next.run(request)).await,
            Err(problem) => problem.into_response(),
        },
        (false, Err(_)) => {
            let detail = "the scheduler has too many requests in flight";
            Problem::unavailable(detail, Duration::from_secs(1)).into_response()
        }
    };
    let (status, took) = (response.status().as_u16(), started.elapsed());
    tracing::debug!(method, route, status, ?took, "a request was answered");
    api.metrics().http_request(method, &route, status, took);
    response
}

/// Who asks, and how new the answer has to be.
fn call_of(request: &Request) -> Result<Call, Problem> {
    let caller = request.extensions().get().cloned().unwrap_or_default();
    let mut call = Call::from_headers(caller, request.headers())
        .map_err(|BadHeader(name, problem)| Problem::malformed(name, problem))?;
    if request.method() == Method::GET {
        call.strong |= query::consistency(request.uri())? == Consistency::Strong;
    }
    Ok(call)
}

/// Methods are outside text: only known ones become labels.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

async fn no_such_path(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    let detail = format!("there is nothing at {path}; GET / lists the routes");
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-route",
        "No such route",
        detail,
    )
}

async fn no_such_method(request: Request) -> Problem {
    let (method, path) = (request.method().as_str(), request.uri().path());
    let detail =
        format!("{method} is not a method of {path}; the Allow header names those that are");
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(status, "method-not-allowed", "Method not allowed", detail)
}
