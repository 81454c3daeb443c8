//! Drives the core with tokio: one loop that owns the scheduler, a store client with election and
//! group commit, and an agent client with a pool of channels.

pub mod handle;

pub use handle::{CoreHandle, Submission};
