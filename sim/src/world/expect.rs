//! What the scenario expects, compared with what there is.

use std::fmt;

use berth_core::model::spec::Spec;
use berth_core::model::workload::WorkloadRecord;
use berth_core::{NodeId, WorkloadId};

use crate::marks::Mark;
use crate::oracle::{Check, Finding, Violation};
use crate::process::Process;
use crate::script::{Leader, NodeIs, NodeState, State, That, WorkloadIs};

use super::World;

/// Another expectation in the place of one of the script's, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Which of the script's.
    pub number: usize,
    /// What was expected instead.
    pub that: That,
    /// What came of it.
    pub violation: Option<Violation>,
}

impl World {
    /// A world that also judges, where it judges an expectation, whatever contradicts that, for
    /// [`take_doubts`](Self::take_doubts). It changes nothing of what happens.
    #[must_use]
    pub fn doubted(mut self) -> Self {
        self.doubts = Some(Vec::new());
        self
    }

    /// What the contradictions came to so far.
    pub fn take_doubts(&mut self) -> Vec<Doubt> {
        self.doubts.take().unwrap_or_default()
    }

    /// Whether what is expected now holds.
    pub(super) fn judge_expectation(&mut self, number: usize) {
        let that = self.script.expect[number].that.clone();
        if let Some(mut doubts) = self.doubts.take() {
            for that in that.contradictions() {
                self.judge_that(number, &that);
                let violation = self.oracle.take_violation();
                doubts.push(Doubt {
                    number,
                    that,
                    violation,
                });
            }
            self.doubts = Some(doubts);
        }
        self.judge_that(number, &that);
    }

    fn judge_that(&mut self, number: usize, that: &That) {
        let check = match that {
            That::Workload(expected) => self.judge_workload(expected),
            That::Node(expected) => self.judge_node(expected),
            That::Reached { reached, times } => self.judge_mark(reached, true, *times),
            That::Never { never } => self.judge_mark(never, false, None),
            That::Count { state, count } => self.judge_count(*state, *count),
            That::Leader { leader } => self.judge_leader_is(*leader),
            That::Elections { elections } => {
                let seen = self.coverage.count(Mark::LeaderElected);
                equal("elections", *elections, seen)
            }
        };
        self.oracle.judge_scene(check.map_err(|mut finding| {
            finding.expected = format!("expect[{number}]: {}", finding.expected);
            finding
        }));
    }

    /// Who leads, as far as the schedulers know that can say so.
    fn judge_leader_is(&self, expected: Leader) -> Check {
        let replicas = self.replicas.iter().enumerate();
        let leading = replicas.filter(|(_, it)| it.up && !it.paused && it.is_leading());
        let leading: Vec<_> = leading.map(|(at, _)| Process::Replica(at)).collect();
        let holds = match expected {
            Leader::Nobody => leading.is_empty(),
            Leader::Is(process) => leading == [process],
        };
        let names: Vec<_> = leading.iter().map(ToString::to_string).collect();
        let wanted = format!("{} leads", String::from(expected));
        let seen = format!("those that lead: [{}]", names.join(", "));
        holds
            .then_some(())
            .ok_or_else(|| Finding::new(wanted, seen))
    }

    fn state_of(&self, id: &WorkloadId) -> State {
        let held = self.oracle.image.workloads.get(id);
        held.map_or(State::Gone, |held| held.record.status.actual_state.into())
    }

    fn judge_workload(&self, expected: &WorkloadIs) -> Check {
        let id = &expected.workload;
        let record = self.oracle.image.workloads.get(id).map(|held| &held.record);
        let about = |finding: Finding| Err(finding.of(id));
        let state = self.state_of(id);
        if let Some(wanted) = expected.state
            && wanted != state
        {
            let told = record.map_or("", |record| &record.status.failure_reason);
            let home = record.and_then(|record| record.assigned_node.as_ref());
            let seen = format!("{state:?}, at home on {home:?}: {told:?}");
            return about(Finding::new(format!("{wanted:?}"), seen));
        }
        let home = record.and_then(|record| record.assigned_node.clone());
        let is_home =
            |process: Process| Some(process.to_string()) == home.as_ref().map(ToString::to_string);
        if let Some(on) = expected.on
            && !is_home(on)
        {
            return about(Finding::new(format!("it on {on}"), format!("on {home:?}")));
        }
        if let Some(not_on) = expected.not_on
            && is_home(not_on)
        {
            return about(Finding::new(format!("it not on {not_on}"), "it is there"));
        }
        if let Some(wanted) = expected.attempts {
            let attempts = record.map(|record| record.retry.attempts);
            if attempts != Some(wanted) {
                let wanted = format!("{wanted} attempts");
                return about(Finding::new(wanted, format!("{attempts:?}")));
            }
        }
        if let Some(reason) = &expected.reason {
            let told = record.map_or([""; 2], |record| told(record));
            if !told.iter().any(|told| told.contains(reason)) {
                let seen = format!("{told:?}");
                return about(Finding::new(format!("a reason with `{reason}`"), seen));
            }
        }
        if let Some(wanted) = expected.failure {
            let failure = record.and_then(|record| record.status.failure);
            if failure != Some(wanted) {
                let wanted = format!("failure: {wanted:?}");
                return about(Finding::new(wanted, format!("{failure:?}")));
            }
        }
        if let Some(wanted) = &expected.refused {
            let note = record.and_then(|record| record.status.placement.as_ref());
            let note = note.filter(|note| note.node.is_none() && home.is_none());
            if note.map(|note| &note.refused) != Some(wanted) {
                let seen = format!("{:?}, at home on {home:?}", note.map(|it| &it.refused));
                return about(Finding::new(format!("refused: {wanted:?}"), seen));
            }
        }
        if let Some(image) = expected.runs_image {
            let seen = home.as_ref().zip(record);
            let seen = seen.and_then(|(home, record)| self.image_on(home, record));
            let wanted = format!("example:{image}");
            if seen.as_ref() != Some(&wanted) {
                return about(Finding::new(wanted, format!("{seen:?}")));
            }
        }
        Ok(())
    }

    /// The image that its home runs, in truth; `None`: not the revision of its record.
    fn image_on(&self, node: &NodeId, record: &WorkloadRecord) -> Option<String> {
        let agent = self.agents.iter().find(|agent| agent.id == *node)?;
        agent.runtime.artifacts().find(|artifact| {
            artifact.launch.workload == record.id
                && artifact.state.is_live()
                && artifact.revision == record.revision_id
        })?;
        match &*record.spec {
            Spec::Container(spec) => Some(spec.image.clone()),
            _ => None,
        }
    }

    fn judge_node(&self, expected: &NodeIs) -> Check {
        let Process::Agent(at) = expected.node else {
            return Err(Finding::new("a node", expected.node.to_string()));
        };
        let id = &self.agents[at].id;
        let held = self.oracle.image.nodes.get(id);
        let status = held.map_or(NodeState::Gone, |held| held.record.status.into());
        if let Some(wanted) = expected.status
            && wanted != status
        {
            let finding = Finding::new(format!("{wanted:?}"), format!("{status:?}"));
            return Err(finding.of(id));
        }
        let live = self.agents[at].runtime.artifacts();
        let running = live.filter(|artifact| artifact.state.is_live()).count();
        match expected.running {
            Some(wanted) if wanted != running => {
                let wanted = format!("{wanted} running");
                Err(Finding::new(wanted, format!("{running}")).of(id))
            }
            _ => Ok(()),
        }
    }

    fn judge_mark(&self, name: &str, reached: bool, times: Option<u64>) -> Check {
        let mark = Mark::ALL.iter().find(|mark| mark.name() == name);
        let Some(mark) = mark else {
            return Err(Finding::new("the name of a mark", name));
        };
        let count = self.coverage.count(*mark);
        if let Some(times) = times {
            return equal(name, times, count);
        }
        match (reached, count) {
            (true, 0) => Err(Finding::new(format!("`{name}`"), "it was never reached")),
            (false, 1..) => {
                let seen = format!("it was reached {count} times");
                Err(Finding::new(format!("never `{name}`"), seen))
            }
            _ => Ok(()),
        }
    }

    fn judge_count(&self, state: State, count: usize) -> Check {
        let states = self.oracle.image.workloads.values();
        let seen = states
            .filter(|held| State::from(held.record.status.actual_state) == state)
            .count();
        if seen == count {
            Ok(())
        } else {
            Err(Finding::new(format!("{count} {state:?}"), seen.to_string()))
        }
    }
}

fn equal<T: PartialEq + fmt::Display>(name: &str, wanted: T, seen: T) -> Check {
    if wanted == seen {
        return Ok(());
    }
    Err(Finding::new(format!("{name}: {wanted}"), seen.to_string()))
}

/// What people are told of why it does not run, and of its last failure.
fn told(record: &WorkloadRecord) -> [&str; 2] {
    [&record.status.failure_reason, &record.metadata.last_error]
}
