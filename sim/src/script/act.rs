//! What is done to a world.

use berth_core::WorkloadId;
use serde::{Deserialize, Serialize};

use crate::process::Process;

use super::ask::{Ask, Wish};
use super::span::Span;

/// Something that is done at an instant, and perhaps ends at another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Act {
    /// When, from the beginning.
    pub at: Span,
    /// How long it lasts, if it is something that lasts: until everything heals, if nothing is
    /// said.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<Lasting>,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

impl Act {
    /// A client asks for something, plainly.
    #[must_use]
    pub const fn ask(
        at: Span,
        client: usize,
        workload: WorkloadId,
        ask: Ask,
        wish: Option<Wish>,
    ) -> Self {
        Self {
            at,
            lasting: None,
            deed: Deed::Ask {
                client,
                workload,
                twice: false,
                hangs_up: false,
                if_match: false,
                dry_run: false,
                ask,
                wish,
            },
        }
    }

    /// Something is lost for good, and the rest must cope without: it may happen in the calm too.
    #[must_use]
    pub fn is_a_loss(&self) -> bool {
        self.lasting == Some(Lasting::Ever) && self.deed.may_last_for_ever()
    }
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
        /// The machine stays on, and what it runs goes on: only its agent is started anew.
        #[serde(default, skip_serializing_if = "is_false")]
        alive: bool,
        /// Which.
        node: usize,
        /// Of what it has now.
        percent: u64,
    },
    /// Two agents are down; at the end they come up with each other's addresses. What runs goes on.
    SwapAddresses {
        /// One.
        node: usize,
        /// The other.
        other: usize,
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
    /// An agent answers late: still in time, or after the caller gave up.
    SlowAgent {
        /// Which.
        node: usize,
        /// So much later.
        by: Span,
    },
    /// An agent does what it is told, and its next answers are lost.
    LoseAgentAnswers {
        /// Which.
        node: usize,
        /// How many.
        count: u32,
    },
    /// An agent's queue is full: it refuses the next calls that would change something.
    FullAgent {
        /// Which.
        node: usize,
        /// How many.
        calls: u32,
    },
    /// What an agent reports at the beginning is heard again at the end, when it is old.
    ReplayReport {
        /// Which.
        node: usize,
    },
    /// An agent is restarted with a clock that is wrong, and with a right one at the end. As with
    /// schedulers, a clock does not jump while a process lives.
    SkewAgent {
        /// Which.
        node: usize,
        /// Ahead by so many milliseconds; behind if negative.
        ms: i64,
    },
    /// An agent is restarted in another zone, and in its own again at the end.
    RelabelNode {
        /// Which.
        node: usize,
        /// Its label `zone`.
        zone: String,
    },
    /// A second machine uses a node's id. At the end it goes off, and the first is wiped, as an
    /// operator would who cannot tell what either of them runs.
    SecondAgent {
        /// Whose id.
        node: usize,
    },
    /// All agents are restarted at once.
    RestartAgents,
    /// Machines go off at once, and what runs on them; they come back together at the end.
    LoseNodes {
        /// Which.
        nodes: Vec<usize>,
    },
    /// A node's runtime cannot start anything, until the end.
    BreakRuntime {
        /// Which.
        node: usize,
        /// How.
        how: Breakage,
    },
    /// A node's runtime fails to remove what it is told to.
    FailRemovals {
        /// Which.
        node: usize,
        /// So many times.
        count: u32,
    },
    /// What runs of a workload is gone, and did not end.
    Vanish {
        /// On this node.
        node: usize,
        /// The how-manyth of those that run there, counted round.
        which: u64,
    },
    /// A workload's process dies.
    KillWorkload {
        /// On this node.
        node: usize,
        /// The how-manyth of those that run there, counted round.
        which: u64,
    },
    /// A scheduler takes its time for everything, until the end.
    SlowScheduler {
        /// Which.
        scheduler: usize,
        /// For each message, and for each timer.
        by: Span,
    },
    /// All schedulers are restarted, one after another.
    RestartSchedulers {
        /// Each is down for so long.
        down: Span,
        /// The next follows so long after.
        every: Span,
    },
    /// A scheduler's clock runs at another rate until the end. This is all that can happen to a
    /// clock while a process lives: the driver reads the wall clock once, at the start, and
    /// counts on with the monotonic one, so that a jump is seen by the next life alone (each life
    /// of a simulated scheduler has its own error: `world.clocks`).
    DriftClock {
        /// Which.
        scheduler: usize,
        /// Faster by so many millionths; slower if negative.
        ppm: i64,
    },
    /// A scheduler is restarted with another configuration, which it keeps.
    Reconfigure {
        /// Which.
        scheduler: usize,
        /// How long a node may be lost before its workloads move.
        grace: Span,
        /// How many calls to agents it makes at once.
        calls: u32,
    },
    /// All connections of a scheduler are made anew, as after its certificate was replaced: calls
    /// that were under way end without an answer.
    ResetConnections {
        /// Which.
        scheduler: usize,
    },
    /// A link loses everything, in one direction, until the end.
    Cut {
        /// From here.
        from: Process,
        /// To there.
        to: Process,
    },
    /// Two groups of processes do not hear each other until the end: a zone that is cut off.
    Split {
        /// These.
        these: Vec<Process>,
        /// Do not reach those.
        those: Vec<Process>,
        /// But hear them.
        #[serde(default, skip_serializing_if = "is_false")]
        one_way: bool,
    },
    /// A link loses everything, in one direction, and works again, by turns until the end.
    Flap {
        /// From here.
        from: Process,
        /// To there.
        to: Process,
        /// For so long each time.
        every: Span,
    },
    /// What a process says and is told is held back; at the end it comes all at once.
    Clog {
        /// Whose.
        process: Process,
    },
    /// The store takes requests and answers them at the end: a stall, a change of its leader.
    StallStore,
    /// The store carries requests out and loses its next answers.
    LoseStoreAnswers {
        /// How many.
        count: u32,
    },
    /// The store has no leader until the end: requests are lost, also some that were carried out,
    /// watches are made anew, and all leases begin again.
    ElectStore,
    /// The store is down until the end, and every connection to it is lost.
    RestartStore,
    /// The store takes its time for every answer, until the end.
    SlowStore {
        /// So much.
        by: Span,
    },
    /// Somebody revokes the leader's lease.
    RevokeLease,
    /// A scheduler's watch is made anew, and tells again what it told before.
    RepeatWatch {
        /// Which.
        scheduler: usize,
        /// So many revisions of it.
        back: u64,
    },
    /// The store has no space until the end: it is read, and not written.
    FillStore,
    /// The store is restored from a backup; at the end the right one is back.
    RestoreStore {
        /// The backup is at least so old.
        age: Span,
    },
    /// The store will not have the schedulers' next transactions: they are too large for it.
    RefuseWrites {
        /// How many.
        count: u32,
    },
    /// The next reads of who leads are answered by a member that is behind.
    ReadStale {
        /// How many.
        count: u32,
        /// So many revisions.
        back: u64,
    },
    /// A scheduler's watch falls behind; at the end what it should see next is compacted.
    HideWatch {
        /// Which.
        scheduler: usize,
    },
    /// A scheduler's watch tells everything so much later, until the end.
    LagWatch {
        /// Which.
        scheduler: usize,
        /// So much.
        by: Span,
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
        /// It does not wait for an answer.
        #[serde(default, skip_serializing_if = "is_false")]
        hangs_up: bool,
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
    /// Clients, one after another, ask for many workloads: `w-0`, `w-1` and so on.
    AskMany {
        /// What their names begin with.
        workloads: WorkloadId,
        /// How many.
        count: u32,
        /// All within this time, at equal distances.
        within: Span,
        /// How each should be.
        wish: Wish,
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

/// What is wrong with a node's runtime, or with the disk of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breakage {
    /// No file system has room.
    DiskFull,
    /// The runtime is not there.
    NoRuntime,
    /// Images cannot be pulled.
    NoRegistry,
    /// The agent cannot write its state.
    StateUnwritten,
    /// The agent's writes take long.
    StateSlow,
}

impl Breakage {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DiskFull,
        Self::NoRuntime,
        Self::NoRegistry,
        Self::StateUnwritten,
        Self::StateSlow,
    ];
}

macro_rules! edits {
    ($($(#[$doc:meta])* $edit:ident,)+) => {
        /// An edit of the store by somebody else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Edit {
            $($(#[$doc])* $edit,)+
        }

        impl Edit {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$edit,)+];
        }
    };
}

edits! {
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
    /// Its assignment cannot be read any more.
    CorruptAssignment,
    /// Its intent cannot be read any more.
    CorruptIntent,
    /// Its retry record cannot be read any more.
    CorruptRetry,
    /// A tombstone goes: the how-manyth.
    RemoveTombstone,
    /// A tombstone cannot be read any more.
    CorruptTombstone,
    /// The record of a node goes: the how-manyth.
    RemoveNode,
    /// The record of a node cannot be read any more.
    CorruptNode,
    /// A key that is nobody's appears beside the scheduler's own.
    ForeignKey,
    /// A later version of the scheduler adds fields to the workload's records.
    AddFields,
    /// A later version adds a field to the record of a node.
    AddFieldToNode,
    /// Its assignment is what it was some revisions ago.
    PutBackAssignment,
    /// Its retry record is what it was some revisions ago.
    PutBackRetry,
    /// The record of a node is what it was some revisions ago.
    PutBackNode,
}

impl Deed {
    /// The requests of [`AskMany`](Self::AskMany), each with how long after its beginning it is made.
    pub(crate) fn each_ask(&self, clients: usize) -> Vec<(Span, Self)> {
        let Self::AskMany {
            workloads,
            count,
            within,
            wish,
        } = self
        else {
            return Vec::new();
        };
        let ask = |n: u32| {
            let workload = format!("{workloads}-{n}").parse().ok()?;
            let after = within.as_millis() * u64::from(n) / u64::from(*count);
            let client = n as usize % clients;
            let wish = Some(wish.clone());
            let ask = Act::ask(Span::millis(after), client, workload, Ask::Apply, wish);
            Some((ask.at, ask.deed))
        };
        (0..*count).filter_map(ask).collect()
    }
}

impl std::fmt::Display for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
