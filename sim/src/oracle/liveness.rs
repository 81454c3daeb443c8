//! The liveness rules, judged at the end of the calm.

use berth_core::model::workload::{ActualState, DesiredState};

use crate::world::World;

impl World {
    /// L1, L3, L4, L6: after everything worked for long enough, everything is as it should be.
    pub(crate) fn judge_liveness(&mut self) {
        let leaders = self.leaders();
        if leaders != 1 {
            self.violate_now("L4", format!("{leaders} replicas lead"));
            return;
        }
        let records: Vec<_> = self.oracle.workloads.values().cloned().collect();
        for record in records {
            let id = &record.id;
            let state = record.status.actual_state;
            let problem = match record.desired_state {
                DesiredState::Deleted => Some(("L6", "is still being deleted".to_owned())),
                DesiredState::Stopped if state != ActualState::Stopped => {
                    Some(("L1", format!("should be stopped and is {state:?}")))
                }
                DesiredState::Running => self.judge_running(&record),
                DesiredState::Stopped => None,
            };
            if let Some((rule, problem)) = problem {
                self.violate_now(rule, format!("{id} {problem}: {record:?}"));
                return;
            }
        }
        self.judge_orphans();
    }

    fn judge_running(
        &self,
        record: &berth_core::model::workload::WorkloadRecord,
    ) -> Option<(&'static str, String)> {
        let restless = record.labels.contains_key("fake/exit-after-ms")
            || record.labels.contains_key("fake/fail-starts");
        match record.status.actual_state {
            ActualState::Running => {
                let Some(node) = &record.assigned_node else {
                    return Some(("L1", "is said to run nowhere".into()));
                };
                let runs = self.runs_at(node, &record.id, &record.revision_id);
                (!runs && !restless).then(|| ("L1", format!("is said to run on {node} and does not")))
            }
            // What fails by itself may be anywhere on its way.
            _ if restless => None,
            ActualState::Pending if record.assigned_node.is_none() => {
                let explained = record.status.placement.as_ref().is_some_and(|n| n.node.is_none());
                (!explained).then(|| ("L2", "is pending without a reason".into()))
            }
            ActualState::Failed if record.retry.exhausted => None,
            state => Some(("L1", format!("should run and is {state:?}"))),
        }
    }

    /// L3: no node runs what is not assigned to it.
    fn judge_orphans(&mut self) {
        let mut orphan = None;
        for (node, workload) in self.all_running() {
            let home = self.oracle.assignments.get(&workload).map(|a| a.node_id.clone());
            if home.as_ref() != Some(&node) {
                orphan = Some(format!("{node} runs {workload}, which is assigned to {home:?}"));
            }
        }
        if let Some(problem) = orphan {
            self.violate_now("L3", problem);
        }
    }
}
