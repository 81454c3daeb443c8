//! A pure, deterministic model of etcd's data model (the v3 semantics of etcd 3.4).
//!
//! The whole interface is [`Model::apply`]: a request goes in together with the time, an answer
//! or a typed refusal comes out, and what watchers should see is taken with
//! [`Model::poll_watch_output`]. There is no clock, no I/O and no randomness inside, so the same
//! calls give the same answers on every machine.
//!
//! ```
//! use berth_kv::{Model, PutRequest, RangeRequest, Request, Response};
//!
//! let mut store = Model::default();
//! let now_ms = 0;
//! store.apply(now_ms, Request::Put(PutRequest::new("name", "value"))).unwrap();
//! let answer = store.apply(now_ms, Request::Range(RangeRequest::key("name"))).unwrap();
//! let Response::Range(range) = answer else { unreachable!() };
//! assert_eq!(range.kvs[0].value, "value");
//! assert_eq!(range.kvs[0].mod_revision, 2);
//! ```
//!
//! Leases do not expire by themselves: the host calls [`Model::expire_leases`] when
//! [`Model::next_lease_expiry`] has come, as etcd's leader does.

mod compact;
mod error;
mod index;
mod lease;
mod limits;
mod model;
mod range;
mod request;
mod response;
mod size;
mod snapshot;
mod txn;
mod types;
mod watch;

pub use error::KvError;
pub use lease::MAX_LEASE_TTL_S;
pub use limits::Limits;
pub use model::Model;
pub use request::{
    AlarmAction, Compare, CompareOp, CompareTarget, DeleteRequest, PutRequest, RangeRequest,
    Request, RevisionFilter, SortOrder, SortTarget, TxnOp, TxnRequest, WatchFilter, WatchRequest,
};
pub use response::{
    DeleteResponse, LeaseInfo, PutResponse, RangeResponse, Response, TxnOpResponse, TxnResponse,
};
pub use snapshot::{Snapshot, SnapshotEntry, SnapshotLease};
pub use types::{
    Event, EventKind, Key, KeyRange, KeyValue, LeaseId, Revision, StreamId, Value, WatchId,
};
pub use watch::{WatchOutput, WatchOutputKind, WatchRefusal};
