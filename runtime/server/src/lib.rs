//! The production scheduler: drives the core with tokio, etcd, gRPC and HTTP
