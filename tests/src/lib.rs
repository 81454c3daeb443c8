//! Black-box tests: real etcd, real binaries, real gRPC
