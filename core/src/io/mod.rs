//! What enters the core and what leaves it: two closed enums are the whole contract.

pub mod agent;
pub mod request;
pub mod store;
pub(crate) mod value;
pub mod view;

use serde::{Deserialize, Serialize};

pub use agent::{AgentCall, AgentError, AgentOp, AgentReply, AgentState, AgentStatus};
pub use request::{Query, Request, RequestError, Response};
pub use store::{Fate, Op, Snapshot, Stored, Txn};
pub use value::Value;

use crate::model::event::EventRecord;
use crate::model::id::{CallId, Epoch, RequestId, StoreRevision, TxnId};

/// Everything that can happen to the core.
// One is alive at a time, and most are requests: a box would cost more than it saves.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// This replica leads from now on; `snapshot` is the whole store, read at one revision after
    /// the leadership key was created.
    Lead {
        /// The create revision of the leadership key.
        epoch: Epoch,
        /// All records.
        snapshot: Snapshot,
    },
    /// This replica leads from now on, over the image that it followed: nothing is read anew. Only
    /// for a core that [`follows_as_far_as`](crate::Scheduler::follows_as_far_as) the epoch's
    /// revision; any other ignores it.
    TakeOver {
        /// The create revision of the leadership key.
        epoch: Epoch,
    },
    /// This replica does not lead, and `snapshot` is the whole store: reads are answered from it,
    /// and [`Input::Changed`] keeps it up. A replica that leads ignores it.
    Follow {
        /// All records.
        snapshot: Snapshot,
    },
    /// This replica leads no more, or cannot reach the store: it answers reads, marked stale,
    /// refuses writes, calls nobody and evicts nobody. Calls and transactions in flight are
    /// forgotten; what became of them is found out by the next [`Input::Lead`] or
    /// [`Input::TakeOver`].
    Deposed {
        /// Why, for health and messages.
        reason: Deposed,
    },
    /// Somebody asks for something. Exactly one [`Output::Reply`] will answer.
    Request {
        /// Names the request in its reply.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// The fate of a transaction of [`Output::Commit`] is known.
    Commit {
        /// Which.
        txn: TxnId,
        /// Its fate.
        fate: Fate,
    },
    /// The answer to [`Output::ReadBack`]: the current value of each key that was asked for,
    /// read linearizably.
    ReadBack {
        /// The transaction whose fate was unknown.
        txn: TxnId,
        /// The revision of the store at which it was read.
        revision: StoreRevision,
        /// One entry for each key.
        records: Vec<Stored>,
    },
    /// What came of a call of [`Output::Call`].
    Agent {
        /// Which.
        call: CallId,
        /// What the agent answered, or why there is no answer.
        result: Result<AgentReply, AgentError>,
    },
    /// Records changed in the store. Echoes of the core's own writes are told apart by revision.
    /// Without records: nothing changed up to this revision, as a follower's image may say too.
    Changed {
        /// The revision of the store after the changes.
        revision: StoreRevision,
        /// The records.
        records: Vec<Stored>,
    },
    /// The deadline of `poll_deadline` was reached. A spurious one does nothing.
    Wake,
}

/// Why a replica does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deposed {
    /// It has not led yet.
    Starting,
    /// Its lease could not be renewed, or another replica leads.
    LostLeadership,
    /// The store cannot be reached.
    StoreUnavailable,
    /// The store is not the one that was seen before ([`crate::lineage`]): nothing is done until
    /// the operator says so.
    StoreRefused,
    /// It is shutting down.
    ShuttingDown,
}

/// Everything that the core can ask of whoever drives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Commit this transaction, fenced by the leadership key of its epoch.
    Commit(Txn),
    /// The fate of `txn` was unknown: read these keys linearizably and feed [`Input::ReadBack`].
    ReadBack {
        /// The transaction.
        txn: TxnId,
        /// Its keys.
        keys: Vec<crate::Key>,
    },
    /// Call an agent. The intent of every mutation has been committed before (S1).
    Call(AgentCall),
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// The answer.
        result: Box<Result<Response, RequestError>>,
    },
    /// An event was committed: tell those who watch.
    Event(EventRecord),
}
