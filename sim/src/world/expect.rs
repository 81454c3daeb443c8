//! What the scenario expects, compared with what there is.

use berth_core::model::spec::Spec;
use berth_core::model::workload::WorkloadRecord;
use berth_core::{NodeId, WorkloadId};

use crate::marks::Mark;
use crate::oracle::{Check, Finding, Rule};
use crate::process::Process;
use crate::script::{NodeIs, NodeState, State, That, WorkloadIs};

use super::World;

impl World {
    /// Whether what is expected now holds.
    pub(super) fn judge_expectation(&mut self, number: usize) {
        let expect = self.script.expect[number].clone();
        let check = match &expect.that {
            That::Workload(expected) => self.judge_workload(expected),
            That::Node(expected) => self.judge_node(expected),
            That::Reached { reached } => self.judge_mark(reached, true),
            That::Never { never } => self.judge_mark(never, false),
            That::Count { state, count } => self.judge_count(*state, *count),
        };
        let about = |mut finding: Finding| {
            finding.expected = format!("expect[{number}]: {}", finding.expected);
            finding
        };
        self.oracle.judge(Rule::Scene, check.map_err(about));
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
            let seen = format!("{state:?}: {record:?}");
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
        let attempts = record.map(|record| record.retry.attempts);
        if expected.attempts.is_some() && expected.attempts != attempts {
            let wanted = format!("{:?} attempts", expected.attempts);
            return about(Finding::new(wanted, format!("{attempts:?}")));
        }
        if let Some(reason) = &expected.reason {
            let status = record.map(|record| format!("{:?}", record.status));
            if !status
                .as_ref()
                .is_some_and(|status| status.contains(reason))
            {
                let seen = status.unwrap_or_default();
                return about(Finding::new(format!("a reason with `{reason}`"), seen));
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

    fn judge_mark(&self, name: &str, reached: bool) -> Check {
        let mark = Mark::ALL.iter().find(|mark| mark.name() == name);
        let Some(mark) = mark else {
            return Err(Finding::new("the name of a mark", name));
        };
        let count = self.coverage.count(*mark);
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
