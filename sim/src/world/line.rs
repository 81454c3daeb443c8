//! Orderly clients: one thing about a workload at a time, until they have an answer.

use std::time::Duration;

use berth_core::WorkloadId;
use berth_core::io::request::Request;

use super::{Happening, World};

/// After so long without an answer it asks again.
const OVERDUE: Duration = Duration::from_secs(15);

impl World {
    /// What a client wants waits until what it wanted before of the same workload is answered.
    pub(super) fn stand_in_line(&mut self, at: usize, workload: &WorkloadId, request: Request) {
        let line = self.clients[at].lines.entry(workload.clone()).or_default();
        line.push_back(request.clone());
        if line.len() == 1 {
            self.client_asks(at, request);
        }
    }

    /// The first in line has its answer.
    pub(super) fn next_in_line(&mut self, at: usize, answered: &Request) {
        let Some(workload) = workload_of(answered) else {
            return;
        };
        let lines = &mut self.clients[at].lines;
        let Some(line) = lines.get_mut(workload) else {
            return;
        };
        line.pop_front();
        match line.front().cloned() {
            Some(next) => {
                self.client_asks(at, next);
            }
            None => {
                lines.remove(workload);
            }
        }
    }

    pub(super) fn expect_answer(&mut self, client: usize, call: u64) {
        let overdue = Happening::NoAnswer { client, call };
        self.queue.push(self.now + OVERDUE, overdue);
    }

    /// Nobody answered: it turns to somebody else, and asks there if it is one that waits. In the calm
    /// everybody waits: what is asked for then is judged.
    pub(super) fn client_overdue(&mut self, at: usize, call: u64) {
        if at == self.clients.len() {
            self.operator_overdue(call);
            return;
        }
        let world = &self.script.world;
        let waits = world.orderly || world.patient || self.damage.healed;
        let client = &self.clients[at];
        let Some(request) = client.outstanding.get(&call) else {
            return;
        };
        let request = waits.then(|| request.clone());
        if call >= client.speaks_since() {
            self.turn_to_next(at);
        }
        if let Some(request) = request {
            self.clients[at].outstanding.remove(&call);
            self.client_asks(at, request);
        }
    }
}

const fn workload_of(request: &Request) -> Option<&WorkloadId> {
    match request {
        Request::Apply(apply) => Some(&apply.workload),
        Request::Delete { workload, .. } | Request::Retry { workload } => Some(workload),
        _ => None,
    }
}
