//! The smallest agent that keeps its word: it does what it is told at once, refuses what is older
//! than what it heard, and starts nothing twice.

use std::collections::BTreeMap;

use berth_core::io::agent::{AgentError, AgentOp, AgentReply, AgentState, AgentStatus};
use berth_core::io::{AgentCall, Op};
use berth_core::model::spec::{Spec, WorkloadType};
use berth_core::model::workload::FailureKind;
use berth_core::{CallId, Epoch, Key, Revision, WorkloadId};

use crate::transition::CallFate;

/// A copy of a workload.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) revision: Revision,
    pub(crate) image: String,
    pub(crate) state: AgentState,
    failure: FailureKind,
}

/// Starts of a workload that fail.
pub(crate) type Broken = BTreeMap<WorkloadId, (u32, FailureKind)>;

#[derive(Debug, Default)]
pub(crate) struct Agent {
    pub(crate) up: bool,
    pub(crate) deaf: bool,
    pub(crate) has: BTreeMap<WorkloadId, Copy>,
    pub(crate) next_call: Option<CallFate>,
    heard: BTreeMap<WorkloadId, (Epoch, CallId)>,
    epoch: Epoch,
}

impl Agent {
    /// Carries a call out.
    pub(crate) fn execute(
        &mut self,
        call: &AgentCall,
        broken: &mut Broken,
    ) -> Result<AgentReply, AgentError> {
        if !self.up || self.deaf {
            return Err(AgentError::Unreachable("connection refused".into()));
        }
        if call.epoch < self.epoch {
            return Err(AgentError::StaleEpoch);
        }
        self.epoch = call.epoch;
        if let (Some(id), true) = (call.op.workload(), call.op.is_mutation()) {
            let stamp = (call.epoch, call.id);
            let latest = self.heard.entry(id.clone()).or_insert(stamp);
            if stamp < *latest {
                return Err(AgentError::Failed("stale call".into()));
            }
            *latest = stamp;
        }
        Ok(match &call.op {
            AgentOp::Apply {
                workload,
                revision,
                running,
                spec,
                ..
            } => {
                self.apply(workload, revision, *running, spec, broken);
                AgentReply::Applied
            }
            AgentOp::Delete { workload } => match self.has.remove(workload) {
                Some(_) => AgentReply::Deleting,
                None => AgentReply::Missing,
            },
            AgentOp::Status { workload } => match self.has.get(workload) {
                Some(copy) => AgentReply::Status(copy.status(workload)),
                None => AgentReply::Missing,
            },
            AgentOp::List => AgentReply::Listing(self.statuses().into()),
        })
    }

    fn apply(
        &mut self,
        id: &WorkloadId,
        revision: &Revision,
        running: bool,
        spec: &Spec,
        broken: &mut Broken,
    ) {
        let runs = self
            .has
            .get(id)
            .is_some_and(|copy| copy.revision == *revision && copy.state == AgentState::Running);
        if runs && running {
            return;
        }
        let Spec::Container(container) = spec else {
            panic!("only containers are applied here");
        };
        let mut copy = Copy {
            revision: revision.clone(),
            image: container.image.clone(),
            state: AgentState::Stopped,
            failure: FailureKind::RuntimeError,
        };
        if running {
            copy.state = AgentState::Running;
            if let Some((left, kind)) = broken.get_mut(id).filter(|(left, _)| *left > 0) {
                *left -= 1;
                copy.state = AgentState::Failed;
                copy.failure = *kind;
            }
        }
        self.has.insert(id.clone(), copy);
    }

    pub(crate) fn runs(&self, id: &WorkloadId) -> bool {
        let copy = self.has.get(id);
        copy.is_some_and(|copy| copy.state == AgentState::Running)
    }

    /// What it says of all of them.
    pub(crate) fn statuses(&self) -> Vec<AgentStatus> {
        self.has.iter().map(|(id, copy)| copy.status(id)).collect()
    }
}

impl Copy {
    fn status(&self, id: &WorkloadId) -> AgentStatus {
        AgentStatus {
            workload: Some(id.clone()),
            raw_id: id.to_string(),
            workload_type: Some(WorkloadType::Container),
            revision: Some(self.revision.clone()),
            state: self.state,
            failure: (self.state == AgentState::Failed).then_some(self.failure),
            message: "exit code 1".into(),
        }
    }
}

/// The workload whose records an operation writes.
pub(crate) fn workload_of(op: &Op) -> Option<&WorkloadId> {
    let (Op::Put { key, .. } | Op::Delete { key }) = op else {
        return None;
    };
    match key {
        Key::Workload(id) | Key::Assignment(id) | Key::Intent(id) | Key::Retry(id) => Some(id),
        Key::Tombstone(_, id) => Some(id),
        Key::Node(_) | Key::Event(_) | Key::Meta(_) | Key::Leader(_) => None,
    }
}
