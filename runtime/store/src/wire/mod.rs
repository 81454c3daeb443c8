//! Between etcd's messages and the model's types.

pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod status;
pub(crate) mod watch;

/// The name under which the store's one member is listed.
pub(crate) const MEMBER_NAME: &str = "berth-embedded";
/// The ids of the store's cluster and of its only member.
pub(crate) const CLUSTER_ID: u64 = 0x0062_6572_7468;
pub(crate) const MEMBER_ID: u64 = 1;
/// There are no elections among one member.
pub(crate) const RAFT_TERM: u64 = 1;
/// The version whose behaviour the store has.
pub(crate) const VERSION: &str = "3.4.23";
