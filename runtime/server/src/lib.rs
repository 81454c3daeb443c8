//! The production scheduler's outside: gRPC, REST, metrics, TLS and configuration around
//! [`berth_driver::CoreHandle`], the only door to the core.
//!
//! ```text
//!  clients, agents ── gRPC (control.v1, berth.v1, health, reflection) ──┐
//!  people, scripts ── REST (JSON, server-sent events, metrics) ─────────┤
//!                                                                       ▼
//!                       listener (TLS, limits) → grpc | rest → Api → CoreHandle → core
//! ```
//!
//! Nothing here decides anything about workloads or nodes: a request is checked for its form,
//! handed to the core, and the core's answer is translated to codes and documents.

pub mod api;
pub mod call;
pub mod config;
pub mod feed;
pub mod forward;
pub mod grpc;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod rest;
pub mod serve;
pub mod tls;

#[cfg(test)]
mod testing;

pub use api::{Api, ApiLimits};
pub use call::{Call, Caller};
pub use config::{CoreArgs, ServerArgs, ServerConfig, StoreArgs, StoreConfig};
pub use metrics::DriverSource;
pub use serve::{Bound, Ports, Running, Surroundings, etcd, serve, serve_apis, start, start_in};
