//! What a recording sees of a world: looked at after every instant, and told of what leaves no
//! trace to look at. It changes nothing.

mod end;
mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::io::request::{Request, RequestError, Response};
use berth_core::io::{AgentCall, AgentError, AgentReply};
use berth_core::{CallId, Timestamp, WorkloadId};

use crate::marks::Coverage;
use crate::oracle::image::{Commit, Image};
use crate::process::Process;
use crate::record::{
    Changes, Group, Kind, LaneId, Note, Recorder, Tone, call_outcome, call_words, deed_words,
    request_words,
};
use crate::script::{Act, Lasting};

use super::message::{Body, Envelope, RefusedCall};
use look::{AgentLook, ReplicaLook};

/// A call to an agent that has no answer yet: when it left, and what is said of it.
#[derive(Debug)]
struct OpenCall {
    from: u64,
    lane: LaneId,
    kind: Kind,
    text: String,
    op: &'static str,
    epoch: i64,
    node: String,
}

/// A request that has no answer yet.
#[derive(Debug)]
struct OpenRequest {
    from: u64,
    lane: LaneId,
    text: String,
    detail: String,
}

/// What a recording keeps in mind.
#[derive(Debug)]
pub(super) struct Camera {
    recorder: Recorder,
    /// When everything that can be mended is.
    heal_ms: u64,
    changes: Changes,
    replicas: Vec<ReplicaLook>,
    agents: Vec<AgentLook>,
    /// Nodes whose runtime may have changed since they were looked at.
    stepped: BTreeSet<usize>,
    runs: BTreeMap<usize, BTreeMap<WorkloadId, String>>,
    cuts: BTreeSet<(Process, Process)>,
    hidden: BTreeSet<usize>,
    stalled: bool,
    healed: bool,
    coverage: Coverage,
    calls: BTreeMap<(usize, CallId), OpenCall>,
    /// Calls by what was asked and what came of it.
    outcomes: BTreeMap<(&'static str, String), u64>,
    requests: BTreeMap<(Process, u64), OpenRequest>,
}

impl Camera {
    pub(super) fn new(begun: Timestamp, chaos: Duration, calm: Duration) -> Self {
        Self {
            heal_ms: millis(chaos),
            recorder: Recorder::new(begun, millis(chaos + calm)),
            changes: Changes::default(),
            replicas: Vec::new(),
            agents: Vec::new(),
            stepped: BTreeSet::new(),
            runs: BTreeMap::new(),
            cuts: BTreeSet::new(),
            hidden: BTreeSet::new(),
            stalled: false,
            healed: false,
            coverage: Coverage::default(),
            calls: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            requests: BTreeMap::new(),
        }
    }

    pub(super) fn committed(&mut self, now: Timestamp, commit: &Commit, image: &Image) {
        self.changes.take(&mut self.recorder, now, commit, image);
    }

    /// A node's agent or runtime made a step.
    pub(super) fn stepped(&mut self, node: usize) {
        self.stepped.insert(node);
    }

    /// The script does something.
    pub(super) fn acted(&mut self, now: Timestamp, act: &Act) {
        let at = self.recorder.ms(now);
        let Some(words) = deed_words(&act.deed) else {
            return;
        };
        let lane = self.recorder.lane(Group::Faults, "faults");
        let note = Note::new(&words.text).bad(true);
        let to = match act.lasting {
            Some(Lasting::For(span)) => Some((at + span.as_millis()).min(self.heal_ms)),
            Some(Lasting::Ever) => Some(u64::MAX),
            None => act.deed.lasts().then_some(self.heal_ms),
        };
        match to {
            Some(to) if to > at => self.recorder.span(lane, Kind::Fault, at, to, &note),
            _ => self.recorder.point(lane, Kind::Fault, at, &note),
        }
        if words.told {
            self.recorder.tell(at, Tone::Fault, Some(lane), words.text);
        }
    }

    /// A message leaves: requests begin.
    pub(super) fn sent(&mut self, now: Timestamp, from: Process, body: &Body) {
        if let Body::ClientCall { call, meant, .. } = body {
            let (text, detail) = request_words(meant);
            let begun = self.recorder.ms(now);
            let lane = if is_operators(meant) {
                self.recorder.lane(Group::Clients, "operator")
            } else {
                self.recorder.lane(Group::Clients, &from.to_string())
            };
            let open = OpenRequest {
                from: begun,
                lane,
                text,
                detail,
            };
            self.requests.insert((from, *call), open);
        }
    }

    /// A message arrives: requests end.
    pub(super) fn delivered(&mut self, now: Timestamp, envelope: &Envelope) {
        let (call, answer) = match &envelope.body {
            Body::ClientAnswered { call, answer } => (*call, answer_words(&answer.value)),
            Body::Refused {
                call: RefusedCall::Client(call),
            } => (*call, ("nobody listens there".to_owned(), true)),
            _ => return,
        };
        self.request_ends(now, (envelope.to, call), &envelope.from.to_string(), answer);
    }

    fn request_ends(
        &mut self,
        now: Timestamp,
        key: (Process, u64),
        by: &str,
        (answer, bad): (String, bool),
    ) {
        let Some(open) = self.requests.remove(&key) else {
            return;
        };
        let detail = format!("answer: {answer}\nanswered by: {by}\n{}", open.detail);
        let to = self.recorder.ms(now).max(open.from + 1);
        let note = Note::new(open.text).detail(detail).bad(bad);
        self.recorder
            .span(open.lane, Kind::Request, open.from, to, &note);
    }

    /// A call leaves a scheduler.
    pub(super) fn calls(&mut self, now: Timestamp, replica: usize, call: &AgentCall) {
        let (kind, text) = call_words(&call.op);
        let lane = match call.op.workload() {
            Some(workload) => self.recorder.lane(Group::Workloads, workload.as_str()),
            None => self.recorder.lane(Group::Nodes, call.node.as_str()),
        };
        let open = OpenCall {
            from: self.recorder.ms(now),
            lane,
            kind,
            text: format!("{text} on {}", call.node),
            op: kind.info().name,
            epoch: call.epoch.0,
            node: call.node.to_string(),
        };
        self.calls.insert((replica, call.id), open);
    }

    /// A call is answered, or given up.
    pub(super) fn call_ends(
        &mut self,
        now: Timestamp,
        replica: usize,
        call: CallId,
        result: &Result<AgentReply, AgentError>,
    ) {
        if let Some(open) = self.calls.remove(&(replica, call)) {
            let (outcome, bad) = call_outcome(result);
            let counted = match result {
                Ok(_) => "answered",
                Err(AgentError::Unreachable(_)) => "no connection",
                Err(AgentError::Timeout) => "no answer in time",
                Err(AgentError::StaleEpoch) => "stale epoch",
                Err(AgentError::Failed(_)) => "failed",
            };
            let to = self.recorder.ms(now);
            self.call_over(replica, &open, to, &outcome, counted, bad);
        }
    }

    fn call_over(
        &mut self,
        replica: usize,
        open: &OpenCall,
        to: u64,
        outcome: &str,
        counted: &str,
        bad: bool,
    ) {
        let key = (open.op, counted.to_owned());
        *self.outcomes.entry(key).or_default() += 1;
        let detail = format!(
            "answer: {outcome}\nnode: {}\ncalled by: scheduler-{replica}, epoch {}\n",
            open.node, open.epoch
        );
        let note = Note::new(&open.text).detail(detail).bad(bad);
        let to = to.max(open.from + 1);
        self.recorder
            .span(open.lane, open.kind, open.from, to, &note);
    }

    /// Calls of a process that knows of them no more.
    fn forget_calls(&mut self, now: u64, replica: usize, why: &str) {
        let own = (replica, CallId(0))..=(replica, CallId(u64::MAX));
        let keys: Vec<_> = self.calls.range(own).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(open) = self.calls.remove(&key) {
                self.call_over(replica, &open, now, why, "forgotten", true);
            }
        }
    }
}

fn is_operators(request: &Request) -> bool {
    match request {
        Request::SetSchedulable { .. }
        | Request::Drain { .. }
        | Request::CancelDrain { .. }
        | Request::Fence { .. }
        | Request::Purge { .. } => true,
        Request::Register(_)
        | Request::Heartbeat(_)
        | Request::Apply(_)
        | Request::Delete { .. }
        | Request::Retry { .. }
        | Request::Suggest(_)
        | Request::Read(_) => false,
    }
}

fn answer_words(answer: &Result<Response, RequestError>) -> (String, bool) {
    match answer {
        Ok(Response::Workload(view)) => {
            let state = view.record.status.actual_state;
            (
                format!("done, {state:?} at {}", view.resource_version),
                false,
            )
        }
        Ok(_) => ("done".to_owned(), false),
        Err(error) => (error.to_string(), true),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
