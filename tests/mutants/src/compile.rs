//! Compiles the changed core until what does not compile is out, then the tests of everything.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::list::{CORE, Mutant};
use crate::remembered;
use crate::tree::{Tree, Written};

/// Optimised, with every assertion on.
const PROFILE: &str = "simulation";
/// Whose tests are run: those that use the core, and no real etcd.
const PACKAGES: [&str; 5] = [
    CORE,
    "berth-agent",
    "berth-sim",
    "berth-driver",
    "berth-simcmd",
];
/// The simulator's commands, whose searches are run as well.
const SIMULATOR: &str = "berth-sim";
/// Each round takes out what an error names; errors come in a few waves.
const ROUNDS_MAX: usize = 40;

/// Where things are.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    pub(crate) cargo: &'a Path,
    pub(crate) tree: &'a Path,
    pub(crate) target: &'a Path,
    /// What did not compile last time.
    pub(crate) remembered: &'a Path,
}

/// A test binary, and the folder that its tests expect to run in.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    /// Package and target.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) folder: PathBuf,
}

/// What was built.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) tests: Vec<Binary>,
    pub(crate) simulator: Binary,
    /// What is not in it.
    pub(crate) refused: Refused,
}

/// What is not in the build, and why.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// It would not compile in any way.
    pub(crate) unviable: BTreeMap<u32, String>,
    /// It cannot be switched: cargo-mutants itself must try it.
    pub(crate) unswitched: BTreeMap<u32, String>,
}

/// Builds everything.
///
/// # Errors
/// Something does not compile for another reason than a mutant.
pub(crate) fn build(places: &Places<'_>, tree: &Tree, mutants: &[Mutant]) -> Result<Built> {
    let source = tree.source(mutants);
    let mut refused = remembered::read(places.remembered, &source);
    for round in 1..=ROUNDS_MAX {
        let written = tree.write(mutants, &refused)?;
        let errors = check(places)?;
        eprintln!(
            "round {round}: {} errors, {} refused",
            errors.len(),
            refused.len()
        );
        if errors.is_empty() {
            remembered::write(places.remembered, &source, &refused)?;
            let (tests, simulator) = build_tests(places)?;
            return Ok(Built {
                tests,
                simulator,
                refused: sorted(refused, written.left_out),
            });
        }
        let more = blamed(&errors, &written)?;
        refused.extend(more);
    }
    bail!(
        "still errors after {ROUNDS_MAX} rounds: look at `cargo check` in {}",
        places.tree.display()
    );
}

/// An error of the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    code: String,
    message: String,
    spans: Vec<(PathBuf, Range<usize>)>,
}

/// Errors of these kinds are the mutant's own; others may come from how it is switched.
const OWN_CODES: [&str; 9] = [
    "E0277", "E0369", "E0308", "E0600", "E0368", "E0433", "E0599", "E0063", "E0425",
];

/// The mutants that the errors are about. An error that is in none may go with them.
fn blamed(faults: &[Fault], written: &Written) -> Result<BTreeMap<u32, String>> {
    let mut refused = BTreeMap::new();
    for fault in faults {
        let why = format!("{} {}", fault.code, fault.message);
        for (file, edited) in &written.edited {
            let in_file = fault.spans.iter().filter(|(f, _)| f == file);
            let spans: Vec<_> = in_file.map(|(_, range)| range.clone()).collect();
            let ids = edited.blamed(&spans).into_iter();
            refused.extend(ids.map(|id| (id, why.clone())));
        }
    }
    ensure!(
        !refused.is_empty(),
        "errors that are in no mutant; does the workspace compile? {:?}",
        faults.first()
    );
    Ok(refused)
}

fn sorted(refused: BTreeMap<u32, String>, mut left_out: BTreeMap<u32, String>) -> Refused {
    let mut all = Refused::default();
    for (id, why) in refused {
        let own = OWN_CODES.iter().any(|code| why.starts_with(code));
        if own {
            all.unviable.insert(id, why);
        } else {
            all.unswitched.insert(id, why);
        }
    }
    let beside_let: Vec<_> = left_out
        .iter()
        .filter(|(_, why)| why.contains("does not compile"))
        .map(|(id, _)| *id)
        .collect();
    for id in beside_let {
        let why = left_out.remove(&id).unwrap_or_default();
        all.unviable.insert(id, why);
    }
    all.unswitched.append(&mut left_out);
    all
}

fn cargo(places: &Places<'_>, args: &[&str]) -> Command {
    let mut command = Command::new(places.cargo);
    command
        .args(args)
        .args([
            "--profile",
            PROFILE,
            "--message-format=json",
            "--locked",
            "--target-dir",
        ])
        .arg(places.target)
        .current_dir(places.tree)
        .stdin(Stdio::null());
    command
}

/// The errors of the core alone.
fn check(places: &Places<'_>) -> Result<Vec<Fault>> {
    let output = cargo(places, &["check", "--quiet", "--lib", "-p", CORE])
        .output()
        .context("cannot run cargo")?;
    let faults: Vec<_> = messages(&output.stdout).filter_map(|m| fault(&m)).collect();
    ensure!(
        output.status.success() || !faults.is_empty(),
        "cargo check: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(faults)
}

fn messages(stdout: &[u8]) -> impl Iterator<Item = Value> {
    stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
}

fn fault(message: &Value) -> Option<Fault> {
    let message = &message["message"];
    if message["level"] != "error" {
        return None;
    }
    let mut spans = Vec::new();
    // What the error is at comes before what it mentions.
    for primary in [true, false] {
        let all = message["spans"].as_array().into_iter().flatten();
        for span in all.filter(|s| s["is_primary"] == primary) {
            spans.push(innermost_span(span)?);
        }
        if !spans.is_empty() && primary {
            break;
        }
    }
    // `aborting due to 3 previous errors` has none.
    if spans.is_empty() {
        return None;
    }
    Some(Fault {
        code: message["code"]["code"]
            .as_str()
            .unwrap_or("no code")
            .to_owned(),
        message: message["message"].as_str().unwrap_or_default().to_owned(),
        spans,
    })
}

/// The place in our own source, where a macro was called.
fn innermost_span(span: &Value) -> Option<(PathBuf, Range<usize>)> {
    let file = span["file_name"].as_str()?;
    let ours = Path::new(file).is_relative();
    if !ours && !span["expansion"]["span"].is_null() {
        return innermost_span(&span["expansion"]["span"]);
    }
    let offset = |name: &str| usize::try_from(span[name].as_u64()?).ok();
    Some((
        PathBuf::from(file),
        offset("byte_start")?..offset("byte_end")?,
    ))
}

fn build_tests(places: &Places<'_>) -> Result<(Vec<Binary>, Binary)> {
    let mut command = cargo(places, &["build", "--lib", "--bins", "--tests"]);
    for package in PACKAGES {
        command.args(["-p", package]);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "the tests do not build with the mutants in: {:?}",
        messages(&output.stdout).find_map(|m| fault(&m))
    );
    let mut tests = Vec::new();
    let mut simulator = None;
    for message in messages(&output.stdout) {
        let Some(binary) = binary(&message) else {
            continue;
        };
        if message["profile"]["test"] == true {
            tests.push(binary);
        } else if message["target"]["name"] == SIMULATOR {
            simulator = Some(binary);
        }
    }
    ensure!(!tests.is_empty(), "cargo built no tests");
    Ok((tests, simulator.context("cargo built no simulator")?))
}

fn binary(message: &Value) -> Option<Binary> {
    let path = PathBuf::from(message["executable"].as_str()?);
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?.to_owned();
    let target = message["target"]["name"].as_str()?;
    let package = folder.file_name()?.to_string_lossy().into_owned();
    Some(Binary {
        name: format!("{package}:{target}"),
        path,
        folder,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::edit::{Site, apply};

    fn error(code: &str, file: &str, range: Range<usize>) -> Value {
        json!({"reason": "compiler-message", "message": {
            "level": "error", "message": "no", "code": {"code": code},
            "spans": [{"is_primary": true, "file_name": file, "byte_start": range.start,
                "byte_end": range.end, "expansion": null}],
        }})
    }

    #[test]
    fn an_error_takes_out_the_mutant_that_it_is_in() {
        let site = Site {
            range: 0..1,
            before: "if 7 X else ".to_owned(),
            after: String::new(),
            own: vec![(7, 5..6)],
        };
        let mut written = Written::default();
        written.edited.insert("a.rs".into(), apply("b", &[site]));
        let faults: Vec<_> = [error("E0277", "a.rs", 5..6)]
            .iter()
            .filter_map(fault)
            .collect();
        let refused = blamed(&faults, &written).unwrap();
        assert_eq!(refused[&7], "E0277 no");

        let elsewhere: Vec<_> = [error("E0277", "b.rs", 5..6)]
            .iter()
            .filter_map(fault)
            .collect();
        let told = blamed(&elsewhere, &written).unwrap_err().to_string();
        assert!(told.contains("does the workspace compile?"), "{told}");
    }

    #[test]
    fn an_error_in_a_macro_of_others_is_where_it_was_called() {
        let inner = json!({"file_name": "a.rs", "byte_start": 1, "byte_end": 2, "expansion": null});
        let span = json!({"file_name": "/rust/core.rs", "byte_start": 9, "byte_end": 9,
            "expansion": {"span": inner}});
        assert_eq!(innermost_span(&span), Some(("a.rs".into(), 1..2)));
    }
}
