//! A pure model of etcd's data model
