//! Faults on real processes: three members of etcd, three `berth server`, twenty agents, clients
//! that write all the time, and a schedule of faults from a seed.
//!
//! ```text
//!  clients ──► server-0..2 ──┐          ┌──► etcd-0..2, each with a recorder of its history
//!                  │         ├─ Net ────┤
//!  agents  ────────┴─────────┘          └──► agents: sixteen that record, four processes
//! ```
//!
//! [`run::run`] is a run with its verdict, [`takeover::measure`] the time from a leader's death to the
//! first act of the next.

pub mod client;
pub mod cluster;
pub mod disks;
pub mod draw;
pub mod fault;
pub mod load;
pub mod members;
pub mod net;
pub mod run;
pub mod takeover;
pub mod verdict;
