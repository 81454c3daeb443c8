//! What cargo-mutants would change: its list is ours, so that each result can be confirmed by it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Whose code is changed.
pub(crate) const CORE: &str = "berth-core";

/// One place, and what stands there instead.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    /// From 1, in the order of the list: what the built tests know it by.
    pub(crate) id: u32,
    /// What cargo-mutants calls it: the same in every run of the same source.
    pub(crate) name: String,
    /// Relative to the workspace.
    pub(crate) file: PathBuf,
    /// Where it begins.
    pub(crate) start: Place,
    pub(crate) genre: Genre,
    /// What stands there instead; empty for what is deleted.
    pub(crate) replacement: String,
}

/// Line and column, both from 1; a column is a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Genre {
    /// A function's body becomes a value.
    FnValue,
    BinaryOperator,
    /// `!` or `-` is deleted.
    UnaryOperator,
    /// An arm is deleted, where `_` takes its place.
    MatchArm,
    /// A guard becomes `true` or `false`.
    MatchArmGuard,
    /// A field is deleted, where a base has it too.
    StructField,
    /// What a later cargo-mutants may know.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    file: PathBuf,
    span: Span,
    genre: Genre,
    replacement: String,
}

#[derive(Debug, Deserialize)]
struct Span {
    start: Place,
}

/// Asks cargo-mutants.
///
/// # Errors
/// It is not installed, or what it says cannot be read.
pub(crate) fn ask(cargo: &Path, root: &Path) -> Result<Vec<Mutant>> {
    let output = Command::new(cargo)
        .args(["mutants", "--list", "--json", "--package", CORE])
        .current_dir(root)
        .output()
        .with_context(|| format!("cannot run {}", cargo.display()))?;
    if !output.status.success() {
        bail!(
            "`cargo mutants --list` failed; is it installed? `cargo install --locked cargo-mutants`\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    read(&output.stdout)
}

fn read(json: &[u8]) -> Result<Vec<Mutant>> {
    let listed: Vec<Listed> = serde_json::from_slice(json)
        .context("`cargo mutants --list --json` is not what version 27 writes")?;
    ensure!(!listed.is_empty(), "`cargo mutants --list` lists nothing");
    let mutants = listed.into_iter().zip(1..);
    Ok(mutants
        .map(|(m, id)| Mutant {
            id,
            name: m.name,
            file: m.file,
            start: m.span.start,
            genre: m.genre,
            replacement: m.replacement,
        })
        .collect())
}

/// The mutants of each file, in their order.
pub(crate) fn by_file(mutants: &[Mutant]) -> BTreeMap<&Path, Vec<&Mutant>> {
    let mut files = BTreeMap::<&Path, Vec<&Mutant>>::new();
    for mutant in mutants {
        files.entry(&mutant.file).or_default().push(mutant);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_cargo_mutants_is_read() {
        let json = br#"[{
            "name": "core/src/a.rs:3:7: replace + with - in f", "package": "berth-core",
            "file": "core/src/a.rs", "genre": "BinaryOperator", "replacement": "-", "diff": "",
            "span": {"start": {"line": 3, "column": 7}, "end": {"line": 3, "column": 8}}
        }, {
            "name": "b", "file": "core/src/a.rs", "genre": "NotYetKnown", "replacement": "",
            "span": {"start": {"line": 4, "column": 1}, "end": {"line": 4, "column": 2}}
        }]"#;
        let mutants = read(json).unwrap();
        assert_eq!((mutants[0].id, mutants[1].id), (1, 2));
        assert_eq!(mutants[0].genre, Genre::BinaryOperator);
        assert_eq!(mutants[0].start, Place { line: 3, column: 7 });
        assert_eq!(mutants[1].genre, Genre::Other);
        assert_eq!(by_file(&mutants)[Path::new("core/src/a.rs")].len(), 2);
    }

    #[test]
    fn what_is_no_list_is_said() {
        assert!(read(b"{}").unwrap_err().to_string().contains("version 27"));
        assert!(read(b"[]").is_err());
    }
}
