//! Watches: what changed in a range of keys, from a revision on, in order, nothing left out.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::range::View;
use crate::request::{WatchFilter, WatchRequest};
use crate::types::{Event, EventKind, Key, KeyRange, Revision, StreamId, WatchId};

/// The most revisions that one answer of a watch that catches up carries.
const MAX_CATCH_UP_REVISIONS: usize = 1000;

/// Something that a stream of watches must be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchOutput {
    pub stream: StreamId,
    /// [`WatchId::INVALID`] for what concerns the whole stream, and for a refusal.
    pub watch: WatchId,
    /// The revision in etcd's response header.
    pub revision: Revision,
    pub kind: WatchOutputKind,
}

/// What a stream is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WatchOutputKind {
    Created,
    /// The watch was not created.
    Refused(WatchRefusal),
    /// Changes in the order of their revisions; those of one revision are never split.
    Events(Vec<Event>),
    /// Nothing was missed up to the revision of this answer.
    Progress,
    /// What the watch should see next was compacted; it sees nothing any more.
    Compacted {
        compact_revision: Revision,
    },
    /// Canceled as asked.
    Canceled,
}

/// Why a watch was not created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum WatchRefusal {
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
}

#[derive(Clone, Debug)]
struct Watch {
    range: KeyRange,
    /// The first revision that it has not seen.
    next: Revision,
    prev_kv: bool,
    progress_notify: bool,
    filters: Vec<WatchFilter>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Sees every change at once.
    Live,
    /// Sees nothing until it is resumed.
    Paused,
    /// Lost its place to a compaction; its id stays taken until it is canceled.
    Compacted,
}

/// All watches of all streams, and what was not yet taken of their output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    watches: BTreeMap<(StreamId, WatchId), Watch>,
    next_ids: BTreeMap<StreamId, i64>,
    output: VecDeque<WatchOutput>,
}

impl Watches {
    pub(crate) fn poll(&mut self) -> Option<WatchOutput> {
        self.output.pop_front()
    }

    /// Carries out a request; answers with the id that it was about.
    pub(crate) fn handle(&mut self, view: View<'_>, request: WatchRequest) -> WatchId {
        match request {
            WatchRequest::Create {
                stream,
                id,
                range,
                start_revision,
                prev_kv,
                progress_notify,
                filters,
            } => {
                let range = from_smallest(range);
                let next = match start_revision {
                    0 => view.current + 1,
                    start => start,
                };
                let state = State::Live;
                let watch = Watch {
                    range,
                    next,
                    prev_kv,
                    progress_notify,
                    filters,
                    state,
                };
                return self.create(view, stream, id, watch);
            }
            WatchRequest::Cancel { stream, id } => {
                if self.watches.remove(&(stream, id)).is_some() {
                    self.tell(stream, id, view.current, WatchOutputKind::Canceled);
                }
                return id;
            }
            WatchRequest::Progress { stream } => {
                self.tell(
                    stream,
                    WatchId::INVALID,
                    view.current,
                    WatchOutputKind::Progress,
                );
            }
            WatchRequest::NotifyProgress => self.notify_progress(view.current),
            WatchRequest::Pause { stream, id } => {
                if let Some(watch) = self.live(stream, id) {
                    watch.state = State::Paused;
                }
                return id;
            }
            WatchRequest::Resume { stream, id } => {
                self.resume(view, stream, id);
                return id;
            }
            WatchRequest::Close { stream } => {
                self.watches.retain(|(own, _), _| *own != stream);
                self.output.retain(|output| output.stream != stream);
                self.next_ids.remove(&stream);
            }
        }
        WatchId::INVALID
    }

    fn create(&mut self, view: View<'_>, stream: StreamId, id: WatchId, watch: Watch) -> WatchId {
        let refusal = match &watch.range {
            KeyRange::Span { start, end } if start >= end => Some(WatchRefusal::EmptyRange),
            _ if self.watches.contains_key(&(stream, id)) && id != WatchId::AUTO => {
                Some(WatchRefusal::DuplicateId)
            }
            KeyRange::Single(_) | KeyRange::Span { .. } | KeyRange::From(_) => None,
        };
        if let Some(refusal) = refusal {
            self.tell(
                stream,
                WatchId::INVALID,
                view.current,
                WatchOutputKind::Refused(refusal),
            );
            return WatchId::INVALID;
        }
        let id = if id == WatchId::AUTO {
            self.choose_id(stream)
        } else {
            id
        };
        self.watches.insert((stream, id), watch);
        self.tell(stream, id, view.current, WatchOutputKind::Created);
        self.catch_up(view, stream, id);
        id
    }

    /// etcd counts from 0 in every stream, over ids that are taken.
    fn choose_id(&mut self, stream: StreamId) -> WatchId {
        let next = self.next_ids.entry(stream).or_insert(0);
        while self.watches.contains_key(&(stream, WatchId(*next))) {
            *next += 1;
        }
        *next += 1;
        WatchId(*next - 1)
    }

    fn live(&mut self, stream: StreamId, id: WatchId) -> Option<&mut Watch> {
        self.watches
            .get_mut(&(stream, id))
            .filter(|watch| watch.state == State::Live)
    }

    fn resume(&mut self, view: View<'_>, stream: StreamId, id: WatchId) {
        let Some(watch) = self.watches.get_mut(&(stream, id)) else {
            return;
        };
        if watch.state == State::Paused {
            watch.state = State::Live;
            self.catch_up(view, stream, id);
        }
    }

    /// Tells a watch what happened between its place and now.
    fn catch_up(&mut self, view: View<'_>, stream: StreamId, id: WatchId) {
        let Some(watch) = self.watches.get_mut(&(stream, id)) else {
            return;
        };
        if watch.next > view.current {
            return;
        }
        if watch.next < view.compacted {
            watch.state = State::Compacted;
            let kind = WatchOutputKind::Compacted {
                compact_revision: view.compacted,
            };
            // etcd leaves the revision of this header at 0.
            self.tell(stream, id, 0, kind);
            return;
        }
        let first = std::mem::replace(&mut watch.next, view.current + 1);
        let watch = watch.clone();
        let mut batch = Vec::new();
        let mut revisions = 0;
        for revision in view.index.revisions_from(first) {
            let events = watch.select(view, &view.index.events_at(revision));
            if events.is_empty() {
                continue;
            }
            if revisions == MAX_CATCH_UP_REVISIONS {
                let full = WatchOutputKind::Events(std::mem::take(&mut batch));
                self.tell(stream, id, view.current, full);
                revisions = 0;
            }
            revisions += 1;
            batch.extend(events);
        }
        if !batch.is_empty() {
            self.tell(stream, id, view.current, WatchOutputKind::Events(batch));
        }
    }

    /// Tells live watches about the transaction that just became the current revision.
    pub(crate) fn notify(&mut self, view: View<'_>) {
        if self.watches.is_empty() {
            return;
        }
        let all = view.index.events_at(view.current);
        let mut told = Vec::new();
        for ((stream, id), watch) in &mut self.watches {
            if watch.state != State::Live || watch.next > view.current {
                continue;
            }
            watch.next = view.current + 1;
            let events = watch.select(view, &all);
            if !events.is_empty() {
                told.push((*stream, *id, events));
            }
        }
        for (stream, id, events) in told {
            self.tell(stream, id, view.current, WatchOutputKind::Events(events));
        }
    }

    fn notify_progress(&mut self, revision: Revision) {
        let wanted = |watch: &Watch| watch.progress_notify && watch.state == State::Live;
        let ids: Vec<_> = self
            .watches
            .iter()
            .filter(|(_, w)| wanted(w))
            .map(|(k, _)| *k)
            .collect();
        for (stream, id) in ids {
            self.tell(stream, id, revision, WatchOutputKind::Progress);
        }
    }

    fn tell(
        &mut self,
        stream: StreamId,
        watch: WatchId,
        revision: Revision,
        kind: WatchOutputKind,
    ) {
        self.output.push_back(WatchOutput {
            stream,
            watch,
            revision,
            kind,
        });
    }

    /// Watches that exist, for the bounds that hosts assert.
    pub(crate) fn len(&self) -> usize {
        self.watches.len()
    }
}

impl Watch {
    /// The events that this watch should see, with previous versions if it asked for them.
    fn select(&self, view: View<'_>, events: &[Event]) -> Vec<Event> {
        let wanted = |event: &&Event| {
            self.range.contains(&event.kv.key)
                && self.filters.iter().all(|filter| match filter {
                    WatchFilter::NoPut => event.kind != EventKind::Put,
                    WatchFilter::NoDelete => event.kind != EventKind::Delete,
                })
        };
        let mut selected: Vec<Event> = events.iter().filter(wanted).cloned().collect();
        if self.prev_kv {
            for event in &mut selected {
                let before = event.kv.mod_revision - 1;
                if !event.is_create() && before >= view.compacted {
                    event.prev_kv = view.index.get(&event.kv.key, before).cloned();
                }
            }
        }
        selected
    }
}

/// In a watch an empty key stands for the smallest one.
fn from_smallest(range: KeyRange) -> KeyRange {
    let smallest = || Key::from_static(b"\0");
    match range {
        KeyRange::Single(key) if key.is_empty() => KeyRange::Single(smallest()),
        KeyRange::Span { start, end } if start.is_empty() => KeyRange::Span {
            start: smallest(),
            end,
        },
        KeyRange::From(key) if key.is_empty() => KeyRange::From(smallest()),
        range @ (KeyRange::Single(_) | KeyRange::Span { .. } | KeyRange::From(_)) => range,
    }
}
