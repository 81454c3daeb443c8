//! `/nodes`

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use berth_core::NodeId;
use berth_core::io::request::{NodeFilter, Query, Request as Ask, Response as Answer};
use berth_core::io::view::NodeView;
use berth_core::wire::rest::DrainFields;
use serde::Deserialize;

use super::Problem;
use super::body::OptionalBody;
use super::header::{Page, not_modified, record};
use super::query::Params;
use crate::api::{Api, expect_answer};

type Answered = Result<Response, Problem>;

/// A body that may be `{}`, and is there for clients that always send one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFields {}

/// `GET /nodes`
pub(crate) async fn list(State(api): State<Api>, mut params: Params) -> Answered {
    let filter = NodeFilter {
        status: params.one_of("status", &["Ready", "NotReady", "Draining"])?,
        after: params.take("after")?,
        limit: params.limit(api.limits().page_max)?,
    };
    params.done()?;
    let query = [
        ("limit", Some(filter.limit.to_string())),
        ("status", filter.status.clone()),
    ];
    let answer = api.ask(Ask::Read(Query::Nodes(filter))).await?;
    let page = expect_answer!(answer, Answer::Nodes { nodes, more, freshness } => {
        let last = nodes.last().map(|view| view.record.id.to_string());
        Page { items: nodes, more, next: last.filter(|_| more), freshness }
    })?;
    Ok(page.answer("/nodes", &query))
}

/// `GET /nodes/{id}`
pub(crate) async fn read(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Answered {
    params.done()?;
    let view = ask(&api, Ask::Read(Query::Node(node_id(&id)?))).await?;
    // Live figures stand beside the record: only what the record says may be called the same.
    if not_modified(&headers, view.resource_version) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(answer(&view))
}

/// `DELETE /nodes/{id}`
pub(crate) async fn purge(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
) -> Answered {
    params.done()?;
    let answer = api
        .ask(Ask::Purge {
            node: node_id(&id)?,
        })
        .await?;
    expect_answer!(answer, Answer::Purged => ())?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /nodes/{id}/cordon`
pub(crate) async fn cordon(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    body: OptionalBody,
) -> Answered {
    params.done()?;
    body.fields::<NoFields>()?;
    let (node, schedulable) = (node_id(&id)?, false);
    Ok(answer(
        &ask(&api, Ask::SetSchedulable { node, schedulable }).await?,
    ))
}

/// `POST /nodes/{id}/uncordon`: ends a drain, too.
pub(crate) async fn uncordon(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    body: OptionalBody,
) -> Answered {
    params.done()?;
    body.fields::<NoFields>()?;
    Ok(answer(&crate::grpc::uncordon(&api, node_id(&id)?).await?))
}

/// `POST /nodes/{id}/drain`
pub(crate) async fn drain(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    body: OptionalBody,
) -> Answered {
    params.done()?;
    let fields: DrainFields = body.fields()?;
    let limits = api.limits();
    if fields.parallelism == Some(0) {
        return Err(Problem::invalid("parallelism", "expected 1 or more"));
    }
    let deadline = fields
        .deadline_seconds
        .map(|seconds| Duration::from_secs(seconds.into()));
    let request = Ask::Drain {
        node: node_id(&id)?,
        deadline: deadline.unwrap_or(limits.drain_deadline),
        parallelism: fields.parallelism.unwrap_or(limits.drain_parallelism),
    };
    Ok(answer(&ask(&api, request).await?))
}

/// `POST /nodes/{id}/fence`
pub(crate) async fn fence(
    State(api): State<Api>,
    Path(id): Path<String>,
    params: Params,
    body: OptionalBody,
) -> Answered {
    params.done()?;
    body.fields::<NoFields>()?;
    Ok(answer(
        &ask(
            &api,
            Ask::Fence {
                node: node_id(&id)?,
            },
        )
        .await?,
    ))
}

fn node_id(text: &str) -> Result<NodeId, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid("id", format!("the node's id {error}")))
}

async fn ask(api: &Api, request: Ask) -> Result<NodeView, Problem> {
    let answer = api.ask(request).await?;
    Ok(expect_answer!(answer, Answer::Node(view) => *view)?)
}

fn answer(view: &NodeView) -> Response {
    record(StatusCode::OK, view, view.resource_version, view.freshness)
}
