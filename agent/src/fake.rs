//! A runtime in memory, for tests, the simulator and `berth agent --runtime fake`: pure, driven by
//! virtual time, scripted by the workload itself.
//!
//! The script stands in the labels of a container, the metadata of a machine, or the environment
//! of a compose project:
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `fake/start-ms` | a start takes this long | 0 |
//! | `fake/stop-ms` | a stop takes this long | 0 |
//! | `fake/remove-ms` | a removal takes this long | 0 |
//! | `fake/fail-starts` | this many starts of the revision fail first | 0 |
//! | `fake/fail-reason` | with this failure code | `RUNTIME_ERROR` |
//! | `fake/exit-after-ms` | it ends by itself so long after it was started | never |
//! | `fake/exit-code` | with this exit code | 0 |
//!
//! A value that cannot be read fails the start with `INVALID_SPECIFICATION`.
//!
//! It outlives its agent, as real containers do: keep it while the agent restarts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use berth_core::{Revision, Timestamp, WorkloadId};

use crate::failure::{Failure, FailureCode};
use crate::io::{CommandId, Exit, Found, RuntimeCommand, RuntimeEvent, RuntimeNews, StartCommand};
use crate::record::{LaunchId, SpecBlob};

/// The runtime.
#[derive(Debug, Default)]
pub struct FakeRuntime {
    /// What exists, by workload and artifact.
    artifacts: BTreeMap<(WorkloadId, u64), FakeArtifact>,
    /// Starts that were tried, by workload and revision.
    starts: BTreeMap<(WorkloadId, Revision), u32>,
    /// What is going on, by when it comes to its end; the number keeps the order of equals.
    pending: BTreeMap<(Timestamp, u64), Pending>,
    sequence: u64,
    /// Every start fails like this: the machine is not well.
    broken: Option<FailureCode>,
    /// So many of the next removals fail.
    removals_fail: u32,
    news: VecDeque<RuntimeNews>,
}

/// Something that the runtime made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeArtifact {
    /// The start that it is at.
    pub launch: LaunchId,
    /// The revision that it was made for.
    pub revision: Revision,
    /// What it is.
    pub state: FakeState,
    script: Script,
}

/// What an artifact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FakeState {
    /// Its start takes time.
    Starting,
    /// It runs.
    Running,
    /// It was stopped.
    Stopped,
    /// It did not start.
    Broken(Failure),
    /// It ended by itself.
    Exited(i32),
}

impl FakeState {
    /// It uses the node: it runs or is about to.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        match self {
            Self::Starting | Self::Running => true,
            Self::Stopped | Self::Broken(_) | Self::Exited(_) => false,
        }
    }
}

/// It remembers so many starts, and beyond them those of what exists.
const STARTS_MAX: usize = 256;

#[derive(Debug)]
enum Pending {
    Start(CommandId, LaunchId),
    Stop(CommandId, LaunchId),
    Remove(CommandId, LaunchId),
    Exit(LaunchId),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Script {
    start: Duration,
    stop: Duration,
    remove: Duration,
    fail_starts: u32,
    fail_reason: Option<FailureCode>,
    exit_after: Option<Duration>,
    exit_code: i32,
}

impl Script {
    fn read(spec: &SpecBlob) -> Result<Self, Failure> {
        let labels = spec.labels();
        let duration = |key| Ok(value(labels, key)?.map(Duration::from_millis));
        Ok(Self {
            start: duration("fake/start-ms")?.unwrap_or_default(),
            stop: duration("fake/stop-ms")?.unwrap_or_default(),
            remove: duration("fake/remove-ms")?.unwrap_or_default(),
            fail_starts: value(labels, "fake/fail-starts")?.unwrap_or_default(),
            fail_reason: value(labels, "fake/fail-reason")?,
            exit_after: duration("fake/exit-after-ms")?,
            exit_code: value(labels, "fake/exit-code")?.unwrap_or_default(),
        })
    }
}

fn value<T>(labels: &BTreeMap<String, String>, key: &str) -> Result<Option<T>, Failure>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let Some(text) = labels.get(key) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|error| {
        Failure::new(
            FailureCode::InvalidSpecification,
            format!("{key}={text:?}: {error}"),
        )
    })
}

impl FakeRuntime {
    /// A runtime with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries a command out; what comes of it comes out of [`Self::poll_news`], now or later.
    pub fn handle(&mut self, now: Timestamp, id: CommandId, command: RuntimeCommand) {
        self.advance(now);
        match command {
            RuntimeCommand::Start(start) => self.start(now, id, *start),
            RuntimeCommand::CutShort(launch) => self.cut_short(now, &launch),
            RuntimeCommand::Stop(launch) => {
                let delay = self.script(&launch).stop;
                self.later(now + delay, Pending::Stop(id, launch));
            }
            RuntimeCommand::Remove(launch) => {
                let delay = self.script(&launch).remove;
                self.later(now + delay, Pending::Remove(id, launch));
            }
            RuntimeCommand::Probe(launch) => {
                let found = self.probe(&launch);
                self.answer(id, RuntimeEvent::Probed { launch, found });
            }
        }
        self.advance(now);
    }

    /// Lets time pass. What happened comes out of [`Self::poll_news`].
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), pending) = entry.remove_entry();
            match pending {
                Pending::Start(id, launch) => self.finish_start(at, id, launch),
                Pending::Stop(id, launch) => {
                    let artifact = self.artifact_mut(&launch);
                    if let Some(artifact) = artifact.filter(|it| it.state.is_live()) {
                        artifact.state = FakeState::Stopped;
                    }
                    self.answer(id, RuntimeEvent::Stopped { launch });
                }
                Pending::Remove(id, launch) if self.removals_fail > 0 => {
                    self.removals_fail -= 1;
                    let message = "the runtime is busy, as the world says".to_owned();
                    self.answer(id, RuntimeEvent::CommandFailed { launch, message });
                }
                Pending::Remove(id, launch) => {
                    self.artifacts
                        .remove(&(launch.workload.clone(), launch.artifact));
                    self.answer(id, RuntimeEvent::Removed { launch });
                }
                Pending::Exit(launch) => self.exit(launch),
            }
        }
    }

    /// The next thing that it says.
    pub fn poll_news(&mut self) -> Option<RuntimeNews> {
        self.news.pop_front()
    }

    /// When [`Self::advance`] has something to do.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Timestamp> {
        self.pending.keys().next().map(|(at, _)| *at)
    }

    /// What exists, in the order of workload and artifact: the truth that an oracle looks at.
    pub fn artifacts(&self) -> impl Iterator<Item = &FakeArtifact> {
        self.artifacts.values()
    }

    /// Whether a start of this revision of a workload ever came to its end here, well or badly.
    #[must_use]
    pub fn has_started(&self, workload: &WorkloadId, revision: &Revision) -> bool {
        let key = (workload.clone(), revision.clone());
        self.starts.contains_key(&key)
    }

    /// How much it keeps: what exists, what goes on, and what it once started.
    #[must_use]
    pub fn size(&self) -> usize {
        self.artifacts.len() + self.pending.len() + self.starts.len() + self.news.len()
    }

    /// What exists of one workload.
    pub fn artifacts_of(&self, id: &WorkloadId) -> impl Iterator<Item = &FakeArtifact> {
        let all = (id.clone(), 0)..=(id.clone(), u64::MAX);
        self.artifacts.range(all).map(|(_, artifact)| artifact)
    }

    /// The agent is gone: what it did not hear is lost. What goes on goes on.
    pub fn lose_news(&mut self) {
        self.news.clear();
    }

    /// The machine is gone (a reboot): nothing runs any more.
    pub fn reboot(&mut self) {
        self.news.clear();
        self.pending.clear();
        self.artifacts
            .retain(|_, artifact| !artifact.state.is_live());
    }

    /// Kills what runs of a workload, as somebody from outside would.
    pub fn kill(&mut self, now: Timestamp, workload: &WorkloadId, code: i32) {
        self.advance(now);
        let running = self.artifacts.values_mut().find(|artifact| {
            artifact.launch.workload == *workload && artifact.state == FakeState::Running
        });
        if let Some(artifact) = running {
            artifact.state = FakeState::Exited(code);
            let event = exited(artifact.launch.clone(), code);
            self.tell(event);
        }
    }

    /// What runs of a workload is gone without a trace, and nobody knows how it ended.
    pub fn vanish(&mut self, now: Timestamp, workload: &WorkloadId) {
        self.advance(now);
        let running = self.artifacts.values().find(|artifact| {
            artifact.launch.workload == *workload && artifact.state == FakeState::Running
        });
        if let Some(launch) = running.map(|artifact| artifact.launch.clone()) {
            self.artifacts
                .remove(&(launch.workload.clone(), launch.artifact));
            let exit = Exit {
                code: None,
                message: "it is not there any more".to_owned(),
            };
            self.tell(RuntimeEvent::Exited { launch, exit });
        }
    }

    /// From now on every start fails for this reason, whatever its script says; `None`: none does.
    pub fn break_starts(&mut self, reason: Option<FailureCode>) {
        self.broken = reason;
    }

    /// So many of the next removals fail: the agent tries again.
    pub fn fail_removals(&mut self, count: u32) {
        self.removals_fail = count;
    }

    fn start(&mut self, now: Timestamp, id: CommandId, command: StartCommand) {
        let StartCommand {
            launch,
            revision,
            spec,
        } = command;
        if let Some(artifact) = self.artifact_mut(&launch) {
            // This very start was carried out before: it is not done again.
            match artifact.state.clone() {
                FakeState::Starting => {
                    let at = self.start_ends(&launch).unwrap_or(now);
                    return self.later(at, Pending::Start(id, launch));
                }
                FakeState::Running => return self.started(id, launch),
                FakeState::Broken(failure) => {
                    return self.answer(id, RuntimeEvent::StartFailed { launch, failure });
                }
                FakeState::Stopped | FakeState::Exited(_) => {}
            }
        }
        let read = Script::read(&spec);
        let script = read.clone().unwrap_or_default();
        let delay = script.start;
        let state = read.err().map_or(FakeState::Starting, FakeState::Broken);
        let artifact = FakeArtifact {
            launch: launch.clone(),
            revision,
            state,
            script,
        };
        self.artifacts
            .insert((launch.workload.clone(), launch.artifact), artifact);
        self.later(now + delay, Pending::Start(id, launch));
    }

    fn cut_short(&mut self, now: Timestamp, launch: &LaunchId) {
        let starting = |artifact: &&mut FakeArtifact| artifact.state == FakeState::Starting;
        if let Some(artifact) = self.artifact_mut(launch).filter(starting) {
            let text = "it was cut short while it started";
            let failure = Failure::new(FailureCode::RuntimeError, text);
            artifact.state = FakeState::Broken(failure);
        }
        let is_it = |pending: &Pending| matches!(pending, Pending::Start(_, of) if of == launch);
        let starts = self.pending.iter().filter(|(_, pending)| is_it(pending));
        let starts: Vec<_> = starts.map(|(at, _)| *at).collect();
        for at in starts {
            if let Some(pending) = self.pending.remove(&at) {
                self.later(now, pending);
            }
        }
    }

    fn finish_start(&mut self, at: Timestamp, id: CommandId, launch: LaunchId) {
        let interrupted = |how: &str| {
            let text = format!("it was {how} while it started");
            Failure::new(FailureCode::RuntimeError, text)
        };
        let artifact = self.artifact_mut(&launch).cloned();
        let state = artifact.as_ref().map(|artifact| artifact.state.clone());
        let failure = match state {
            Some(FakeState::Starting) => None,
            Some(FakeState::Running) => return self.started(id, launch),
            Some(FakeState::Broken(failure)) => Some(failure),
            Some(FakeState::Stopped) => Some(interrupted("stopped")),
            Some(FakeState::Exited(_)) => Some(interrupted("killed")),
            None => Some(interrupted("removed")),
        };
        if let Some(failure) = failure {
            return self.answer(id, RuntimeEvent::StartFailed { launch, failure });
        }
        let Some(artifact) = artifact else { return };
        if let Some(code) = self.broken {
            let failure = Failure::new(code, "the node is not well, as the world says");
            if let Some(artifact) = self.artifact_mut(&launch) {
                artifact.state = FakeState::Broken(failure.clone());
            }
            return self.answer(id, RuntimeEvent::StartFailed { launch, failure });
        }
        let key = (launch.workload.clone(), artifact.revision.clone());
        if self.starts.len() >= STARTS_MAX {
            let artifacts = &self.artifacts;
            self.starts.retain(|(workload, _), _| {
                let all = (workload.clone(), 0)..=(workload.clone(), u64::MAX);
                artifacts.range(all).next().is_some()
            });
        }
        let tries = self.starts.entry(key).or_default();
        *tries += 1;
        if *tries <= artifact.script.fail_starts {
            let code = artifact
                .script
                .fail_reason
                .unwrap_or(FailureCode::RuntimeError);
            let text = format!("start {tries} fails, as its script says");
            let failure = Failure::new(code, text);
            if let Some(artifact) = self.artifact_mut(&launch) {
                artifact.state = FakeState::Broken(failure.clone());
            }
            return self.answer(id, RuntimeEvent::StartFailed { launch, failure });
        }
        if let Some(artifact) = self.artifact_mut(&launch) {
            artifact.state = FakeState::Running;
        }
        if let Some(after) = artifact.script.exit_after {
            self.later(at + after, Pending::Exit(launch.clone()));
        }
        self.started(id, launch);
    }

    fn started(&mut self, id: CommandId, launch: LaunchId) {
        let message = "running (fake runtime)".to_owned();
        let details = BTreeMap::new();
        self.answer(
            id,
            RuntimeEvent::Started {
                launch,
                message,
                details,
            },
        );
    }

    fn exit(&mut self, launch: LaunchId) {
        let Some(artifact) = self.artifact_mut(&launch) else {
            return;
        };
        if artifact.state != FakeState::Running {
            return;
        }
        let code = artifact.script.exit_code;
        artifact.state = FakeState::Exited(code);
        self.tell(exited(launch, code));
    }

    fn probe(&mut self, launch: &LaunchId) -> Found {
        let Some(artifact) = self.artifact_mut(launch) else {
            return Found::Absent;
        };
        match &artifact.state {
            FakeState::Starting => Found::Starting,
            FakeState::Running => Found::Running {
                message: "running (fake runtime)".to_owned(),
                details: BTreeMap::new(),
            },
            FakeState::Stopped => Found::Stopped,
            FakeState::Broken(_) => Found::Absent,
            FakeState::Exited(code) => Found::Exited(exit_of(*code)),
        }
    }

    fn script(&self, launch: &LaunchId) -> Script {
        let key = (launch.workload.clone(), launch.artifact);
        self.artifacts
            .get(&key)
            .map(|artifact| artifact.script.clone())
            .unwrap_or_default()
    }

    /// The artifact, if it is at this start.
    fn artifact_mut(&mut self, launch: &LaunchId) -> Option<&mut FakeArtifact> {
        let key = (launch.workload.clone(), launch.artifact);
        self.artifacts
            .get_mut(&key)
            .filter(|artifact| artifact.launch == *launch)
    }

    /// When the start that is under way comes to its end.
    fn start_ends(&self, of: &LaunchId) -> Option<Timestamp> {
        let is_it =
            |pending: &Pending| matches!(pending, Pending::Start(_, launch) if launch == of);
        let mut ends = self.pending.iter().filter(|(_, pending)| is_it(pending));
        ends.next().map(|((at, _), _)| *at)
    }

    /// Every command gets one answer.
    fn answer(&mut self, id: CommandId, event: RuntimeEvent) {
        let answers = Some(id);
        self.news.push_back(RuntimeNews { answers, event });
    }

    fn tell(&mut self, event: RuntimeEvent) {
        let answers = None;
        self.news.push_back(RuntimeNews { answers, event });
    }

    fn later(&mut self, at: Timestamp, pending: Pending) {
        self.pending.insert((at, self.sequence), pending);
        self.sequence += 1;
    }
}

fn exit_of(code: i32) -> Exit {
    Exit {
        code: Some(code),
        message: format!("ended with exit code {code}"),
    }
}

fn exited(launch: LaunchId, code: i32) -> RuntimeEvent {
    RuntimeEvent::Exited {
        launch,
        exit: exit_of(code),
    }
}
