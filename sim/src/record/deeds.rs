//! What a script does to a world, in plain words.

use crate::process::Process;
use crate::script::{Breakage, Deed, Edit};

/// A deed in plain words.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) text: String,
    /// The story tells of it by itself: no state of anything shows it.
    pub(crate) told: bool,
}

/// What breaks. `None`: clients' and operators' requests break nothing, and are told elsewhere.
pub(crate) fn deed_words(deed: &Deed) -> Option<Words> {
    let seen = |text: String| Some(Words { text, told: false });
    let told = |text: String| Some(Words { text, told: true });
    match deed {
        Deed::CrashScheduler { scheduler } => seen(format!("scheduler-{scheduler} dies")),
        Deed::PauseScheduler { scheduler } => seen(format!("scheduler-{scheduler} stands still")),
        Deed::CrashAgent { node } => seen(format!("the agent of node-{node} dies")),
        Deed::RebootNode { node } => seen(format!("node-{node} reboots")),
        Deed::ReplaceNode { node } => told(format!("node-{node} is replaced by an empty machine")),
        Deed::ResizeNode { node, percent, .. } => told(format!(
            "node-{node} gets other parts: {percent} % of what it had"
        )),
        Deed::HangAgent { node } => seen(format!("the agent of node-{node} hangs")),
        Deed::Lie { node, answers } => told(format!(
            "The next {answers} answers of the agent of node-{node} are wrong"
        )),
        Deed::KillWorkload { node, .. } => told(format!("A workload on node-{node} is killed")),
        Deed::Cut { from, to } => seen(format!("the link from {from} to {to} is cut")),
        Deed::StallStore => seen("the store answers nobody".to_owned()),
        Deed::LoseStoreAnswers { count } => told(format!(
            "The store carries out and loses its next {count} answers"
        )),
        Deed::HideWatch { scheduler } => told(format!(
            "The watch of scheduler-{scheduler} falls behind, and what it misses is compacted"
        )),
        Deed::SlowScheduler { .. }
        | Deed::LagWatch { .. }
        | Deed::RestartSchedulers { .. }
        | Deed::DriftClock { .. }
        | Deed::Reconfigure { .. }
        | Deed::ResetConnections { .. }
        | Deed::RepeatWatch { .. } => scheduler_words(deed).map(|text| Words { text, told: true }),
        Deed::SlowAgent { .. }
        | Deed::SwapAddresses { .. }
        | Deed::LoseAgentAnswers { .. }
        | Deed::FullAgent { .. }
        | Deed::ReplayReport { .. }
        | Deed::SkewAgent { .. }
        | Deed::RelabelNode { .. }
        | Deed::SecondAgent { .. }
        | Deed::RestartAgents
        | Deed::LoseNodes { .. }
        | Deed::BreakRuntime { .. }
        | Deed::FailRemovals { .. }
        | Deed::Vanish { .. } => agent_words(deed).map(|text| Words { text, told: true }),
        Deed::Split { .. }
        | Deed::Flap { .. }
        | Deed::Clog { .. }
        | Deed::ElectStore
        | Deed::RestartStore
        | Deed::SlowStore { .. }
        | Deed::RevokeLease
        | Deed::FillStore
        | Deed::RestoreStore { .. }
        | Deed::RefuseWrites { .. }
        | Deed::ReadStale { .. } => store_words(deed).map(|text| Words { text, told: true }),
        Deed::EditStore { edit, .. } => told(format!("Somebody else {}", edit_words(*edit))),
        Deed::AskMany { count, within, .. } => {
            told(format!("Clients ask for {count} workloads within {within}"))
        }
        Deed::Ask { .. }
        | Deed::Cordon { .. }
        | Deed::Uncordon { .. }
        | Deed::Drain { .. }
        | Deed::CancelDrain { .. }
        | Deed::Fence { .. }
        | Deed::Purge { .. } => None,
    }
}

fn scheduler_words(deed: &Deed) -> Option<String> {
    Some(match deed {
        Deed::SlowScheduler { scheduler, by } => {
            format!("scheduler-{scheduler} takes {by} for everything")
        }
        Deed::LagWatch { scheduler, by } => {
            format!("The watch of scheduler-{scheduler} tells everything {by} later")
        }
        Deed::RestartSchedulers { every, .. } => {
            format!("All schedulers are restarted, one every {every}")
        }
        Deed::DriftClock { scheduler, ppm } => {
            format!("The clock of scheduler-{scheduler} is off by {ppm} ppm more each moment")
        }
        Deed::Reconfigure {
            scheduler,
            grace,
            calls,
        } => format!(
            "scheduler-{scheduler} is restarted with a grace of {grace} and {calls} calls at once"
        ),
        Deed::ResetConnections { scheduler } => {
            format!("All connections of scheduler-{scheduler} are made anew")
        }
        Deed::RepeatWatch { scheduler, back } => {
            format!("The watch of scheduler-{scheduler} tells {back} revisions again")
        }
        _ => return None,
    })
}

fn agent_words(deed: &Deed) -> Option<String> {
    Some(match deed {
        Deed::SlowAgent { node, by } => format!("The agent of node-{node} answers {by} later"),
        Deed::LoseAgentAnswers { node, count } => {
            format!("The next {count} answers of the agent of node-{node} are lost")
        }
        Deed::FullAgent { node, calls } => {
            format!("The agent of node-{node} refuses {calls} calls, for its queue is full")
        }
        Deed::ReplayReport { node } => {
            format!("What node-{node} reports now is heard again later")
        }
        Deed::SkewAgent { node, ms } => {
            format!("The agent of node-{node} is restarted with a clock {ms} ms ahead")
        }
        Deed::RelabelNode { node, zone } => format!("node-{node} is now in zone {zone}"),
        Deed::SwapAddresses { node, other } => {
            format!("The agents of node-{node} and node-{other} get each other's addresses")
        }
        Deed::SecondAgent { node } => format!("A second machine calls itself node-{node}"),
        Deed::RestartAgents => "All agents are restarted".to_owned(),
        Deed::LoseNodes { nodes } => format!("Machines go off at once: {nodes:?}"),
        Deed::BreakRuntime { node, how } => match how {
            Breakage::DiskFull => format!("The disk of node-{node} is full"),
            Breakage::NoRuntime => format!("The runtime of node-{node} is not there"),
            Breakage::NoRegistry => format!("node-{node} cannot pull images"),
            Breakage::StateUnwritten => format!("The agent of node-{node} cannot write its state"),
            Breakage::StateSlow => format!("The agent of node-{node} writes its state slowly"),
        },
        Deed::FailRemovals { node, count } => {
            format!("The next {count} removals on node-{node} fail")
        }
        Deed::Vanish { node, .. } => format!("A workload on node-{node} vanishes"),
        _ => return None,
    })
}

fn store_words(deed: &Deed) -> Option<String> {
    let names = |group: &[Process]| {
        let names: Vec<_> = group.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    Some(match deed {
        Deed::Split {
            these,
            those,
            one_way,
        } => {
            let (these, those) = (names(these), names(those));
            let hear = if *one_way { "reach" } else { "hear each other" };
            format!("{these} and {those} do not {hear}")
        }
        Deed::Flap { from, to, every } => {
            format!("The link from {from} to {to} is cut and mended every {every}")
        }
        Deed::Clog { process } => format!("What {process} says and is told is held back"),
        Deed::ElectStore => "The store has no leader".to_owned(),
        Deed::RestartStore => "The store is down".to_owned(),
        Deed::SlowStore { by } => format!("The store answers {by} later"),
        Deed::RevokeLease => "Somebody revokes the leader's lease".to_owned(),
        Deed::FillStore => "The store has no space".to_owned(),
        Deed::RestoreStore { age } => {
            format!("The store is restored from a backup that is at least {age} old")
        }
        Deed::RefuseWrites { count } => {
            format!("The store refuses the next {count} transactions as too large")
        }
        Deed::ReadStale { count, back } => {
            format!("The next {count} looks at who leads are {back} revisions old")
        }
        _ => return None,
    })
}

const fn edit_words(edit: Edit) -> &'static str {
    match edit {
        Edit::FlipDesired => "turns the desired state of a workload round",
        Edit::RemoveWorkload => "removes the record of a workload",
        Edit::RemoveAssignment => "removes the home of a workload",
        Edit::RemoveIntent => "removes the intent of a workload",
        Edit::RemoveRetry => "removes the retry record of a workload",
        Edit::Corrupt => "makes the record of a workload unreadable",
        Edit::CorruptAssignment => "makes the home of a workload unreadable",
        Edit::CorruptIntent => "makes the intent of a workload unreadable",
        Edit::CorruptRetry => "makes the retry record of a workload unreadable",
        Edit::RemoveTombstone => "removes a tombstone",
        Edit::CorruptTombstone => "makes a tombstone unreadable",
        Edit::RemoveNode => "removes the record of a node",
        Edit::CorruptNode => "makes the record of a node unreadable",
        Edit::ForeignKey => "writes a key of its own",
        Edit::AddFields => "adds fields of a later version to a workload's records",
        Edit::PutBackAssignment => "puts the home of a workload back to what it was",
        Edit::PutBackRetry => "puts the retry record of a workload back to what it was",
        Edit::PutBackNode => "puts the record of a node back to what it was",
        Edit::AddFieldToNode => "adds a field of a later version to a node's record",
    }
}
