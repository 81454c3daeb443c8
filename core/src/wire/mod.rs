//! Conversions between the wire's messages and the core's types.
//!
//! Pure, and total on any input: what an outside party sends becomes a typed value or an error
//! that names the field. Outside text is bounded where it enters ([`bound`]).
//!
//! - [`control_in`]: what clients and agents ask of the scheduler;
//! - [`control_out`]: what they are answered;
//! - [`status`]: how a request that was not granted is told over gRPC;
//! - [`rest`]: what REST has beside the core's values;
//! - [`agent_out`]: what the scheduler asks of an agent;
//! - [`agent_in`]: what an agent answers.

pub mod agent_in;
#[cfg(test)]
mod agent_in_tests;
pub mod agent_out;
pub mod bound;
pub mod control_in;
pub mod control_out;
pub mod failure;
pub mod rest;
pub mod status;
#[cfg(test)]
mod tests;
pub(crate) mod vm_blob;

pub use control_in::WireError;
