//! The composed scheduler, scenario by scenario.

mod clients;
mod cluster;
mod follow;
mod history;
mod nodes;
mod queries;
mod review;
mod store;
mod undone;
mod unreadable;
