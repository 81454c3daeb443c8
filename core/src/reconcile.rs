//! Reconcile: what to do about one workload, as a pure function of what is wanted, what was
//! observed, what is being done already, and the time.

use crate::Config;
use crate::model::id::Revision;
use crate::model::spec::WorkloadType;
use crate::model::time::Timestamp;
use crate::model::workload::{Action, DesiredState, FailureKind};
use crate::planted::{Bug, planted};

/// The newest evidence about a workload, from its assigned node. Heartbeats are hints and never
/// stand here: they carry no revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Nobody has looked yet.
    Nothing,
    /// The node does not have it.
    Missing,
    /// The node works on it, since then at the latest.
    Pending(Timestamp),
    /// It runs at this revision; `None`: the agent did not say which.
    Running(Option<Revision>),
    /// It exists and does not run.
    Stopped,
    /// It failed at this revision; `None`: before the agent recorded one.
    Failed {
        /// The revision.
        revision: Option<Revision>,
        /// How.
        kind: FailureKind,
        /// The agent's text, bounded.
        message: String,
    },
    /// The node cannot tell, since then at the latest.
    Unknown(Timestamp),
}

/// What is being done about a workload already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// An apply was accepted, or may have been; since then.
    Applying(Timestamp),
    /// An apply that stops was accepted, or may have been; since then.
    Stopping(Timestamp),
    /// A delete was accepted, or may have been; since then.
    Deleting(Timestamp),
    /// It failed; nothing is done before this instant.
    BackingOff(Timestamp),
    /// It failed, and the tries are used up.
    GivenUp,
}

impl Phase {
    /// Something was asked of the node, and is not known to have come to its end.
    #[must_use]
    pub const fn is_under_way(self) -> bool {
        matches!(
            self,
            Self::Applying(_) | Self::Stopping(_) | Self::Deleting(_)
        )
    }
}

/// What the function looks at.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What the client wants.
    pub desired: DesiredState,
    /// The revision that the client wants.
    pub wanted: &'a Revision,
    /// The kind of workload.
    pub workload_type: WorkloadType,
    /// The newest evidence.
    pub observed: &'a Observed,
    /// What is being done already.
    pub phase: Phase,
    /// The last intent was to apply the wanted revision. Otherwise what goes on at the node
    /// concerns a former one, and nobody waits for it.
    pub applied: bool,
}

impl Situation<'_> {
    fn wants(&self, revision: &Revision) -> bool {
        revision == self.wanted || planted(Bug::RevisionIgnored)
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as it should be.
    Settled,
    /// Look at the node first; nothing can be said without it.
    Observe,
    /// Something goes on: look again, at this instant at the latest.
    Wait(Timestamp),
    /// Do this.
    Act(Action),
    /// It failed: ask the retry machine.
    Fail(FailureKind, String),
    /// It is deleted and gone: remove the record.
    Gone,
}

/// The decision matrix of the design, total over its five inputs.
#[must_use]
pub fn reconcile(at: &Situation<'_>, now: Timestamp, config: &Config) -> Verdict {
    match at.desired {
        DesiredState::Deleted => deleted(at, now, config),
        DesiredState::Stopped => stopped(at, now, config),
        DesiredState::Running => running(at, now, config),
    }
}

fn deleted(at: &Situation<'_>, now: Timestamp, config: &Config) -> Verdict {
    match (at.observed, at.phase) {
        // The apply may still be on its way into the agent, however long ago it was sent. An agent
        // that deletes refuses what was sent before (decision 9).
        (Observed::Missing, Phase::Applying(_) | Phase::Stopping(_)) => {
            Verdict::Act(Action::Delete)
        }
        (
            Observed::Missing,
            Phase::Idle | Phase::Deleting(_) | Phase::BackingOff(_) | Phase::GivenUp,
        ) => Verdict::Gone,
        (_, Phase::Deleting(_)) if planted(Bug::DeleteOnce) => {
            Verdict::Wait(now + config.delete_timeout)
        }
        (_, Phase::Deleting(since)) => wait_or(
            since + config.delete_timeout,
            now,
            Verdict::Act(Action::Delete),
        ),
        (
            Observed::Nothing
            | Observed::Pending(_)
            | Observed::Running(_)
            | Observed::Stopped
            | Observed::Failed { .. }
            | Observed::Unknown(_),
            Phase::Idle
            | Phase::Applying(_)
            | Phase::Stopping(_)
            | Phase::BackingOff(_)
            | Phase::GivenUp,
        ) => Verdict::Act(Action::Delete),
    }
}

fn stopped(at: &Situation<'_>, now: Timestamp, config: &Config) -> Verdict {
    match at.observed {
        Observed::Nothing => Verdict::Observe,
        Observed::Missing | Observed::Stopped | Observed::Failed { .. } => match at.phase {
            // An earlier apply may still start it.
            Phase::Applying(since) if now < since + config.missing_grace => {
                Verdict::Wait(since + config.missing_grace)
            }
            Phase::Applying(_)
            | Phase::Idle
            | Phase::Stopping(_)
            | Phase::Deleting(_)
            | Phase::BackingOff(_)
            | Phase::GivenUp => Verdict::Settled,
        },
        Observed::Running(_) | Observed::Pending(_) | Observed::Unknown(_) => match at.phase {
            Phase::Stopping(since) => wait_or(
                since + config.missing_grace,
                now,
                Verdict::Act(Action::ApplyStopped),
            ),
            Phase::Deleting(since) => wait_or(
                since + config.delete_timeout,
                now,
                Verdict::Act(Action::ApplyStopped),
            ),
            Phase::Idle | Phase::Applying(_) | Phase::BackingOff(_) | Phase::GivenUp => {
                Verdict::Act(Action::ApplyStopped)
            }
        },
    }
}

fn running(at: &Situation<'_>, now: Timestamp, config: &Config) -> Verdict {
    // The apply of a former revision is over when its result is seen. Before that it may still
    // wait in an agent that keeps no order, and would undo what is sent after it.
    let phase = match (at.phase, at.observed) {
        (
            Phase::Applying(_),
            Observed::Running(Some(_)) | Observed::Stopped | Observed::Failed { .. },
        ) if !at.applied => Phase::Idle,
        (phase, _) => phase,
    };
    match at.observed {
        Observed::Nothing => Verdict::Observe,
        Observed::Stopped if planted(Bug::StoppedIsFine) => Verdict::Settled,
        Observed::Running(Some(revision)) if at.wants(revision) => match phase {
            // It is on its way out; what runs now will not for long.
            Phase::Deleting(since) => wait_or(
                since + config.delete_timeout,
                now,
                Verdict::Act(Action::Recreate),
            ),
            Phase::Stopping(since) if now < since + config.missing_grace => {
                Verdict::Act(Action::Apply)
            }
            Phase::Stopping(_)
            | Phase::Idle
            | Phase::Applying(_)
            | Phase::BackingOff(_)
            | Phase::GivenUp => Verdict::Settled,
        },
        Observed::Missing => match phase {
            Phase::Applying(since) => wait_or(
                since + config.missing_grace,
                now,
                Verdict::Act(Action::Apply),
            ),
            Phase::BackingOff(until) => wait_or(until, now, Verdict::Act(Action::Apply)),
            Phase::GivenUp => Verdict::Settled,
            Phase::Idle | Phase::Stopping(_) | Phase::Deleting(_) => Verdict::Act(Action::Apply),
        },
        Observed::Stopped | Observed::Running(_) => match phase {
            Phase::Applying(since) => wait_or(
                since + config.missing_grace,
                now,
                Verdict::Act(Action::Apply),
            ),
            Phase::Deleting(since) => wait_or(
                since + config.delete_timeout,
                now,
                Verdict::Act(Action::Recreate),
            ),
            Phase::BackingOff(until) => wait_or(until, now, Verdict::Act(Action::Recreate)),
            Phase::GivenUp => Verdict::Settled,
            Phase::Idle | Phase::Stopping(_) => Verdict::Act(Action::Apply),
        },
        Observed::Failed {
            revision,
            kind,
            message,
        } => failed(at, revision.as_ref(), *kind, message, now, config),
        Observed::Pending(since) | Observed::Unknown(since) => {
            let deadline = pending_deadline(at.workload_type, config);
            let (since, next) = match phase {
                Phase::Applying(former) if !at.applied => {
                    let grace_end = former + config.missing_grace;
                    return wait_or(grace_end, now, Verdict::Act(Action::Apply));
                }
                // It was applied again after all that time, and does not start all the same: that
                // is a failure. A node that cannot tell proves none.
                Phase::Applying(applied)
                    if applied >= *since + deadline
                        && matches!(at.observed, Observed::Pending(_)) =>
                {
                    let text = format!("it did not start: pending since {since}");
                    let verdict = Verdict::Fail(FailureKind::StartTimeout, text);
                    return wait_or(applied + deadline, now, verdict);
                }
                Phase::Applying(applied) => ((*since).max(applied), Action::Apply),
                Phase::Deleting(asked) => {
                    return wait_or(
                        asked + config.delete_timeout,
                        now,
                        Verdict::Act(Action::Recreate),
                    );
                }
                Phase::BackingOff(until) => {
                    let until = until.max(*since + deadline);
                    return wait_or(until, now, Verdict::Act(Action::Recreate));
                }
                Phase::GivenUp => return Verdict::Settled,
                Phase::Idle | Phase::Stopping(_) if !at.applied => {
                    return Verdict::Act(Action::Apply);
                }
                Phase::Idle | Phase::Stopping(_) => (*since, Action::Apply),
            };
            wait_or(since + deadline, now, Verdict::Act(next))
        }
    }
}

fn failed(
    at: &Situation<'_>,
    revision: Option<&Revision>,
    kind: FailureKind,
    message: &str,
    now: Timestamp,
    config: &Config,
) -> Verdict {
    let ours = revision.map_or(at.applied, |revision| revision == at.wanted);
    match at.phase {
        Phase::GivenUp => Verdict::Settled,
        Phase::BackingOff(until) => wait_or(until, now, Verdict::Act(Action::Recreate)),
        Phase::Deleting(since) => wait_or(
            since + config.delete_timeout,
            now,
            Verdict::Act(Action::Recreate),
        ),
        // What failed is the former revision; the apply of this one is on its way.
        Phase::Applying(since) if !ours && at.applied => wait_or(
            since + config.missing_grace,
            now,
            Verdict::Act(Action::Apply),
        ),
        Phase::Idle | Phase::Stopping(_) | Phase::Applying(_) if !ours => {
            Verdict::Act(Action::Apply)
        }
        Phase::Idle | Phase::Stopping(_) | Phase::Applying(_) => {
            Verdict::Fail(kind, message.to_owned())
        }
    }
}

fn pending_deadline(workload_type: WorkloadType, config: &Config) -> std::time::Duration {
    match workload_type {
        WorkloadType::Vm => config.pending_deadline_vm,
        WorkloadType::Container | WorkloadType::Compose => config.pending_deadline,
    }
}

fn wait_or(until: Timestamp, now: Timestamp, then: Verdict) -> Verdict {
    if now < until {
        Verdict::Wait(until)
    } else {
        then
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(text: &str) -> Revision {
        text.parse().unwrap()
    }

    fn every_observation(at: Timestamp) -> Vec<Observed> {
        let failed = |revision| Observed::Failed {
            revision,
            kind: FailureKind::RuntimeError,
            message: "exit code 1".into(),
        };
        vec![
            Observed::Nothing,
            Observed::Missing,
            Observed::Pending(at),
            Observed::Running(None),
            Observed::Running(Some(revision("r1"))),
            Observed::Running(Some(revision("r2"))),
            Observed::Stopped,
            failed(None),
            failed(Some(revision("r1"))),
            failed(Some(revision("r2"))),
            Observed::Unknown(at),
        ]
    }

    const EVERY_DESIRED: [DesiredState; 3] = [
        DesiredState::Running,
        DesiredState::Stopped,
        DesiredState::Deleted,
    ];

    fn every_phase(at: Timestamp) -> [Phase; 6] {
        [
            Phase::Idle,
            Phase::Applying(at),
            Phase::Stopping(at),
            Phase::Deleting(at),
            Phase::BackingOff(at),
            Phase::GivenUp,
        ]
    }

    fn decide(desired: DesiredState, observed: &Observed, phase: Phase, now: Timestamp) -> Verdict {
        decide_after(true, desired, observed, phase, now)
    }

    fn decide_after(
        applied: bool,
        desired: DesiredState,
        observed: &Observed,
        phase: Phase,
        now: Timestamp,
    ) -> Verdict {
        let wanted = revision("r2");
        let workload_type = WorkloadType::Container;
        let at = Situation {
            desired,
            wanted: &wanted,
            workload_type,
            observed,
            phase,
            applied,
        };
        reconcile(&at, now, &Config::default())
    }

    /// The table of the design, row by row, when nothing is under way.
    #[test]
    fn the_table_of_the_design() {
        let start = Timestamp::from_millis(1_000_000);
        let late = start + Config::default().pending_deadline;
        let idle = |desired, observed: &Observed, now| decide(desired, observed, Phase::Idle, now);
        let (run, stop, gone) = (EVERY_DESIRED[0], EVERY_DESIRED[1], EVERY_DESIRED[2]);
        let all = every_observation(start);
        for observed in &all {
            let expected = match observed {
                Observed::Nothing => Verdict::Observe,
                Observed::Missing | Observed::Stopped | Observed::Running(None) => {
                    Verdict::Act(Action::Apply)
                }
                Observed::Running(Some(at)) if at.as_str() == "r2" => Verdict::Settled,
                Observed::Running(Some(_)) => Verdict::Act(Action::Apply),
                Observed::Failed {
                    revision: Some(at), ..
                } if at.as_str() == "r1" => Verdict::Act(Action::Apply),
                Observed::Failed { kind, message, .. } => Verdict::Fail(*kind, message.clone()),
                Observed::Pending(_) | Observed::Unknown(_) => Verdict::Wait(late),
            };
            assert_eq!(idle(run, observed, start), expected, "{observed:?}");
            let expected = match observed {
                Observed::Nothing => Verdict::Observe,
                Observed::Missing | Observed::Stopped | Observed::Failed { .. } => Verdict::Settled,
                Observed::Running(_) | Observed::Pending(_) | Observed::Unknown(_) => {
                    Verdict::Act(Action::ApplyStopped)
                }
            };
            assert_eq!(idle(stop, observed, start), expected, "{observed:?}");
            let expected = match observed {
                Observed::Missing => Verdict::Gone,
                _ => Verdict::Act(Action::Delete),
            };
            assert_eq!(idle(gone, observed, start), expected, "{observed:?}");
        }
        for observed in [Observed::Pending(start), Observed::Unknown(start)] {
            assert_eq!(idle(run, &observed, late), Verdict::Act(Action::Apply));
        }
    }

    /// Pending for its deadline: applied again. As long once more: failed, unless the node cannot
    /// tell.
    #[test]
    fn what_does_not_start_is_applied_again_and_then_it_has_failed() {
        let start = Timestamp::from_millis(1_000_000);
        let deadline = Config::default().pending_deadline;
        let (late, later) = (start + deadline, start + deadline * 2);
        let run =
            |observed: &Observed, phase, now| decide(DesiredState::Running, observed, phase, now);
        let (pending, unknown) = (Observed::Pending(start), Observed::Unknown(start));
        let first = Phase::Applying(start);
        assert_eq!(run(&pending, first, start), Verdict::Wait(late));
        assert_eq!(run(&pending, first, late), Verdict::Act(Action::Apply));
        let again = Phase::Applying(late);
        assert_eq!(run(&pending, again, late), Verdict::Wait(later));
        let verdict = run(&pending, again, later);
        assert!(matches!(
            verdict,
            Verdict::Fail(FailureKind::StartTimeout, _)
        ));
        assert_eq!(run(&unknown, again, later), Verdict::Act(Action::Apply));
        let backing_off = Phase::BackingOff(later);
        assert_eq!(run(&pending, backing_off, late), Verdict::Wait(later));
        assert_eq!(
            run(&pending, backing_off, later),
            Verdict::Act(Action::Recreate)
        );
    }

    /// Whatever is wanted, seen and done: a wait ends, and waiting long enough ends every wait.
    #[test]
    fn the_matrix_is_total_and_no_wait_is_for_ever() {
        let start = Timestamp::from_millis(1_000_000);
        for desired in EVERY_DESIRED {
            for observed in every_observation(start) {
                for phase in every_phase(start) {
                    let mut now = start;
                    for _ in 0..4 {
                        match decide(desired, &observed, phase, now) {
                            Verdict::Wait(until) => {
                                assert!(until > now, "{desired:?} {observed:?} {phase:?}");
                                now = until;
                            }
                            _ => break,
                        }
                    }
                    let last = decide(desired, &observed, phase, now);
                    assert!(
                        !matches!(last, Verdict::Wait(_)),
                        "{desired:?} {observed:?} {phase:?} waits for ever"
                    );
                }
            }
        }
    }

    /// The apply of a former revision is waited for until its result is seen or its grace is over,
    /// never for the deadline of what is wanted now.
    #[test]
    fn a_new_revision_is_applied_as_soon_as_the_former_apply_is_over() {
        let start = Timestamp::from_millis(1_000_000);
        let graced = start + Config::default().missing_grace;
        let decide = |observed: &Observed, phase, now| {
            decide_after(false, DesiredState::Running, observed, phase, now)
        };
        for observed in every_observation(start) {
            let settled = observed == Observed::Running(Some(revision("r2")));
            let failed = matches!(&observed, Observed::Failed { revision: Some(at), .. }
                if at.as_str() == "r2");
            if observed == Observed::Nothing || settled || failed {
                continue;
            }
            let over = matches!(
                observed,
                Observed::Running(Some(_)) | Observed::Stopped | Observed::Failed { .. }
            );
            let now = if over { start } else { graced };
            let verdict = decide(&observed, Phase::Applying(start), now);
            assert_eq!(verdict, Verdict::Act(Action::Apply), "{observed:?}");
            if !over {
                let early = decide(&observed, Phase::Applying(start), start);
                assert_eq!(early, Verdict::Wait(graced), "{observed:?}");
            }
            let idle = decide(&observed, Phase::Idle, start);
            assert_eq!(idle, Verdict::Act(Action::Apply), "{observed:?}");
        }
    }

    /// What is under way is waited for exactly as long as it may take; then comes what is beside it.
    #[test]
    fn each_wait_has_its_own_end() {
        use DesiredState::{Deleted, Running, Stopped};
        let config = Config::default();
        let start = Timestamp::from_millis(1_000_000);
        let (graced, asked) = (start + config.missing_grace, start + config.delete_timeout);
        let late = start + config.pending_deadline;
        let (applying, deleting) = (Phase::Applying(start), Phase::Deleting(start));
        let (stopping, backing_off) = (Phase::Stopping(start), Phase::BackingOff(graced));
        let is = |text| Observed::Running(Some(revision(text)));
        let failed = |text| Observed::Failed {
            revision: Some(revision(text)),
            kind: FailureKind::RuntimeError,
            message: String::new(),
        };
        let (act, pending) = (Verdict::Act, Observed::Pending(start));
        for (desired, observed, phase, end, then) in [
            (Deleted, is("r2"), deleting, asked, act(Action::Delete)),
            (
                Stopped,
                Observed::Missing,
                applying,
                graced,
                Verdict::Settled,
            ),
            (
                Stopped,
                is("r2"),
                stopping,
                graced,
                act(Action::ApplyStopped),
            ),
            (
                Stopped,
                is("r2"),
                deleting,
                asked,
                act(Action::ApplyStopped),
            ),
            (Running, is("r2"), deleting, asked, act(Action::Recreate)),
            (Running, is("r1"), applying, graced, act(Action::Apply)),
            (Running, is("r1"), deleting, asked, act(Action::Recreate)),
            (
                Running,
                is("r1"),
                backing_off,
                graced,
                act(Action::Recreate),
            ),
            (
                Running,
                Observed::Missing,
                applying,
                graced,
                act(Action::Apply),
            ),
            (
                Running,
                Observed::Missing,
                backing_off,
                graced,
                act(Action::Apply),
            ),
            (Running, failed("r1"), applying, graced, act(Action::Apply)),
            (
                Running,
                failed("r2"),
                deleting,
                asked,
                act(Action::Recreate),
            ),
            (
                Running,
                failed("r2"),
                backing_off,
                graced,
                act(Action::Recreate),
            ),
            (
                Running,
                pending.clone(),
                deleting,
                asked,
                act(Action::Recreate),
            ),
            // Both are over: the wait between two tries, and the deadline of what is pending.
            (
                Running,
                pending,
                backing_off,
                late.max(graced),
                act(Action::Recreate),
            ),
        ] {
            let wait = decide(desired, &observed, phase, start);
            assert_eq!(
                wait,
                Verdict::Wait(end),
                "{desired:?} {observed:?} {phase:?}"
            );
            let over = decide(desired, &observed, phase, end);
            assert_eq!(over, then, "{desired:?} {observed:?} {phase:?}");
        }
        // It runs, and a stop may still be on its way: applied over it, until that is over.
        let decide = |now| decide(Running, &is("r2"), stopping, now);
        let before = Timestamp::from_millis(graced.as_millis() - 1);
        assert_eq!(decide(before), act(Action::Apply));
        assert_eq!(decide(graced), Verdict::Settled);
    }

    /// Nothing that differs from what is wanted is ever called settled, unless the tries are
    /// used up.
    #[test]
    fn settled_means_settled() {
        let start = Timestamp::from_millis(1_000_000);
        for desired in EVERY_DESIRED {
            for observed in every_observation(start) {
                for phase in every_phase(start) {
                    if decide(desired, &observed, phase, start) != Verdict::Settled {
                        continue;
                    }
                    let is_so = match desired {
                        DesiredState::Running => {
                            observed == Observed::Running(Some(revision("r2")))
                                || phase == Phase::GivenUp
                        }
                        DesiredState::Stopped => matches!(
                            observed,
                            Observed::Missing | Observed::Stopped | Observed::Failed { .. }
                        ),
                        DesiredState::Deleted => false,
                    };
                    assert!(is_so, "{desired:?} {observed:?} {phase:?}");
                }
            }
        }
    }
}
