//! Puts every mutant of a file behind a switch: `on(7)` says whether number 7 is on. One at most is,
//! so what a mutant changes is written with the original text of everything inside it.

mod place;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use syn::visit::Visit;

use crate::edit::{Edited, Site, apply};
use crate::lines::Lines;
use crate::list::Mutant;

/// How the switch is called in the changed source.
pub(crate) const SWITCH: &str = "crate::mutant_switch::on";

/// A file with its switches.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) edited: Edited,
    /// What cannot be switched, and why.
    pub(crate) left_out: BTreeMap<u32, &'static str>,
}

/// Rewrites one file. `const_names` are called by constants: such functions stay `const`.
///
/// # Errors
/// The file is no Rust.
pub(crate) fn rewrite(
    text: &str,
    mutants: &[&Mutant],
    const_names: &BTreeSet<String>,
) -> Result<Rewritten> {
    let file = syn::parse_file(text).context("cannot be parsed")?;
    let lines = Lines::of(text);
    let mut places = place::Places::new(&lines, mutants, const_names);
    places.visit_file(&file);
    let (sites, left_out) = places.finish();
    Ok(Rewritten {
        edited: apply(text, &sites),
        left_out,
    })
}

/// A choice between the mutants' texts and what stood there: `(if on(1) { … } else { … })`.
fn choice(range: std::ops::Range<usize>, texts: Vec<(u32, String)>) -> Site {
    let mut before = String::from("(");
    let mut own = Vec::new();
    for (id, text) in texts {
        before.push_str(&format!("if {SWITCH}({id}) {{ "));
        let start = before.len();
        before.push_str(&text);
        own.push((id, start..before.len()));
        before.push_str(" } else ");
    }
    before.push_str("{ ");
    Site {
        range,
        before,
        after: String::from(" })"),
        own,
    }
}
