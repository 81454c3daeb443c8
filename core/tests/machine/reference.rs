//! What a user sees, and nothing else: which workloads and nodes there are, and where the commands
//! that were accepted lead. It knows no transactions, no retries, no agents.
//!
//! A command whose answer is "unavailable" may or may not have had its effect: what can be is kept
//! as a set of possibilities, which the next answer, or a look at the settled system, narrows.

use std::collections::BTreeMap;

use berth_core::RequestId;
use berth_core::io::request::RequestError;
use berth_core::model::workload::DesiredState;

use crate::transition::{NODES, Transition, WORKLOADS};

/// What a client wants of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) version: u8,
    pub(crate) cpu: u64,
    pub(crate) zone: Option<usize>,
    pub(crate) desired: DesiredState,
}

/// What an operator wants of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duty {
    pub(crate) schedulable: bool,
    pub(crate) draining: bool,
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NoSuch,
    NotNow,
}

/// A machine on which agents run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) joined: bool,
    pub(crate) up: bool,
    pub(crate) cpu: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) machines: [Machine; NODES],
    /// What each workload may be; `None`: it does not exist.
    pub(crate) wishes: [Possible<Wish>; WORKLOADS],
    pub(crate) duties: [Possible<Duty>; NODES],
    asked: BTreeMap<RequestId, Transition>,
}

/// What may be so.
#[derive(Debug, Clone)]
pub(crate) struct Possible<T>(pub(crate) Vec<Option<T>>);

impl<T> Default for Possible<T> {
    fn default() -> Self {
        Self(vec![None])
    }
}

impl<T: Copy + PartialEq + std::fmt::Debug> Possible<T> {
    pub(crate) fn may_be(&self, value: Option<T>) -> bool {
        self.0.contains(&value)
    }

    /// It is known now.
    pub(crate) fn is(&mut self, value: Option<T>) {
        self.0 = vec![value];
    }

    /// A command was answered. `leads`: where it leads from each possibility.
    fn answered(
        &mut self,
        what: &Transition,
        error: Option<&RequestError>,
        leads: impl Fn(Option<T>) -> Result<Option<T>, Refusal>,
    ) {
        let before = std::mem::take(&mut self.0);
        for now in &before {
            let after = match (error, leads(*now)) {
                (None, Ok(after)) => after,
                (Some(RequestError::Unavailable { .. }), leads) => {
                    self.also(*now);
                    leads.unwrap_or(*now)
                }
                (
                    Some(RequestError::NoSuchWorkload(_) | RequestError::NoSuchNode(_)),
                    Err(Refusal::NoSuch),
                )
                | (Some(RequestError::Refused(_)), Err(Refusal::NotNow)) => *now,
                (_, Ok(_) | Err(_)) => continue,
            };
            self.also(after);
        }
        assert!(
            !self.0.is_empty(),
            "{what:?} was answered {error:?} although the state may only be {before:?}"
        );
    }

    pub(crate) fn also(&mut self, value: Option<T>) {
        if !self.0.contains(&value) {
            self.0.push(value);
        }
    }
}

impl Reference {
    /// Whether it can happen now, and means something.
    pub(crate) fn allows(&self, transition: &Transition) -> bool {
        let at = |n: &usize| self.machines[*n];
        match transition {
            Transition::Join { n, cpu } => !at(n).joined || (at(n).up && at(n).cpu != *cpu),
            // Many at once pause evictions, which is another story.
            Transition::Lose { n, .. } => {
                let down = self.machines.iter().filter(|m| m.joined && !m.up);
                at(n).up && down.count() < 2
            }
            Transition::Return { n } => at(n).joined && !at(n).up,
            Transition::Deafen { n }
            | Transition::Mend { n }
            | Transition::Cordon { n }
            | Transition::Uncordon { n }
            | Transition::Drain { n, .. }
            | Transition::EndDrain { n }
            | Transition::NextCall { n, .. } => at(n).joined,
            Transition::Apply { .. }
            | Transition::Stop { .. }
            | Transition::Start { .. }
            | Transition::Delete { .. }
            | Transition::Retry { .. }
            | Transition::NextCommit { .. }
            | Transition::Deliver { .. }
            | Transition::Break { .. }
            | Transition::Die { .. }
            | Transition::Lead { .. }
            | Transition::Pass { .. }
            | Transition::Settle => true,
        }
    }

    /// A machine changed by itself.
    pub(crate) fn machine(&mut self, transition: &Transition) {
        match *transition {
            Transition::Join { n, cpu } => {
                self.machines[n] = Machine {
                    joined: true,
                    up: true,
                    cpu,
                };
            }
            Transition::Lose { n, .. } => self.machines[n].up = false,
            Transition::Return { n } => self.machines[n].up = true,
            _ => {}
        }
    }

    pub(crate) fn asked(&mut self, id: RequestId, what: Transition) {
        self.asked.insert(id, what);
    }

    /// What was asked by somebody of the history was answered.
    pub(crate) fn answered(&mut self, id: RequestId, error: Option<&RequestError>) {
        let Some(what) = self.asked.remove(&id) else {
            return;
        };
        if let Some(w) = workload_of(&what) {
            let wishes = &mut self.wishes[w];
            // A deletion ends when it ends.
            if wishes.0.iter().flatten().any(Wish::is_deleted) {
                wishes.also(None);
            }
            wishes.answered(&what, error, |now| wish_after(&what, now));
        } else if let Some(n) = node_of(&what) {
            let duties = &mut self.duties[n];
            // Its agent registers again and again until it is known.
            duties.also(Some(Duty::FRESH));
            duties.answered(&what, error, |now| duty_after(&what, now));
        }
    }
}

impl Wish {
    pub(crate) fn is_deleted(&self) -> bool {
        self.desired == DesiredState::Deleted
    }
}

impl Duty {
    pub(crate) const FRESH: Self = Self {
        schedulable: true,
        draining: false,
    };
}

fn wish_after(what: &Transition, now: Option<Wish>) -> Result<Option<Wish>, Refusal> {
    if let Transition::Apply {
        version, cpu, zone, ..
    } = *what
    {
        let kept = now.filter(|wish| !wish.is_deleted());
        let desired = kept.map_or(DesiredState::Running, |wish| wish.desired);
        return Ok(Some(Wish {
            version,
            cpu,
            zone,
            desired,
        }));
    }
    let wish = now.ok_or(Refusal::NoSuch)?;
    let desired = match (what, wish.desired) {
        (Transition::Delete { .. }, _) => DesiredState::Deleted,
        (_, DesiredState::Deleted) => return Err(Refusal::NotNow),
        (Transition::Stop { .. }, _) => DesiredState::Stopped,
        (Transition::Retry { .. }, DesiredState::Stopped) => return Err(Refusal::NotNow),
        (_, _) => DesiredState::Running,
    };
    Ok(Some(Wish { desired, ..wish }))
}

fn duty_after(what: &Transition, now: Option<Duty>) -> Result<Option<Duty>, Refusal> {
    if let Transition::Join { .. } = what {
        return Ok(Some(now.unwrap_or(Duty::FRESH)));
    }
    let mut duty = now.ok_or(Refusal::NoSuch)?;
    match what {
        Transition::Cordon { .. } => duty.schedulable = false,
        Transition::Uncordon { .. } => duty.schedulable = true,
        Transition::Drain { .. } if !duty.draining => {
            duty.draining = true;
            duty.schedulable = false;
        }
        Transition::EndDrain { .. } => duty.draining = false,
        _ => {}
    }
    Ok(Some(duty))
}

fn workload_of(what: &Transition) -> Option<usize> {
    match what {
        Transition::Apply { w, .. }
        | Transition::Stop { w }
        | Transition::Start { w }
        | Transition::Delete { w }
        | Transition::Retry { w } => Some(*w),
        _ => None,
    }
}

fn node_of(what: &Transition) -> Option<usize> {
    match what {
        Transition::Join { n, .. }
        | Transition::Cordon { n }
        | Transition::Uncordon { n }
        | Transition::Drain { n, .. }
        | Transition::EndDrain { n } => Some(*n),
        _ => None,
    }
}
