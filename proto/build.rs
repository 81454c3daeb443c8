//! Generates the messages, and with the feature `grpc` the clients and servers, from `proto/`.
//!
//! The compiler is protox, a library: no protoc is needed.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

/// The root of the packages: a file's path below it is its name in the descriptors.
const ROOT: &str = "proto";

const FILES: [&str; 4] = [
    "persys/control/v1/control.proto",
    "persys/agent/v1/agent.proto",
    "berth/v1/berth.proto",
    "berth/replica/v1/replica.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    println!("cargo:rerun-if-env-changed=CARGO_FEATURE_GRPC");

    let descriptors = protox::compile(FILES, [ROOT])?;

    // Reflection has no use for comments and positions: they are most of the bytes.
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    let out_dir = env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .ok_or("cargo sets OUT_DIR")?;
    fs::write(out_dir.join("descriptors.bin"), bare.encode_to_vec())?;

    let grpc = env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        // Maps in the order of their keys: what is encoded is the same on every run.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
