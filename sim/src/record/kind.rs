//! What an item can be.

use serde::Serialize;

/// Among which others a lane stands; in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// What breaks, and what situations were reached.
    Faults,
    /// The store.
    Store,
    /// The schedulers.
    Schedulers,
    /// Links that were cut.
    Network,
    /// The nodes.
    Nodes,
    /// The workloads.
    Workloads,
    /// Clients and the operator.
    Clients,
}

/// What the page needs to know of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KindInfo {
    /// Its name.
    pub name: &'static str,
    /// In which row of its lane it stands, from the top.
    pub track: u8,
    /// What it means, for people.
    pub about: &'static str,
}

macro_rules! kinds {
    ($($kind:ident = ($name:literal, $track:literal, $weight:literal, $about:literal),)+) => {
        /// What an item is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "their texts say what they are")]
        pub enum Kind {
            $($kind,)+
        }

        impl Kind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// What the page needs to know of it.
            #[must_use]
            pub const fn info(self) -> KindInfo {
                match self {
                    $(Self::$kind => KindInfo { name: $name, track: $track, about: $about },)+
                }
            }

            /// How important it is: what is less important goes first when there is too much.
            #[must_use]
            pub const fn weight(self) -> u8 {
                match self {
                    $(Self::$kind => $weight,)+
                }
            }
        }
    };
}

/// What is as important as this is never left out.
pub(super) const KEPT_ALWAYS: u8 = 9;

// Name, row in its lane, weight, what it means.
kinds! {
    Fault = ("fault", 0, 9, "something is broken on purpose"),
    Situation = ("situation", 0, 2, "a situation that should be seen sometimes"),
    MessageFate = ("message_fate", 0, 0, "a message lost, doubled or overtaken"),

    StoreStalled = ("store_stalled", 0, 9, "the store answers nobody"),
    StoreMark = ("store_mark", 0, 6, "an answer lost, history compacted, a lease expired"),
    Commit = ("commit", 0, 5, "a scheduler's transaction took effect"),
    CommitRoutine = ("commit_routine", 0, 1, "a coarse heartbeat or an old event's removal"),
    CommitElection = ("commit_election", 0, 7, "the leadership key came or went"),
    CommitStranger = ("commit_stranger", 0, 9, "somebody else wrote"),

    ProcessDown = ("process_down", 0, 9, "the process is dead"),
    ProcessPaused = ("process_paused", 0, 9, "the process stands still"),
    Campaigning = ("campaigning", 1, 7, "asks for the lease and the leadership key"),
    Loading = ("loading", 1, 8, "has the key and reads the store"),
    Leading = ("leading", 1, 9, "leads"),

    Cut = ("cut", 0, 9, "messages in this direction are lost"),
    WatchHidden = ("watch_hidden", 0, 9, "the watch tells nothing"),

    MachineOff = ("machine_off", 0, 9, "the machine is off: nothing runs"),
    MachineDead = ("machine_dead", 0, 9, "the machine never comes back"),
    AgentDown = ("agent_down", 0, 9, "the agent is dead; workloads go on"),
    AgentHung = ("agent_hung", 0, 9, "the agent takes messages and does nothing"),
    NodeReady = ("node_ready", 1, 9, "the store says Ready"),
    NodeCordoned = ("node_cordoned", 1, 9, "the store says Ready, without new placements"),
    NodeDraining = ("node_draining", 1, 9, "the store says Draining"),
    NodeNotReady = ("node_not_ready", 1, 9, "the store says NotReady"),
    NodeEvent = ("node_event", 2, 6, "an event about the node"),
    CallList = ("call_list", 2, 1, "the agent is asked what runs"),

    Pending = ("pending", 0, 9, "accepted, not running yet"),
    Running = ("running", 0, 9, "confirmed running"),
    Stopped = ("stopped", 0, 9, "confirmed stopped"),
    Failed = ("failed", 0, 9, "failed; no further try is due"),
    Unknown = ("unknown", 0, 9, "nothing recent is known"),
    Deleting = ("deleting", 0, 9, "a client wants it gone"),
    Home = ("home", 1, 8, "the node that it is assigned to"),
    Tombstone = ("tombstone", 3, 8, "a copy there must be confirmed gone"),
    Truth = ("truth", 2, 4, "a copy runs there in truth"),
    WorkloadEvent = ("workload_event", 4, 4, "an event about the workload"),
    CallApply = ("call_apply", 4, 5, "the agent is asked to run it"),
    CallDelete = ("call_delete", 4, 5, "the agent is asked to delete it"),
    CallStatus = ("call_status", 4, 1, "the agent is asked how it is"),

    Request = ("request", 0, 3, "a request, from asking to the answer"),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_list_and_names_are_told_apart() {
        let mut names = std::collections::BTreeSet::new();
        for (at, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
            assert!(names.insert(kind.info().name), "{kind:?}");
            assert!(kind.weight() <= KEPT_ALWAYS, "{kind:?}");
        }
    }
}
