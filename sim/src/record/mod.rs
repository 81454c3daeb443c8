//! What happened in a run, for people: spans and points on lanes, a story, curves and tables. A
//! world keeps one only if it is asked to; it changes nothing that happens.
//!
//! ```text
//!  world ── camera ──► Recorder ──► Recording ──► one page
//!             (what it saw)  (lanes, items, story; bounded)
//! ```

mod changes;
mod deeds;
mod happened;
mod kind;
mod recorder;
mod records;
mod words;

use serde::Serialize;
use serde::ser::{SerializeTuple, Serializer};

use crate::oracle::Violation;

pub(crate) use changes::Changes;
pub(crate) use deeds::deed_words;
pub use kind::{Group, Kind, KindInfo};
pub(crate) use recorder::{LaneId, Note, Recorder};
pub(crate) use words::{call_outcome, call_words, clock, request_words};

/// Everything that was recorded of a run. Times are virtual milliseconds from the beginning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recording {
    /// What run it is, and what it came to.
    pub header: Header,
    /// The kinds of items, in the order of their numbers.
    pub kinds: Vec<KindInfo>,
    /// Every text of an item, once.
    pub texts: Vec<String>,
    /// Who and what there is.
    pub lanes: Vec<Lane>,
    /// What was or happened there.
    pub items: Vec<Item>,
    /// The important happenings, in order, in plain words.
    pub story: Vec<Chapter>,
    /// Curves.
    pub series: Vec<Series>,
    /// Tables.
    pub tables: Vec<Table>,
    /// What was left out because there was too much: how many of what.
    pub dropped: Vec<(String, u64)>,
}

/// What run it is, and what it came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Header {
    /// One line that names the run.
    pub title: String,
    /// What the script is about, if it says so.
    pub about: String,
    /// The line that runs it again.
    pub command: String,
    /// `clean`, `crash`, `liveness` or `safety`.
    pub verdict: String,
    /// What panicked, if something did.
    pub crash: Option<String>,
    /// The rule that did not hold.
    pub violation: Option<Broken>,
    /// Hash of the trace.
    pub trace_hash: String,
    /// Steps taken.
    pub steps: u64,
    /// Virtual time that passed.
    pub elapsed_ms: u64,
    /// Borders in time: from when on what holds.
    pub phases: Vec<(u64, String)>,
    /// What the run is made of: name and value.
    pub facts: Vec<(String, String)>,
}

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its id and title.
    pub rule: String,
    /// Its title.
    pub title: String,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whom it concerns.
    pub entities: Vec<String>,
    /// When.
    pub at: u64,
    /// At which step.
    pub step: u64,
}

impl Broken {
    /// A violation at `at` milliseconds.
    #[must_use]
    pub fn new(violation: &Violation, at: u64) -> Self {
        Self {
            rule: violation.rule.id().to_owned(),
            title: violation.rule.title().to_owned(),
            expected: violation.expected.clone(),
            seen: violation.seen.clone(),
            entities: violation.entities.clone(),
            at,
            step: violation.step,
        }
    }
}

/// Something that has a life of its own: a scheduler, a node, a workload, a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// Among which others it stands.
    pub group: Group,
    /// Its name.
    pub name: String,
}

/// Something that lasted, or happened at an instant. Written as an array:
/// `[lane, kind, from, to, bad, text, detail]`; `to` is null for an instant, texts are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Number of its lane.
    pub lane: u32,
    /// What it is.
    pub kind: Kind,
    /// When it began.
    pub from: u64,
    /// When it ended, if it lasted.
    pub to: Option<u64>,
    /// It went wrong.
    pub bad: bool,
    /// Number of its text.
    pub text: u32,
    /// Number of the text that tells more; lines.
    pub detail: u32,
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(7)?;
        tuple.serialize_element(&self.lane)?;
        tuple.serialize_element(&(self.kind as u32))?;
        tuple.serialize_element(&self.from)?;
        tuple.serialize_element(&self.to)?;
        tuple.serialize_element(&u8::from(self.bad))?;
        tuple.serialize_element(&self.text)?;
        tuple.serialize_element(&self.detail)?;
        tuple.end()
    }
}

/// How a chapter of the story bears on the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// A rule does not hold.
    Violation,
    /// A border: the beginning, the heal, the end.
    Phase,
    /// Who leads.
    Leader,
    /// Something breaks.
    Fault,
    /// A fault is over.
    Mended,
    /// A node is lost or comes back.
    Node,
    /// An operator acts.
    Operator,
    /// A workload fails for good.
    Failed,
    /// A workload moves.
    Moved,
}

/// A happening in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chapter {
    /// When.
    pub at: u64,
    /// How it bears on the run.
    pub tone: Tone,
    /// What happened.
    pub text: String,
    /// To whom, if to several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// The lane that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<u32>,
}

/// A curve: each value holds until the next one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its unit; what has one unit is drawn together.
    pub unit: String,
    /// When, and how much.
    pub points: Vec<(u64, f64)>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of its columns.
    pub columns: Vec<String>,
    /// Its cells, row by row.
    pub rows: Vec<Vec<String>>,
}
