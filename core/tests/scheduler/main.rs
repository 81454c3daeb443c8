//! The composed scheduler, scenario by scenario.

mod clients;
mod cluster;
mod drains;
mod follow;
mod history;
mod late;
mod lost;
mod nodes;
mod noticed;
mod queries;
mod rare;
mod rare_changes;
mod rare_nodes;
mod review;
mod store;
mod takeover;
mod undone;
mod unreadable;
