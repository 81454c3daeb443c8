//! The scheduler as one pure state machine.
//!
//! No I/O, no clock, no randomness, no unordered iteration: whoever drives the core tells it what
//! happened and when, and carries out what it answers. Given the same configuration and the same
//! inputs, the outputs are the same to the byte.
//!
//! ```
//! use berth_core::{Config, Epoch, Input, Scheduler, Snapshot, Timestamp};
//!
//! let mut scheduler = Scheduler::new(Config::default());
//! let now = Timestamp::from_millis(1_000);
//! scheduler.handle(now, Input::Lead { epoch: Epoch(1), snapshot: Snapshot::default() });
//! while let Some(output) = scheduler.poll_output() {
//!     // Commit transactions, call agents, answer clients; then feed back what came of it.
//!     drop(output);
//! }
//! // Nothing else happening, the core wants to be woken at this instant:
//! let _wake_at = scheduler.poll_deadline();
//! ```

pub mod admission;
pub mod config;
pub mod drive;
pub mod io;
pub mod lineage;
pub mod model;
pub mod placement;
pub mod planted;
pub mod reconcile;
pub mod retry;
mod scheduler;
pub mod schema;
pub mod wire;

pub use config::Config;
pub use io::{Input, Output, Snapshot};
pub use model::event::{EventRecord, EventType};
pub use model::id::{
    CallId, Epoch, EventId, NodeId, RequestId, Revision, StoreRevision, TenantId, TxnId, WorkloadId,
};
pub use model::key::Key;
pub use model::time::Timestamp;
pub use scheduler::{BUCKETS_MS, Histogram, Scheduler, Stats, Violation};
