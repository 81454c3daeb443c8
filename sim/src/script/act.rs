//! What is done to a world.

use berth_core::WorkloadId;
use serde::{Deserialize, Serialize};

use crate::process::Process;

use super::ask::{Ask, Wish};
use super::span::Span;

/// Something that is done at an instant, and perhaps ends at another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When, from the beginning.
    pub at: Span,
    /// How long it lasts, if it is something that lasts: until everything heals, if nothing is
    /// said.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub lasting: Option<Lasting>,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// How long something lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Lasting {
    /// So long.
    For(Span),
    /// To the end of the run: healing does not mend it.
    Ever,
}

impl From<Lasting> for String {
    fn from(lasting: Lasting) -> Self {
        match lasting {
            Lasting::For(span) => span.to_string(),
            Lasting::Ever => "ever".to_owned(),
        }
    }
}

impl TryFrom<String> for Lasting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "ever" {
            return Ok(Self::Ever);
        }
        text.parse()
            .map(Self::For)
            .map_err(|e| format!("{e}; `ever` is possible too"))
    }
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Deed {
    /// A scheduler's process dies; it starts again at the end.
    CrashScheduler {
        /// Which.
        scheduler: usize,
    },
    /// A scheduler's process stands still until the end.
    PauseScheduler {
        /// Which.
        scheduler: usize,
    },
    /// An agent's process dies; what runs on its node goes on. It starts again at the end.
    CrashAgent {
        /// Which.
        node: usize,
    },
    /// A node's machine goes off, and with it what runs; it comes back at the end.
    RebootNode {
        /// Which.
        node: usize,
    },
    /// A node's machine is replaced by an empty one of the same name, at the end.
    ReplaceNode {
        /// Which.
        node: usize,
    },
    /// A node's machine comes back with other parts.
    ResizeNode {
        /// Which.
        node: usize,
        /// Of what it has now.
        percent: u64,
    },
    /// An agent takes messages and does nothing, until the end.
    HangAgent {
        /// Which.
        node: usize,
    },
    /// An agent's next answers are wrong.
    Lie {
        /// Which.
        node: usize,
        /// How many.
        answers: u32,
    },
    /// A workload's process dies.
    KillWorkload {
        /// On this node.
        node: usize,
        /// The how-manyth of those that run there, counted round.
        which: u64,
    },
    /// A link loses everything, in one direction, until the end.
    Cut {
        /// From here.
        from: Process,
        /// To there.
        to: Process,
    },
    /// The store takes requests and answers them at the end: a stall, a change of its leader.
    StallStore,
    /// The store carries requests out and loses its next answers.
    LoseStoreAnswers {
        /// How many.
        count: u32,
    },
    /// A scheduler's watch falls behind; at the end what it should see next is compacted.
    HideWatch {
        /// Which.
        scheduler: usize,
    },
    /// Somebody else edits the records of a workload.
    EditStore {
        /// How.
        edit: Edit,
        /// The how-manyth of the workloads that the store holds, counted round.
        which: u64,
    },
    /// A client asks for something.
    Ask {
        /// Which client.
        client: usize,
        /// About which workload.
        workload: WorkloadId,
        /// It asks twice.
        #[serde(default, skip_serializing_if = "is_false")]
        twice: bool,
        /// It says which version it means: the one that it was told last.
        #[serde(default, skip_serializing_if = "is_false")]
        if_match: bool,
        /// It asks first what would come of it, and then for it.
        #[serde(default, skip_serializing_if = "is_false")]
        dry_run: bool,
        /// For what.
        ask: Ask,
        /// How it should be: for `ask: apply`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wish: Option<Wish>,
    },
    /// The operator takes a node out of service for new work.
    Cordon {
        /// Which.
        node: usize,
    },
    /// The operator puts it back.
    Uncordon {
        /// Which.
        node: usize,
    },
    /// The operator drains a node.
    Drain {
        /// Which.
        node: usize,
        /// For so long what has no other place stays.
        deadline: Span,
        /// So many move at once.
        parallelism: u32,
    },
    /// The operator ends a drain.
    CancelDrain {
        /// Which.
        node: usize,
    },
    /// The operator declares a node dead, if its machine is off.
    Fence {
        /// Which.
        node: usize,
    },
    /// The operator removes a node for good, if its machine is off.
    Purge {
        /// Which.
        node: usize,
    },
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(what: &bool) -> bool {
    !*what
}

/// An edit of the store by somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// The desired state is turned round.
    FlipDesired,
    /// The workload's record goes.
    RemoveWorkload,
    /// Its assignment goes.
    RemoveAssignment,
    /// Its intent goes.
    RemoveIntent,
    /// Its retry record goes.
    RemoveRetry,
    /// Its record cannot be read any more.
    Corrupt,
}

impl Edit {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::FlipDesired,
        Self::RemoveWorkload,
        Self::RemoveAssignment,
        Self::RemoveIntent,
        Self::RemoveRetry,
        Self::Corrupt,
    ];
}

impl std::fmt::Display for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
