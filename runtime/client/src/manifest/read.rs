//! Where manifests come from.

use std::io::Read;
use std::path::Path;

use super::Origin;
use crate::exit::{Exit, Failure};

/// The text of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file; `-` for standard input.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl Source {
    /// The text is JSON, not YAML: by its name or its first character. (Plain YAML may begin with
    /// `{` too, but then only few texts are not JSON as well.)
    pub(super) fn is_json(&self) -> bool {
        let by_name = |end| {
            Path::new(&self.name)
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case(end))
        };
        if by_name("yaml") || by_name("yml") {
            return false;
        }
        by_name("json") || self.text.trim_start().starts_with('{')
    }

    pub(super) fn origin(&self, document: usize) -> Origin {
        Origin {
            file: self.name.clone(),
            document,
        }
    }
}

/// Reads every file that is named: `-` is standard input, a folder stands for its `.yaml`, `.yml`
/// and `.json` files in the order of names.
///
/// # Errors
/// What cannot be read, with its name.
pub fn sources(names: &[String]) -> Result<Vec<Source>, Failure> {
    let mut found = Vec::new();
    for name in names {
        if name == "-" {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| cannot("standard input", &error))?;
            found.push(Source {
                name: name.clone(),
                text,
            });
        } else if Path::new(name).is_dir() {
            folder(name, &mut found)?;
        } else {
            found.push(file(name)?);
        }
    }
    Ok(found)
}

fn folder(name: &str, found: &mut Vec<Source>) -> Result<(), Failure> {
    let entries = std::fs::read_dir(name).map_err(|error| cannot(name, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| cannot(name, &error))?.path();
        let end = path.extension().and_then(|end| end.to_str());
        if path.is_file() && matches!(end, Some("yaml" | "yml" | "json")) {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    if files.is_empty() {
        let message = format!("{name}: no .yaml, .yml or .json file in this folder");
        return Err(Failure::new(Exit::Error, message));
    }
    files.sort();
    for path in files {
        found.push(file(&path)?);
    }
    Ok(())
}

fn file(name: &str) -> Result<Source, Failure> {
    let text = std::fs::read_to_string(name).map_err(|error| cannot(name, &error))?;
    Ok(Source {
        name: name.to_owned(),
        text,
    })
}

fn cannot(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Error, format!("cannot read {name}: {error}"))
}
