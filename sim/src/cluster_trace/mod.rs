//! Traces of real clusters, replayed: which nodes there were, what arrived when, and when it left.
//!
//! ```text
//!  nodes.csv ─► rows ─┐          ┌─► Script ─► World ─┐
//!                     ├─► replay ┤                    ├─► Meter ─► Measures ─► tables, curves
//!  pods.csv ──► rows ─┘          └─► Plan ────────────┘
//! ```
//!
//! The meter believes the store and the nodes' runtimes, not what the scheduler says of itself.

mod csv;
mod fragments;
mod life;
mod measures;
mod meter;
mod names;
mod replay;
mod rows;
mod sample;
mod tables;

pub use csv::CsvError;
pub use fragments::{Fragments, Shape};
pub use life::Why;
pub use measures::{Delays, Measures, Pods, Shares, Spread, Work};
pub(crate) use meter::Meter;
pub use replay::{Plan, Replay, ReplayOptions, replay};
pub use rows::{NodeRow, PodRow, nodes, pods};
