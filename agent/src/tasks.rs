//! What the agent was told to do since it started: bounded, and forgotten when it restarts.

use std::collections::VecDeque;

use berth_core::{Timestamp, WorkloadId};
use berth_proto::agent::v1 as proto;

/// Finished tasks beyond this many are forgotten, oldest first.
const TASKS_MAX: usize = 1_000;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskKind {
    Apply,
    Delete,
}

impl TaskKind {
    const fn action(self) -> &'static str {
        match self {
            Self::Apply => "apply_workload",
            Self::Delete => "delete_workload",
        }
    }
    const fn prefix(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Delete => "delete",
        }
    }
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskState {
    Pending,
    Running,
    Completed,
    Failed(String),
}

impl TaskState {
    pub(crate) const fn text(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
        }
    }
}

/// Something that the agent was told to do.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) number: u64,
    pub(crate) kind: TaskKind,
    pub(crate) workload: WorkloadId,
    pub(crate) state: TaskState,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl Task {
    /// Its name on the wire; existing schedulers look at how it begins.
    pub(crate) fn name(&self) -> String {
        let at = self.created_at.as_millis();
        format!(
            "{}-{}-{at}.{}",
            self.kind.prefix(),
            self.workload,
            self.number
        )
    }

    fn action(&self) -> proto::AgentAction {
        let error = match &self.state {
            TaskState::Failed(error) => error.clone(),
            TaskState::Pending | TaskState::Running | TaskState::Completed => String::new(),
        };
        proto::AgentAction {
            task_id: self.name(),
            workload_id: self.workload.to_string(),
            action_type: self.kind.action().to_owned(),
            status: self.state.text().to_owned(),
            error,
            created_at: seconds(self.created_at),
            started_at: self.started_at.map_or(0, seconds),
            ended_at: self.ended_at.map_or(0, seconds),
        }
    }
}

/// Unix seconds, as the agent's protocol wants them.
pub(crate) fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis() / 1_000).unwrap_or(i64::MAX)
}

/// The tasks, oldest first, numbered without a gap.
#[derive(Debug, Default)]
pub(crate) struct TaskLog {
    tasks: VecDeque<Task>,
    next: u64,
    changes: u64,
}

impl TaskLog {
    pub(crate) fn add(&mut self, now: Timestamp, kind: TaskKind, workload: WorkloadId) -> u64 {
        let number = self.next;
        self.next += 1;
        self.changes += 1;
        self.tasks.push_back(Task {
            number,
            kind,
            workload,
            state: TaskState::Pending,
            created_at: now,
            started_at: None,
            ended_at: None,
        });
        if self.tasks.len() > TASKS_MAX {
            self.tasks.pop_front();
        }
        number
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Task> {
        let first = self.tasks.front()?.number;
        let at = usize::try_from(number.checked_sub(first)?).ok()?;
        self.tasks.get(at)
    }

    /// Moves a task on. What has ended stays as it ended.
    pub(crate) fn set(&mut self, now: Timestamp, number: u64, state: TaskState) {
        let Some(first) = self.tasks.front().map(|task| task.number) else {
            return;
        };
        let at = number
            .checked_sub(first)
            .and_then(|at| usize::try_from(at).ok());
        let Some(task) = at.and_then(|at| self.tasks.get_mut(at)) else {
            return;
        };
        match &state {
            _ if task.ended_at.is_some() => return,
            TaskState::Pending => {}
            TaskState::Running => task.started_at = task.started_at.or(Some(now)),
            TaskState::Completed | TaskState::Failed(_) => {
                task.started_at = task.started_at.or(Some(now));
                task.ended_at = Some(now);
            }
        }
        if task.state != state {
            task.state = state;
            self.changes += 1;
        }
    }

    /// Grows with every change.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn list(&self, wanted: &proto::ListActionsRequest) -> proto::ListActionsResponse {
        let fits = |filter: &str, value: &str| filter.is_empty() || filter == value;
        let chosen = |task: &&Task| {
            fits(&wanted.workload_id, task.workload.as_str())
                && fits(&wanted.action_type, task.kind.action())
                && fits(&wanted.status, task.state.text())
        };
        let limit = usize::try_from(wanted.limit)
            .ok()
            .filter(|limit| *limit > 0);
        let limit = limit.unwrap_or(usize::MAX);
        let actions = if wanted.newest_first {
            self.tasks
                .iter()
                .rev()
                .filter(chosen)
                .take(limit)
                .map(Task::action)
                .collect()
        } else {
            self.tasks
                .iter()
                .filter(chosen)
                .take(limit)
                .map(Task::action)
                .collect()
        };
        proto::ListActionsResponse { actions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn the_log_is_bounded_and_filters() {
        let mut log = TaskLog::default();
        for n in 0..1_500_u64 {
            let id = if n % 2 == 0 { "even" } else { "odd" };
            let number = log.add(at(n), TaskKind::Apply, id.parse().unwrap());
            log.set(at(n + 1), number, TaskState::Completed);
        }
        let all = log.list(&proto::ListActionsRequest::default());
        assert_eq!(all.actions.len(), TASKS_MAX);
        assert!(log.get(499).is_none());
        assert_eq!(log.get(500).unwrap().number, 500);
        let wanted = proto::ListActionsRequest {
            workload_id: "odd".to_owned(),
            limit: 3,
            newest_first: true,
            ..Default::default()
        };
        let some = log.list(&wanted).actions;
        assert_eq!(some.len(), 3);
        assert_eq!(some[0].task_id, "apply-odd-1499.1499");
        assert_eq!(some[0].status, "completed");
    }

    #[test]
    fn what_ended_stays_as_it_ended() {
        let mut log = TaskLog::default();
        let number = log.add(at(1), TaskKind::Delete, "w".parse().unwrap());
        log.set(at(2), number, TaskState::Failed("no".to_owned()));
        log.set(at(3), number, TaskState::Completed);
        assert_eq!(
            log.get(number).unwrap().state,
            TaskState::Failed("no".to_owned())
        );
    }
}
