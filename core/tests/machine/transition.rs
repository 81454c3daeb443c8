//! What can happen: drawn at random, one line each when a history is shown.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

/// Workloads are `w-0` to `w-4`.
pub(crate) const WORKLOADS: usize = 5;
/// Nodes are `n-0` to `n-3`; even ones are in zone `a`, odd ones in zone `b`.
pub(crate) const NODES: usize = 4;

/// One thing that happens. What is not possible in the present state is left out when it is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// A client applies a whole spec.
    Apply {
        w: usize,
        version: u8,
        cpu: u64,
        zone: Option<usize>,
    },
    /// A client changes the desired state only.
    Stop {
        w: usize,
    },
    Start {
        w: usize,
    },
    Delete {
        w: usize,
    },
    Retry {
        w: usize,
    },
    /// A node registers: for the first time, or with another size.
    Join {
        n: usize,
        cpu: u64,
    },
    /// A node is cut off; with `reboot` everything on it is gone.
    Lose {
        n: usize,
        reboot: bool,
    },
    /// A node that was cut off is back.
    Return {
        n: usize,
    },
    /// Heartbeats arrive and calls do not, or do again.
    Deafen {
        n: usize,
    },
    Mend {
        n: usize,
    },
    Cordon {
        n: usize,
    },
    Uncordon {
        n: usize,
    },
    Drain {
        n: usize,
        parallelism: u32,
    },
    EndDrain {
        n: usize,
    },
    /// The next mutation at a node ends like this.
    NextCall {
        n: usize,
        fate: CallFate,
    },
    /// The next transaction ends like this.
    NextCommit {
        fate: CommitFate,
    },
    /// Something that is on its way arrives.
    Deliver {
        which: usize,
    },
    /// The next so many starts of a workload fail.
    Break {
        w: usize,
        starts: u32,
        for_good: bool,
    },
    /// A copy that runs fails by itself, or vanishes.
    Die {
        w: usize,
        vanish: bool,
    },
    /// Another leader, or this one again. What was on its way is `written` before, or never.
    Lead {
        anew: bool,
        written: bool,
    },
    /// Time passes.
    Pass {
        s: u64,
    },
    /// Nothing more goes wrong for long enough, and everything is where it should be.
    Settle,
}

/// How a mutation at an agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFate {
    /// Refused: it may be tried again.
    Refused,
    /// Refused for good.
    RefusedForGood,
    /// Carried out, and the answer is lost.
    TimeoutDone,
    /// Never carried out, and nobody knows.
    TimeoutLost,
    /// An error without a meaning.
    Error,
    /// It arrives later.
    LateCall,
    /// Its answer arrives later.
    LateAnswer,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFate {
    /// It is carried out later.
    Late,
    /// It is carried out now, and the answer arrives later.
    LateAnswer,
    UnknownWritten,
    UnknownLost,
    /// Nobody learns its fate, and it is carried out later if it still can be.
    UnknownLate,
    /// Somebody else was quicker to write one of its records.
    Conflict,
}

/// What happens, in order.
#[derive(Clone)]
pub(crate) struct History(pub(crate) Vec<Transition>);

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[")?;
        for transition in &self.0 {
            writeln!(f, "    {transition:?},")?;
        }
        write!(f, "]")
    }
}

/// Histories of so many transitions at most. The first nodes join at once: little happens without.
pub(crate) fn histories(longest: usize) -> impl Strategy<Value = History> {
    let of = move |narrow| (vec(join(narrow), 1..4), vec(transition(narrow), 1..longest));
    prop_oneof![of(true), of(false)].prop_map(|(mut first, then)| {
        first.extend(then);
        History(first)
    })
}

fn transition(narrow: bool) -> impl Strategy<Value = Transition> {
    prop_oneof![
        10 => clients(narrow),
        5 => nodes(narrow),
        5 => agents(narrow),
        5 => commits(),
        3 => (0..8_usize).prop_map(|which| Transition::Deliver { which }),
        1 => any::<(bool, bool)>().prop_map(|(anew, written)| Transition::Lead { anew, written }),
        5 => prop::sample::select(vec![0, 1, 3, 16, 40, 70, 130, 130])
            .prop_map(|s| Transition::Pass { s }),
        1 => Just(Transition::Settle),
    ]
}

/// One of so many things. In a narrow world mostly the first two: much must happen to one of them
/// before some things go wrong. Others need many.
fn one_of(count: usize, narrow: bool) -> BoxedStrategy<usize> {
    if narrow {
        prop_oneof![5 => 0..2_usize, 1 => 2..count].boxed()
    } else {
        (0..count).boxed()
    }
}

fn clients(narrow: bool) -> impl Strategy<Value = Transition> {
    let w = one_of(WORKLOADS, narrow);
    let cpu = prop::sample::select(vec![200, 500, 1_000, 1_500, 2_500]);
    let zone = prop::option::weighted(0.3, 0..2_usize);
    prop_oneof![
        6 => (w.clone(), 1..4_u8, cpu, zone)
            .prop_map(|(w, version, cpu, zone)| Transition::Apply { w, version, cpu, zone }),
        2 => w.clone().prop_map(|w| Transition::Stop { w }),
        2 => w.clone().prop_map(|w| Transition::Start { w }),
        2 => w.clone().prop_map(|w| Transition::Delete { w }),
        1 => w.prop_map(|w| Transition::Retry { w }),
    ]
}

fn join(narrow: bool) -> impl Strategy<Value = Transition> {
    let cpu = prop::sample::select(vec![1_000, 2_000, 4_000]);
    (one_of(NODES, narrow), cpu).prop_map(|(n, cpu)| Transition::Join { n, cpu })
}

fn nodes(narrow: bool) -> impl Strategy<Value = Transition> {
    let n = one_of(NODES, narrow);
    prop_oneof![
        3 => join(narrow),
        3 => (n.clone(), any::<bool>()).prop_map(|(n, reboot)| Transition::Lose { n, reboot }),
        3 => n.clone().prop_map(|n| Transition::Return { n }),
        1 => n.clone().prop_map(|n| Transition::Deafen { n }),
        1 => n.clone().prop_map(|n| Transition::Mend { n }),
        1 => n.clone().prop_map(|n| Transition::Cordon { n }),
        2 => n.clone().prop_map(|n| Transition::Uncordon { n }),
        1 => (n.clone(), 1..3_u32)
            .prop_map(|(n, parallelism)| Transition::Drain { n, parallelism }),
        1 => n.prop_map(|n| Transition::EndDrain { n }),
    ]
}

fn agents(narrow: bool) -> impl Strategy<Value = Transition> {
    let fate = prop::sample::select(vec![
        CallFate::Refused,
        CallFate::RefusedForGood,
        CallFate::TimeoutDone,
        CallFate::TimeoutLost,
        CallFate::Error,
        CallFate::LateCall,
        CallFate::LateAnswer,
    ]);
    let starts = prop::sample::select(vec![1, 2, 9]);
    let w = one_of(WORKLOADS, narrow);
    prop_oneof![
        4 => (one_of(NODES, narrow), fate).prop_map(|(n, fate)| Transition::NextCall { n, fate }),
        1 => (w.clone(), starts, prop::bool::weighted(0.2))
            .prop_map(|(w, starts, for_good)| Transition::Break { w, starts, for_good }),
        2 => (w, any::<bool>()).prop_map(|(w, vanish)| Transition::Die { w, vanish }),
    ]
}

fn commits() -> impl Strategy<Value = Transition> {
    let fate = prop::sample::select(vec![
        CommitFate::Late,
        CommitFate::LateAnswer,
        CommitFate::UnknownWritten,
        CommitFate::UnknownLost,
        CommitFate::UnknownLate,
        CommitFate::Conflict,
    ]);
    fate.prop_map(|fate| Transition::NextCommit { fate })
}
