//! Drives the core with tokio: one loop that owns the scheduler, a store client with election and
//! group commit, and an agent client with a pool of channels.
//!
//! [`Driver::spawn`] starts it; [`CoreHandle`] is the door for everybody else in the process. The
//! crate's README draws the tasks and the channels between them.

pub mod agents;
pub mod clock;
pub mod config;
mod dispatch;
mod drive;
pub mod handle;
mod inbox;
pub mod metrics;
mod spawn;
pub mod store;

pub use agents::{Connect, DirectConnect};
pub use clock::Clock;
pub use config::{DriverConfig, GroupLimits, Replica, Secret, StoreConfig};
pub use handle::{CoreHandle, DriverHealth, Submission};
pub use metrics::DriverMetrics;
pub use spawn::{Driver, DriverError, DriverJoin};
pub use store::{Endpoints, StoreCondition, StoreFactory, StoreState};
