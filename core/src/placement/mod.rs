//! Placement: which node a workload goes to, and why. Filter, then order, then the first.

mod advice;
mod explain;
mod filters;
mod index;
mod place;
mod score;
mod types;

pub use explain::{Advice, NEAREST_MAX, explain, summary};
pub use filters::{first_refusing, fits, refusals};
pub use index::PlacementIndex;
pub use place::place;
pub use score::utilization;
pub use types::*;

#[cfg(test)]
mod tests;
