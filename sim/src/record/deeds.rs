//! What a script does to a world, in plain words.

use crate::script::{Deed, Edit};

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
        Deed::ResizeNode { node, percent } => told(format!(
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
        Deed::EditStore { edit, .. } => told(format!("Somebody else {}", edit_words(*edit))),
        Deed::Ask { .. }
        | Deed::Cordon { .. }
        | Deed::Uncordon { .. }
        | Deed::Drain { .. }
        | Deed::CancelDrain { .. }
        | Deed::Fence { .. }
        | Deed::Purge { .. } => None,
    }
}

const fn edit_words(edit: Edit) -> &'static str {
    match edit {
        Edit::FlipDesired => "turns the desired state of a workload round",
        Edit::RemoveWorkload => "removes the record of a workload",
        Edit::RemoveAssignment => "removes the home of a workload",
        Edit::RemoveIntent => "removes the intent of a workload",
        Edit::RemoveRetry => "removes the retry record of a workload",
        Edit::Corrupt => "makes the record of a workload unreadable",
    }
}
