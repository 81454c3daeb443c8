//! Keys of the gRPC metadata that Berth adds to calls and answers.
//!
//! All are lower case ASCII and carry ASCII values. Peers that do not know them ignore them.

/// On calls to agents: the epoch of the leader that calls, in decimal (S2). The reference agent
/// refuses a call whose epoch is below the highest that it has seen.
pub const EPOCH: &str = "berth-epoch";

/// On calls to agents, optional: the number that the leader of the epoch gave to the call, in
/// decimal; grows. With it the reference agent refuses a call about a workload that a later call
/// has overtaken, for instance an apply that arrives after the delete that followed it.
pub const CALL: &str = "berth-call";

/// On calls to agents, optional: the id of the node that is meant. Addresses change hands; the reference
/// agent refuses a call that is meant for another node.
pub const NODE: &str = "berth-node";

/// On answers of the scheduler: `true` when the answer comes from an image that may lag behind
/// the store (the store is out of reach). Absent otherwise.
pub const STALE: &str = "berth-stale";

/// On answers of the scheduler: the store's revision that the answer holds for, in decimal.
pub const REVISION: &str = "berth-revision";

/// On reads of the scheduler, optional: `strong` when the answer must reflect every write that was
/// acknowledged before the call; it comes from the leader then. `default`, or nothing: any replica
/// answers from its own image, and says how old that is.
pub const CONSISTENCY: &str = "berth-consistency";

/// On reads of the scheduler, optional: the answer must reflect this revision of the store or a
/// later one, in decimal. A client that sends the largest [`REVISION`] that it was answered never
/// sees the past again, whichever replica it asks.
pub const REVISION_MIN: &str = "berth-revision-min";

/// On registration and heartbeats of the reference agent: an id that the node gets with every
/// boot of its machine. Another one means that nothing of before runs any more.
pub const BOOT_ID: &str = "berth-boot-id";

/// On registration and heartbeats of the reference agent: grows with every start of the agent's
/// process, in decimal. Another one at the same boot id is a new process, not a reboot.
pub const INCARNATION: &str = "berth-incarnation";
