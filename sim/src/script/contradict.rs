//! What contradicts an expectation: if it holds, none of these does.

use std::collections::BTreeMap;

use berth_core::model::workload::FailureKind;
use berth_core::placement::Filter;

use crate::process::Process;

use super::expect::{Leader, NodeIs, NodeState, State, That, WorkloadIs};

/// What stands in every record, whatever people are told: no reason.
const NO_REASONS: [&str; 5] = ["cpu:", "memory_mb:", "disk_gb:", "placement:", "Refused"];

impl That {
    /// Others that cannot hold where this one does, for each part of it.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Self> {
        match self {
            Self::Workload(expected) => expected.contradictions(),
            Self::Node(expected) => expected.contradictions(),
            Self::Reached { reached, times } => {
                let never = Self::Never {
                    never: reached.clone(),
                };
                let others = times.iter().flat_map(|times| beside(*times));
                let others = others.map(|times| Self::Reached {
                    reached: reached.clone(),
                    times: Some(times),
                });
                others.chain([never]).collect()
            }
            Self::Never { never } => vec![Self::Reached {
                reached: never.clone(),
                times: None,
            }],
            Self::Count { state, count } => {
                let that = |count| Self::Count {
                    state: *state,
                    count: count as usize,
                };
                beside(*count as u64).map(that).collect()
            }
            Self::Leader { leader } => {
                let leaders = [Leader::Nobody, Leader::Is(Process::Replica(0))];
                let leaders = leaders.into_iter().chain([Leader::Is(Process::Replica(1))]);
                let others = leaders.filter(|other| other != leader);
                others.map(|leader| Self::Leader { leader }).collect()
            }
            Self::Elections { elections } => {
                let others = beside(*elections);
                others
                    .map(|elections| Self::Elections { elections })
                    .collect()
            }
        }
    }
}

/// The numbers beside this one.
fn beside(number: u64) -> impl Iterator<Item = u64> {
    number.checked_sub(1).into_iter().chain([number + 1])
}

impl WorkloadIs {
    /// Nothing is expected of it yet.
    fn nothing(&self) -> Self {
        Self {
            workload: self.workload.clone(),
            state: None,
            on: None,
            not_on: None,
            attempts: None,
            reason: None,
            failure: None,
            refused: None,
            runs_image: None,
        }
    }

    fn contradictions(&self) -> Vec<That> {
        let mut all = Vec::new();
        let mut say = |change: &dyn Fn(&mut Self)| {
            let mut other = self.nothing();
            change(&mut other);
            all.push(That::Workload(other));
        };
        for state in State::ALL {
            if self.state.is_some_and(|wanted| wanted != state) {
                say(&|it| it.state = Some(state));
            }
        }
        if let Some(on) = self.on {
            say(&|it| it.not_on = Some(on));
            say(&|it| it.on = another(on));
        }
        if let Some(not_on) = self.not_on {
            say(&|it| it.on = Some(not_on));
        }
        for attempts in self.attempts.into_iter().flat_map(|it| beside(it.into())) {
            say(&|it| it.attempts = u32::try_from(attempts).ok());
        }
        if let Some(reason) = &self.reason {
            for other in NO_REASONS {
                say(&|it| it.reason = Some(other.to_owned()));
            }
            say(&|it| it.reason = Some(format!("not {reason}")));
        }
        for failure in [FailureKind::RuntimeError, FailureKind::ImageNotFound] {
            if self.failure.is_some_and(|wanted| wanted != failure) {
                say(&|it| it.failure = Some(failure));
            }
        }
        for other in self.refused.iter().flat_map(other_refusals) {
            say(&|it| it.refused = Some(other.clone()));
        }
        for image in self.runs_image.into_iter().flat_map(beside) {
            say(&|it| it.runs_image = Some(image));
        }
        all
    }
}

/// Each filter's number in the place of another's, and other numbers.
fn other_refusals(refused: &BTreeMap<Filter, u32>) -> Vec<BTreeMap<Filter, u32>> {
    let mut others = vec![BTreeMap::new()];
    for (filter, count) in refused {
        let mut more = refused.clone();
        more.insert(*filter, count + 1);
        others.push(more);
        for other in Filter::ALL {
            let mut swapped = refused.clone();
            swapped.remove(filter);
            swapped.insert(other, *count);
            others.push(swapped);
        }
    }
    others.retain(|other| other != refused);
    others
}

const fn another(process: Process) -> Option<Process> {
    match process {
        Process::Agent(at) => Some(Process::Agent(at + 1)),
        Process::Store | Process::Replica(_) | Process::Client(_) => None,
    }
}

impl NodeIs {
    fn contradictions(&self) -> Vec<That> {
        let that = |status, running| {
            That::Node(Self {
                node: self.node,
                status,
                running,
            })
        };
        let states = NodeState::ALL.into_iter();
        let states = states.filter(|state| self.status.is_some_and(|wanted| wanted != *state));
        let numbers = self.running.iter().flat_map(|it| beside(*it as u64));
        let states = states.map(|state| that(Some(state), None));
        let numbers = numbers.map(|number| that(None, Some(number as usize)));
        states.chain(numbers).collect()
    }
}
