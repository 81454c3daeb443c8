//! Placement: which node a workload goes to, and why. Filter, then order, then the first.

mod types;

pub use types::*;
