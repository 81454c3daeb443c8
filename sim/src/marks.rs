//! What a run can reach: faults, transitions, and situations that should be seen sometimes. The
//! list is closed, so that what no seed reaches can be told: a hole in the simulator.

use std::fmt;

use berth_core::EventType;

macro_rules! marks {
    ($($variant:ident => $text:literal,)+) => {
        /// Something that a run reached.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "their texts say what they are")]
        pub enum Mark {
            $($variant,)+
        }

        impl Mark {
            /// All marks, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What it is, in words; the first word is its kind: fault, event or seen.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

marks! {
    SchedulerCrash => "fault scheduler crash",
    SchedulerPause => "fault scheduler pause",
    SchedulerClock => "fault scheduler clock skewed",
    ClockDrift => "fault scheduler clock drifts",
    ClockBack => "fault scheduler started anew with an earlier clock",
    SchedulerSlow => "fault scheduler slow",
    RollingRestart => "fault schedulers restarted one after another",
    ConnectionsReset => "fault connections of a scheduler reset",
    AgentCrash => "fault agent crash",
    AgentHang => "fault agent hang",
    AgentSlow => "fault agent answers late",
    AgentAnswerLost => "fault agent's answer lost",
    AgentFull => "fault agent's queue full",
    AgentClock => "fault agent clock off",
    AgentLabels => "fault agent registers with other labels",
    ReportReplayed => "fault old report heard again",
    MassRegistration => "fault all agents restarted at once",
    NodesLostAtOnce => "fault several nodes lost at once",
    DiskFull => "fault node's disk full",
    StateUnwritten => "fault agent cannot write its state",
    StateSlow => "fault agent writes its state slowly",
    EpochAwaited => "seen agent's answer waited for its epoch to be written",
    NoRuntime => "fault node's runtime not there",
    NoRegistry => "fault images cannot be pulled",
    RemovalsFail => "fault runtime fails to remove",
    WorkloadVanished => "fault workload vanished",
    Reconfigured => "fault scheduler restarted with another configuration",
    AgentTwice => "fault second agent process with the same node id",
    AgentCapacity => "fault agent registers with other capacity",
    AgentLies => "fault agent answers wrongly",
    AgentSpeaksForOthers => "fault agent tells of what is not its own",
    NodeReboot => "fault node reboot",
    NodeReplaced => "fault node replaced",
    NodeDeadForGood => "fault node dead for good",
    SchedulerDeadForGood => "fault scheduler dead for good",
    SchedulerPausedForGood => "fault scheduler stands still for good",
    SchedulerCutForGood => "fault scheduler cut off from the store for good",
    LostInTheCalm => "fault lost for good while everything else works",
    NodeCutForGood => "fault node cut off for good",
    Partition => "fault partition",
    GroupPartition => "fault group of processes cut off",
    ControlPartition => "fault agent cut off from a scheduler that reaches it",
    ClientPartition => "fault client cut off",
    Flapping => "fault link flaps",
    HalfOpen => "fault message lost on a half-open link",
    Clogged => "fault messages held back and released at once",
    MessageLost => "fault message lost",
    MessageClogged => "fault message held back by a cut, and released",
    MessageDoubled => "fault message doubled",
    MessageOvertaken => "fault message overtaken by a later one",
    StoreStall => "fault store stall",
    StoreAnswersLost => "fault store answers lost",
    StoreElection => "fault store elects a leader",
    StoreRestart => "fault store restart",
    StoreSlow => "fault store slow",
    StoreFull => "fault store out of space",
    StoreRestored => "fault store restored from an older snapshot",
    Follows => "a scheduler follows another one",
    TookOver => "a scheduler leads over the image that it followed",
    ImageDiffers => "a scheduler's followed image is not what the store holds",
    StoreNotBelieved => "a scheduler noticed that the store was restored",
    StoreClosed => "a scheduler was told that the store was restored",
    StoreRefuses => "fault store refuses a transaction as too large",
    StoreStale => "fault store read answered by a member that is behind",
    LeaseRevoked => "fault leader's lease revoked",
    WatchLags => "fault watch lags behind the answers",
    WatchParted => "fault watch tells a change in parts",
    AddressesSwapped => "fault two nodes come up with each other's address",
    AnotherNode => "seen call that was meant for another node refused",
    WatchRepeated => "fault watch tells again what it told",
    StoreCompacted => "fault store compacted",
    RecordChanged => "fault record changed by somebody else",
    RecordPutBack => "fault record put back to an earlier one by somebody else",
    RecordDeleted => "fault record deleted by somebody else",
    RecordCorrupted => "fault record corrupted by somebody else",
    NodeRecordEdited => "fault node's record removed or corrupted by somebody else",
    TombstoneEdited => "fault tombstone removed or corrupted by somebody else",
    ForeignKey => "fault key of somebody else beside the scheduler's",
    FieldsAdded => "fault fields of a later version added to a record",
    WorkloadKilled => "fault workload killed",
    OperatorCordon => "operator cordon",
    OperatorUncordon => "operator uncordon",
    OperatorDrain => "operator drain",
    OperatorCancelDrain => "operator cancels drain",
    OperatorFence => "operator fence",
    OperatorPurge => "operator purge",
    EventWorkloadCreated => "event WorkloadCreated",
    EventWorkloadUpdated => "event WorkloadUpdated",
    EventWorkloadScheduled => "event WorkloadScheduled",
    EventWorkloadUnschedulable => "event WorkloadUnschedulable",
    EventWorkloadRunning => "event WorkloadRunning",
    EventWorkloadStopped => "event WorkloadStopped",
    EventWorkloadFailed => "event WorkloadFailed",
    EventWorkloadDeleting => "event WorkloadDeleting",
    EventWorkloadDeleted => "event WorkloadDeleted",
    EventRetryTriggered => "event RetryTriggered",
    EventRetriesExhausted => "event RetriesExhausted",
    EventRescheduled => "event Rescheduled",
    EventDriftDetected => "event DriftDetected",
    EventNodeRegistered => "event NodeRegistered",
    EventNodeReady => "event NodeReady",
    EventNodeLost => "event NodeLost",
    EventNodeCordoned => "event NodeCordoned",
    EventNodeUncordoned => "event NodeUncordoned",
    EventNodeDraining => "event NodeDraining",
    EventNodeDrained => "event NodeDrained",
    EventNodeFenced => "event NodeFenced",
    EventNodePurged => "event NodePurged",
    EventEvictionPaused => "event EvictionPaused",
    EventEvictionResumed => "event EvictionResumed",
    EventRecordQuarantined => "event RecordQuarantined",
    EventRecordAdopted => "event RecordAdopted",
    EventAutomationDecided => "event AutomationDecided",
    ClientAnswered => "seen client answered",
    ClientRefused => "seen client refused",
    ClientToldToTryAgain => "seen client told to try again",
    ClientStale => "seen stale If-Match refused",
    ClientDoubled => "seen request asked twice",
    ClientHungUp => "seen client gone before its answer",
    ClientMalformed => "seen malformed request refused",
    ClientRecreated => "seen delete then create",
    DryRunCompared => "seen dry run and then the same in earnest",
    StaleReadSeen => "seen read that may be old",
    LeaderElected => "seen leader elected",
    LeaderStoppedInTime => "seen leader stopped before its lease ran out",
    LeaseExpired => "seen lease expired",
    WokeUpDeposed => "seen paused leader woke up deposed",
    CommitUnknown => "seen commit unknown",
    CommitUnknownDone => "seen commit unknown and committed",
    CommitUnknownNotDone => "seen commit unknown and not committed",
    CommitWandered => "fault transaction carried out after later ones, or by far",
    CommitLate => "seen commit carried out late",
    CommitConflict => "seen commit conflict",
    CommitFenced => "seen commit fenced",
    WatchCompacted => "seen watch cancelled by compaction",
    StoreAnswerLost => "seen store answer lost after it was applied",
    CallTimedOut => "seen agent call timed out",
    CallStale => "seen agent refused a stale epoch",
    LateAnswer => "seen answer after its deadline",
    ReturnedRunning => "seen node returned still running what moved away",
    BackWhileStartingElsewhere => "seen lost node back while its workload was starting elsewhere",
    LostWhileStarting => "seen node lost while a workload started there",
    MovedBack => "seen workload moved back to where its copy was",
    DeletedWhileStarting => "seen delete while starting",
    UpdatedWhileStarting => "seen update while starting",
    Tombstone => "seen tombstone",
    Retention => "seen old events removed",
    RescuedByPass => "seen placement rescued by the periodic pass",
    DrainDone => "seen drain completed",
    ProbeRan => "seen workload of the calm running in time",
    DrainedInTime => "seen drain of the calm complete in time",
    MovedInTime => "seen workloads of a node that is lost for good moved in time",
}

impl Mark {
    /// The mark of a committed event.
    #[must_use]
    pub const fn of_event(event: EventType) -> Self {
        use EventType as E;
        match event {
            E::WorkloadCreated => Self::EventWorkloadCreated,
            E::WorkloadUpdated => Self::EventWorkloadUpdated,
            E::WorkloadScheduled => Self::EventWorkloadScheduled,
            E::WorkloadUnschedulable => Self::EventWorkloadUnschedulable,
            E::WorkloadRunning => Self::EventWorkloadRunning,
            E::WorkloadStopped => Self::EventWorkloadStopped,
            E::WorkloadFailed => Self::EventWorkloadFailed,
            E::WorkloadDeleting => Self::EventWorkloadDeleting,
            E::WorkloadDeleted => Self::EventWorkloadDeleted,
            E::RetryTriggered => Self::EventRetryTriggered,
            E::RetriesExhausted => Self::EventRetriesExhausted,
            E::Rescheduled => Self::EventRescheduled,
            E::DriftDetected => Self::EventDriftDetected,
            E::NodeRegistered => Self::EventNodeRegistered,
            E::NodeReady => Self::EventNodeReady,
            E::NodeLost => Self::EventNodeLost,
            E::NodeCordoned => Self::EventNodeCordoned,
            E::NodeUncordoned => Self::EventNodeUncordoned,
            E::NodeDraining => Self::EventNodeDraining,
            E::NodeDrained => Self::EventNodeDrained,
            E::NodeFenced => Self::EventNodeFenced,
            E::NodePurged => Self::EventNodePurged,
            E::EvictionPaused => Self::EventEvictionPaused,
            E::EvictionResumed => Self::EventEvictionResumed,
            E::RecordQuarantined => Self::EventRecordQuarantined,
            E::RecordAdopted => Self::EventRecordAdopted,
            E::AutomationDecided => Self::EventAutomationDecided,
        }
    }
}

impl Mark {
    /// Why nothing can reach it yet, if nothing can: not a hole in the simulator, but something
    /// that does not exist. Whoever builds it removes the line here.
    #[must_use]
    pub const fn out_of_reach(self) -> Option<&'static str> {
        match self {
            Self::StoreClosed => {
                Some("only by a scheduler that was away, and then it may be too late (FAULTS.md)")
            }
            Self::EventAutomationDecided => Some("there are no automation rules yet"),
            Self::RescuedByPass => {
                Some("only while a watch is held back; otherwise it is a violation of L2")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often each mark was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage([u64; Mark::ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Coverage {
    /// Counts a mark.
    pub fn reach(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// How often a mark was reached.
    #[must_use]
    pub const fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Adds one for each mark that another run reached, however often.
    pub fn add_once(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += u64::from(count > 0);
        }
    }

    /// All marks with their counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> + '_ {
        Mark::ALL.iter().map(|mark| (*mark, self.count(*mark)))
    }

    /// The marks that were not reached although they can be.
    pub fn holes(&self) -> impl Iterator<Item = Mark> + '_ {
        self.missed().filter(|mark| mark.out_of_reach().is_none())
    }

    /// The marks that nothing can reach yet, and why.
    pub fn out_of_reach(&self) -> impl Iterator<Item = (Mark, &'static str)> + '_ {
        self.missed()
            .filter_map(|mark| Some((mark, mark.out_of_reach()?)))
    }

    fn missed(&self) -> impl Iterator<Item = Mark> + '_ {
        self.iter()
            .filter(|(_, count)| *count == 0)
            .map(|(mark, _)| mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_reached_is_a_hole() {
        let (mut all, mut one) = (Coverage::default(), Coverage::default());
        one.reach(Mark::Partition);
        all.add(&one);
        all.add(&one);
        assert_eq!(all.count(Mark::Partition), 2);
        let mut runs = Coverage::default();
        runs.add_once(&all);
        runs.add_once(&Coverage::default());
        assert_eq!(runs.count(Mark::Partition), 1, "one of two runs reached it");
        let excused = all.out_of_reach().count();
        assert_eq!(all.holes().count() + excused, Mark::ALL.len() - 1);
        assert!(all.holes().all(|mark| mark.out_of_reach().is_none()));
        let mut names: Vec<_> = Mark::ALL.iter().map(|mark| mark.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Mark::ALL.len(), "two marks have one name");
    }
}
