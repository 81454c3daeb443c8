//! Is there an order of the calls on one workload that explains every answer? The search of Wing
//! and Gong, with Lowe's memory of the configurations that were tried.
//!
//! The model is a register of one record: its lineage, its generation, what clients asked for, and
//! the least version that it can have. The scheduler's own writes are part of the model: they make
//! the version grow at any time, and remove a record whose deletion was asked for.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::Timestamp;
use berth_core::model::workload::DesiredState;

/// What clients have a say in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Content {
    /// A hash of the spec and all that belongs to it.
    pub(crate) spec: u64,
    pub(crate) desired: DesiredState,
}

/// A record as a client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    /// When it was created; `None`: by a call whose answer nobody got.
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) generation: u64,
    pub(crate) content: Content,
    /// In an answer: its version, 0 if that is not told. In a state: the least that it can be.
    pub(crate) version: i64,
}

/// What is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Nothing is known.
    Anything,
    Absent,
    Is(Record),
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Read,
    Apply {
        spec: Option<u64>,
        desired: Option<DesiredState>,
        if_match: Option<i64>,
    },
    Delete {
        if_match: Option<i64>,
    },
    Retry,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    Is(Record),
    Missing,
    /// The record is at another version.
    Stale {
        current: i64,
    },
    /// It was not granted, which tells nothing of the record.
    Refused,
    /// None came, or none that tells what became of it: it took effect at any time since, or never.
    Unknown,
}

/// A call. Instants are numbers in the order in which things happened to the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) asked: Asked,
    pub(crate) answer: Answer,
    pub(crate) from: u64,
    /// When its answer came.
    pub(crate) until: Option<u64>,
    pub(crate) asked_at: Timestamp,
}

/// A state that calls may have led to, with the calls that may still take effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) state: State,
    pub(crate) open: Vec<Call>,
}

/// What the search came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// These are all the ends that explain the answers.
    Ends(BTreeSet<End>),
    /// No order does.
    Nothing,
    /// There are too many to try.
    TooMany,
}

/// Calls that one search can order.
const CALLS_MAX: usize = 64;
/// Configurations that one search tries.
const TRIED_MAX: usize = 20_000;
/// Ends that are gone on from.
const ENDS_MAX: usize = 64;

/// Orders `calls`, which all began after what led to `starts` had come to its end.
pub(crate) fn explain(starts: &BTreeSet<End>, calls: &[Call]) -> Found {
    let mut ends = BTreeSet::new();
    let mut tried = 0;
    for start in starts {
        let mut all = start.open.clone();
        all.extend_from_slice(calls);
        if all.len() > CALLS_MAX {
            return Found::TooMany;
        }
        if !search(start.state, &all, &mut tried, &mut ends) {
            return Found::TooMany;
        }
    }
    if ends.is_empty() {
        return Found::Nothing;
    }
    if ends.len() > ENDS_MAX {
        return Found::TooMany;
    }
    Found::Ends(ends)
}

/// False: gave up.
fn search(start: State, calls: &[Call], tried: &mut usize, ends: &mut BTreeSet<End>) -> bool {
    let certain = |call: &Call| call.answer != Answer::Unknown;
    let mut known = Known::default();
    known.is_new(0, start);
    let mut todo = vec![(0_u64, start)];
    while let Some((done, state)) = todo.pop() {
        *tried += 1;
        if *tried > TRIED_MAX {
            return false;
        }
        let left = |at: &usize| done & (1 << at) == 0;
        let waits = (0..calls.len()).filter(left).map(|at| &calls[at]);
        // Whatever is next began before the first of those that are left had ended.
        let Some(latest) = waits
            .filter(|call| certain(call))
            .filter_map(|call| call.until)
            .min()
        else {
            let open = (0..calls.len()).filter(left).map(|at| calls[at]);
            let open = open.filter(Call::has_effect).collect();
            ends.insert(End { state, open });
            continue;
        };
        for at in (0..calls.len()).filter(left) {
            if calls[at].from > latest {
                continue;
            }
            for next in after(&calls[at], state) {
                let done = done | 1 << at;
                if known.is_new(done, next) {
                    todo.push((done, next));
                }
            }
        }
    }
    true
}

/// The ends, without the open calls that are too old to take effect any more: each of them did, or
/// never does. `None`: there are too many to try.
pub(crate) fn expire(
    ends: BTreeSet<End>,
    held_up: impl Fn(&Call) -> bool,
) -> Option<BTreeSet<End>> {
    let mut living = BTreeSet::new();
    let mut tried = 0;
    for end in ends {
        if end.open.iter().all(&held_up) {
            living.insert(end);
            continue;
        }
        if end.open.len() > CALLS_MAX {
            return None;
        }
        // One that is not too old may have taken effect between two that are.
        let all = u64::MAX.checked_shr(u64::BITS - end.open.len() as u32);
        let all = all.unwrap_or_default();
        let mut known = Known::default();
        known.is_new(all, end.state);
        let mut todo = vec![(all, end.state)];
        while let Some((open, state)) = todo.pop() {
            tried += 1;
            if tried > TRIED_MAX {
                return None;
            }
            let left = end.open.iter().enumerate();
            let left = left.filter(|(at, _)| open & (1 << at) != 0);
            for (at, call) in left.clone() {
                let rest = open & !(1 << at);
                for state in after(call, state) {
                    if known.is_new(rest, state) {
                        todo.push((rest, state));
                    }
                }
            }
            let open = left.map(|(_, call)| *call).filter(&held_up).collect();
            living.insert(End { state, open });
        }
    }
    (living.len() <= ENDS_MAX).then_some(living)
}

/// The configurations that a search came to: a set of its calls, and a state. There are many sets and
/// few states, so each state has a number.
#[derive(Default)]
struct Known {
    states: BTreeMap<State, u32>,
    reached: BTreeSet<(u64, u32)>,
}

impl Known {
    fn is_new(&mut self, calls: u64, state: State) -> bool {
        let next = self.states.len() as u32;
        let state = *self.states.entry(state).or_insert(next);
        self.reached.insert((calls, state))
    }
}

impl Call {
    /// It may take effect although its answer says nothing.
    fn has_effect(&self) -> bool {
        matches!(self.asked, Asked::Apply { .. } | Asked::Delete { .. })
    }
}

/// The states that a call can lead to; none: not from here.
fn after(call: &Call, state: State) -> impl Iterator<Item = State> {
    // The scheduler may have removed what was being deleted.
    let removed = match state {
        State::Is(record) if record.content.desired == DesiredState::Deleted => {
            one(call, State::Absent)
        }
        State::Is(_) | State::Anything | State::Absent => None,
    };
    one(call, state).into_iter().chain(removed)
}

fn one(call: &Call, state: State) -> Option<State> {
    match call.answer {
        Answer::Refused => Some(state),
        Answer::Missing => match state {
            State::Anything | State::Absent => Some(State::Absent),
            State::Is(_) => None,
        },
        Answer::Stale { current } => stale(call.asked.if_match(), current, state),
        Answer::Is(told) => match state {
            State::Anything => told.agrees_with(&call.asked).then_some(State::Is(told)),
            State::Absent => created(call.asked, told),
            State::Is(record) => changed(call.asked, record, told),
        },
        Answer::Unknown => effect(call.asked, state),
    }
}

fn stale(expected: Option<i64>, current: i64, state: State) -> Option<State> {
    if expected.is_none() || expected == Some(current) {
        return None;
    }
    match state {
        State::Anything => Some(state),
        State::Absent => (current == 0).then_some(state),
        State::Is(record) => {
            (current >= record.version && current > 0).then_some(State::Is(Record {
                version: current,
                ..record
            }))
        }
    }
}

impl Asked {
    fn if_match(self) -> Option<i64> {
        match self {
            Self::Apply { if_match, .. } | Self::Delete { if_match } => if_match,
            Self::Read | Self::Retry => None,
        }
    }

    /// What it makes of a record's content; `None`: it is refused.
    fn makes(self, of: Content) -> Option<Content> {
        match self {
            Self::Read => Some(of),
            Self::Retry => (of.desired == DesiredState::Running).then_some(of),
            Self::Delete { .. } => Some(Content {
                desired: DesiredState::Deleted,
                ..of
            }),
            Self::Apply {
                spec: None,
                desired,
                ..
            } => (of.desired != DesiredState::Deleted).then_some(Content {
                desired: desired.unwrap_or(of.desired),
                ..of
            }),
            Self::Apply {
                spec: Some(spec),
                desired,
                ..
            } => {
                let revived = match of.desired {
                    DesiredState::Deleted => DesiredState::Running,
                    DesiredState::Running | DesiredState::Stopped => of.desired,
                };
                Some(Content {
                    spec,
                    desired: desired.unwrap_or(revived),
                })
            }
        }
    }
}

impl Record {
    /// Whether a call can be answered so, whatever was before.
    fn agrees_with(&self, asked: &Asked) -> bool {
        asked.makes(self.content) == Some(self.content)
    }

    fn is_of(&self, record: &Self) -> bool {
        record.created_at.is_none() || self.created_at == record.created_at
    }

    /// What a state becomes that is known by this answer.
    fn since(self, version: i64) -> State {
        State::Is(Self {
            version: self.version.max(version),
            ..self
        })
    }
}

/// It was not there, and the answer says that it is.
fn created(asked: Asked, told: Record) -> Option<State> {
    let Asked::Apply {
        spec: Some(spec),
        desired,
        if_match,
    } = asked
    else {
        return None;
    };
    let desired = desired.unwrap_or(DesiredState::Running);
    let fresh = told.generation == 1 && told.content == Content { spec, desired };
    (fresh && if_match.is_none_or(|version| version == 0)).then_some(State::Is(told))
}

/// It was there, and the answer says what it is now.
fn changed(asked: Asked, record: Record, told: Record) -> Option<State> {
    let next = asked.makes(record.content)?;
    // The scheduler's own writes may have taken the version up to what was asked for.
    let version = asked.if_match().unwrap_or_default().max(record.version);
    let matches = asked
        .if_match()
        .is_none_or(|wanted| wanted >= record.version && wanted > 0);
    if !matches || told.content != next || !told.is_of(&record) {
        return None;
    }
    let unseen = told.version == 0;
    let same = next == record.content
        && told.generation == record.generation
        && (unseen || told.version >= version);
    let writes = !matches!(asked, Asked::Read | Asked::Retry);
    let counted =
        writes && told.generation == record.generation + 1 && (unseen || told.version > version);
    (same || counted).then(|| told.since(version))
}

/// It took effect, and nobody was told. What changes nothing needs no place in the order.
fn effect(asked: Asked, state: State) -> Option<State> {
    match (asked, state) {
        (Asked::Read | Asked::Retry, _) | (_, State::Anything) => None,
        (
            Asked::Apply {
                spec: Some(spec),
                desired,
                if_match,
            },
            State::Absent,
        ) => if_match
            .is_none_or(|version| version == 0)
            .then_some(State::Is(Record {
                created_at: None,
                generation: 1,
                content: Content {
                    spec,
                    desired: desired.unwrap_or(DesiredState::Running),
                },
                version: 1,
            })),
        (Asked::Apply { spec: None, .. } | Asked::Delete { .. }, State::Absent) => None,
        (Asked::Delete { .. }, State::Is(record))
            if record.content.desired == DesiredState::Deleted =>
        {
            None
        }
        (Asked::Apply { .. } | Asked::Delete { .. }, State::Is(record)) => {
            let content = asked.makes(record.content)?;
            let wanted = asked.if_match();
            if wanted.is_some_and(|wanted| wanted < record.version || wanted == 0) {
                return None;
            }
            Some(State::Is(Record {
                generation: record.generation + 1,
                content,
                version: record.version.max(wanted.unwrap_or_default()) + 1,
                ..record
            }))
        }
    }
}

#[cfg(test)]
mod tests;
