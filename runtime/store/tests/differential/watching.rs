//! Streams of watches on both sides, compared at points where both have said all they will say.
//!
//! Every stream has a marker watch on a key of its own. A put of that key is seen after all that
//! live watches see before it. A watch that starts in the past is served by etcd in rounds: a
//! probe, created after it and also starting in the past, is served in the same round or a later
//! one, so once the probe has been told, a marker put after that comes last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_kv::{KeyRange, PutRequest, Request, WatchFilter, WatchId};
use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{WatchFilterType, WatchOptions, WatchStream};

use crate::MARKER_WATCH;
use crate::answer::{Answer, normalise_header};
use crate::side::Side;

/// Streams that a history uses.
pub(crate) const STREAMS: usize = 2;
const PROBE_WATCH: WatchId = WatchId(1_000_001);
/// How long an answer that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A step about watches.
#[derive(Debug)]
pub(crate) enum WatchOp {
    Create {
        stream: usize,
        id: WatchId,
        range: KeyRange,
        start_revision: i64,
        prev_kv: bool,
        filters: Vec<WatchFilter>,
    },
    Cancel {
        stream: usize,
        id: WatchId,
    },
    Progress {
        stream: usize,
    },
    Reopen {
        stream: usize,
    },
}

/// One stream on one side, and what it said since the last comparison.
struct Reader {
    stream: WatchStream,
    said: Vec<PbWatchResponse>,
}

/// All streams of both sides: `etcd` first, the model second.
#[derive(Default)]
pub(crate) struct Streams {
    open: BTreeMap<usize, [Reader; 2]>,
    events: usize,
    controls: usize,
    compacted: usize,
}

impl Streams {
    pub(crate) fn summary(&self) -> String {
        let Streams {
            events,
            controls,
            compacted,
            ..
        } = self;
        format!("watches: {events} events, {controls} other answers, {compacted} compacted")
    }

    /// Carries the step out on both sides and compares.
    pub(crate) async fn act(
        &mut self,
        real: &mut Side,
        model: &mut Side,
        op: &WatchOp,
    ) -> Result<(), String> {
        let (WatchOp::Create { stream, .. }
        | WatchOp::Cancel { stream, .. }
        | WatchOp::Progress { stream }
        | WatchOp::Reopen { stream }) = op;
        if !self.open.contains_key(stream) {
            let readers = [
                Reader::open(real, *stream).await,
                Reader::open(model, *stream).await,
            ];
            self.open.insert(*stream, readers);
        }
        self.sync(real, model).await?;
        match op {
            WatchOp::Create {
                stream,
                id,
                range,
                start_revision,
                prev_kv,
                filters,
            } => {
                for reader in self.readers(*stream) {
                    let options = options(*id, range, *start_revision, *prev_kv, filters);
                    reader.create(range, options).await?;
                }
                if *start_revision != 0 {
                    self.settle(real, model, *stream).await?;
                }
            }
            WatchOp::Cancel { stream, id } => {
                for reader in self.readers(*stream) {
                    reader
                        .stream
                        .cancel(id.0)
                        .await
                        .map_err(|error| error.to_string())?;
                    reader.fence().await?;
                }
            }
            WatchOp::Progress { stream } => {
                for reader in self.readers(*stream) {
                    reader.fence().await?;
                }
            }
            WatchOp::Reopen { stream } => {
                self.open.remove(stream);
                return Ok(());
            }
        }
        self.sync(real, model).await
    }

    fn readers(&mut self, stream: usize) -> &mut [Reader; 2] {
        self.open
            .get_mut(&stream)
            .expect("the stream was opened before")
    }

    /// Waits until all that starts in the past was served.
    async fn settle(
        &mut self,
        real: &mut Side,
        model: &mut Side,
        stream: usize,
    ) -> Result<(), String> {
        let start = put_marker(real, model, stream).await?;
        let range = KeyRange::Single(marker_key(stream).into());
        for reader in self.readers(stream) {
            reader
                .create(&range, options(PROBE_WATCH, &range, start, false, &[]))
                .await?;
            reader
                .read_until(|said| said.watch_id == PROBE_WATCH.0 && !said.events.is_empty())
                .await?;
            reader
                .stream
                .cancel(PROBE_WATCH.0)
                .await
                .map_err(|error| error.to_string())?;
            reader.fence().await?;
        }
        Ok(())
    }

    /// Reads all streams up to now and compares what they said.
    pub(crate) async fn sync(&mut self, real: &mut Side, model: &mut Side) -> Result<(), String> {
        let open: Vec<usize> = self.open.keys().copied().collect();
        for stream in open {
            let revision = put_marker(real, model, stream).await?;
            let mut said = Vec::new();
            for (reader, side) in self.readers(stream).iter_mut().zip([&*real, &*model]) {
                reader.read_until(|said| is_marker(said, revision)).await?;
                said.push(by_watch(side, std::mem::take(&mut reader.said)));
            }
            let (ours, theirs) = (
                said.pop().unwrap_or_default(),
                said.pop().unwrap_or_default(),
            );
            self.count(&ours);
            if theirs != ours {
                return Err(describe(stream, &theirs, &ours));
            }
        }
        Ok(())
    }

    fn count(&mut self, said: &BTreeMap<i64, Vec<Said>>) {
        for said in said
            .iter()
            .filter(|(id, _)| **id < MARKER_WATCH.0)
            .flat_map(|(_, said)| said)
        {
            match said {
                Said::Event { .. } => self.events += 1,
                Said::Other(other) => {
                    self.controls += 1;
                    self.compacted += usize::from(other.compact_revision != 0);
                }
            }
        }
    }
}

/// What a watch was told, without how it was grouped.
#[derive(Debug, PartialEq)]
enum Said {
    Event {
        event: PbEvent,
        header_present: bool,
    },
    Other(PbWatchResponse),
}

fn by_watch(side: &Side, messages: Vec<PbWatchResponse>) -> BTreeMap<i64, Vec<Said>> {
    let mut by_watch: BTreeMap<i64, Vec<Said>> = BTreeMap::new();
    for mut message in messages {
        let said = by_watch.entry(message.watch_id).or_default();
        if message.events.is_empty() {
            normalise_header(&mut message.header);
            said.push(Said::Other(message));
            continue;
        }
        let revision = message.header.as_ref().map_or(0, |header| header.revision);
        let last = message.events.last().and_then(|event| event.kv.as_ref());
        let covered = last.is_none_or(|kv| kv.mod_revision <= revision);
        // Watches of one stream are told about one revision in any order, so that some see the
        // marker only after the marker's own watch.
        for mut event in message
            .events
            .into_iter()
            .filter(|event| !is_marker_key(event))
        {
            side.key_values(event.kv.as_mut_slice());
            side.key_values(event.prev_kv.as_mut_slice());
            said.push(Said::Event {
                event,
                header_present: covered,
            });
        }
    }
    by_watch.retain(|_, said| !said.is_empty());
    by_watch
}

/// The first difference of every watch.
fn describe(
    stream: usize,
    theirs: &BTreeMap<i64, Vec<Said>>,
    ours: &BTreeMap<i64, Vec<Said>>,
) -> String {
    let ids: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    let mut text = String::new();
    for id in ids {
        let theirs = theirs.get(id).map_or(&[][..], Vec::as_slice);
        let ours = ours.get(id).map_or(&[][..], Vec::as_slice);
        let longest = theirs.len().max(ours.len());
        if let Some(at) = (0..longest).find(|at| theirs.get(*at) != ours.get(*at)) {
            let (theirs, ours) = (theirs.get(at), ours.get(at));
            text += &format!(
                "  watch {id} of stream {stream}, answer {at}\n  etcd:  {theirs:?}\n  model: {ours:?}\n"
            );
        }
    }
    text
}

impl Reader {
    async fn open(side: &mut Side, stream: usize) -> Self {
        let range = KeyRange::Single(marker_key(stream).into());
        let options = options(MARKER_WATCH, &range, 0, false, &[]);
        let opened = side
            .client
            .watch(range.start().to_vec(), Some(options))
            .await;
        let stream = opened.unwrap_or_else(|error| panic!("{}: no stream: {error}", side.name));
        let mut reader = Reader {
            stream,
            said: Vec::new(),
        };
        reader
            .read_until(|said| said.created)
            .await
            .expect("the marker watch is created");
        reader
    }

    async fn create(&mut self, range: &KeyRange, options: WatchOptions) -> Result<(), String> {
        let key = range.start().to_vec();
        self.stream
            .watch(key, Some(options))
            .await
            .map_err(|error| error.to_string())?;
        self.read_until(|said| said.created).await
    }

    /// Waits until all requests before were handled: they are handled in order.
    async fn fence(&mut self) -> Result<(), String> {
        self.stream
            .request_progress()
            .await
            .map_err(|error| error.to_string())?;
        self.read_until(|said| {
            said.watch_id == WatchId::INVALID.0 && !said.created && said.events.is_empty()
        })
        .await
    }

    async fn read_until(&mut self, last: impl Fn(&PbWatchResponse) -> bool) -> Result<(), String> {
        loop {
            let read = tokio::time::timeout(PATIENCE, self.stream.message()).await;
            let message = match read {
                Ok(Ok(Some(message))) => message.0,
                Ok(Ok(None)) => return Err("  a stream of watches ended".into()),
                Ok(Err(error)) => return Err(format!("  a stream of watches failed: {error}")),
                Err(_) => {
                    let said = &self.said;
                    return Err(format!(
                        "  a watch said nothing for {PATIENCE:?} after {said:?}"
                    ));
                }
            };
            let done = last(&message);
            self.said.push(message);
            if done {
                return Ok(());
            }
        }
    }
}

fn marker_key(stream: usize) -> String {
    format!("~marker{stream}")
}

fn is_marker_key(event: &PbEvent) -> bool {
    event
        .kv
        .as_ref()
        .is_some_and(|kv| kv.key.starts_with(b"~marker"))
}

fn is_marker(said: &PbWatchResponse, revision: i64) -> bool {
    let at = |event: &PbEvent| {
        event
            .kv
            .as_ref()
            .is_some_and(|kv| kv.mod_revision == revision)
    };
    said.watch_id == MARKER_WATCH.0 && said.events.iter().any(at)
}

/// Puts the stream's marker on both sides; answers with its revision.
async fn put_marker(real: &mut Side, model: &mut Side, stream: usize) -> Result<i64, String> {
    let put = Request::Put(PutRequest::new(marker_key(stream), "m"));
    let (theirs, ours) = (real.ask(&put).await, model.ask(&put).await);
    match (&theirs, &ours) {
        (Answer::Put(a), Answer::Put(b)) if a == b => {
            Ok(a.header.as_ref().map_or(0, |header| header.revision))
        }
        _ => Err(format!(
            "  at a marker\n  etcd:  {theirs:?}\n  model: {ours:?}"
        )),
    }
}

fn options(
    id: WatchId,
    range: &KeyRange,
    start_revision: i64,
    prev_kv: bool,
    filters: &[WatchFilter],
) -> WatchOptions {
    let filters: Vec<_> = filters
        .iter()
        .map(|filter| match filter {
            WatchFilter::NoPut => WatchFilterType::NoPut,
            WatchFilter::NoDelete => WatchFilterType::NoDelete,
        })
        .collect();
    let options = WatchOptions::new()
        .with_watch_id(id.0)
        .with_range(range.wire_end().to_vec())
        .with_start_revision(start_revision)
        .with_filters(filters);
    if prev_kv {
        options.with_prev_key()
    } else {
        options
    }
}
