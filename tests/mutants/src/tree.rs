//! A copy of the workspace whose core has every mutant behind a switch.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::constants::Constants;
use crate::edit::Edited;
use crate::list::{Mutant, by_file};
use crate::remembered::name_of;
use crate::rewrite::rewrite;

/// The switch itself, as it stands beside the core's modules.
const SWITCH_SOURCE: &str = include_str!("mutant_switch.rs");
const SWITCH_FILE: &str = "core/src/mutant_switch.rs";
const CORE_ROOT: &str = "core/src/lib.rs";
/// What mutants are allowed: the compiler sees that some of them are absurd.
const ALLOWED: &str = "#![allow(warnings, arithmetic_overflow, unconditional_panic, \
    overflowing_literals, clippy::all)]\n";

/// The copy.
#[derive(Debug)]
pub(crate) struct Tree {
    folder: PathBuf,
    /// The workspace's texts of the core that have mutants.
    sources: BTreeMap<PathBuf, String>,
    const_names: BTreeSet<String>,
}

/// What was written last.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) edited: BTreeMap<PathBuf, Edited>,
    /// What has no switch, and why.
    pub(crate) left_out: BTreeMap<u32, String>,
}

impl Tree {
    /// Copies every file that git knows or would take; what did not change keeps its time, so that
    /// nothing is compiled again for it.
    ///
    /// # Errors
    /// Git or the disk says no.
    pub(crate) fn copy(root: &Path, folder: &Path, mutants: &[Mutant]) -> Result<Self> {
        let files = files(root)?;
        let changed: BTreeSet<_> = mutants.iter().map(|m| m.file.as_path()).collect();
        let mut sources = BTreeMap::new();
        let mut constants = Constants::default();
        for path in &files {
            let from = root.join(path);
            let bytes = match std::fs::read(&from) {
                Ok(bytes) => bytes,
                // Deleted, and git was not told yet.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).context(from.display().to_string()),
            };
            if path.extension().is_some_and(|e| e == "rs")
                && let Ok(text) = std::str::from_utf8(&bytes)
            {
                constants.add(text);
                if changed.contains(path.as_path()) {
                    sources.insert(path.clone(), text.to_owned());
                    continue;
                }
            }
            let text = with_switch(path, bytes);
            write_if_changed(&folder.join(path), &text)?;
        }
        remove_others(folder, &files)?;
        write_if_changed(&folder.join(SWITCH_FILE), SWITCH_SOURCE.as_bytes())?;
        Ok(Self {
            folder: folder.to_owned(),
            sources,
            const_names: constants.names(),
        })
    }

    /// A name of what the changed core is made of.
    pub(crate) fn source(&self, mutants: &[Mutant]) -> String {
        let names: Vec<_> = mutants.iter().map(|m| &m.name).collect();
        name_of(&(&self.sources, &self.const_names, names, SWITCH_SOURCE))
    }

    /// Writes the core with its mutants, without those that are `refused`.
    ///
    /// # Errors
    /// A file is no Rust, or the disk says no.
    pub(crate) fn write(
        &self,
        mutants: &[Mutant],
        refused: &BTreeMap<u32, String>,
    ) -> Result<Written> {
        let mut written = Written::default();
        for (file, all) in by_file(mutants) {
            let text = self.sources.get(file).with_context(|| {
                format!("{}: cargo-mutants lists it, git does not", file.display())
            })?;
            let kept: Vec<_> = all
                .into_iter()
                .filter(|m| !refused.contains_key(&m.id))
                .collect();
            let rewritten = rewrite(text, &kept, &self.const_names)
                .with_context(|| file.display().to_string())?;
            write_if_changed(&self.folder.join(file), rewritten.edited.text.as_bytes())?;
            let left_out = rewritten.left_out.into_iter();
            written
                .left_out
                .extend(left_out.map(|(id, why)| (id, why.to_owned())));
            written.edited.insert(file.to_owned(), rewritten.edited);
        }
        Ok(written)
    }
}

/// The core's root declares the switch.
fn with_switch(path: &Path, mut bytes: Vec<u8>) -> Vec<u8> {
    if path == Path::new(CORE_ROOT) {
        let mut text = ALLOWED.as_bytes().to_vec();
        text.append(&mut bytes);
        text.extend(b"\n#[doc(hidden)]\npub mod mutant_switch;\n");
        return text;
    }
    bytes
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    ensure!(
        output.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).context("git ls-files: a name is no UTF-8")?;
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect())
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Removes what an earlier copy had: a test that is gone must not run.
fn remove_others(folder: &Path, files: &[PathBuf]) -> Result<()> {
    let kept: BTreeSet<_> = files.iter().map(PathBuf::as_path).collect();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in next
            .read_dir()
            .with_context(|| next.display().to_string())?
        {
            let path = entry?.path();
            let relative = path.strip_prefix(folder)?;
            if path.is_dir() {
                folders.push(path);
            } else if !kept.contains(relative) && relative != Path::new(SWITCH_FILE) {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_core_declares_the_switch_and_stays_rust() {
        let text = with_switch(Path::new(CORE_ROOT), b"//! Doc.\n\npub mod a;\n".to_vec());
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("pub mod mutant_switch;"));
        assert!(syn::parse_file(&text).is_ok(), "{text}");
        let other = with_switch(Path::new("core/src/a.rs"), b"x".to_vec());
        assert_eq!(other, b"x");
        assert!(syn::parse_file(SWITCH_SOURCE).is_ok());
    }
}
