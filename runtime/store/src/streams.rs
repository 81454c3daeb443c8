//! The streams of watches and what waits for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use berth_kv::{StreamId, WatchId, WatchOutput, WatchOutputKind, WatchRequest};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Answers that wait for one stream's consumer before its watches are paused.
pub(crate) const STREAM_OUTPUT_MAX: usize = 256;

/// All open streams.
#[derive(Default)]
pub(crate) struct Streams {
    open: BTreeMap<StreamId, Stream>,
}

struct Stream {
    output: mpsc::Sender<WatchOutput>,
    /// What found no room: at most what one batch of requests caused.
    backlog: VecDeque<WatchOutput>,
    paused: BTreeSet<WatchId>,
}

impl Streams {
    pub(crate) fn open(&mut self, stream: StreamId, output: mpsc::Sender<WatchOutput>) {
        let (backlog, paused) = (VecDeque::new(), BTreeSet::new());
        self.open.insert(
            stream,
            Stream {
                output,
                backlog,
                paused,
            },
        );
    }

    pub(crate) fn close(&mut self, stream: StreamId) {
        self.open.remove(&stream);
    }

    /// Whether some stream does not keep up.
    pub(crate) fn lagging(&self) -> bool {
        self.open
            .values()
            .any(|stream| !stream.backlog.is_empty() || !stream.paused.is_empty())
    }

    /// Hands on what there is room for by now; answers with the watches that may go on.
    pub(crate) fn flush(&mut self) -> Vec<WatchRequest> {
        let mut resume = Vec::new();
        for (id, stream) in &mut self.open {
            while let Some(output) = stream.backlog.pop_front() {
                if let Err(TrySendError::Full(output)) = stream.output.try_send(output) {
                    stream.backlog.push_front(output);
                    break;
                }
            }
            if stream.backlog.is_empty() {
                let paused = std::mem::take(&mut stream.paused).into_iter();
                resume.extend(paused.map(|watch| WatchRequest::Resume {
                    stream: *id,
                    id: watch,
                }));
            }
        }
        resume
    }

    /// Hands output on, or keeps it; answers with the watch to pause, if there is no room.
    pub(crate) fn deliver(&mut self, output: WatchOutput) -> Option<WatchRequest> {
        let (id, watch) = (output.stream, output.watch);
        let stream = self.open.get_mut(&id)?;
        let has_events = matches!(output.kind, WatchOutputKind::Events(_));
        if stream.backlog.is_empty() {
            match stream.output.try_send(output) {
                Ok(()) | Err(TrySendError::Closed(_)) => return None,
                Err(TrySendError::Full(output)) => stream.backlog.push_back(output),
            }
        } else {
            stream.backlog.push_back(output);
        }
        let pause = has_events && stream.paused.insert(watch);
        pause.then_some(WatchRequest::Pause {
            stream: id,
            id: watch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(watch: i64, revision: i64) -> WatchOutput {
        let (stream, watch) = (StreamId(1), WatchId(watch));
        WatchOutput {
            stream,
            watch,
            revision,
            kind: WatchOutputKind::Events(vec![]),
        }
    }

    #[test]
    fn a_watch_is_paused_once_when_its_stream_is_full_and_resumed_when_it_was_read() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut streams = Streams::default();
        streams.open(StreamId(1), sender);
        assert_eq!(streams.deliver(events(7, 2)), None);
        let (stream, id) = (StreamId(1), WatchId(7));
        assert_eq!(
            streams.deliver(events(7, 3)),
            Some(WatchRequest::Pause { stream, id })
        );
        assert_eq!(streams.deliver(events(7, 4)), None);
        assert_eq!(streams.flush(), []);
        for (revision, resumed) in [(2, false), (3, true), (4, false)] {
            assert!(streams.lagging() || revision == 4);
            assert_eq!(receiver.try_recv().unwrap().revision, revision);
            let resume = streams.flush();
            assert_eq!(resume.is_empty(), !resumed, "at {revision}: {resume:?}");
        }
        assert!(!streams.lagging());
    }
}
