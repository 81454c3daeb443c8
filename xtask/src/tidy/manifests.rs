//! Rules on dependencies: every one is declared once in the workspace, with its reason beside it,
//! and some crate uses it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Finding;
use super::files::Texts;

/// A dependency as a manifest declares it.
#[derive(Debug, PartialEq, Eq)]
struct Declared {
    name: String,
    line: usize,
    /// It is one of our own crates.
    is_ours: bool,
    /// It takes version and source from the workspace.
    from_workspace: bool,
    has_reason: bool,
}

/// Every rule of this file.
pub(super) fn check(texts: &Texts) -> Result<Vec<Finding>> {
    let root = PathBuf::from("Cargo.toml");
    let workspace = texts
        .get(&root)
        .context("the workspace has no Cargo.toml")?;
    let offered = declared(workspace, |section| section == "workspace.dependencies");
    let mut findings = Vec::new();
    let mut used = Vec::new();

    for (path, text) in texts
        .iter()
        .filter(|(p, _)| p.ends_with("Cargo.toml") && **p != root)
    {
        for dependency in declared(text, |section| section.ends_with("dependencies")) {
            if !dependency.from_workspace {
                let problem = format!("{}: declare it in the workspace", dependency.name);
                findings.push(Finding::error(path, dependency.line, problem));
            }
            if !is_mentioned(texts, path, &dependency.name) {
                let problem = format!("{} is declared and never named", dependency.name);
                findings.push(Finding::warning(path, problem));
            }
            used.push(dependency.name);
        }
    }
    for dependency in offered {
        if !dependency.has_reason && !dependency.is_ours {
            let problem = format!("{}: say why we depend on it, behind it", dependency.name);
            findings.push(Finding::error(&root, dependency.line, problem));
        }
        if !used.contains(&dependency.name) && !dependency.is_ours {
            let problem = format!("{}: no crate uses it", dependency.name);
            findings.push(Finding::error(&root, dependency.line, problem));
        }
    }
    Ok(findings)
}

/// The dependencies in the sections that are asked for.
fn declared(manifest: &str, in_section: impl Fn(&str) -> bool) -> Vec<Declared> {
    let mut inside = false;
    let mut found = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            inside = in_section(section.trim_end_matches(']'));
            continue;
        }
        let Some((left, right)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        if line.starts_with('#') {
            continue;
        }
        let (value, reason) = right.split_once(" # ").unwrap_or((right, ""));
        let left = left.trim();
        found.push(Declared {
            name: left
                .trim_end_matches(".workspace")
                .trim_matches('"')
                .to_owned(),
            line: at + 1,
            is_ours: value.contains("path ="),
            from_workspace: left.ends_with(".workspace") || value.contains("workspace = true"),
            has_reason: !reason.trim().is_empty(),
        });
    }
    found
}

/// Whether a Rust file below the manifest's folder names the crate.
fn is_mentioned(texts: &Texts, manifest: &Path, dependency: &str) -> bool {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let name = dependency.replace('-', "_");
    texts.iter().any(|(path, text)| {
        path.starts_with(folder)
            && path.extension().is_some_and(|e| e == "rs")
            && text.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let texts = files
            .iter()
            .map(|(p, t)| (PathBuf::from(p), (*t).to_owned()))
            .collect();
        check(&texts)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_used_dependency_with_a_reason_passes() {
        let found = problems(&[
            (
                "Cargo.toml",
                "[workspace.dependencies]\nserde-x = { version = \"1\" } # records\n",
            ),
            ("a/Cargo.toml", "[dependencies]\nserde-x.workspace = true\n"),
            ("a/src/lib.rs", "use serde_x::Y;"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let found = problems(&[
            ("Cargo.toml", "[workspace.dependencies]\nserde = \"1\"\n"),
            ("a/Cargo.toml", "[dev-dependencies]\nbytes = \"1\"\n"),
        ]);
        let all = found.join("\n");
        for part in [
            "Cargo.toml:2: serde: say why",
            "Cargo.toml:2: serde: no crate uses it",
            "a/Cargo.toml:2: bytes: declare it in the workspace",
            "warning: a/Cargo.toml: bytes is declared and never named",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }
}
