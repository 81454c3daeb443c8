//! The model against a naive reference: the whole history kept as one map of keys per revision.
//!
//! `reference` is the simple machine, `transition` draws random requests, this file drives both
//! and compares every answer and every event.

mod reference;
mod transition;

use berth_kv::{
    Event, KvError, Limits, Model, Request, Response, StreamId, WatchId, WatchOutputKind,
    WatchRequest,
};
use proptest::prelude::*;

use crate::reference::Reference;
use crate::transition::{Step, steps};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Every answer equals that of the reference, and a store that was written down and read
    /// again in between cannot be told apart.
    #[test]
    fn answers_equal_the_references(history in steps(60)) {
        let mut model = Model::default();
        let mut reference = Reference::default();
        for step in history {
            match step {
                Step::Ask { now_ms, request } => {
                    let expected = reference.apply(now_ms, &request);
                    let answer = model.apply(now_ms, request.clone());
                    prop_assert_eq!(answer, expected, "at {:?}", request);
                }
                Step::Expire { now_ms } => {
                    prop_assert_eq!(model.expire_leases(now_ms), reference.expire(now_ms));
                }
                Step::Restart { now_ms } => {
                    let snapshot = model.snapshot();
                    model = Model::restore(Limits::default(), now_ms, snapshot.clone());
                    reference.restart_leases(now_ms);
                    prop_assert_eq!(model.snapshot(), snapshot);
                }
            }
            prop_assert_eq!(model.revision(), reference.revision());
        }
    }

    /// A watch sees every event of its range from its start on, once, in order, wherever it
    /// starts and however often it falls behind.
    #[test]
    fn watches_miss_nothing(history in steps(60), start in 2_i64..30, lag in any::<u64>()) {
        let mut model = Model::default();
        let mut reference = Reference::default();
        let stream = StreamId(1);
        let mut create = Some(WatchRequest::Create {
            stream,
            id: WatchId(5),
            range: berth_kv::KeyRange::all(),
            start_revision: start,
            prev_kv: true,
            progress_notify: false,
            filters: vec![],
        });
        let mut compacted_before = false;
        let mut seen: Vec<Event> = Vec::new();
        let mut lost = false;
        let count = history.len();
        for (index, step) in history.into_iter().enumerate() {
            if let Step::Ask { now_ms, request } = step {
                let is_compaction = matches!(request, Request::Compact { .. });
                let expected = reference.apply(now_ms, &request);
                compacted_before |= is_compaction && expected.is_ok();
                let _ = model.apply(now_ms, request);
            }
            if index == count / 2 && let Some(create) = create.take() {
                model.apply(0, Request::Watch(create)).unwrap();
            }
            let id = WatchId(5);
            let change = match (lag >> (index % 64)) & 1 {
                0 => WatchRequest::Pause { stream, id },
                _ => WatchRequest::Resume { stream, id },
            };
            model.apply(0, Request::Watch(change)).unwrap();
            drain(&mut model, &mut seen, &mut lost);
        }
        model.apply(0, Request::Watch(WatchRequest::Resume { stream, id: WatchId(5) })).unwrap();
        drain(&mut model, &mut seen, &mut lost);
        if lost {
            prop_assert!(compacted_before, "only a compaction makes a watch lose its place");
            return Ok(());
        }
        // A compaction takes previous versions away from events that are delivered after it.
        if compacted_before || create.is_some() {
            return Ok(());
        }
        prop_assert_eq!(seen, reference.events_from(start));
    }

    /// A watch that starts in the past, before, at or after a compaction, or in the future.
    #[test]
    fn watches_start_where_they_should(history in steps(60), offset in -2_i64..8) {
        let mut model = Model::default();
        let mut reference = Reference::default();
        for step in history {
            if let Step::Ask { now_ms, request } = step {
                let _ = reference.apply(now_ms, &request);
                let _ = model.apply(now_ms, request);
            }
        }
        let start = (model.compacted_revision() + offset).max(1);
        let create = WatchRequest::Create {
            stream: StreamId(1),
            id: WatchId::AUTO,
            range: berth_kv::KeyRange::all(),
            start_revision: start,
            prev_kv: true,
            progress_notify: false,
            filters: vec![],
        };
        let expected = reference.watch_from(start);
        model.apply(0, Request::Watch(create)).unwrap();
        let (mut seen, mut lost) = (Vec::new(), false);
        drain(&mut model, &mut seen, &mut lost);
        prop_assert_eq!(lost, expected.is_err());
        prop_assert_eq!(seen, expected.unwrap_or_default());
        // One more change is seen, unless it comes before the start.
        let put = berth_kv::PutRequest::new("last", "x");
        model.apply(0, Request::Put(put)).unwrap();
        let mut seen = Vec::new();
        drain(&mut model, &mut seen, &mut lost);
        prop_assert_eq!(!seen.is_empty(), !lost && start <= model.revision());
    }

    /// Memory is proportional to what is alive: after a compaction at the present there is one
    /// version of each living key and nothing else.
    #[test]
    fn compaction_leaves_what_is_alive(history in steps(60)) {
        let mut model = Model::default();
        for step in history {
            if let Step::Ask { now_ms, request } = step {
                let _ = model.apply(now_ms, request);
            }
        }
        let revision = model.revision();
        match model.apply(0, Request::Compact { revision }) {
            Ok(_) | Err(KvError::Compacted) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
        let all = Request::Range(berth_kv::RangeRequest::range(berth_kv::KeyRange::all()));
        let Ok(Response::Range(alive)) = model.apply(0, all) else {
            panic!("the present can be read");
        };
        prop_assert_eq!(model.version_count() as i64, alive.count);
    }
}

/// Takes what the watch was told.
fn drain(model: &mut Model, seen: &mut Vec<Event>, lost: &mut bool) {
    while let Some(output) = model.poll_watch_output() {
        match output.kind {
            WatchOutputKind::Events(events) => seen.extend(events),
            WatchOutputKind::Compacted { .. } => *lost = true,
            WatchOutputKind::Created
            | WatchOutputKind::Refused(_)
            | WatchOutputKind::Progress
            | WatchOutputKind::Canceled => {}
        }
    }
}
