//! The oracle: it sees everything, and says which rule does not hold.

mod liveness;
mod safety;

use std::collections::BTreeMap;
use std::fmt;

use berth_core::io::request::{Request, RequestError, Response};
use berth_core::model::node::NodeRecord;
use berth_core::model::workload::{AssignmentRecord, IntentRecord, WorkloadRecord};
use berth_core::{NodeId, Timestamp, WorkloadId};

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's id.
    pub rule: &'static str,
    /// What was expected and what was seen.
    pub problem: String,
    /// When, in virtual time.
    pub at: Timestamp,
    /// At which step.
    pub step: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} (step {}): {}", self.rule, self.at, self.step, self.problem)
    }
}

/// What the oracle keeps in mind: the store as it is, decoded.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    violation: Option<Violation>,
    pub(crate) workloads: BTreeMap<WorkloadId, WorkloadRecord>,
    pub(crate) assignments: BTreeMap<WorkloadId, AssignmentRecord>,
    pub(crate) intents: BTreeMap<WorkloadId, IntentRecord>,
    pub(crate) nodes: BTreeMap<NodeId, NodeRecord>,
    /// When each workload was created last, by the revision of the store.
    pub(crate) created_at: BTreeMap<WorkloadId, i64>,
    asked: BTreeMap<(usize, u64), Request>,
}

impl Oracle {
    /// Notes the first violation.
    pub(crate) fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    pub(crate) fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    pub(crate) fn client_asks(&mut self, client: usize, call: u64, request: &Request) {
        self.asked.insert((client, call), request.clone());
    }

    pub(crate) fn client_told(
        &mut self,
        client: usize,
        call: u64,
        _answer: &Result<Response, RequestError>,
    ) {
        self.asked.remove(&(client, call));
    }
}
