//! What the runtime's events do to a workload's record.

use berth_core::Timestamp;

use crate::failure::{Failure, FailureCode, bounded};
use crate::io::{Exit, Found, RuntimeEvent, RuntimeNews};
use crate::lane::{Lane, RETRY_AFTER, STABLE_AFTER};
use crate::record::{Artifact, End, Phase};

impl Lane {
    /// Takes in what the runtime says. What speaks of another start is late and changes nothing.
    pub(crate) fn take_news(&mut self, now: Timestamp, news: RuntimeNews) {
        let RuntimeNews { answers, event } = news;
        let current = self.record.as_ref().and_then(|record| record.launch());
        if current.as_ref() != Some(event.launch()) {
            return;
        }
        match (answers, self.command) {
            (Some(answered), Some(command)) if answered == command => {
                self.command = None;
                self.apply_event(now, event);
            }
            // While a command is under way its answer tells more: the runtime's news come in the
            // order in which things happened.
            (_, Some(_)) => {}
            (None, None) => self.apply_event(now, event),
            (Some(_), None) => self.look_again(),
        }
    }

    /// A command of the agent's former life came to its end only now. What it says was true then,
    /// and this life may have done something since: the runtime is asked.
    fn look_again(&mut self) {
        let runs = self
            .artifact_mut()
            .is_some_and(|artifact| matches!(artifact.phase, Phase::Starting | Phase::Running));
        self.must_probe |= runs;
    }

    fn apply_event(&mut self, now: Timestamp, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Started {
                message, details, ..
            } => {
                self.set_running(now, message, details);
            }
            RuntimeEvent::StartFailed { failure, .. } => {
                self.set_ended(now, None, Some(failure));
            }
            RuntimeEvent::Exited { exit, .. } => {
                self.must_probe = false;
                self.exited(now, exit);
            }
            RuntimeEvent::Stopped { .. } => {
                self.must_probe = false;
                self.set_phase(now, Phase::Stopped, "stopped");
            }
            RuntimeEvent::Removed { .. } => {
                if let Some(record) = &mut self.record {
                    record.artifact = None;
                }
                self.restart_at = None;
                self.must_probe = false;
                self.touch(now);
            }
            RuntimeEvent::CommandFailed { message, .. } => {
                self.retry_at = Some(now + RETRY_AFTER);
                if let Some(artifact) = self.artifact_mut() {
                    artifact.message = bounded(message);
                }
                self.touch(now);
            }
            RuntimeEvent::Probed { found, .. } => self.probed(now, found),
        }
    }

    fn probed(&mut self, now: Timestamp, found: Found) {
        let starting = self
            .artifact_mut()
            .is_some_and(|artifact| artifact.phase == Phase::Starting);
        match found {
            Found::Unclear(_) | Found::Starting => {
                self.retry_at = Some(now + RETRY_AFTER);
                self.still_starts = found == Found::Starting;
                return;
            }
            Found::Running { message, details } => self.set_running(now, message, details),
            Found::Exited(exit) => self.exited(now, exit),
            Found::Stopped => self.set_phase(now, Phase::Stopped, "stopped"),
            // The start that was decided did not happen: it happens now.
            Found::Absent if starting => {}
            Found::Absent => {
                let text = "nothing is left of it: it ended while the agent was away";
                let failure = Failure::new(FailureCode::RuntimeResourceMissing, text);
                self.set_ended(now, None, Some(failure));
            }
        }
        self.must_probe = false;
    }

    /// It ended by itself.
    fn exited(&mut self, now: Timestamp, exit: Exit) {
        let runs = self
            .artifact_mut()
            .is_some_and(|artifact| matches!(artifact.phase, Phase::Starting | Phase::Running));
        if !runs {
            return;
        }
        let failure = (exit.code != Some(0))
            .then(|| Failure::new(FailureCode::RuntimeError, exit.message.clone()));
        if let Some(artifact) = self.artifact_mut() {
            if artifact.phase == Phase::Running && now.since(artifact.since) >= STABLE_AFTER {
                artifact.restarts = 0;
            }
            artifact.message = bounded(exit.message);
        }
        self.set_ended(now, exit.code, failure);
    }

    fn set_running(
        &mut self,
        now: Timestamp,
        message: String,
        details: std::collections::BTreeMap<String, String>,
    ) {
        let Some(artifact) = self.artifact_mut() else {
            return;
        };
        let since = if artifact.phase == Phase::Running {
            artifact.since
        } else {
            now
        };
        artifact.phase = Phase::Running;
        artifact.since = since;
        artifact.message = bounded(message);
        artifact.details = details
            .into_iter()
            .map(|(key, text)| (key, bounded(text)))
            .collect();
        self.touch(now);
    }

    fn set_ended(&mut self, now: Timestamp, exit_code: Option<i32>, failure: Option<Failure>) {
        let text = failure.as_ref().map(|failure| failure.message.clone());
        let text = text.unwrap_or_else(|| "ended with exit code 0".to_owned());
        self.set_phase(now, Phase::Ended(End { exit_code, failure }), &text);
    }

    fn set_phase(&mut self, now: Timestamp, phase: Phase, message: &str) {
        let Some(artifact) = self.artifact_mut() else {
            return;
        };
        artifact.phase = phase;
        artifact.since = now;
        artifact.message = bounded(message.to_owned());
        self.restart_at = None;
        self.touch(now);
    }

    fn artifact_mut(&mut self) -> Option<&mut Artifact> {
        self.record.as_mut()?.artifact.as_mut()
    }
}
