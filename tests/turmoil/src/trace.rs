//! The trace of a run: every segment on the network and every line that our runtime logs, with the
//! host and the virtual time, folded into one hash.
//!
//! It takes the place of the log while a world runs on this thread, so nothing has to be told twice.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Names a file that the whole trace is written to.
pub(crate) const FILE: &str = "BERTH_TURMOIL_TRACE";
/// Lines that are kept for people.
const KEPT: usize = 60;

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

struct Trace {
    now: Duration,
    hash: Sha256,
    lines: u64,
    last: VecDeque<String>,
    file: Option<BufWriter<File>>,
    /// The hosts by the number of their span, and those that are entered.
    hosts: Vec<String>,
    entered: Vec<u64>,
}

/// What a trace came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Of all lines.
    pub hash: String,
    /// How many there were.
    pub lines: u64,
}

/// Traces what happens on this thread while it lives.
pub(crate) struct Recording(#[allow(dead_code)] tracing::subscriber::DefaultGuard);

impl Recording {
    pub(crate) fn start() -> Self {
        let file = std::env::var_os(FILE).map(|path| {
            let file = File::create(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            BufWriter::new(file)
        });
        TRACE.set(Some(Trace {
            now: Duration::ZERO,
            hash: Sha256::new(),
            lines: 0,
            last: VecDeque::new(),
            file,
            hosts: Vec::new(),
            entered: Vec::new(),
        }));
        Self(tracing::subscriber::set_default(Tracer))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        TRACE.set(None);
    }
}

/// The time of what is traced from now on.
pub(crate) fn at(now: Duration) {
    with(|trace| trace.now = now);
}

/// Notes a step that nobody logs.
pub(crate) fn note(text: &str) {
    with(|trace| trace.line(false, text));
}

/// The hash and the number of lines so far.
pub(crate) fn summary() -> Summary {
    let mut summary = Summary {
        hash: String::new(),
        lines: 0,
    };
    with(|trace| {
        summary.lines = trace.lines;
        for byte in trace.hash.clone().finalize() {
            let _ = write!(summary.hash, "{byte:02x}");
        }
        if let Some(file) = &mut trace.file {
            let _ = file.flush();
        }
    });
    summary
}

/// The last lines but those of the network.
pub(crate) fn last_lines() -> Vec<String> {
    let mut last = Vec::new();
    with(|trace| last = trace.last.iter().cloned().collect());
    last
}

fn with(change: impl FnOnce(&mut Trace)) {
    TRACE.with_borrow_mut(|trace| trace.as_mut().map(change));
}

impl Trace {
    fn line(&mut self, network: bool, text: &str) {
        let host = self.entered.last();
        let host = host.and_then(|id| self.hosts.get(usize::try_from(*id).ok()? - 1));
        let host = host.map_or("-", String::as_str);
        let line = format!("{:>9.3} {host:<12} {text}\n", self.now.as_secs_f64());
        self.hash.update(line.as_bytes());
        self.lines += 1;
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line.as_bytes());
        }
        if !network {
            if self.last.len() == KEPT {
                self.last.pop_front();
            }
            self.last.push_back(line);
        }
    }
}

/// What turmoil calls its events and its spans of hosts.
const NETWORK: &str = "turmoil";
const HOST_SPAN: &str = "node";

struct Tracer;

impl Subscriber for Tracer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return metadata.name() == HOST_SPAN;
        }
        let target = metadata.target();
        target == NETWORK || (target.starts_with("berth") && *metadata.level() <= Level::DEBUG)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        /// For spans of other threads that happen to come here: none is ours.
        static NOBODY: AtomicU64 = AtomicU64::new(1 << 32);
        let mut text = Text::default();
        span.record(&mut text);
        let mut id = NOBODY.fetch_add(1, Ordering::Relaxed);
        with(|trace| {
            let known = trace.hosts.iter().position(|host| *host == text.0);
            let at = known.unwrap_or_else(|| {
                trace.hosts.push(text.0);
                trace.hosts.len() - 1
            });
            id = at as u64 + 1;
        });
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let network = event.metadata().target() == NETWORK;
        let mut text = Text(String::new(), network);
        event.record(&mut text);
        with(|trace| trace.line(network, &text.0));
    }

    fn enter(&self, span: &Id) {
        with(|trace| trace.entered.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        with(|trace| {
            trace.entered.pop();
        });
    }
}

/// The fields of an event as text. Of the network's events, not what was sent: the dates of HTTP
/// are those of the wall clock.
#[derive(Default)]
struct Text(String, bool);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "protocol" if self.1 => Ok(()),
            "message" | "name" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}
