//! What people see: tables, units, colours, and where they go.

pub mod console;
pub mod table;
pub mod text;

pub use console::{Console, Tone};
pub use table::Table;
