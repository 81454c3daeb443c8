//! Wire contracts of Berth: the generated types of `proto/`, and what is written by hand only
//! because every crate would write it again.
//!
//! - [`control::v1`]: `persys.control.v1`, what agents and clients say to the scheduler;
//! - [`agent::v1`]: `persys.agent.v1`, what the scheduler says to agents;
//! - [`berth::v1`]: `berth.v1`, what Berth adds;
//! - [`replica::v1`]: `berth.replica.v1`, what replicas of the scheduler say to each other;
//! - [`metadata`]: the keys of the gRPC metadata that Berth adds;
//! - [`time`]: timestamps of the wire to and from Unix milliseconds.
//!
//! With the feature `grpc` the packages hold tonic's clients and servers too. The pure crates do
//! without it and see messages only. Maps are `BTreeMap`s, so that a message has one encoding.

pub mod metadata;
pub mod time;

/// `persys.control`: served by the scheduler.
pub mod control {
    /// `persys.control.v1`.
    #[allow(
        clippy::all,
        clippy::pedantic,
        missing_docs,
        rustdoc::all,
        unreachable_pub
    )]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/persys.control.v1.rs"));
    }
}

/// `persys.agent`: served by every agent.
pub mod agent {
    /// `persys.agent.v1`.
    #[allow(
        clippy::all,
        clippy::pedantic,
        missing_docs,
        rustdoc::all,
        unreachable_pub
    )]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/persys.agent.v1.rs"));
    }
}

/// `berth`: served by the scheduler, for what `persys.control.v1` lacks.
pub mod berth {
    /// `berth.v1`.
    #[allow(
        clippy::all,
        clippy::pedantic,
        missing_docs,
        rustdoc::all,
        unreachable_pub
    )]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/berth.v1.rs"));
    }
}

/// `berth.replica`: between the replicas of a scheduler.
pub mod replica {
    /// `berth.replica.v1`.
    #[allow(
        clippy::all,
        clippy::pedantic,
        missing_docs,
        rustdoc::all,
        unreachable_pub
    )]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/berth.replica.v1.rs"));
    }
}

/// The encoded `FileDescriptorSet` of all packages and what they import, for server
/// reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
