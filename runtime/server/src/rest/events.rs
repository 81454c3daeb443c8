//! `/events`: a page of JSON, or a stream of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use berth_core::EventId;
use berth_core::io::request::Response as Answer;
use futures::Stream;
use serde::Serialize;

use super::Problem;
use super::header::{Page, dated};
use super::query::Params;
use crate::api::{Api, EventFilter, event_id, expect_answer};
use crate::feed::{Feed, FeedItem, Origin};

/// As `after`: before every event. Nothing can have left since then that anybody had.
const BEGINNING: &str = "0";

/// A page of events; events go on, so `next` is always there once there was one.
#[derive(Debug, Serialize)]
struct EventsPage<T> {
    #[serde(flatten)]
    page: Page<T>,
    /// Events between `after` and the first of these may have left by retention.
    gap: bool,
}

/// `GET /events`
pub(crate) async fn events(
    State(api): State<Api>,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let filter = EventFilter {
        workload: params.take("workload")?,
        node: params.take("node")?,
    };
    let after: Option<String> = params.take("after")?;
    let limit = params.limit(api.limits().page_max)?;
    params.done()?;
    let resumed = match headers.get("last-event-id") {
        Some(value) => match value.to_str() {
            Ok(text) if !text.is_empty() => Some(text.to_owned()),
            Ok(_) => None,
            Err(_) => return Err(Problem::malformed("Last-Event-ID", "is not ASCII")),
        },
        None => None,
    };
    let wants_stream = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    // A browser that reconnects sends the same URL again: where it really is stands in the header.
    let after = match resumed.filter(|_| wants_stream) {
        Some(text) => Some(place("Last-Event-ID", &text)?),
        None => after.map(|text| place("after", &text)).transpose()?,
    };
    if wants_stream {
        return stream(api, filter, after).await;
    }
    page(&api, &filter, after, limit).await
}

/// Where a client wants to go on.
fn place(field: &str, text: &str) -> Result<EventId, Problem> {
    if text == BEGINNING {
        return Ok(EventId::from_text(text));
    }
    event_id(text).map_err(|problem| Problem::invalid(field, problem))
}

async fn page(
    api: &Api,
    filter: &EventFilter,
    after: Option<EventId>,
    limit: usize,
) -> Result<Response, Problem> {
    // One more than wanted tells whether more follow; the newest few have nothing behind them.
    let asked = limit + usize::from(after.is_some());
    let answer = api.ask(filter.page(after.clone(), asked)).await?;
    let mut found = expect_answer!(answer, Answer::Events(page) => page)?;
    let from_beginning = after.as_ref().is_some_and(|id| id.as_str() == BEGINNING);
    let more = found.events.len() > limit;
    found.events.truncate(limit);
    let last = found.events.last().map(|event| event.id.clone()).or(after);
    let freshness = found.freshness;
    let page = Page {
        items: found.events,
        more,
        next: last.map(|id| id.to_string()),
        freshness,
    };
    let body = EventsPage {
        page,
        gap: found.gap && !from_beginning,
    };
    Ok(dated(body, freshness))
}

async fn stream(
    api: Api,
    filter: EventFilter,
    after: Option<EventId>,
) -> Result<Response, Problem> {
    let Some(place) = api.watcher() else {
        let detail = "too many clients watch events";
        return Err(Problem::unavailable(detail, Duration::from_secs(5)));
    };
    let origin = match after {
        None => Origin::Now,
        Some(id) if id.as_str() == BEGINNING => Origin::Oldest,
        Some(id) => Origin::After(id),
    };
    let feed = Feed::open(api, filter, origin).await?;
    let stream = futures::stream::unfold(Some((feed, place)), |state| async {
        let (mut feed, place) = state?;
        match feed.next().await {
            Ok(Some(item)) => Some((Ok(sse(item)), Some((feed, place)))),
            Ok(None) => None,
            // The client comes back by itself, with its last id.
            Err(error) => {
                let event = Event::default()
                    .event("error")
                    .data(one_line(&error.to_string()));
                Some((Ok(event), None))
            }
        }
    });
    Ok(answer(stream))
}

fn answer<S>(stream: S) -> Response
where
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let mut response = Sse::new(stream).into_response();
    *response.status_mut() = StatusCode::OK;
    // Proxies that buffer would hold events back.
    let value = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", value);
    response
}

fn sse(item: FeedItem) -> Event {
    match item {
        FeedItem::Event(event, resume) => {
            let data = serde_json::to_string(&event).unwrap_or_default();
            Event::default()
                .id(one_line(resume.as_str()))
                .event(event.event_type.to_string())
                .data(data)
        }
        FeedItem::Lost => Event::default()
            .event("gap")
            .data("events have left by retention"),
        FeedItem::Idle(_) => Event::default().comment("idle"),
    }
}

/// A field of an event ends with its line.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n', '\0'], " ")
}
