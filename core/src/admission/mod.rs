//! Admission: every field of what comes in is checked, and an error names it.
//!
//! One rule, one place: gRPC requests ([`crate::wire`]) and manifests ([`manifest`]) both become an
//! [`ApplyWorkload`](crate::io::request::ApplyWorkload), and [`check_apply`] is the only judge of
//! it. What it accepts fits the store and can be said to an agent.

mod check;
mod check_spec;
#[cfg(test)]
mod check_tests;
pub mod limits;
pub mod manifest;
pub mod revision;

pub use check::{check_apply, check_node_labels};
pub use manifest::{Manifest, parse_manifest};
pub use revision::{Previous, resolve_revision, spec_hash};
