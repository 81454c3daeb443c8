//! The embedded store: the model of etcd behind etcd's own protocol, with a durable log
