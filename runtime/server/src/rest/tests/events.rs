//! Events as pages and as a stream.

use axum::http::StatusCode;
use berth_core::io::request::{Query, Request as Ask, Response as Answer};
use berth_core::io::view::EventPage;
use berth_core::{Epoch, EventId, Timestamp};
use futures::StreamExt;
use serde_json::json;

use super::*;
use crate::api::ApiLimits;
use crate::testing::{Script, event, fresh};

fn log_of_events() -> Script {
    Script::new(|request| {
        let Ask::Read(Query::Events { after, limit, .. }) = request else {
            panic!("{request:?}")
        };
        let newer = |n: &u64| after.as_ref().is_none_or(|after| event(*n).id > *after);
        let events = (0..5).filter(newer).map(event).take(*limit).collect();
        Ok(Answer::Events(EventPage {
            events,
            gap: after.as_ref().is_some_and(|after| *after < event(0).id),
            freshness: fresh(70),
        }))
    })
}

#[tokio::test]
async fn events_as_pages() {
    let script = log_of_events();
    let after = EventId::from_text(event(0).id.as_str());
    let reply = call(&script, &format!("GET /events?limit=2&after={after}"), "").await;
    assert_eq!(reply.body["items"][0]["reason"], "number 1");
    assert_eq!(reply.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&reply.body["more"], &reply.body["gap"]),
        (&json!(true), &json!(false))
    );
    let next = reply.body["next"].as_str().unwrap();
    let reply = call(&script, &format!("GET /events?limit=2&after={next}"), "").await;
    assert_eq!(reply.body["more"], false);
    let at_end = call(&script, &format!("GET /events?after={}", event(9).id), "").await;
    assert_eq!(at_end.body["next"], event(9).id.as_str());
}

#[tokio::test]
async fn events_as_a_stream_resume_after_the_last_id() {
    let script = log_of_events();
    let api = script.api();
    let last = event(2).id;
    let headers = [
        ("accept", "text/event-stream"),
        ("last-event-id", last.as_str()),
    ];
    // The header wins over the parameter: the browser repeats the URL of its first try.
    let uri = format!("/events?after={}", event(0).id);
    let response = router(&api)
        .oneshot(request("GET", &uri, &headers, ""))
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    script.emit(event(4));
    script.emit(event(5));
    while !text.contains("number 5") {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    let numbers: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("data:"))
        .collect();
    assert_eq!(numbers.len(), 3, "{text}");
    for n in 3..6 {
        assert_eq!(
            text.matches(&format!("\"reason\":\"number {n}\"")).count(),
            1,
            "{text}"
        );
        assert!(text.contains(&format!("id: {}\n", event(n).id)), "{text}");
    }
    api.shutdown().cancel();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn watchers_are_bounded() {
    let script = Script::silent();
    let api = script.api_with(ApiLimits {
        watchers_max: 0,
        ..ApiLimits::default()
    });
    let watch = request("GET", "/events", &[("accept", "text/event-stream")], "");
    let response = router(&api).oneshot(watch).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_beginning_has_no_gap_before_it() {
    let script = log_of_events();
    let reply = call(&script, "GET /events?after=0", "").await;
    assert_eq!(reply.body["gap"], false);
    assert_eq!(reply.body["items"].as_array().unwrap().len(), 5);
    let old = EventId::new(Timestamp::ZERO, Epoch(0), 0);
    let reply = call(&script, &format!("GET /events?after={old}"), "").await;
    assert_eq!(reply.body["gap"], true);
    for (after, first) in [
        ("0", "event: WorkloadCreated"),
        (old.as_str(), "event: gap"),
    ] {
        let headers = [("accept", "text/event-stream")];
        let uri = format!("/events?after={after}");
        let response = router(&script.api())
            .oneshot(request("GET", &uri, &headers, ""))
            .await
            .unwrap();
        let mut stream = response.into_body().into_data_stream();
        let chunk = stream.next().await.unwrap().unwrap();
        let text = String::from_utf8(chunk.to_vec()).unwrap();
        let event = text.lines().find(|line| line.starts_with("event:"));
        assert_eq!(event, Some(first), "{text}");
    }
}

#[tokio::test]
async fn a_mangled_place_is_refused() {
    let script = log_of_events();
    let good = event(1).id.to_string();
    let (cut, long) = (&good[..good.len() - 1], "0".repeat(200));
    for bad in ["zzz", "00", "-", cut, &good.replace('-', "_"), &long] {
        let reply = call(&script, &format!("GET /events?after={bad}"), "").await;
        assert_eq!((reply.status, reply.field()), (422, "after"), "{bad}");
        let headers = [("accept", "text/event-stream"), ("last-event-id", bad)];
        let response = router(&script.api())
            .oneshot(request("GET", "/events", &headers, ""))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
}
