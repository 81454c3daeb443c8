//! What a recording agent was asked, and what it says that it runs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use berth_proto::agent::v1 as agent;
use berth_proto::control::v1 as control;

/// The kinds of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// `ApplyWorkload`.
    Apply,
    /// `DeleteWorkload`.
    Delete,
    /// `GetWorkloadStatus`.
    Status,
    /// `ListWorkloads`.
    List,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// When.
    pub at: Instant,
    /// Which.
    pub kind: CallKind,
    /// About which workload; empty for a list.
    pub workload: String,
    /// Of an apply.
    pub revision: String,
    /// Of an apply: it shall run.
    pub running: bool,
    /// The caller's epoch, from the metadata.
    pub epoch: Option<i64>,
    /// The caller's number of the call, from the metadata.
    pub number: Option<u64>,
}

/// A workload on the agent.
#[derive(Debug, Clone)]
struct Held {
    kind: i32,
    revision: String,
    desired: i32,
    ready_at: Instant,
    failed: Option<String>,
}

/// The book of one agent. Strictly idempotent by workload and revision.
#[derive(Debug, Default)]
pub struct AgentBook {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    held: BTreeMap<String, Held>,
    artifacts_made: BTreeMap<String, u64>,
    /// The same by workload and revision.
    revisions_made: BTreeMap<(String, String), u64>,
    complaints: Vec<String>,
    /// The highest epoch that called.
    epoch: i64,
    /// The latest call about each workload, within an epoch.
    latest: BTreeMap<String, (i64, u64)>,
}

impl AgentBook {
    /// Whether a mutation may be carried out: as the reference agent, this one acts on no older
    /// epoch and on no call that a later one has overtaken (S2).
    pub(crate) fn admits(&self, call: &Call) -> bool {
        let (epoch, number) = (call.epoch.unwrap_or(0), call.number.unwrap_or(u64::MAX));
        self.with(|s| {
            s.epoch = s.epoch.max(epoch);
            let latest = s.latest.entry(call.workload.clone()).or_default();
            let fresh = epoch >= s.epoch && (epoch, number) >= *latest;
            if fresh {
                *latest = (epoch, number);
            }
            fresh
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no holder of this lock panics"))
    }

    /// Every call so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.with(|s| s.calls.clone())
    }

    /// When a leader of a later epoch than this called first.
    #[must_use]
    pub fn first_call_after(&self, epoch: i64) -> Option<Instant> {
        let later = |call: &&Call| call.epoch.is_some_and(|e| e > epoch);
        self.with(|s| s.calls.iter().rev().take_while(later).last().map(|c| c.at))
    }

    /// How many calls of a kind there were.
    #[must_use]
    pub fn count(&self, kind: CallKind) -> usize {
        self.with(|s| s.calls.iter().filter(|c| c.kind == kind).count())
    }

    /// Applies and deletes so far.
    #[must_use]
    pub fn mutations(&self) -> usize {
        self.count(CallKind::Apply) + self.count(CallKind::Delete)
    }

    /// How many artifacts were made for each workload: one per revision unless it was deleted.
    #[must_use]
    pub fn artifacts_made(&self) -> BTreeMap<String, u64> {
        self.with(|s| s.artifacts_made.clone())
    }

    /// How many artifacts were made for each workload and revision.
    #[must_use]
    pub fn revisions_made(&self) -> BTreeMap<(String, String), u64> {
        self.with(|s| s.revisions_made.clone())
    }

    /// It holds a running artifact from before anybody called.
    pub fn hold(&self, workload: &str, revision: &str) {
        let held = Held {
            kind: agent::WorkloadType::Container as i32,
            revision: revision.to_owned(),
            desired: agent::DesiredState::Running as i32,
            ready_at: Instant::now(),
            failed: None,
        };
        self.with(|s| s.held.insert(workload.to_owned(), held));
    }

    /// The workloads that it holds.
    #[must_use]
    pub fn held(&self) -> Vec<String> {
        self.with(|s| s.held.keys().cloned().collect())
    }

    /// What a witness found wrong.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.with(|s| s.complaints.clone())
    }

    /// Adds to [`Self::complaints`].
    pub fn complain(&self, problem: String) {
        self.with(|s| s.complaints.push(problem));
    }

    /// The workload fails from now on, as when its process ended.
    pub fn fail(&self, workload: &str, message: &str) {
        self.with(|s| {
            if let Some(held) = s.held.get_mut(workload) {
                held.failed = Some(message.to_owned());
            }
        });
    }

    pub(crate) fn note(&self, call: Call) {
        self.with(|s| s.calls.push(call));
    }

    pub(crate) fn apply(&self, request: &agent::ApplyWorkloadRequest, delay: Duration) {
        self.with(|s| {
            let same = s
                .held
                .get(&request.id)
                .is_some_and(|h| h.revision == request.revision_id);
            if same {
                if let Some(held) = s.held.get_mut(&request.id) {
                    held.desired = request.desired_state;
                }
                return;
            }
            *s.artifacts_made.entry(request.id.clone()).or_default() += 1;
            let revision = (request.id.clone(), request.revision_id.clone());
            *s.revisions_made.entry(revision).or_default() += 1;
            let held = Held {
                kind: request.r#type,
                revision: request.revision_id.clone(),
                desired: request.desired_state,
                ready_at: Instant::now() + delay,
                failed: None,
            };
            s.held.insert(request.id.clone(), held);
        });
    }

    pub(crate) fn delete(&self, workload: &str) {
        self.with(|s| s.held.remove(workload));
    }

    pub(crate) fn status(&self, workload: &str) -> Option<agent::WorkloadStatus> {
        self.with(|s| s.held.get(workload).map(|held| held.status(workload)))
    }

    pub(crate) fn list(&self) -> Vec<agent::WorkloadStatus> {
        self.with(|s| s.held.iter().map(|(id, held)| held.status(id)).collect())
    }

    /// As a heartbeat tells it: without revisions.
    pub(crate) fn heartbeat(&self) -> Vec<control::WorkloadStatus> {
        let word = |state: i32| match agent::ActualState::try_from(state) {
            Ok(agent::ActualState::Running) => "Running",
            Ok(agent::ActualState::Stopped) => "Stopped",
            Ok(agent::ActualState::Failed) => "Failed",
            Ok(agent::ActualState::Pending) => "Pending",
            Ok(agent::ActualState::Unknown | agent::ActualState::Unspecified) | Err(_) => "Unknown",
        };
        let told = |status: agent::WorkloadStatus| control::WorkloadStatus {
            workload_id: status.id,
            state: word(status.actual_state).to_owned(),
            message: status.message,
            ..control::WorkloadStatus::default()
        };
        self.list().into_iter().map(told).collect()
    }
}

impl Held {
    fn status(&self, id: &str) -> agent::WorkloadStatus {
        let stopped = self.desired == agent::DesiredState::Stopped as i32;
        let state = if self.failed.is_some() {
            agent::ActualState::Failed
        } else if Instant::now() < self.ready_at {
            agent::ActualState::Pending
        } else if stopped {
            agent::ActualState::Stopped
        } else {
            agent::ActualState::Running
        };
        agent::WorkloadStatus {
            id: id.to_owned(),
            r#type: self.kind,
            revision_id: self.revision.clone(),
            desired_state: self.desired,
            actual_state: state as i32,
            message: self.failed.clone().unwrap_or_default(),
            ..agent::WorkloadStatus::default()
        }
    }
}
