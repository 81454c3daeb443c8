//! What came of all: a table, the survivors, and what is left to cargo-mutants.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::list::Mutant;
use crate::results::Record;
use crate::trial::Outcome;

/// Every outcome, and how it is called in the table.
const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Noticed, "noticed: a test failed"),
    (Outcome::Timeout, "noticed: a test had no end"),
    (Outcome::NotNoticed, "not noticed"),
    (Outcome::NotReached, "not noticed: never reached"),
    (Outcome::Unviable, "does not compile"),
    (
        Outcome::NotSwitched,
        "not switchable: left to cargo-mutants",
    ),
];

/// How many there are of each outcome, as a table of markdown.
pub(crate) fn table(records: &[&Record]) -> String {
    let mut table = String::from("| outcome | mutants |\n|---|---|\n");
    for (outcome, words) in OUTCOMES {
        let count = records.iter().filter(|r| r.outcome == outcome).count();
        let _ = writeln!(table, "| {words} | {count} |");
    }
    let _ = writeln!(table, "| all | {} |", records.len());
    table
}

/// Which test binary noticed how many.
pub(crate) fn by_binary(records: &[&Record]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    let noticed = records
        .iter()
        .filter(|r| matches!(r.outcome, Outcome::Noticed | Outcome::Timeout));
    for record in noticed {
        let binary = record.by.split(' ').next().unwrap_or_default();
        *counts.entry(binary).or_default() += 1;
    }
    let mut table = String::from("| noticed first by | mutants |\n|---|---|\n");
    for (binary, count) in counts {
        let _ = writeln!(table, "| {binary} | {count} |");
    }
    table
}

/// What no test noticed.
pub(crate) fn survivors(records: &[&Record]) -> String {
    let mut list = String::from("| where | change | what is known |\n|---|---|---|\n");
    for record in records {
        let known = match record.outcome {
            Outcome::NotNoticed => record.by.as_str(),
            Outcome::NotReached => "never reached",
            Outcome::Noticed | Outcome::Timeout | Outcome::Unviable | Outcome::NotSwitched => {
                continue;
            }
        };
        let (place, change) = record.name.split_once(": ").unwrap_or((&record.name, ""));
        let change = change.replace('|', "\\|");
        let _ = writeln!(list, "| `{place}` | {change} | {known} |");
    }
    list
}

/// One expression for `cargo mutants --re`.
pub(crate) fn left_to_cargo(records: &[&Record]) -> String {
    let left = records.iter().filter(|r| r.outcome == Outcome::NotSwitched);
    let names: Vec<_> = left.map(|r| regex::escape(&r.name)).collect();
    format!("^({})$\n", names.join("|"))
}

/// Writes the files, and prints the tables.
///
/// # Errors
/// The disk says no.
pub(crate) fn write(
    folder: &Path,
    mutants: &[&Mutant],
    known: &BTreeMap<String, Record>,
) -> Result<()> {
    let records: Vec<_> = mutants.iter().filter_map(|m| known.get(&m.name)).collect();
    let files = [
        ("survivors.md", survivors(&records)),
        ("left-to-cargo-mutants.txt", left_to_cargo(&records)),
    ];
    println!("{}\n{}", table(&records), by_binary(&records));
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        println!("see {}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Stage;

    fn record(name: &str, outcome: Outcome, by: &str) -> Record {
        Record {
            name: name.to_owned(),
            outcome,
            by: by.to_owned(),
            seconds: 0.0,
            stage: Stage::Quick,
        }
    }

    #[test]
    fn each_outcome_has_its_place() {
        let all = [
            record("a.rs:1:2: replace || with && in f", Outcome::NotNoticed, ""),
            record("a.rs:2:2: replace f with ()", Outcome::NotReached, ""),
            record("a.rs:3:2: delete !", Outcome::Noticed, "core:wire a::b"),
            record(
                "a.rs:4:2: replace * with +",
                Outcome::NotSwitched,
                "in a constant",
            ),
        ];
        let all: Vec<_> = all.iter().collect();
        let table = table(&all);
        assert!(table.contains("| not noticed | 1 |\n"), "{table}");
        assert!(table.ends_with("| all | 4 |\n"), "{table}");
        assert!(by_binary(&all).contains("| core:wire | 1 |"));
        let survivors = survivors(&all);
        assert!(survivors.contains("| `a.rs:1:2` | replace \\|\\| with && in f |"));
        assert!(survivors.contains("| never reached |"));
        assert_eq!(
            left_to_cargo(&all),
            "^(a\\.rs:4:2: replace \\* with \\+)$\n"
        );
    }
}
