//! S15: what clients are told of one workload is linearizable: there is an order of all calls, each
//! at an instant between its beginning and its answer, that explains every answer. Strong reads
//! are those that a leader answers, which are not marked stale; others never go back in time
//! within a session, which is one client and one process of a scheduler.
//!
//! A history is judged window by window: a window ends when a call begins while no other waits for
//! its answer. A call without an answer, or with one that does not tell what became of it, may take
//! effect at any time since, once or never, for as long as anything can hold it up.
//!
//! Not judged: a workload whose records somebody else edits, until that is over; and one of which
//! so many calls are open that the orders cannot all be tried.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use berth_core::io::request::{ApplyWorkload, Query, Request, RequestError, Response};
use berth_core::io::view::WorkloadView;
use berth_core::model::workload::WorkloadRecord;
use berth_core::{StoreRevision, Timestamp, WorkloadId};
use serde::Serialize;

use crate::trace::Mixer;

use super::linear::{Answer, Asked, Call, Content, End, Found, Record, State, expire, explain};
use super::rule::{Check, Finding};

/// A call that waits for so long has no answer to be waited for.
const WAITS_MAX: Duration = Duration::from_secs(15);
/// After so long nothing holds a call up any more.
const HELD_UP_MAX: Duration = Duration::from_secs(180);

/// A client's call: which client, which of its calls.
pub(crate) type CallName = (usize, u64);

/// Which process of which scheduler answered: its number and its life.
pub(crate) type Server = (usize, u64);

/// What clients asked and were told.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    of: BTreeMap<WorkloadId, History>,
    /// Calls that wait for an answer.
    waiting: BTreeMap<CallName, (WorkloadId, u64, Timestamp)>,
    /// Counts what happens to clients.
    events: u64,
    /// Reads that wait for an answer, by when they began.
    reads: BTreeMap<CallName, (u64, Timestamp)>,
    sessions: BTreeMap<(usize, Server), Session>,
    windows: Windows,
}

/// How much of what clients were told was judged. A window is what happened to one workload until
/// nobody waited for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// An order was sought that explains every answer.
    pub judged: u64,
    /// Somebody else edited the workload's records.
    pub muted: u64,
    /// So many calls were open that the orders could not all be tried.
    pub gave_up: u64,
}

impl Windows {
    /// Adds another run's.
    pub const fn add(&mut self, other: Self) {
        self.judged += other.judged;
        self.muted += other.muted;
        self.gave_up += other.gave_up;
    }

    /// All of them.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.judged + self.muted + self.gave_up
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            judged,
            muted,
            gave_up,
        } = self;
        write!(
            f,
            "{judged} windows of calls judged, {muted} muted by somebody else's edits, \
             {gave_up} given up as too wide"
        )
    }
}

#[derive(Debug)]
struct History {
    starts: BTreeSet<End>,
    calls: Vec<Call>,
    /// Somebody else edited the records: no window is judged that began before this instant.
    muted_until: Option<Timestamp>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            starts: one_end(State::Absent, Vec::new()),
            calls: Vec::new(),
            muted_until: None,
        }
    }
}

/// The revisions that answers told of, by when they came.
type Session = Vec<(u64, StoreRevision)>;

/// Answers of a session that are remembered.
const SESSION_MAX: usize = 32;

impl Histories {
    /// A client asks.
    pub(crate) fn asked(&mut self, now: Timestamp, name: CallName, request: &Request) -> Check {
        self.events += 1;
        let from = self.events;
        if from.is_multiple_of(LOST_SOUGHT_EVERY) {
            let waits = |at: &Timestamp| now.since(*at) < HELD_UP_MAX;
            self.reads.retain(|_, (_, at)| waits(at));
            self.waiting.retain(|_, (_, _, at)| waits(at));
        }
        if matches!(request, Request::Read(_)) {
            self.reads.insert(name, (from, now));
        }
        let Some((workload, asked)) = meaning(request) else {
            return Ok(());
        };
        let history = self.of.entry(workload.clone()).or_default();
        let check = history.go_on(now, &mut self.windows);
        history.calls.push(Call {
            asked,
            answer: Answer::Unknown,
            from,
            until: None,
            asked_at: now,
        });
        self.waiting.insert(name, (workload.clone(), from, now));
        check.map_err(|finding| finding.of(workload))
    }

    /// The network carries a client's request twice: the second has no answer of its own.
    pub(crate) fn doubled(&mut self, now: Timestamp, request: &Request) {
        let Some((workload, asked)) = meaning(request) else {
            return;
        };
        self.events += 1;
        let history = self.of.entry(workload.clone()).or_default();
        history.calls.push(Call {
            asked,
            answer: Answer::Unknown,
            from: self.events,
            // It is not waited for.
            until: Some(self.events),
            asked_at: now,
        });
    }

    /// A client is told.
    pub(crate) fn told(
        &mut self,
        name: CallName,
        server: Server,
        result: &Result<Response, RequestError>,
    ) -> Check {
        self.events += 1;
        let until = self.events;
        let check = self.within_session(name, server, result);
        let Some((workload, from, _)) = self.waiting.remove(&name) else {
            return check;
        };
        let Some(history) = self.of.get_mut(&workload) else {
            return check;
        };
        let Some(at) = history.calls.iter().position(|call| call.from == from) else {
            return check;
        };
        match answer(history.calls[at].asked, result) {
            // A read that may be old has no place in the order.
            None => {
                history.calls.remove(at);
            }
            Some(answer) => {
                history.calls[at].answer = answer;
                history.calls[at].until = Some(until);
            }
        }
        check.map_err(|finding| finding.of(&workload))
    }

    fn within_session(
        &mut self,
        name: CallName,
        server: Server,
        result: &Result<Response, RequestError>,
    ) -> Check {
        let Some((from, _)) = self.reads.remove(&name) else {
            return Ok(());
        };
        let Ok(Response::Workload(view)) = result else {
            return Ok(());
        };
        let told = view.freshness.revision;
        // Who speaks to a new life of a scheduler hears no more of those long before it.
        let (replica, life) = server;
        self.sessions.retain(|(client, (of, at)), _| {
            *client != name.0 || *of != replica || *at + LIVES_KEPT > life
        });
        let session = self.sessions.entry((name.0, server)).or_default();
        let before = session.iter().filter(|(came, _)| *came < from);
        let newest = before.map(|(_, revision)| *revision).max();
        if session.len() >= SESSION_MAX {
            session.remove(0);
        }
        session.push((self.events, told));
        match newest {
            Some(newest) if told < newest => {
                let expected = format!("nothing before revision {newest} in this session");
                let seen = format!("scheduler-{} answers of revision {told}", server.0);
                Err(Finding::new(expected, seen))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Somebody else edits the records of a workload: until `until` nothing is judged.
    pub(crate) fn mute(&mut self, workload: &WorkloadId, until: Timestamp) {
        let history = self.of.entry(workload.clone()).or_default();
        history.muted_until = Some(until);
    }

    /// How much was judged so far.
    pub(crate) const fn windows(&self) -> Windows {
        self.windows
    }

    /// How much is kept that grows with what is asked and not answered.
    pub(crate) fn size(&self) -> usize {
        let calls = self.of.values().map(|history| history.calls.len());
        calls.sum::<usize>() + self.waiting.len() + self.reads.len() + self.sessions.len()
    }

    /// The last windows, once all is said.
    pub(crate) fn end(&mut self, now: Timestamp) -> Check {
        for (workload, history) in &mut self.of {
            history
                .judge(now, &mut self.windows)
                .map_err(|finding| finding.of(workload))?;
        }
        Ok(())
    }
}

/// After so many calls those are forgotten whose answers were lost.
const LOST_SOUGHT_EVERY: u64 = 64;
/// Lives of a scheduler whose sessions are known.
const LIVES_KEPT: u64 = 4;

impl History {
    /// Ends the window, if none of its calls waits for an answer.
    fn go_on(&mut self, now: Timestamp, windows: &mut Windows) -> Check {
        let waits = |call: &Call| call.until.is_none() && now.since(call.asked_at) < WAITS_MAX;
        if self.calls.is_empty() || self.calls.iter().any(waits) {
            return Ok(());
        }
        self.judge(now, windows)
    }

    fn judge(&mut self, now: Timestamp, windows: &mut Windows) -> Check {
        let calls = std::mem::take(&mut self.calls);
        let one = u64::from(!calls.is_empty());
        let held_up = |call: &Call| now.since(call.asked_at) < HELD_UP_MAX;
        let unknown = |call: &&Call| call.answer == Answer::Unknown;
        let open = |starts: &BTreeSet<End>| {
            let before = starts.iter().flat_map(|end| &end.open);
            let all: BTreeSet<Call> = before
                .chain(calls.iter().filter(unknown))
                .copied()
                .collect();
            all.into_iter().filter(held_up).collect::<Vec<_>>()
        };
        if let Some(until) = self.muted_until {
            windows.muted += one;
            self.starts = one_end(State::Anything, open(&self.starts));
            self.muted_until = Some(until).filter(|until| now < *until);
            return Ok(());
        }
        match explain(&self.starts, &calls) {
            Found::Ends(ends) => {
                if let Some(living) = expire(ends, held_up) {
                    windows.judged += one;
                    self.starts = living;
                } else {
                    windows.gave_up += one;
                    self.starts = one_end(State::Anything, open(&self.starts));
                }
                Ok(())
            }
            Found::TooMany => {
                windows.gave_up += one;
                self.starts = one_end(State::Anything, open(&self.starts));
                Ok(())
            }
            Found::Nothing => {
                windows.judged += one;
                let seen = format!("from {:?}: {calls:?}", self.starts);
                let expected = "an order of the calls that explains every answer";
                Err(Finding::new(expected, seen))
            }
        }
    }
}

fn one_end(state: State, open: Vec<Call>) -> BTreeSet<End> {
    BTreeSet::from([End { state, open }])
}

/// What a request asks of which workload; `None`: nothing that the register knows.
fn meaning(request: &Request) -> Option<(&WorkloadId, Asked)> {
    let version = |revision: &Option<StoreRevision>| revision.map(|revision| revision.0);
    match request {
        Request::Read(Query::Workload(workload)) => Some((workload, Asked::Read)),
        Request::Apply(ApplyWorkload { dry_run: true, .. }) => None,
        Request::Apply(apply) => {
            let spec = apply.spec.as_ref().map(|spec| {
                digest(&(
                    &spec.spec,
                    spec.resources,
                    &spec.labels,
                    &spec.constraints,
                    &spec.tenant,
                    spec.priority,
                ))
            });
            let asked = Asked::Apply {
                spec,
                desired: apply.desired_state,
                if_match: version(&apply.if_match),
            };
            Some((&apply.workload, asked))
        }
        Request::Delete { workload, if_match } => {
            let if_match = version(if_match);
            Some((workload, Asked::Delete { if_match }))
        }
        Request::Retry { workload } => Some((workload, Asked::Retry)),
        Request::Register(_)
        | Request::Heartbeat(_)
        | Request::SetSchedulable { .. }
        | Request::Drain { .. }
        | Request::CancelDrain { .. }
        | Request::Fence { .. }
        | Request::Purge { .. }
        | Request::Suggest(_)
        | Request::Read(_) => None,
    }
}

/// What an answer tells; `None`: it may be old, and tells nothing of an order.
fn answer(asked: Asked, result: &Result<Response, RequestError>) -> Option<Answer> {
    Some(match result {
        Ok(Response::Workload(view)) if asked == Asked::Read && view.freshness.stale => {
            return None;
        }
        Ok(Response::Workload(view)) => Answer::Is(told(view)),
        Err(RequestError::NoSuchWorkload(_)) => Answer::Missing,
        Err(RequestError::Stale { current, .. }) => Answer::Stale { current: current.0 },
        Err(
            RequestError::Invalid { .. }
            | RequestError::NoSuchNode(_)
            | RequestError::RegisterAgain(_)
            | RequestError::Refused(_)
            | RequestError::StoreRefused(_)
            | RequestError::Busy(_),
        ) => Answer::Refused,
        // It may have been written before whoever should answer was stopped.
        Ok(_) | Err(RequestError::Unavailable { .. }) => Answer::Unknown,
    })
}

fn told(view: &WorkloadView) -> Record {
    Record {
        created_at: Some(view.record.metadata.created_at),
        generation: view.record.metadata.generation,
        content: content(&view.record),
        version: view.resource_version.0,
    }
}

fn content(record: &WorkloadRecord) -> Content {
    Content {
        spec: digest(&(
            &*record.spec,
            record.resources,
            &record.labels,
            &record.constraints,
            &record.tenant,
            record.priority,
        )),
        desired: record.desired_state,
    }
}

fn digest(what: &impl serde::Serialize) -> u64 {
    let mut mixer = Mixer::default();
    match serde_json::to_vec(what) {
        Ok(bytes) => mixer.bytes(&bytes),
        Err(problem) => mixer.bytes(problem.to_string().as_bytes()),
    }
    mixer.sum() as u64
}
