//! Results, one line of JSON each, so that a run that was stopped goes on where it was.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::trial::{Outcome, Stage, Tried};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What cargo-mutants calls the mutant.
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    /// Which test noticed, or why it was not tried.
    pub(crate) by: String,
    pub(crate) seconds: f64,
    /// How far it was tried.
    pub(crate) stage: Stage,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Results {
    path: PathBuf,
    file: Mutex<File>,
}

impl Results {
    /// Opens the file, and reads what it has. Later lines overwrite earlier ones.
    ///
    /// # Errors
    /// The disk says no, or a line that is no result stands in it.
    pub(crate) fn open(path: &Path) -> Result<(Self, BTreeMap<String, Record>)> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        let (known, whole) = read(path, &text)?;
        if whole < text.len() {
            std::fs::write(path, &text[..whole]).with_context(|| path.display().to_string())?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| path.display().to_string())?;
        let results = Self {
            path: path.to_owned(),
            file: Mutex::new(file),
        };
        Ok((results, known))
    }

    /// Adds one.
    ///
    /// # Errors
    /// The disk says no.
    pub(crate) fn add(
        &self,
        name: &str,
        tried: Tried,
        seconds: f64,
        stage: Stage,
    ) -> Result<Record> {
        let record = Record {
            name: name.to_owned(),
            outcome: tried.outcome,
            by: tried.by,
            seconds: (seconds * 1_000.0).round() / 1_000.0,
            stage,
        };
        let line = serde_json::to_string(&record)?;
        let mut file = self
            .file
            .lock()
            .map_err(|_| anyhow!("another thread failed"))?;
        writeln!(file, "{line}").with_context(|| self.path.display().to_string())?;
        Ok(record)
    }
}

/// The records, and how many bytes of the text are whole lines: the last may have been cut off.
fn read(path: &Path, text: &str) -> Result<(BTreeMap<String, Record>, usize)> {
    let mut known = BTreeMap::new();
    let mut whole = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if !line.ends_with('\n') {
            break;
        }
        let record: Record = serde_json::from_str(line)
            .map_err(|error| anyhow!("{}:{}: {error}; remove it", path.display(), at + 1))?;
        known.insert(record.name.clone(), record);
        whole += line.len();
    }
    Ok((known, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(outcome: Outcome) -> Tried {
        Tried {
            outcome,
            by: "a".to_owned(),
        }
    }

    #[test]
    fn what_was_written_is_read_and_half_a_line_is_forgotten() {
        let folder = std::env::temp_dir().join(format!("berth-mutants-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("results.jsonl");
        let (results, known) = Results::open(&path).unwrap();
        assert!(known.is_empty());
        results
            .add("x", tried(Outcome::NotNoticed), 0.5, Stage::Quick)
            .unwrap();
        results
            .add("x", tried(Outcome::Noticed), 0.5, Stage::Quick)
            .unwrap();
        results
            .add("y", tried(Outcome::Timeout), 0.5, Stage::Quick)
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}{{\"name\":")).unwrap();
        let (_, known) = Results::open(&path).unwrap();
        assert_eq!(known.len(), 2);
        assert_eq!(known["x"].outcome, Outcome::Noticed);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        std::fs::write(&path, format!("{text}no\n")).unwrap();
        let told = Results::open(&path).unwrap_err().to_string();
        assert!(
            told.contains(":4: ") && told.contains("remove it"),
            "{told}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
