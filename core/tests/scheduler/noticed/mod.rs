//! What a change of a single word in the core would have gone unnoticed by, as mutants showed.

mod changes;
mod nodes;
mod places;
mod words;
