//! What can be wrong with a configuration, in words that say what to do.

use std::path::PathBuf;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value cannot be read.
    #[error("{origin}: {text:?} is not {expected}")]
    Value {
        /// The flag, the variable, or the key with its file.
        origin: String,
        /// What was given.
        text: String,
        /// What was expected.
        expected: String,
    },
    /// A key of the file is none of ours.
    #[error("{}: there is no setting {key:?}; the settings are those of --help", file.display())]
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
    },
    /// The file cannot be read, or is not TOML.
    #[error("{}: {problem}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Settings that do not go together, or one that is missing.
    #[error("{0}")]
    Together(String),
}
