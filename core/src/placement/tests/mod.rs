//! Tests of placement: boundary values per filter, texts, and properties against a reference that
//! is written differently.

mod filters;
mod index;
mod place;
mod reference;
mod texts;
mod world;
