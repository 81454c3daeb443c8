//! One workload's way from what was made to what is wanted: one step at a time.
//!
//! [`next_step`] is a pure function of the record. A lane carries the steps out: it never has more
//! than one command under way, and it gives no command before the record that calls for it is
//! durable.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::Timestamp;
use berth_core::planted::{Bug, planted};
use berth_proto::agent::v1 as proto;

use crate::io::{AgentReply, CommandId, RequestId, RuntimeCommand, StartCommand, WriteId};
use crate::record::{Artifact, LaunchId, Phase, Record, Want};

/// After a command or a write that was not possible: try again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An artifact that ran this long starts its restart policy's count anew.
pub(crate) const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Restarts that a restart policy without a limit of its own makes before the agent reports the
/// failure and leaves it to the scheduler.
const RESTARTS_MAX: u32 = 5;

/// What to do next about a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: it is what it should be, or it failed and waits for the scheduler.
    Rest,
    /// Note that an artifact is about to be made.
    Make,
    /// Note that the artifact is about to be started again.
    Relaunch,
    /// The same, by its restart policy, this long after its end.
    Restart(Duration),
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Remove it.
    Remove,
}

/// The artifact is of the kind and the revision that is wanted.
pub(crate) fn is_wanted(artifact: &Artifact, want: &Want) -> bool {
    !artifact.discard
        && artifact.revision == want.revision
        && artifact.workload_type == want.spec.workload_type()
}

/// The next step from what was made to what is wanted.
pub(crate) fn next_step(record: &Record) -> Step {
    match (&record.artifact, record.want()) {
        (None, Some(want)) if want.running => Step::Make,
        (None, Some(_) | None) => Step::Rest,
        (Some(artifact), Some(want)) if is_wanted(artifact, want) => step_in_place(artifact, want),
        (Some(_), Some(want)) if want.running && planted(Bug::SecondArtifact) => Step::Make,
        (Some(artifact), Some(_) | None) => match artifact.phase {
            Phase::Starting | Phase::Running => Step::Stop,
            Phase::Stopped | Phase::Ended(_) => Step::Remove,
        },
    }
}

fn step_in_place(artifact: &Artifact, want: &Want) -> Step {
    match (&artifact.phase, want.running) {
        (Phase::Starting, true) => Step::Start,
        (Phase::Running, true) | (Phase::Stopped | Phase::Ended(_), false) => Step::Rest,
        (Phase::Starting | Phase::Running, false) => Step::Stop,
        (Phase::Stopped, true) => Step::Relaunch,
        (Phase::Ended(_), true) => restart_delay(artifact, want).map_or(Step::Rest, Step::Restart),
    }
}

/// How long after its end the artifact's restart policy starts it again, if it does.
fn restart_delay(artifact: &Artifact, want: &Want) -> Option<Duration> {
    let proto::workload_spec::Spec::Container(spec) = want.spec.spec() else {
        return None;
    };
    let policy = spec.restart_policy.as_ref()?;
    let Phase::Ended(end) = &artifact.phase else {
        return None;
    };
    let applies = match policy.policy.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => end.failure.is_some(),
        _ => false,
    };
    let heals = end
        .failure
        .as_ref()
        .is_none_or(|failure| failure.code.is_retryable());
    let limit = u32::try_from(policy.max_retry_count)
        .ok()
        .filter(|limit| *limit > 0);
    let allowed = artifact.restarts < limit.unwrap_or(RESTARTS_MAX);
    (applies && heals && allowed).then(|| Duration::from_secs(1 << artifact.restarts.min(5)))
}

/// A reply that waits until a version of the record is durable.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) version: u64,
    pub(crate) id: RequestId,
    pub(crate) reply: AgentReply,
}

/// A workload, its record and what is under way for it.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// `None`: the record goes.
    pub(crate) record: Option<Record>,
    /// Grows with every change of the record.
    pub(crate) version: u64,
    /// The latest version that is durable.
    pub(crate) durable: u64,
    /// The write that is under way, and its version.
    pub(crate) writing: Option<(WriteId, u64)>,
    /// Replies that wait for a write.
    pub(crate) waiters: Vec<Waiter>,
    /// The command that is under way.
    pub(crate) command: Option<CommandId>,
    /// That command is a start, or a probe that waits for one.
    pub(crate) starts: bool,
    /// The start that was cut short: it is told so once.
    pub(crate) cut: Option<LaunchId>,
    /// Whether the agent must find out what the artifact is before it does anything about it.
    pub(crate) must_probe: bool,
    /// It asked, and a start of its former life is still under way.
    pub(crate) still_starts: bool,
    /// Nothing is tried before: a command or a write failed.
    pub(crate) retry_at: Option<Timestamp>,
    /// When the restart policy starts the artifact again.
    pub(crate) restart_at: Option<Timestamp>,
    /// The task that is under way.
    pub(crate) task: Option<u64>,
    /// The timer that the machine keeps for this lane.
    pub(crate) timer: Option<Timestamp>,
    /// What the scheduler should have heard last, to tell changes.
    pub(crate) reported: Option<(i32, String)>,
}

impl Lane {
    /// A lane for a record that was found on disk.
    pub(crate) fn restored(record: Record) -> Self {
        let must_probe = record
            .artifact
            .as_ref()
            .is_some_and(|artifact| matches!(artifact.phase, Phase::Starting | Phase::Running));
        Self {
            record: Some(record),
            must_probe,
            ..Self::default()
        }
    }

    /// Everything that was decided is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.version == self.durable
    }

    /// Nothing is left to do, to write or to wait for.
    pub(crate) fn is_over(&self) -> bool {
        self.record.is_none() && self.is_durable() && self.command.is_none()
    }

    /// The record changed.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        if let Some(record) = &mut self.record {
            record.updated_at = now;
        }
    }

    /// A start may be under way, and what it makes is not wanted any more: it ends now, however
    /// long it would take. The steps that follow wait for its answer, as for any other.
    pub(crate) fn cut_short(&mut self) -> Option<RuntimeCommand> {
        let record = self.record.as_ref()?;
        let starting = record
            .artifact
            .as_ref()
            .is_some_and(|artifact| artifact.phase == Phase::Starting);
        let under_way = self.must_probe || (self.command.is_some() && self.starts);
        let wanted = next_step(record) == Step::Start;
        if !starting || !under_way || wanted || !self.is_durable() {
            return None;
        }
        let launch = record.launch()?;
        if self.cut.as_ref() == Some(&launch) {
            return None;
        }
        self.cut = Some(launch.clone());
        Some(RuntimeCommand::CutShort(launch))
    }

    /// Goes on as far as it can without the outside. Returns the command to give, which is under
    /// way as `id` from now on.
    ///
    /// `floor` is the highest number that any artifact of this agent got; it grows.
    pub(crate) fn advance(
        &mut self,
        now: Timestamp,
        id: CommandId,
        floor: &mut u64,
    ) -> Option<RuntimeCommand> {
        if self.command.is_some() || self.retry_at.is_some() {
            return None;
        }
        let step = loop {
            let record = self.record.as_mut()?;
            if self.must_probe {
                break None;
            }
            match next_step(record) {
                Step::Make => make(record, now, floor),
                Step::Relaunch => relaunch(record, now),
                Step::Restart(delay) => {
                    let at = *self.restart_at.get_or_insert(now + delay);
                    if now < at {
                        return None;
                    }
                    relaunch(record, now);
                    if let Some(artifact) = &mut record.artifact {
                        artifact.restarts += 1;
                    }
                }
                step @ (Step::Rest | Step::Start | Step::Stop | Step::Remove) => {
                    // Nothing waits to be started again, whatever did before.
                    self.restart_at = None;
                    break Some(step);
                }
            }
            self.restart_at = None;
            self.touch(now);
        };
        if !self.is_durable() {
            return None;
        }
        let command = command(self.record.as_ref()?, step)?;
        self.command = Some(id);
        self.starts = match &command {
            RuntimeCommand::Start(_) | RuntimeCommand::Probe(_) => true,
            RuntimeCommand::CutShort(_) | RuntimeCommand::Stop(_) | RuntimeCommand::Remove(_) => {
                false
            }
        };
        Some(command)
    }

    /// Whether nothing more will happen by itself.
    pub(crate) fn rests(&self) -> bool {
        let Some(record) = &self.record else {
            return true;
        };
        self.command.is_none() && !self.must_probe && next_step(record) == Step::Rest
    }
}

/// Numbers by the clock: an artifact of a workload that was deleted and forgotten cannot be taken
/// for one of its successor.
fn make(record: &mut Record, now: Timestamp, floor: &mut u64) {
    let Some(want) = record.want().cloned() else {
        return;
    };
    *floor = now
        .as_millis()
        .max(record.last_artifact + 1)
        .max(*floor + 1);
    record.last_artifact = *floor;
    record.artifact = Some(Artifact {
        number: record.last_artifact,
        launch: 1,
        revision: want.revision,
        workload_type: want.spec.workload_type(),
        phase: Phase::Starting,
        since: now,
        restarts: 0,
        discard: false,
        message: String::new(),
        details: BTreeMap::new(),
    });
}

fn relaunch(record: &mut Record, now: Timestamp) {
    if let Some(artifact) = &mut record.artifact {
        artifact.launch += 1;
        artifact.phase = Phase::Starting;
        artifact.since = now;
    }
}

/// The command for a step; no step means that the artifact must be probed first.
fn command(record: &Record, step: Option<Step>) -> Option<RuntimeCommand> {
    let launch = record.launch()?;
    match step {
        None => Some(RuntimeCommand::Probe(launch)),
        Some(Step::Start) => record.want().map(|want| {
            RuntimeCommand::Start(Box::new(StartCommand {
                launch,
                revision: want.revision.clone(),
                spec: want.spec.clone(),
            }))
        }),
        Some(Step::Stop) => Some(RuntimeCommand::Stop(launch)),
        Some(Step::Remove) => Some(RuntimeCommand::Remove(launch)),
        Some(Step::Rest | Step::Make | Step::Relaunch | Step::Restart(_)) => None,
    }
}
