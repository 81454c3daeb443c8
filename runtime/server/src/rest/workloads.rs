//! `/workloads`

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berth_core::admission::parse_manifest;
use berth_core::io::request::{
    ApplyWorkload, Query, Request as Ask, Response as Answer, WorkloadFilter,
};
use berth_core::io::view::{DisplayStatus, WorkloadView};
use berth_core::model::workload::DesiredState;
use berth_core::{StoreRevision, WorkloadId};
use serde::Deserialize;

use super::Problem;
use super::body::{JsonBody, OptionalBody};
use super::header::{Page, dated, not_modified, precondition, record};
use super::query::Params;
use crate::api::{Api, expect_answer};

type Answered = Result<Response, Problem>;

/// `GET /workloads`
pub(crate) async fn list(State(api): State<Api>, mut params: Params) -> Answered {
    let filter = WorkloadFilter {
        node: params.take("node")?,
        status: params.one_of("status", &DisplayStatus::ALL.map(DisplayStatus::name))?,
        actual_state: None,
        tenant: params.take("tenant")?,
        after: params.take("after")?,
        limit: params.limit(api.limits().page_max)?,
    };
    params.done()?;
    let query = [
        ("limit", Some(filter.limit.to_string())),
        ("node", filter.node.as_ref().map(ToString::to_string)),
        ("status", filter.status.clone()),
        ("tenant", filter.tenant.as_ref().map(ToString::to_string)),
    ];
    let answer = api.ask(Ask::Read(Query::Workloads(filter))).await?;
    let page = expect_answer!(answer, Answer::Workloads { workloads, more, freshness } => {
        let last = workloads.last().map(|view| view.record.id.to_string());
        Page { items: workloads, more, next: last.filter(|_| more), freshness }
    })?;
    Ok(page.answer("/workloads", &query))
}

/// `GET /workloads/{id}`
pub(crate) async fn read(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Answered {
    params.done()?;
    let view = ask(&api, Ask::Read(Query::Workload(workload_id(&id)?))).await?;
    if not_modified(&headers, view.resource_version) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(answer(StatusCode::OK, &view))
}

/// `POST /workloads`
pub(crate) async fn apply(
    State(api): State<Api>,
    mut params: Params,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Answered {
    let dry_run = params.flag("dry_run")?;
    params.done()?;
    write(&api, &headers, &body, dry_run).await
}

/// `PUT /workloads/{id}`: the manifest may leave the id out, and may not name another one.
pub(crate) async fn replace(
    State(api): State<Api>,
    Path(id): Path<String>,
    mut params: Params,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Answered {
    #[derive(Deserialize)]
    struct Named {
        id: Option<serde_json::Value>,
    }
    let id = workload_id(&id)?;
    let dry_run = params.flag("dry_run")?;
    params.done()?;
    match serde_json::from_slice::<Named>(&body) {
        Ok(Named { id: None }) => {
            let body = with_id(&body, &id);
            write(&api, &headers, &body, dry_run).await
        }
        Ok(Named {
            id: Some(serde_json::Value::String(named)),
        }) if named != id.as_str() => Err(Problem::invalid(
            "id",
            format!("differs from the id of the path, {id}"),
        )),
        // Right, or wrong in a way that the manifest's own reader names.
        Ok(_) | Err(_) => write(&api, &headers, &body, dry_run).await,
    }
}

/// The same JSON object with an id; `body` is well-formed. Spliced, so that everything else is
/// judged as it was sent.
fn with_id(body: &[u8], id: &WorkloadId) -> Vec<u8> {
    let Some(start) = body.iter().position(|byte| *byte == b'{') else {
        return body.to_vec();
    };
    let (head, tail) = body.split_at(start + 1);
    let empty = tail.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let field = format!("\"id\":\"{id}\"{}", if empty { "" } else { "," });
    [head, field.as_bytes(), tail].concat()
}

async fn write(api: &Api, headers: &HeaderMap, body: &[u8], dry_run: bool) -> Answered {
    let mut apply = parse_manifest(body)?.into_apply()?;
    apply.if_match = precondition(headers)?;
    apply.dry_run = dry_run;
    let create_only = apply.if_match == Some(StoreRevision(0)) && !dry_run;
    let view = ask(api, Ask::Apply(apply)).await?;
    if !create_only {
        return Ok(answer(StatusCode::OK, &view));
    }
    let mut response = answer(StatusCode::CREATED, &view);
    if let Ok(location) = format!("/workloads/{}", view.record.id).parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `DELETE /workloads/{id}`: the workload is going; its record stays until its node confirms.
pub(crate) async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Answered {
    params.done()?;
    let (workload, if_match) = (workload_id(&id)?, precondition(&headers)?);
    let view = ask(&api, Ask::Delete { workload, if_match }).await?;
    Ok(answer(StatusCode::ACCEPTED, &view))
}

/// `POST /workloads/{id}/retry`
pub(crate) async fn retry(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    body: OptionalBody,
) -> Answered {
    params.done()?;
    body.fields::<super::nodes::NoFields>()?;
    let view = ask(
        &api,
        Ask::Retry {
            workload: workload_id(&id)?,
        },
    )
    .await?;
    Ok(answer(StatusCode::OK, &view))
}

/// `POST /workloads/{id}/start`
pub(crate) async fn start(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
    body: OptionalBody,
) -> Answered {
    desire(&api, &id, params, &headers, &body, DesiredState::Running).await
}

/// `POST /workloads/{id}/stop`
pub(crate) async fn stop(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
    body: OptionalBody,
) -> Answered {
    desire(&api, &id, params, &headers, &body, DesiredState::Stopped).await
}

async fn desire(
    api: &Api,
    id: &str,
    mut params: Params,
    headers: &HeaderMap,
    body: &OptionalBody,
    state: DesiredState,
) -> Answered {
    let dry_run = params.flag("dry_run")?;
    params.done()?;
    body.fields::<super::nodes::NoFields>()?;
    let apply = ApplyWorkload {
        workload: workload_id(id)?,
        spec: None,
        revision: None,
        desired_state: Some(state),
        if_match: precondition(headers)?,
        dry_run,
    };
    Ok(answer(StatusCode::OK, &ask(api, Ask::Apply(apply)).await?))
}

/// `GET /workloads/{id}/explain`
pub(crate) async fn explain(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Answered {
    params.done()?;
    let response = api
        .ask(Ask::Read(Query::Explain(workload_id(&id)?)))
        .await?;
    let explained = expect_answer!(response, Answer::Explanation(explained) => explained)?;
    let freshness = explained.freshness;
    Ok(dated(explained, freshness))
}

fn workload_id(text: &str) -> Result<WorkloadId, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid("id", format!("the workload's id {error}")))
}

async fn ask(api: &Api, request: Ask) -> Result<WorkloadView, Problem> {
    let answer = api.ask(request).await?;
    Ok(expect_answer!(answer, Answer::Workload(view) => *view)?)
}

fn answer(status: StatusCode, view: &WorkloadView) -> Response {
    record(status, view, view.resource_version, view.freshness)
}
