//! What the server tells about itself.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use berth_core::io::request::{Query, Request as Ask, Response as Answer};
use berth_core::io::view::SchedulerStatus;
use berth_driver::StoreState;
use serde::Serialize;

use super::header::dated;
use super::query::Params;
use super::{OPENAPI, Problem, routes};
use crate::api::{Api, expect_answer};
use crate::health::HealthReport;

/// `GET /`: what there is, as JSON or, for a browser, as a page of links.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    let listed: Vec<_> = routes()
        .into_iter()
        .map(|(path, methods, _)| (path, methods.iter().map(ToString::to_string).collect()))
        .collect::<Vec<(_, Vec<String>)>>();
    let browser = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if !browser {
        let routes: Vec<_> = listed
            .iter()
            .map(|(path, methods)| serde_json::json!({"path": path, "methods": methods}))
            .collect();
        let version = env!("CARGO_PKG_VERSION");
        let body = serde_json::json!({"name": "berth", "version": version, "routes": routes});
        return Json(body).into_response();
    }
    let items: String = listed
        .iter()
        .map(|(path, methods)| {
            let methods = methods.join(", ");
            match path.contains('{') {
                true => format!("<li><code>{path}</code> {methods}</li>"),
                false => format!("<li><a href=\"{path}\">{path}</a> {methods}</li>"),
            }
        })
        .collect();
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Berth</title>\
         <h1>Berth</h1><p>The cluster's scheduler. Its port speaks JSON:</p><ul>{items}</ul></html>"
    ))
    .into_response()
}

/// `GET /summary`
pub(crate) async fn summary(State(api): State<Api>, params: Params) -> Result<Response, Problem> {
    params.done()?;
    let answer = api.ask(Ask::Read(Query::Summary)).await?;
    let summary = expect_answer!(answer, Answer::Summary(summary) => summary)?;
    Ok(dated(summary, summary.freshness))
}

/// The body of `/status`.
#[derive(Debug, Serialize)]
struct Status {
    #[serde(flatten)]
    scheduler: SchedulerStatus,
    replica_id: String,
    version: &'static str,
    health: HealthReport,
}

/// `GET /status`
pub(crate) async fn status(State(api): State<Api>, params: Params) -> Result<Response, Problem> {
    params.done()?;
    let answer = api.ask(Ask::Read(Query::Status)).await?;
    let scheduler = expect_answer!(answer, Answer::Status(status) => *status)?;
    let body = Status {
        scheduler,
        replica_id: api.replica_id().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        health: api.health().report(),
    };
    Ok(Json(body).into_response())
}

/// `GET /health`: always 200; the body says how things are.
pub(crate) async fn health(State(api): State<Api>) -> Json<HealthReport> {
    Json(api.health().report())
}

/// `GET /livez`: the process answers.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: reads and writes are answered, by this replica or by the leader that it knows. A
/// store in trouble that lasts is said.
pub(crate) async fn readyz(State(api): State<Api>) -> Response {
    let store = api.health().report().store;
    match api.not_ready() {
        None if store.state == StoreState::Fine.name() => (StatusCode::OK, "ok\n").into_response(),
        None => {
            let text = format!("ok, the store is {}\n", store.state);
            (StatusCode::OK, text).into_response()
        }
        Some(why) => Problem::unavailable(why, std::time::Duration::from_secs(1)).into_response(),
    }
}

/// `GET /metrics`
pub(crate) async fn metrics(State(api): State<Api>) -> Response {
    match api.metrics().export(&api) {
        Ok(text) => {
            let media_type = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, media_type)], text).into_response()
        }
        Err(error) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Problem::new(status, "internal", "Internal error", error.to_string()).into_response()
        }
    }
}

/// `GET /openapi.json`
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
