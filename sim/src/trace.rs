//! The trace of a run: one line for each step, hashed as it grows, kept if somebody wants it (S22).

use std::fmt::Write;

use berth_core::Timestamp;
use sha2::{Digest, Sha256};

/// What happened, in order.
#[derive(Debug)]
pub struct Trace {
    hash: Sha256,
    steps: u64,
    kept: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; `keep`: the lines are wanted.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self { hash: Sha256::new(), steps: 0, kept: keep.then(Vec::new) }
    }

    /// Adds a line.
    pub fn note(&mut self, at: Timestamp, line: &dyn std::fmt::Display) {
        let text = format!("{} {} {line}", self.steps, at.as_millis());
        self.steps += 1;
        self.hash.update(text.as_bytes());
        self.hash.update(b"\n");
        if let Some(kept) = &mut self.kept {
            kept.push(text);
        }
    }

    /// How many lines there are.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash of all lines, hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        let digest = self.hash.clone().finalize();
        digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.kept.as_deref().unwrap_or_default()
    }
}
