//! S19: a dry run changes nothing, and foretells what the same call does on the same image.
//!
//! Judged is a dry run that is followed, at the same scheduler, by the same apply without it, when
//! the scheduler was told nothing in between that its answer could depend on: the record that the
//! second writes, or the answer that it gets, is the one that the first told of, but for instants.
//! What is decided first in the step of the second, because its time has come (a node is lost), is
//! something that the dry run could not know.
//! And no generation is counted up in the step of a dry run.
//!
//! There are no idempotency keys yet. A request that is sent twice with one `If-Match` has one
//! effect: that is judged with the order of all calls (S15).

use std::collections::BTreeMap;

use berth_core::io::request::{ApplyWorkload, Request, RequestError, Response};
use berth_core::model::workload::WorkloadRecord;
use berth_core::{RequestId, StoreRevision, Timestamp, WorkloadId};

use super::rule::{Check, Finding};
use super::s15_linearizable::Server;
use super::s18_eviction::is_eviction;
use super::view::{Flight, View, events};

/// What comes, or would come, of an apply.
type Outcome = Result<Box<WorkloadRecord>, String>;

/// What was foretold.
#[derive(Debug, Default)]
pub(crate) struct Foretold {
    /// Counts, for each scheduler, what its decisions can depend on.
    knowledge: BTreeMap<usize, u64>,
    /// Dry runs that wait for their answer.
    asked: BTreeMap<(Server, RequestId), ApplyWorkload>,
    told: BTreeMap<(Server, WorkloadId), Told>,
    /// What the step under way must come to.
    due: Option<Due>,
    /// The step under way is that of a dry run about this workload.
    dry: Option<(usize, WorkloadId)>,
    /// Something else was decided in that step: perhaps before the answer, perhaps after.
    spoilt: bool,
    /// How many were compared.
    compared: u64,
}

#[derive(Debug)]
struct Told {
    knowledge: u64,
    request: ApplyWorkload,
    outcome: Outcome,
}

#[derive(Debug)]
struct Due {
    server: Server,
    request: RequestId,
    workload: WorkloadId,
    outcome: Outcome,
}

impl Foretold {
    /// A step of a scheduler begins with a request.
    pub(crate) fn comes(&mut self, server: Server, id: RequestId, request: &Request) {
        self.begins();
        let apply = match request {
            Request::Apply(apply) => apply,
            Request::Read(_) | Request::Heartbeat(_) => return,
            Request::Register(_)
            | Request::Delete { .. }
            | Request::Retry { .. }
            | Request::SetSchedulable { .. }
            | Request::Drain { .. }
            | Request::CancelDrain { .. }
            | Request::Fence { .. }
            | Request::Purge { .. }
            | Request::Suggest(_) => return self.learns(server.0),
        };
        // A life that is over answers nobody.
        let over = |of: &Server| of.0 == server.0 && of.1 != server.1;
        self.asked.retain(|(of, _), _| !over(of));
        self.told.retain(|(of, _), _| !over(of));
        if apply.dry_run {
            self.dry = Some((server.0, apply.workload.clone()));
            self.asked.insert((server, id), apply.clone());
            return;
        }
        let knowledge = self.knowledge.get(&server.0).copied().unwrap_or_default();
        let told = self.told.remove(&(server, apply.workload.clone()));
        let same = |told: &Told| {
            let really = ApplyWorkload {
                dry_run: false,
                ..told.request.clone()
            };
            told.knowledge == knowledge && really == *apply
        };
        self.due = told.filter(same).map(|told| Due {
            server,
            request: id,
            workload: apply.workload.clone(),
            outcome: told.outcome,
        });
        self.learns(server.0);
    }

    /// A scheduler is told, or decides, something that its next decision can depend on.
    pub(crate) fn learns(&mut self, replica: usize) {
        *self.knowledge.entry(replica).or_default() += 1;
    }

    /// A step begins with something else than a request.
    pub(crate) fn told(&mut self, replica: usize) {
        self.begins();
        self.learns(replica);
    }

    fn begins(&mut self) {
        (self.due, self.dry, self.spoilt) = (None, None, false);
    }

    /// A scheduler asks for a commit; `view`: what it knew before.
    pub(crate) fn asks(&mut self, replica: usize, view: &View, flight: &Flight) -> Check {
        self.learns(replica);
        self.spoilt = true;
        if let Some((_, id)) = self.dry.as_ref().filter(|(of, _)| *of == replica)
            && let Some(next) = flight.workloads.get(id)
        {
            let generation = |record: &WorkloadRecord| record.metadata.generation;
            let before = view.workloads.get(id).map(|record| generation(record));
            if before != Some(generation(next)) {
                let expected = "a dry run to change nothing";
                return Err(Finding::new(expected, format!("it wrote {next:?}")).of(id));
            }
        }
        // Its node is lost, and its time has come in this very step.
        let leaves = |id: &WorkloadId| events(&flight.txn).any(|it| is_eviction(&it) == Some(id));
        let due = self.due.take_if(|due| {
            let own = flight.workloads.contains_key(&due.workload) && !leaves(&due.workload);
            due.server.0 == replica && own
        });
        match due {
            Some(due) => {
                let record = flight.workloads.get(&due.workload);
                let record = record.map(|record| Box::new(WorkloadRecord::clone(record)));
                self.compare(&due, record.ok_or_else(String::new))
            }
            None => {
                self.due.take_if(|due| due.server.0 == replica);
                Ok(())
            }
        }
    }

    /// A scheduler answers.
    pub(crate) fn answers(
        &mut self,
        server: Server,
        id: RequestId,
        result: &Result<Response, RequestError>,
    ) -> Check {
        let outcome = match result {
            Ok(Response::Workload(view)) => Ok(Box::new(view.record.clone())),
            // Nothing was decided.
            Ok(_) | Err(RequestError::Unavailable { .. } | RequestError::Busy(_)) => {
                self.asked.remove(&(server, id));
                return Ok(());
            }
            Err(error) => Err(error.to_string()),
        };
        if let Some(request) = self.asked.remove(&(server, id)) {
            let knowledge = self.knowledge.get(&server.0).copied().unwrap_or_default();
            let workload = request.workload.clone();
            let told = Told {
                knowledge,
                request,
                outcome,
            };
            if self.spoilt {
                self.told.remove(&(server, workload));
            } else {
                self.told.insert((server, workload), told);
            }
            return Ok(());
        }
        let due = self
            .due
            .take_if(|due| due.server == server && due.request == id);
        due.map_or(Ok(()), |due| self.compare(&due, outcome))
    }

    fn compare(&mut self, due: &Due, outcome: Outcome) -> Check {
        self.compared += 1;
        let (foretold, is) = (timeless(&due.outcome), timeless(&outcome));
        if foretold == is {
            return Ok(());
        }
        let expected = format!("what the dry run told: {foretold:?}");
        Err(Finding::new(expected, format!("{is:?}")).of(&due.workload))
    }

    /// How much is kept.
    pub(crate) fn size(&self) -> usize {
        self.asked.len() + self.told.len()
    }

    /// How often a dry run was compared with what followed, since it was asked last.
    pub(crate) fn take_compared(&mut self) -> u64 {
        std::mem::take(&mut self.compared)
    }
}

/// The same, as if no time had passed.
fn timeless(outcome: &Outcome) -> Outcome {
    let mut record = outcome.clone()?;
    record.metadata.created_at = Timestamp::ZERO;
    record.status.last_updated = Timestamp::ZERO;
    if let Some(note) = &mut record.status.placement {
        note.decided_at = Timestamp::ZERO;
        note.at_revision = StoreRevision(0);
    }
    Ok(record)
}
