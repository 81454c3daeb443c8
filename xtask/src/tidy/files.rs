//! Rules on the texts of single files: size, words, tabs; and that each crate has a README.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Finding;

/// A Rust file longer than this fails.
const LINES_MAX: usize = 700;
/// A Rust file longer than this is mentioned.
const LINES_WARN: usize = 400;

/// All texts of the workspace by their path in it.
pub(super) type Texts = BTreeMap<PathBuf, String>;

/// What may stand nowhere in a Rust file. Put together here, so that this file passes.
const CODE_WORDS: [(&str, &str); 4] = [
    (
        concat!("to", "do!("),
        "finish it, or say in an issue what is missing",
    ),
    (
        concat!("unimple", "mented!("),
        "finish it, or answer with an error",
    ),
    (
        concat!("FIX", "ME"),
        "fix it, or say in an issue what is wrong",
    ),
    (
        concat!("#[ign", "ore"),
        "a test that does not run proves nothing",
    ),
];

/// Paths of some machine.
const PATH_WORDS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tm", "p/"),
];

/// Reads every text file; build output, hidden folders and binary files are left out.
pub(super) fn read_all(root: &Path) -> Result<Texts> {
    let mut texts = Texts::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder
            .read_dir()
            .with_context(|| folder.display().to_string())?
        {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                let skipped = ["target", "berth-data", ".git", ".cargo"].contains(&name.as_str());
                if !skipped {
                    folders.push(path);
                }
            } else if is_text(&name) {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                texts.insert(path.strip_prefix(root)?.to_owned(), text);
            }
        }
    }
    Ok(texts)
}

fn is_text(name: &str) -> bool {
    let by_ending = name.rsplit_once('.').is_some_and(|(_, ending)| {
        [
            "rs", "toml", "md", "proto", "yaml", "yml", "json", "txt", "sh",
        ]
        .contains(&ending)
    });
    by_ending || ["Makefile", "run"].contains(&name)
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|e| e == ending)
}

/// Every rule of this file.
pub(super) fn check(texts: &Texts) -> Vec<Finding> {
    let mut findings: Vec<_> = texts
        .iter()
        .flat_map(|(path, text)| check_text(path, text))
        .collect();
    for manifest in texts.keys().filter(|p| p.ends_with("Cargo.toml")) {
        let readme = manifest.with_file_name("README.md");
        if !texts.contains_key(&readme) {
            findings.push(Finding::error(&readme, 0, "each crate has a README"));
        }
    }
    findings
}

fn check_text(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_rust = has_ending(path, "rs");
    let lines = text.lines().count();
    if is_rust && lines > LINES_MAX {
        let problem = format!("{lines} lines, at most {LINES_MAX}: find the second machine in it");
        findings.push(Finding::error(path, 0, problem));
    } else if is_rust && lines > LINES_WARN {
        findings.push(Finding::warning(
            path,
            format!("{lines} lines, above {LINES_WARN}"),
        ));
    }
    let tabs_allowed = path.ends_with("Makefile");
    for (at, line) in text.lines().enumerate() {
        let mut error = |problem: String| findings.push(Finding::error(path, at + 1, problem));
        if is_rust {
            for (word, advice) in CODE_WORDS {
                if line.contains(word) {
                    error(format!("`{word}`: {advice}"));
                }
            }
        }
        for word in PATH_WORDS {
            if line.contains(word) {
                error(format!("`{word}` is a path of some machine"));
            }
        }
        if line.contains('\t') && !tabs_allowed {
            error("a tab: use spaces".to_owned());
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    fn errors(path: &str, text: &str) -> Vec<String> {
        let findings = check_text(Path::new(path), text);
        let errors = findings.iter().filter(|f| f.severity == Severity::Error);
        errors.map(ToString::to_string).collect()
    }

    #[test]
    fn each_forbidden_word_is_found_with_its_line() {
        for (word, _) in CODE_WORDS {
            let found = errors("a/src/lib.rs", &format!("fn a() {{}}\n// {word}\n"));
            assert_eq!(found.len(), 1, "{word}");
            assert!(found[0].starts_with("error: a/src/lib.rs:2: "), "{found:?}");
        }
        for word in PATH_WORDS {
            assert_eq!(
                errors("README.md", &format!("see {word}x")).len(),
                1,
                "{word}"
            );
        }
    }

    #[test]
    fn tabs_belong_into_makefiles_only() {
        assert_eq!(errors("a.toml", "a\tb").len(), 1);
        assert_eq!(errors("Makefile", "a:\n\tb").len(), 0);
    }

    #[test]
    fn long_files_fail_and_longish_ones_are_mentioned() {
        let of = |lines: usize| check_text(Path::new("x.rs"), &"x\n".repeat(lines));
        assert!(of(LINES_WARN).is_empty());
        assert_eq!(of(LINES_WARN + 1)[0].severity, Severity::Warning);
        assert_eq!(of(LINES_MAX)[0].severity, Severity::Warning);
        assert_eq!(of(LINES_MAX + 1)[0].severity, Severity::Error);
    }

    #[test]
    fn a_crate_without_a_readme_is_found() {
        let with = |names: &[&str]| {
            check(
                &names
                    .iter()
                    .map(|n| (PathBuf::from(n), String::new()))
                    .collect(),
            )
            .len()
        };
        assert_eq!(with(&["a/Cargo.toml"]), 1);
        assert_eq!(with(&["a/Cargo.toml", "a/README.md"]), 0);
    }
}
