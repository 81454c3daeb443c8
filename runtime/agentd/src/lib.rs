//! The reference node agent on tokio: gRPC, child processes, state on disk
