//! The real runtime in a simulated network: the embedded store over etcd's protocol, schedulers
//! with their election, watch, gRPC and commits, and agents, each a host of [`turmoil`], in one
//! thread and in virtual time. The etcd client, tonic and hyper below them are the real ones.
//!
//! ```no_run
//! use berth_turmoil::{Shape, World};
//!
//! World::new(1, Shape::default()).play(60, async |mut hands| {
//!     let (leader, _) = hands.leader().await;
//!     hands.api.apply("web", "r-1").await;
//!     hands.crash(&leader).await;
//!     hands.all_is_well(&[("web", Some("r-1"))]).await;
//! });
//! ```

mod api;
mod chaos;
mod disk;
mod hands;
mod hosts;
mod net;
mod oracle;
mod trace;
mod world;

pub use api::Api;
pub use chaos::{Outcome, play, range};
pub use disk::Disk;
pub use hands::Hands;
pub use hosts::{Shape, names};
pub use trace::Summary;
pub use world::World;
