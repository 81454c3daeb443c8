//! What did not compile last time: the same source is not asked again, and nothing is built anew.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What was refused, and of which source.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    source: String,
    refused: BTreeMap<u32, String>,
}

/// A name of the source that is not the same for another one.
pub(crate) fn name_of(parts: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What was refused of this source; nothing if it is another one, or if nobody knows.
pub(crate) fn read(file: &Path, source: &str) -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let remembered: Remembered = serde_json::from_str(&text).unwrap_or_default();
    if remembered.source == source {
        remembered.refused
    } else {
        BTreeMap::new()
    }
}

/// Remembers it.
///
/// # Errors
/// The disk says no.
pub(crate) fn write(file: &Path, source: &str, refused: &BTreeMap<u32, String>) -> Result<()> {
    let remembered = Remembered {
        source: source.to_owned(),
        refused: refused.clone(),
    };
    std::fs::write(file, serde_json::to_string(&remembered)?)
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_source_is_asked_again() {
        let file = std::env::temp_dir().join(format!("berth-refused-{}", std::process::id()));
        assert!(read(&file, "a").is_empty());
        let refused = BTreeMap::from([(7, "E0277".to_owned())]);
        write(&file, "a", &refused).unwrap();
        assert_eq!(read(&file, "a"), refused);
        assert!(read(&file, "b").is_empty());
        std::fs::remove_file(&file).unwrap();
        assert_ne!(name_of(&"a"), name_of(&"b"));
    }
}
