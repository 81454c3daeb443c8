//! Manifests: from files, folders and standard input to checked JSON bodies.
//!
//! Everything is read and checked before anything is sent. What can be wrong is said with the
//! file, the document's number in it, the line, and the path of the field.

mod check;
mod locate;
mod read;
mod words;

pub use check::Wanted;
pub use read::{Source, sources};

use std::fmt;

use serde_yaml_ng::Value;

use crate::exit::{Exit, Failure};

/// A document of a file, checked and ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Where it stands.
    pub origin: Origin,
    /// What it names and wants.
    pub wanted: Wanted,
    /// The body of the request: the document as JSON, its fields in the document's order.
    pub body: String,
}

/// Where a document stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file; `-` for standard input.
    pub file: String,
    /// Which document of the file, from 1.
    pub document: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match self.file.as_str() {
            "-" => "standard input",
            other => other,
        };
        write!(f, "{file}, document {}", self.document)
    }
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// Where the document stands.
    pub origin: Origin,
    /// The line in the file, from 1, if known.
    pub line: Option<usize>,
    /// The path of the field; empty: the document as a whole.
    pub field: String,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Reads and checks every document of every source.
///
/// # Errors
/// All that is wrong with any of them, one line each; then nothing may be sent.
pub fn load(sources: &[Source]) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    let mut errors = Vec::new();
    for source in sources {
        for document in split(source) {
            match document {
                Ok(manifest) => manifests.push(manifest),
                Err(error) => errors.push(error),
            }
        }
    }
    find_twins(&manifests, &mut errors);
    if !errors.is_empty() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let hint = "nothing was sent: correct the manifest and apply it again";
        return Err(Failure::new(Exit::Refused, lines.join("\n")).hint(hint));
    }
    if manifests.is_empty() {
        let name = |source: &Source| match source.name.as_str() {
            "-" => "standard input".to_owned(),
            file => file.to_owned(),
        };
        let names: Vec<String> = sources.iter().map(name).collect();
        let message = format!("no manifest in {}", names.join(", "));
        return Err(Failure::new(Exit::Refused, message));
    }
    Ok(manifests)
}

/// The documents of one source. Empty ones are skipped; a syntax error ends the file.
fn split(source: &Source) -> Vec<Result<Manifest, ManifestError>> {
    if source.is_json() {
        return split_json(source);
    }
    let mut found = Vec::new();
    // Read twice in step: once to see what it is, once into the types that know the fields.
    let mut again = serde_yaml_ng::Deserializer::from_str(&source.text);
    for (at, document) in serde_yaml_ng::Deserializer::from_str(&source.text).enumerate() {
        let reader = again.next();
        let origin = source.origin(at + 1);
        let value = match <Value as serde::Deserialize>::deserialize(document) {
            Ok(Value::Null) => continue,
            Ok(value) => value,
            Err(error) => {
                found.push(Err(check::yaml_error(&origin, String::new(), &error)));
                // The reader cannot find the next document after a syntax error, and would
                // otherwise report the same one for ever.
                break;
            }
        };
        let start = locate::document_start(&source.text, at + 1);
        let place = check::Place {
            origin,
            text: &source.text,
            start,
        };
        found.push(check::document(&place, &value, reader));
    }
    found
}

fn split_json(source: &Source) -> Vec<Result<Manifest, ManifestError>> {
    let mut found = Vec::new();
    let mut documents = serde_json::Deserializer::from_str(&source.text).into_iter::<Value>();
    let mut number = 0;
    loop {
        let from = documents.byte_offset();
        let Some(document) = documents.next() else {
            break;
        };
        number += 1;
        let origin = source.origin(number);
        match document {
            Ok(value) => {
                let text = &source.text[from..documents.byte_offset()];
                let start = source.text[..from].matches('\n').count();
                let place = check::Place {
                    origin,
                    text: &source.text,
                    start,
                };
                found.push(check::json_document(&place, &value, text));
            }
            Err(error) => {
                found.push(Err(check::json_error(&origin, 0, String::new(), &error)));
                break;
            }
        }
    }
    found
}

/// The same id twice in a batch would apply one over the other.
fn find_twins(manifests: &[Manifest], errors: &mut Vec<ManifestError>) {
    let mut seen = std::collections::BTreeMap::new();
    for manifest in manifests {
        if let Some(first) = seen.insert(&manifest.wanted.id, &manifest.origin) {
            errors.push(ManifestError {
                origin: manifest.origin.clone(),
                line: None,
                field: "id".to_owned(),
                problem: format!("{} stands already in {first}", manifest.wanted.id),
            });
        }
    }
}

#[cfg(test)]
mod tests;
