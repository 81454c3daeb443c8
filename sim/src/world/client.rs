//! Clients: they ask for what the script says, and remember what they were told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_core::io::request::{Request, RequestError, Response};
use berth_core::model::workload::{ActualState, DesiredState};
use berth_core::{StoreRevision, WorkloadId};

use crate::marks::Mark;
use crate::oracle::Rule;
use crate::process::Process;
use crate::script::Deed;
use crate::trace::BEGINNING;

use super::door::{ClientAnswer, ClientMessage};
use super::message::{Body, RefusedCall};
use super::{Happening, World};

/// How long a patient client waits before it tries again.
const AGAIN: Duration = Duration::from_millis(500);
/// So long after the healing everybody has found everybody.
const SETTLED: Duration = Duration::from_secs(60);
/// So soon what nothing stands in the way of runs.
const PROBE: Duration = Duration::from_secs(30);

/// So many of its calls wait for an answer at most.
const OUTSTANDING_MAX: usize = 128;

/// Every eighth call goes over REST, the others over gRPC if the contract has words for them.
const fn speaks_grpc(client: usize, call: u64) -> bool {
    !(client as u64 + call).is_multiple_of(8)
}

/// A client.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) outstanding: BTreeMap<u64, Request>,
    next_call: u64,
    /// The scheduler that it speaks to.
    scheduler: usize,
    /// The first call that it made there: what those before it come to says nothing of that one.
    speaks_since: u64,
    /// What an orderly client wants of each workload, one thing after another.
    pub(super) lines: BTreeMap<WorkloadId, VecDeque<Request>>,
    /// What it was told last of each workload's version.
    versions: BTreeMap<WorkloadId, StoreRevision>,
    /// What it asks for once it was told what would come of it.
    then: BTreeMap<u64, Request>,
}

impl Client {
    /// The first call that it made where it asks now.
    pub(super) const fn speaks_since(&self) -> u64 {
        self.speaks_since
    }
}

impl World {
    /// A client does what the script says.
    pub(super) fn client_does(&mut self, deed: &Deed) {
        let Deed::Ask {
            client,
            workload,
            twice,
            hangs_up,
            if_match,
            dry_run,
            ask,
            wish,
        } = deed
        else {
            return;
        };
        let mut request = ask.request(workload.clone(), wish.as_ref());
        if *if_match {
            let version = self.clients[*client].versions.get(workload).copied();
            match &mut request {
                Request::Apply(apply) => apply.if_match = version,
                Request::Delete { if_match, .. } => *if_match = version,
                _ => {}
            }
        }
        if let Request::Apply(apply) = &mut request
            && apply.if_match.is_none()
            && speaks_grpc(*client, self.clients[*client].next_call)
        {
            // What an apply means there that says nothing of it.
            apply.desired_state.get_or_insert(DesiredState::Running);
        }
        if self.script.world.orderly {
            return self.stand_in_line(*client, workload, request);
        }
        if let (true, Request::Apply(apply)) = (*dry_run, &mut request) {
            apply.dry_run = true;
            let dry = Request::Apply(apply.clone());
            apply.dry_run = false;
            let call = self.client_asks(*client, dry);
            self.clients[*client].then.insert(call, request);
            return;
        }
        if *twice {
            self.mark(Mark::ClientDoubled);
            self.client_asks(*client, request.clone());
        }
        self.client_asks(*client, request);
        if *hangs_up {
            self.mark(Mark::ClientHungUp);
            self.clients[*client].outstanding.clear();
        }
    }

    /// A patient client that was told to try again does so.
    pub(super) fn ask_again(&mut self, at: usize, request: Request) {
        if self.script.world.patient || self.damage.healed {
            let again = Happening::AskAgain {
                client: at,
                request: Box::new(request),
            };
            self.queue.push(self.now + AGAIN, again);
        }
    }

    pub(super) fn client_asks(&mut self, at: usize, request: Request) -> u64 {
        // Who waits for its answers asks again until it has them.
        let waits = self.script.world.orderly;
        let client = &mut self.clients[at];
        let call = client.next_call;
        client.next_call += 1;
        client.outstanding.insert(call, request.clone());
        if client.outstanding.len() > OUTSTANDING_MAX && !waits {
            // Its answer was lost long ago.
            client.outstanding.pop_first();
        }
        let oldest = call.saturating_sub(OUTSTANDING_MAX as u64);
        client.then = client.then.split_off(&oldest);
        let to = Process::Replica(client.scheduler);
        self.mark_request(&request);
        self.oracle.client_asks((at, call), &request);
        self.expect_answer(at, call);
        if let Some(meter) = &mut self.meter {
            meter.asked(self.now, &request);
        }
        let body = Body::ClientCall {
            call,
            message: ClientMessage::of(&request, speaks_grpc(at, call)),
            meant: Box::new(request),
        };
        self.send(Process::Client(at), to, body);
        call
    }

    fn mark_request(&mut self, request: &Request) {
        let workload = match request {
            Request::Apply(apply) => &apply.workload,
            Request::Delete { workload, .. } => workload,
            _ => return,
        };
        let record = self
            .oracle
            .image
            .workloads
            .get(workload)
            .map(|held| &held.record);
        let starting = record.is_some_and(|record| {
            record.assigned_node.is_some() && record.status.actual_state == ActualState::Pending
        });
        let going = record.is_some_and(|record| record.desired_state == DesiredState::Deleted);
        match request {
            Request::Apply(apply) if going && apply.spec.is_some() => {
                self.mark(Mark::ClientRecreated);
            }
            Request::Apply(_) if starting => self.mark(Mark::UpdatedWhileStarting),
            Request::Delete { .. } if starting => self.mark(Mark::DeletedWhileStarting),
            _ => {}
        }
    }

    pub(super) fn client_receive(&mut self, at: usize, from: Process, body: Body) {
        if at == self.clients.len() {
            self.operator_receive(body);
            return;
        }
        let (call, answer) = match body {
            Body::ClientAnswered { call, answer } => (call, self.hear(*answer)),
            Body::Refused {
                call: RefusedCall::Client(call),
            } => {
                self.turn_after(at, call);
                if let Some(request) = self.clients[at].outstanding.remove(&call) {
                    self.ask_again(at, request);
                }
                return;
            }
            _ => return,
        };
        let Some(request) = self.clients[at].outstanding.remove(&call) else {
            return;
        };
        let server = match from {
            Process::Replica(replica) => (replica, self.replicas[replica].life),
            Process::Store | Process::Agent(_) | Process::Client(_) => return,
        };
        self.oracle
            .client_told((at, call), server, &request, &answer);
        let then = self.clients[at].then.remove(&call);
        self.see_probe(&request, &answer);
        match &answer {
            Ok(Response::Workload(view)) if then.is_none() => {
                self.mark(Mark::ClientAnswered);
                if view.freshness.stale {
                    self.mark(Mark::StaleReadSeen);
                }
                let id = view.record.id.clone();
                self.clients[at].versions.insert(id, view.resource_version);
            }
            Ok(_) => self.mark(Mark::ClientAnswered),
            Err(RequestError::Unavailable { .. }) => {
                self.mark(Mark::ClientToldToTryAgain);
                self.turn_after(at, call);
                self.ask_again(at, request.clone());
            }
            Err(RequestError::Invalid { .. }) => self.mark(Mark::ClientMalformed),
            Err(RequestError::Stale { .. }) => self.mark(Mark::ClientStale),
            Err(_) => self.mark(Mark::ClientRefused),
        }
        if let Some(request) = then {
            self.client_asks(at, request);
        }
        if let Err(RequestError::Unavailable { .. }) = answer {
            return;
        }
        if let Some(meter) = &mut self.meter {
            meter.told(self.now, &request, answer.as_ref().err());
        }
        if self.script.world.orderly {
            self.next_in_line(at, &request);
        }
    }

    /// What is read of an answer: it must be what the scheduler said.
    pub(super) fn hear(&mut self, answer: ClientAnswer) -> Result<Response, RequestError> {
        let (answer, agrees) = answer.heard();
        if let Err(seen) = agrees {
            self.violate(Rule::S8, "an answer to be read as it was meant", seen);
        }
        answer
    }

    /// What is asked for once everything works must be so in time.
    fn see_probe(&mut self, request: &Request, answer: &Result<Response, RequestError>) {
        let (Request::Apply(apply), Ok(Response::Workload(view))) = (request, answer) else {
            return;
        };
        // What was asked for earlier meets agents that are still on their way to the leader.
        let settled = BEGINNING + self.script.world.chaos.duration() + SETTLED;
        if self.now >= settled && apply.spec.is_some() && !apply.dry_run {
            let (id, generation) = (view.record.id.clone(), view.record.metadata.generation);
            let due = Happening::Due { id, generation };
            self.queue.push(self.now + PROBE, due);
        }
    }

    /// A call came to nothing. Those of before it turned away from that scheduler tell nothing of the one
    /// that it speaks to now.
    fn turn_after(&mut self, at: usize, call: u64) {
        if call >= self.clients[at].speaks_since {
            self.turn_to_next(at);
        }
    }

    /// Perhaps another scheduler leads.
    pub(super) fn turn_to_next(&mut self, at: usize) {
        let replicas = self.replicas.len().max(1);
        let client = &mut self.clients[at];
        client.scheduler = (client.scheduler + 1) % replicas;
        client.speaks_since = client.next_call;
    }
}
