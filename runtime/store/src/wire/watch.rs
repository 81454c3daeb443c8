//! Watches: requests from etcd's messages, output to them.

use berth_kv::{
    Event, EventKind, KeyRange, StreamId, WatchFilter, WatchId, WatchOutput, WatchOutputKind,
    WatchRequest,
};
use etcd_client::proto::{PbEvent, PbWatchRequest, PbWatchRequestUnion, PbWatchResponse};
use prost::Message;

use super::response::{header, key_value};

/// The size beyond which the answer to a watch that allows it is cut into fragments.
const FRAGMENT_BYTES: usize = 1536 * 1024;

/// The request, and whether the watch allows fragments. `None`: nothing that etcd reacts to.
pub(crate) fn request(stream: StreamId, message: PbWatchRequest) -> Option<(WatchRequest, bool)> {
    match message.request_union? {
        PbWatchRequestUnion::CreateRequest(create) => {
            let filters = create.filters.iter().filter_map(|filter| match filter {
                0 => Some(WatchFilter::NoPut),
                1 => Some(WatchFilter::NoDelete),
                _ => None,
            });
            let request = WatchRequest::Create {
                stream,
                id: WatchId(create.watch_id),
                start_revision: create.start_revision,
                prev_kv: create.prev_kv,
                progress_notify: create.progress_notify,
                filters: filters.collect(),
                range: KeyRange::from_wire(create.key, create.range_end),
            };
            Some((request, create.fragment))
        }
        PbWatchRequestUnion::CancelRequest(cancel) => Some((
            WatchRequest::Cancel {
                stream,
                id: WatchId(cancel.watch_id),
            },
            false,
        )),
        PbWatchRequestUnion::ProgressRequest(_) => Some((WatchRequest::Progress { stream }, false)),
    }
}

/// The answers that tell this output.
pub(crate) fn output(output: WatchOutput, fragment: bool) -> Vec<PbWatchResponse> {
    let mut message = PbWatchResponse {
        header: header(output.revision),
        watch_id: output.watch.0,
        ..PbWatchResponse::default()
    };
    match output.kind {
        WatchOutputKind::Created => message.created = true,
        WatchOutputKind::Refused(refusal) => {
            message.created = true;
            message.canceled = true;
            message.cancel_reason = refusal.to_string();
        }
        WatchOutputKind::Events(events) => {
            message.events = events.into_iter().map(event).collect();
            if fragment {
                return fragments(message);
            }
        }
        WatchOutputKind::Progress => {}
        WatchOutputKind::Compacted { compact_revision } => {
            message.canceled = true;
            message.compact_revision = compact_revision;
        }
        WatchOutputKind::Canceled => message.canceled = true,
    }
    vec![message]
}

fn event(event: Event) -> PbEvent {
    PbEvent {
        r#type: match event.kind {
            EventKind::Put => 0,
            EventKind::Delete => 1,
        },
        kv: Some(key_value(event.kv)),
        prev_kv: event.prev_kv.map(key_value),
    }
}

/// All but the last fragment say that there is more.
fn fragments(message: PbWatchResponse) -> Vec<PbWatchResponse> {
    if message.encoded_len() < FRAGMENT_BYTES {
        return vec![message];
    }
    let (events, empty) = (
        message.events,
        PbWatchResponse {
            events: Vec::new(),
            ..message
        },
    );
    let mut parts = Vec::new();
    let mut part = PbWatchResponse {
        fragment: true,
        ..empty.clone()
    };
    let mut bytes = 0;
    for event in events {
        let len = event.encoded_len();
        if bytes + len >= FRAGMENT_BYTES && !part.events.is_empty() {
            let next = PbWatchResponse {
                fragment: true,
                ..empty.clone()
            };
            parts.push(std::mem::replace(&mut part, next));
            bytes = 0;
        }
        bytes += len;
        part.events.push(event);
    }
    part.fragment = false;
    parts.push(part);
    parts
}
