//! Placement: which node a workload goes to, and why. Filter, then order, then the first.
//!
//! ```text
//! Candidate, Demand ──► filters ──► score, spread ──► the first ──► PlacementNote
//!   (a node, a wish)    fits()      utilization()     place()           │
//!                          │                          PlacementIndex    ▼
//!                          └─────────── refusals() ───────────────► explain(), summary()
//! ```
//!
//! - A *candidate* is a node with what is reserved on it; a *demand* is what a workload asks for.
//! - A *filter* lets a node pass or gives a *refusal*. Only `filters` compares the two.
//! - [`place()`] is the exhaustive definition (S5); [`PlacementIndex`] finds the same node faster.
//! - The *note* is stored with the workload (S21); [`explain()`] and [`summary()`] put it in words.

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
