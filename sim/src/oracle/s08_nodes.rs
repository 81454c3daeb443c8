//! S8 for nodes: what an operator or an agent was told is done stays so. A record says of a node what
//! the last acknowledged command and the last acknowledged registration say, or what one says that may
//! have come after those.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::io::request::{Effect, Registration, Request, RequestError, Response};
use berth_core::model::node::NodeRecord;
use berth_core::model::spec::WorkloadType;
use berth_core::model::units::{Gibibytes, Mebibytes, Millicores};
use berth_core::{NodeId, RequestId, Timestamp};

use super::image::{Commit, Writer};
use super::rule::{Check, Finding};
use super::s15_linearizable::Server;

/// For so long a command without an answer may still be carried out.
const OPEN_FOR: Duration = Duration::from_secs(300);
/// So many words about a node are kept before those are dropped that can matter no more.
const WORDS_MAX: usize = 16;

/// What an agent says of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Nature {
    endpoint: String,
    cpu: Millicores,
    memory: Mebibytes,
    disk: Option<Gibibytes>,
    labels: BTreeMap<String, String>,
    types: BTreeSet<WorkloadType>,
    drivers: BTreeSet<String>,
}

/// What somebody says of a node.
#[derive(Debug, Clone)]
struct Word<T> {
    value: T,
    begun: u64,
    /// When it was answered that this is so.
    done: Option<u64>,
    at: Timestamp,
}

/// What was said of one thing, in the order in which it began.
#[derive(Debug)]
struct Words<T>(Vec<Word<T>>);

impl<T> Default for Words<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Words<T> {
    fn begin(&mut self, value: T, begun: u64, at: Timestamp) {
        if self.0.len() >= WORDS_MAX {
            let last = self
                .0
                .iter()
                .filter_map(|word| word.done.and(Some(word.begun)));
            let last = last.max().unwrap_or(0);
            self.0.retain(|word| match word.done {
                Some(done) => done >= last,
                None => at.since(word.at) < OPEN_FOR,
            });
        }
        let done = None;
        self.0.push(Word {
            value,
            begun,
            done,
            at,
        });
    }

    fn end(&mut self, begun: u64, now: u64, outcome: Outcome) {
        match outcome {
            Outcome::Done => {
                let word = self.0.iter_mut().find(|word| word.begun == begun);
                word.into_iter().for_each(|word| word.done = Some(now));
            }
            Outcome::Nothing => self.0.retain(|word| word.begun != begun),
            Outcome::Unknown => {}
        }
    }

    /// Whether what is may be what was said last. Where nothing was, anything may.
    fn allow(&self, value: &T) -> bool {
        let is_over = |word: &Word<T>| {
            let done = word.done;
            let later = |other: &Word<T>| {
                other.value != word.value
                    && other.done.is_some()
                    && done.is_some_and(|done| other.begun > done)
            };
            self.0.iter().any(later)
        };
        self.0.iter().all(|word| word.done.is_none())
            || self
                .0
                .iter()
                .any(|word| word.value == *value && !is_over(word))
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Done,
    Nothing,
    Unknown,
}

/// What was said of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    count: u64,
    /// The present life of each scheduler: former ones answer no more.
    lives: BTreeMap<usize, u64>,
    open: BTreeMap<(Server, RequestId), (NodeId, u64)>,
    schedulable: BTreeMap<NodeId, Words<bool>>,
    natures: BTreeMap<NodeId, Words<Nature>>,
}

impl Nodes {
    /// A scheduler is asked for something.
    pub(crate) fn asked(
        &mut self,
        now: Timestamp,
        server: Server,
        id: RequestId,
        request: &Request,
    ) {
        self.count += 1;
        let begun = self.count;
        let node = match request {
            Request::SetSchedulable { node, schedulable } => {
                let words = self.schedulable.entry(node.clone()).or_default();
                words.begin(*schedulable, begun, now);
                node
            }
            // A drain closes its node when it begins, and says nothing when it goes on.
            Request::Drain { node, .. } => {
                let words = self.schedulable.entry(node.clone()).or_default();
                words.begin(false, begun, now);
                return;
            }
            Request::Register(registration) => {
                let words = self.natures.entry(registration.node.clone()).or_default();
                words.begin(Nature::asked(registration), begun, now);
                &registration.node
            }
            _ => return,
        };
        if self.lives.insert(server.0, server.1) != Some(server.1) {
            let lives = &self.lives;
            let is_alive = |(replica, life): Server| lives.get(&replica) == Some(&life);
            self.open.retain(|(server, _), _| is_alive(*server));
        }
        self.open.insert((server, id), (node.clone(), begun));
    }

    /// A scheduler answers.
    pub(crate) fn answered(
        &mut self,
        server: Server,
        id: RequestId,
        result: &Result<Response, RequestError>,
    ) {
        let Some((node, begun)) = self.open.remove(&(server, id)) else {
            return;
        };
        self.count += 1;
        let outcome = match result {
            Ok(_) => Outcome::Done,
            Err(RequestError::Unavailable {
                effect: Effect::Unknown,
                ..
            }) => Outcome::Unknown,
            Err(_) => Outcome::Nothing,
        };
        let now = self.count;
        if let Some(words) = self.schedulable.get_mut(&node) {
            words.end(begun, now, outcome);
        }
        if let Some(words) = self.natures.get_mut(&node) {
            words.end(begun, now, outcome);
        }
    }

    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        let words = self.schedulable.values().map(|words| words.0.len());
        let natures = self.natures.values().map(|words| words.0.len());
        self.open.len() + words.sum::<usize>() + natures.sum::<usize>()
    }

    /// What was written of nodes.
    pub(crate) fn committed(&mut self, now: Timestamp, commit: &Commit) -> Check {
        for (id, pair) in &commit.nodes {
            let Some(after) = &pair.after else {
                self.schedulable.remove(id);
                self.natures.remove(id);
                continue;
            };
            let nature = Nature::stored(after);
            let natures = self.natures.entry(id.clone()).or_default();
            let schedulable = self.schedulable.entry(id.clone()).or_default();
            if commit.writer == Writer::Stranger || pair.before.is_none() {
                // A new record, or somebody else's word: what is now is what was said.
                self.count += 2;
                let (begun, done) = (self.count - 1, self.count);
                schedulable.begin(after.schedulable, begun, now);
                schedulable.end(begun, done, Outcome::Done);
                if commit.writer == Writer::Stranger {
                    natures.begin(nature, begun, now);
                    natures.end(begun, done, Outcome::Done);
                }
                continue;
            }
            if !schedulable.allow(&after.schedulable) {
                let seen = format!(
                    "schedulable: {}, after {:?}",
                    after.schedulable, schedulable.0
                );
                let expected = "a node to be as open as the operator was told that it is";
                return Err(Finding::new(expected, seen).of(id));
            }
            if !natures.allow(&nature) {
                let seen = format!("{nature:?} after {:?}", natures.0);
                let expected = "what the agent was told that is recorded of its node";
                return Err(Finding::new(expected, seen).of(id));
            }
        }
        Ok(())
    }
}

impl Nature {
    fn asked(from: &Registration) -> Self {
        Self {
            endpoint: from.endpoint.clone(),
            cpu: from.cpu_total,
            memory: from.memory_total,
            disk: from.disk_total,
            labels: from.labels.clone(),
            types: from.supported_workload_types.clone(),
            drivers: from.supported_storage_drivers.clone(),
        }
    }

    fn stored(record: &NodeRecord) -> Self {
        Self {
            endpoint: record.agent_endpoint.clone(),
            cpu: record.resources.cpu_total,
            memory: record.resources.memory_total,
            disk: record.resources.disk_total,
            labels: record.labels.clone(),
            types: record.supported_workload_types.clone(),
            drivers: record.supported_storage_drivers.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_that_was_acknowledged_holds() {
        let mut words = Words::default();
        assert!(words.allow(&1), "nothing was said");
        words.begin(1, 1, Timestamp::ZERO);
        words.end(1, 2, Outcome::Done);
        assert!(words.allow(&1) && !words.allow(&2));
        words.begin(2, 3, Timestamp::ZERO);
        assert!(words.allow(&1) && words.allow(&2), "not answered yet");
        words.end(3, 4, Outcome::Done);
        assert!(!words.allow(&1) && words.allow(&2));
        words.begin(1, 5, Timestamp::ZERO);
        words.end(5, 6, Outcome::Nothing);
        assert!(!words.allow(&1), "refused");
        words.begin(1, 7, Timestamp::ZERO);
        words.end(7, 8, Outcome::Unknown);
        assert!(words.allow(&1) && words.allow(&2), "perhaps");
    }

    #[test]
    fn commands_beside_each_other_may_come_in_any_order() {
        let mut words = Words::default();
        words.begin(1, 1, Timestamp::ZERO);
        words.begin(2, 2, Timestamp::ZERO);
        words.end(1, 3, Outcome::Done);
        words.end(2, 4, Outcome::Done);
        assert!(words.allow(&1) && words.allow(&2));
    }

    #[test]
    fn what_can_matter_no_more_is_dropped() {
        let mut words = Words::default();
        for turn in 0..1_000 {
            words.begin(turn, 2 * turn, Timestamp::ZERO);
            words.end(2 * turn, 2 * turn + 1, Outcome::Done);
        }
        assert!(words.0.len() <= WORDS_MAX);
        assert!(words.allow(&999) && !words.allow(&998));
    }
}
