//! An expectation as it is written: one key says what it is about, the others what is expected of that.
//!
//! All keys are fields of one type, so that whatever is wrong with the value of one is told with its
//! name and its line; what belongs together is looked at afterwards.

use std::collections::BTreeMap;

use berth_core::WorkloadId;
use berth_core::model::workload::FailureKind;
use berth_core::placement::Filter;
use serde::Deserialize;

use crate::process::Process;

use super::expect::{Leader, NodeIs, NodeState, State, That, WorkloadIs};

macro_rules! keys {
    ($($key:ident: $type:ty,)+) => {
        /// Whatever may be said.
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Said {
            $(#[serde(default)] $key: Option<$type>,)+
        }

        impl Said {
            /// What is said, by its key.
            fn keys(&self) -> Vec<&'static str> {
                let said = [$((stringify!($key), self.$key.is_some()),)+];
                let said = said.into_iter().filter(|(_, is_said)| *is_said);
                said.map(|(key, _)| key).collect()
            }
        }
    };
}

keys! {
    workload: WorkloadId,
    node: Process,
    reached: String,
    never: String,
    count: usize,
    leader: Leader,
    elections: u64,
    state: State,
    on: Process,
    not_on: Process,
    attempts: u32,
    reason: String,
    failure: FailureKind,
    refused: BTreeMap<Filter, u32>,
    runs_image: u64,
    status: NodeState,
    running: usize,
    times: u64,
}

/// What an expectation is about, what can be said of it, and whether something must be.
const ABOUT: [(&str, &[&str], bool); 7] = [
    (
        "workload",
        &[
            "state",
            "on",
            "not_on",
            "attempts",
            "reason",
            "failure",
            "refused",
            "runs_image",
        ],
        true,
    ),
    ("node", &["status", "running"], true),
    ("reached", &["times"], false),
    ("never", &[], false),
    ("count", &["state"], true),
    ("leader", &[], false),
    ("elections", &[], false),
];

impl Said {
    /// What it is about.
    fn about(&self) -> Result<&'static str, String> {
        let keys = self.keys();
        let about = ABOUT.iter().find(|(about, ..)| keys.contains(about));
        let Some((about, of_it, needs_one)) = about else {
            let all: Vec<_> = ABOUT
                .iter()
                .map(|(about, ..)| format!("`{about}`"))
                .collect();
            return Err(format!(
                "expected one of {}, found {}",
                all.join(", "),
                quoted(&keys)
            ));
        };
        let known = |key: &&&str| *key != about && !of_it.contains(key);
        if let Some(strange) = keys.iter().find(known) {
            return Err(format!(
                "`{strange}` is not said of a `{about}`, of which is said: {}",
                quoted(of_it)
            ));
        }
        if *needs_one && keys.len() == 1 {
            return Err(format!(
                "nothing is expected of `{about}`; of it is said: {}",
                quoted(of_it)
            ));
        }
        Ok(about)
    }
}

fn quoted(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl TryFrom<Said> for That {
    type Error = String;

    fn try_from(said: Said) -> Result<Self, String> {
        said.about()?;
        let Said {
            workload,
            node,
            reached,
            never,
            count,
            leader,
            elections,
            state,
            on,
            not_on,
            attempts,
            reason,
            failure,
            refused,
            runs_image,
            status,
            running,
            times,
        } = said;
        let that = match (workload, node, reached, never) {
            (Some(workload), ..) => Some(Self::Workload(WorkloadIs {
                workload,
                state,
                on,
                not_on,
                attempts,
                reason,
                failure,
                refused,
                runs_image,
            })),
            (_, Some(node), ..) => Some(Self::Node(NodeIs {
                node,
                status,
                running,
            })),
            (_, _, Some(reached), _) => Some(Self::Reached { reached, times }),
            (.., Some(never)) => Some(Self::Never { never }),
            (None, None, None, None) => match (count, state, leader, elections) {
                (Some(count), Some(state), ..) => Some(Self::Count { state, count }),
                (_, _, Some(leader), _) => Some(Self::Leader { leader }),
                (.., Some(elections)) => Some(Self::Elections { elections }),
                _ => None,
            },
        };
        that.ok_or_else(|| "nothing is expected".to_owned())
    }
}
