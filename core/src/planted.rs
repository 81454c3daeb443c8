//! Bugs on purpose: each a small wrong decision that the simulator must find.
//!
//! Only builds with the feature `planted` can have them, and only while a [`Planting`] is held on
//! the same thread. In every other build [`planted`] is the constant `false`, and what it guards
//! is not compiled into the program.

use std::fmt;

/// Whether this build can have bugs planted at all.
pub const AVAILABLE: bool = cfg!(feature = "planted");

macro_rules! bugs {
    ($($bug:ident $id:literal $rule:literal $wrong:literal)+) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "their texts say what they are")]
        pub enum Bug {
            $($bug,)+
        }

        impl Bug {
            /// All bugs, those of one kind together.
            pub const ALL: &'static [Self] = &[$(Self::$bug,)+];

            /// Its id.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$bug => $id,)+
                }
            }

            /// The id of the rule that should find it first.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self {
                    $(Self::$bug => $rule,)+
                }
            }

            /// What is wrong.
            #[must_use]
            pub const fn wrong(self) -> &'static str {
                match self {
                    $(Self::$bug => $wrong,)+
                }
            }
        }
    };
}

bugs! {
    CallBeforeCommit "call-before-commit" "S1"
        "an agent is called when the intent is decided, not when it is committed"
    StaleCallSent "stale-call-sent" "S1"
        "a call that waited for its turn is not checked again before it leaves"
    TombstoneRevived "tombstone-revived" "S1"
        "the late answer of a commit puts a tombstone back that was worked off meanwhile"
    ReportOfStranger "report-of-stranger" "S14"
        "what another node than its home says of a workload is believed"
    FenceDropped "fence-dropped" "S2"
        "transactions do not compare the leadership key"
    RestoreUnnoticed "restore-unnoticed" "S1"
        "a store whose revision went back is believed"
    RestoreForgotten "restore-forgotten" "S8"
        "a replica that is started anew has forgotten how far it saw the store"
    HoldSaysLess "hold-says-less" "S8"
        "who closes a store to others tells them what it knew when it asked, not all that it knows"
    LeaderUnverified "leader-unverified" "S8"
        "who leads does not hold what the store answers against what it knew"
    ComparesDropped "compares-dropped" "S8"
        "transactions do not compare the records that they decide on"
    AgentObeysOldLeader "agent-obeys-old-leader" "S2"
        "the agent does not refuse calls of an earlier epoch"
    AgentAnswersTooSoon "agent-answers-too-soon" "S2"
        "the agent answers, and acts, before the epoch under which it was asked is on its disk"
    AnswersForAnother "answers-for-another" "S10"
        "the agent carries out calls that are meant for another node"
    AgentForgetsEpoch "agent-forgets-epoch" "S2"
        "the agent forgets the highest epoch when it restarts"
    GrowthUnchecked "growth-unchecked" "S3"
        "a placed workload may ask for more CPU whether its node has it or not"
    ShrinkUnseen "shrink-unseen" "S3"
        "the capacity of a node that is about to shrink counts in full until that is committed"
    OldGhostsKept "old-ghosts-kept" "S5"
        "room that a transaction of unknown fate could take is kept although it is too old to come"
    UnseenReleased "unseen-released" "S5"
        "the room that a transaction of unknown fate may still take is given away"
    UnknownIsFailed "unknown-is-failed" "S5"
        "a commit of unknown fate counts as failed"
    RecordKeepsHome "record-keeps-home" "S4"
        "the canonical record keeps the home that the assignment left"
    RepairSkipped "repair-skipped" "S4"
        "record and assignment that name different nodes are not repaired"
    StrandedRewritten "stranded-rewritten" "S12"
        "what no other node can take is told anew whenever the figures of what is free change"
    GoneWithItsRoom "gone-with-its-room" "S3"
        "the room that an unknown change may take is forgotten with its node's record"
    GhostsLaidByAny "ghosts-laid-by-any" "S3"
        "a change of any of a workload's records counts as the end of what may still be written of it"
    PastBelieved "past-believed" "S1"
        "what a watch tells again of the past is believed"
    LateMoveHalfTold "late-move-half-told" "S13"
        "who learns of a late move by a conflict is not told what the move left behind"
    UnseenMoveForgotten "unseen-move-forgotten" "S16"
        "a drain's move of unknown fate counts as not made"
    ReservationUnrepaired "reservation-unrepaired" "L1"
        "an assignment of another revision than its record stays as it is"
    UnreadableHomeLeft "unreadable-home-left" "S4"
        "an assignment that cannot be read counts as none, and what it stood for is forgotten"
    TieBreak "tie-break" "S5"
        "of nodes that are equally used the last by id is chosen"
    StagedNotCounted "staged-not-counted" "S5"
        "room that a decision in flight takes counts as free"
    TombstoneNotCounted "tombstone-not-counted" "S5"
        "room that a copy still takes until it is gone counts as free"
    DiskNotCounted "disk-not-counted" "S5"
        "disk is not asked for"
    ZoneIgnored "zone-ignored" "S5"
        "labels that a workload demands are not asked for"
    AntiAffinityIgnored "anti-affinity-ignored" "S5"
        "workloads that must stay apart are placed together"
    SpreadIgnored "spread-ignored" "S5"
        "workloads that should be spread are placed by utilization alone"
    CordonIgnored "cordon-ignored" "S5"
        "a cordoned node gets new work"
    AvoidanceIgnored "avoidance-ignored" "S5"
        "a node whose agent said that its runtime is not there is not avoided"
    ChangeInFlightIgnored "change-in-flight-ignored" "S5"
        "a cordon or a drain counts only once it is committed"
    HomeBesideNote "home-beside-note" "S5"
        "a workload is placed on another node than the one that was chosen and written down"
    SecondArtifact "second-artifact" "S6"
        "the agent makes a new artifact while the former one still runs"
    AgentForgetsRecords "agent-forgets-records" "S10"
        "the agent forgets its records when it restarts"
    InfrastructureCounts "infrastructure-counts" "S7"
        "a failure of the infrastructure uses up an attempt"
    OneTryTooMany "one-try-too-many" "S7"
        "the tries are over one failure too late"
    BackoffTooLong "backoff-too-long" "S7"
        "the first wait is already doubled"
    TakesOverTooSoon "takes-over-too-soon" "S3"
        "who followed leads before its watch has told what was written before it won"
    CountUnchecked "count-unchecked" "S1"
        "who followed leads over its image although the store holds another number of records"
    DeleteTakenBack "delete-taken-back" "S1"
        "a delete that waits for its turn leaves although it is not wanted any more"
    RetryLostAtTakeover "retry-lost-at-takeover" "S7"
        "a new leader does not load the retry records"
    RetryLostByMove "retry-lost-by-move" "S7"
        "a move forgets the attempts"
    MoveSkipsBackoff "move-skips-backoff" "S7"
        "a workload that waits for its next try starts at once at a new home"
    BackoffInMemory "backoff-in-memory" "S7"
        "when the next try is due is not persisted"
    StableAtOnce "stable-at-once" "S7"
        "the attempts are forgotten as soon as it runs, not when it has run for long"
    UnknownIsCommitted "unknown-is-committed" "S8"
        "a commit of unknown fate counts as committed"
    AnswerBeforeCommit "answer-before-commit" "S8"
        "a client is answered when its change is decided, not when it is committed"
    CordonUndone "cordon-undone" "S8"
        "a node that registers again is open, although an operator closed it"
    CapacityUnrecorded "capacity-unrecorded" "S8"
        "a node that registers with other capacity is told yes, and nothing is recorded"
    FirstTryDenied "first-try-denied" "S15"
        "a write is refused when its second try is, whatever became of the first"
    CreationForgotten "creation-forgotten" "S11"
        "a creation without a home whose fate is unknown is forgotten at once"
    GenerationForgotten "generation-forgotten" "S7"
        "a client's change does not count the generation up"
    IfMatchIgnored "if-match-ignored" "S15"
        "a change is made whatever version the client asked it for"
    LabelsDropped "labels-dropped" "S9"
        "a change of the desired state drops the labels"
    DryRunWritten "dry-run-written" "S19"
        "a dry run is carried out"
    ForetoldNowhere "foretold-nowhere" "S19"
        "a dry run does not say where it would be placed"
    AgeUnsaid "age-unsaid" "S15"
        "what a replica that does not lead answers is not marked as old"
    DeniedUnseen "denied-unseen" "S15"
        "a replica that does not lead says that what it does not know does not exist"
    GoneWithoutLook "gone-without-look" "S10"
        "that a workload was missing before it was applied proves its deletion"
    AcceptedIsGone "accepted-is-gone" "S10"
        "a copy counts as gone as soon as its deletion is accepted"
    OlderListingBelieved "older-listing-believed" "S10"
        "a listing that began before the deletion was accepted proves it"
    LostMeansGone "lost-means-gone" "S10"
        "the record of a deleted workload goes when its node is lost"
    FailedListingIsEmpty "failed-listing-is-empty" "S10"
        "a listing that failed counts as one that shows nothing"
    SilenceBelieved "silence-believed" "S10"
        "that a heartbeat does not name a workload proves that it is gone"
    TombstoneForgotten "tombstone-forgotten" "S4"
        "a workload leaves its node and nothing says that a copy is there"
    TombstoneIgnored "tombstone-ignored" "S13"
        "a workload is applied elsewhere before its copy is gone"
    FoundCopyIgnored "found-copy-ignored" "S13"
        "a copy that a delayed command brought back keeps no apply elsewhere waiting"
    UnreadableTombstoneIsNone "unreadable-tombstone-is-none" "S13"
        "a tombstone that cannot be read counts as none"
    EventMissing "event-missing" "S11"
        "that a workload runs is written into no event"
    EventTwice "event-twice" "S11"
        "that the tries are over is written twice"
    NodeEventMissing "node-event-missing" "S11"
        "that a node is lost is written into no event"
    EventsByClock "events-by-clock" "S11"
        "the ids of a new leader's events follow its clock, however far behind"
    ScheduledEventMissing "scheduled-event-missing" "S11"
        "that a node was chosen is written into no event"
    CordonEventMissing "cordon-event-missing" "S11"
        "that a node was closed or opened is written into no event"
    StoppedInSilence "stopped-in-silence" "S11"
        "that a drain stops a workload is written into no event"
    StoppedTwice "stopped-twice" "S11"
        "a stopped workload whose node is lost is said to be stopped once more"
    DeletesWithoutPause "deletes-without-pause" "S12"
        "a node is asked for a deletion again as soon as it accepted it"
    HeartbeatsWritten "heartbeats-written" "S12"
        "every heartbeat is written to the store"
    TriesRepeatedAsBefore "tries-repeated-as-before" "L1"
        "what a record repeats of the tries is left as it was when somebody else removes them"
    FailureStays "failure-stays" "L1"
        "what failed before stays in the status of what runs"
    ListsAtOnce "lists-at-once" "S12"
        "a node where nothing is open is listed again at once"
    StatusRewritten "status-rewritten" "S12"
        "the status is written again at each look"
    PendingRewritten "pending-rewritten" "S12"
        "that a workload waits is written at every look at it"
    ParallelismIgnored "parallelism-ignored" "S16"
        "a drain moves everything at once"
    MovesForgotten "moves-forgotten" "S16"
        "a new leader does not count what a drain has on the move"
    RetentionForgotten "retention-forgotten" "S17"
        "old events are never removed"
    IntentLeftBehind "intent-left-behind" "S17"
        "the intent stays in the store when the workload goes"
    NoGrace "no-grace" "S18"
        "a lost node is left at once"
    NoFreshWindow "no-fresh-window" "S18"
        "a new leader counts the silence of nodes from their last stored heartbeat"
    ReturningIsLeft "returning-is-left" "S18"
        "a node is left although the record that it is back is on its way"
    PauseIgnored "pause-ignored" "S18"
        "evictions go on when most nodes are lost at once"
    LeavesByName "leaves-by-name" "S18"
        "what leaves a lost node leaves in the order of its names, not of priority"
    EvictsAtResume "evicts-at-resume" "S18"
        "as soon as enough lost nodes are back, the others are left, although they may be too"
    RateIgnored "rate-ignored" "S18"
        "evictions are not bounded in time"
    HeardIsLeft "heard-is-left" "S18"
        "a node that heartbeats what it runs is left because it cannot be called"
    MovesForNoReason "moves-for-no-reason" "S18"
        "what runs is moved when another node would be better"
    UnreadOrphaned "unread-orphaned" "S18"
        "a new leader takes a copy whose records cannot be read for an orphan"
    UnreachableNotLost "unreachable-not-lost" "S18"
        "nodes that could not be called before they fell silent do not count as lost"
    DrainedTooEarly "drained-too-early" "S20"
        "a drain is complete when nothing is assigned, whatever still runs"
    GravesForgotten "graves-forgotten" "S20"
        "a new leader takes a copy that the events tell of for a stranger"
    DrainedUnseen "drained-unseen" "S20"
        "a drain is complete before anybody has looked at what its node runs"
    PendingInSilence "pending-in-silence" "S21"
        "a workload that becomes pending again says nothing about why"
    PendingWithoutFigures "pending-without-figures" "S21"
        "a pending workload carries no placement note"
    StoppedIsFine "stopped-is-fine" "S14"
        "a workload that should run and is stopped counts as settled"
    RevisionIgnored "revision-ignored" "S14"
        "a workload that runs at a former revision counts as settled"
    OldValueAdopted "old-value-adopted" "S17"
        "a late echo of the watch replaces what is known to be newer"
    WatchIgnored "watch-ignored" "L5"
        "what the watch tells of somebody else's changes is not taken up"
    QuarantineForEver "quarantine-for-ever" "L5"
        "a record that could not be read is left alone after it was repaired"
    DrainNeverEnds "drain-never-ends" "L1"
        "what fits nowhere else stays on a drained node after the drain's deadline"
    UnreachableForEver "unreachable-for-ever" "L1"
        "a node that could not be called stays lost when it answers again"
    FencedStaysUnreachable "fenced-stays-unreachable" "L1"
        "a node that could not be called when it was fenced is not taken back when it registers"
    RoomUnnoticed "room-unnoticed" "L2"
        "nobody is woken when room appears; only the periodic pass places what waits"
    WaitingForgotten "waiting-forgotten" "L2"
        "what could not be placed once is not tried again"
    TombstoneKept "tombstone-kept" "L3"
        "the tombstone of a workload that runs elsewhere already stays when its copy is gone"
    CopyBroughtBack "copy-brought-back" "L3"
        "a copy that a delayed command brings back is left to run"
    NeverLeadsAgain "never-leads-again" "L4"
        "a replica that was deposed does not campaign again"
    EpochReused "epoch-reused" "L4"
        "a replica that leads again uses the epoch of its first time"
    OneForAll "one-for-all" "L5"
        "a heartbeat of one node counts for all nodes"
    LostForEver "lost-for-ever" "L5"
        "a lost node is never given up unless an operator fences it"
    HomelessStays "homeless-stays" "L6"
        "what has no home is not removed when it is deleted"
    DeleteOnce "delete-once" "L6"
        "a deletion that was accepted is never asked for again"
    NoneWhileOneIsLost "none-while-one-is-lost" "L7"
        "while one node is lost nothing is applied at any"
    RandomPause "random-pause" "S22"
        "the wait before a node is listed is drawn from the machine's randomness"
}

impl Bug {
    /// The bug of this id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.id() == id)
    }
}

impl Bug {
    /// The scenario that shows it, where it takes a coincidence that seeds hardly ever draw.
    #[must_use]
    pub const fn scene(self) -> Option<&'static str> {
        match self {
            Self::AgentAnswersTooSoon => Some("heard-and-forgotten"),
            Self::CreationForgotten => Some("late-first-creation"),
            Self::DrainedUnseen => Some("drained-before-a-look"),
            Self::FencedStaysUnreachable => Some("fenced-while-unreachable"),
            Self::FirstTryDenied => Some("refused-second-try"),
            Self::UnseenReleased => Some("room-of-an-unknown-change"),
            Self::UnreadOrphaned => Some("unread-by-the-next-leader"),
            Self::AgentForgetsEpoch => Some("late-call-after-takeover"),
            Self::CopyBroughtBack => Some("late-call-after-purge"),
            Self::CountUnchecked => Some("untold-removal"),
            Self::FoundCopyIgnored => Some("update-beside-a-returned-copy"),
            Self::GhostsLaidByAny => Some("late-move-beside-an-edit"),
            Self::PastBelieved => Some("told-again-of-the-past"),
            Self::LateMoveHalfTold => Some("late-move-learned-by-conflict"),
            Self::GoneWithItsRoom => Some("late-placement-on-a-removed-node"),
            Self::GoneWithoutLook => Some("deleted-where-it-was"),
            Self::GravesForgotten => Some("purged-node-comes-back"),
            Self::HoldSaysLess => Some("restored-under-load"),
            Self::LeaderUnverified => Some("restored-in-silence"),
            Self::OlderListingBelieved => Some("old-listing"),
            Self::ReservationUnrepaired => Some("put-back-from-before"),
            Self::RestoreForgotten => Some("restart-over-a-restored-store"),
            Self::TakesOverTooSoon => Some("reign-between"),
            Self::ShrinkUnseen => Some("grow-while-shrinking"),
            Self::OldGhostsKept => Some("room-of-an-unknown-change"),
            Self::TriesRepeatedAsBefore => Some("removed-tries"),
            Self::UnseenMoveForgotten => Some("wandering-move"),
            Self::UnreadableTombstoneIsNone => Some("unreadable-tombstone"),
            _ => None,
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// Whether a bug is planted on this thread.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// Plants a bug, if this build can.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn plant(_bug: Bug) -> Option<Planting> {
    None
}

/// A bug is planted on this thread while this lives.
#[cfg(not(feature = "planted"))]
#[derive(Debug)]
pub enum Planting {}

#[cfg(feature = "planted")]
pub use available::{Planting, chance_of_the_machine, plant, planted};

#[cfg(feature = "planted")]
mod available {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use super::Bug;

    thread_local! {
        // Each thread of a hunt has a bug of its own; decisions take no argument for it, so that
        // normal builds have none.
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether a bug is planted on this thread.
    #[must_use]
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug on this thread; one that was planted before is back when this one goes.
    #[must_use]
    pub fn plant(bug: Bug) -> Option<Planting> {
        Some(Planting {
            before: PLANTED.replace(Some(bug)),
            here: PhantomData,
        })
    }

    /// A bug is planted on this thread while this lives.
    #[derive(Debug)]
    pub struct Planting {
        before: Option<Bug>,
        /// It stays on its thread.
        here: PhantomData<*const ()>,
    }

    impl Drop for Planting {
        fn drop(&mut self) {
            PLANTED.set(self.before);
        }
    }

    /// A number below `below` that no seed determines: what determinism must notice.
    #[must_use]
    #[allow(clippy::disallowed_types, reason = "the bug is to use it")]
    pub fn chance_of_the_machine(below: u64) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0) % below
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_bug_lasts_as_long_as_its_planting() {
            assert!(!planted(Bug::TieBreak));
            let outer = plant(Bug::TieBreak);
            {
                let _inner = plant(Bug::NoGrace);
                assert!(planted(Bug::NoGrace) && !planted(Bug::TieBreak));
            }
            assert!(planted(Bug::TieBreak));
            drop(outer);
            assert!(!planted(Bug::TieBreak));
        }
    }
}

/// A number that no seed determines, where bugs can be planted; else nothing.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn chance_of_the_machine(_below: u64) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_texts_are_unique() {
        let ids: BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.id()).collect();
        let texts: BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.wrong()).collect();
        assert_eq!((ids.len(), texts.len()), (Bug::ALL.len(), Bug::ALL.len()));
        for bug in Bug::ALL {
            assert_eq!(Bug::from_id(bug.id()), Some(*bug));
            let words = bug.id().split('-');
            assert!(
                words
                    .into_iter()
                    .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
            );
        }
    }

    #[test]
    fn no_bug_is_there_unless_it_is_planted() {
        assert!(Bug::ALL.iter().all(|bug| !planted(*bug)));
        assert_eq!(plant(Bug::TieBreak).is_some(), AVAILABLE);
    }
}
