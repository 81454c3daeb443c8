//! The trace of a run: one line for each step, hashed as it grows, kept if somebody wants it (S22).
//!
//! The hash is of compact bytes, not of the lines: formatting costs more than the steps themselves.

use std::fmt;

use berth_core::Timestamp;

/// Midnight of some day: virtual time begins there.
pub const BEGINNING: Timestamp = Timestamp::from_millis(1_770_000_000_000);

/// An instant as scripts have it: the time since the beginning, `+9.000s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(pub Timestamp);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.since(BEGINNING);
        write!(f, "+{}.{:03}s", since.as_secs(), since.subsec_millis())
    }
}

/// A line of a trace.
pub trait Line: fmt::Display {
    /// What the line says, as bytes of the hash.
    fn digest(&self, into: &mut Mixer);
}

impl Line for fmt::Arguments<'_> {
    fn digest(&self, into: &mut Mixer) {
        match self.as_str() {
            Some(text) => into.bytes(text.as_bytes()),
            None => into.bytes(self.to_string().as_bytes()),
        }
    }
}

/// A hash that is quick and the same everywhere. It guards against accidents, not attackers.
#[derive(Debug, Clone)]
pub struct Mixer {
    lanes: [u64; 2],
}

impl Default for Mixer {
    fn default() -> Self {
        Self {
            lanes: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
        }
    }
}

impl Mixer {
    /// Takes up a number.
    pub fn word(&mut self, word: u64) {
        let [a, b] = self.lanes;
        self.lanes = [
            fold(a ^ word, 0x9e37_79b9_7f4a_7c15).wrapping_add(b),
            fold(b.rotate_left(29) ^ word, 0xd6e8_feb8_6659_fd93).wrapping_add(a | 1),
        ];
    }

    /// Takes up bytes, and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(
                chunk.try_into().expect("a chunk of eight"),
            ));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// The hash so far.
    #[must_use]
    pub fn sum(&self) -> u128 {
        let mut end = self.clone();
        end.word(1);
        end.word(2);
        u128::from(end.lanes[0]) << 64 | u128::from(end.lanes[1])
    }

    /// The hash so far, hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        format!("{:032x}", self.sum())
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// What happened, in order.
#[derive(Debug)]
pub struct Trace {
    mixer: Mixer,
    steps: u64,
    kept: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; `keep`: the lines are wanted.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self {
            mixer: Mixer::default(),
            steps: 0,
            kept: keep.then(Vec::new),
        }
    }

    /// Adds a line.
    pub fn note(&mut self, at: Timestamp, line: &dyn Line) {
        self.mixer.word(at.as_millis());
        line.digest(&mut self.mixer);
        if let Some(kept) = &mut self.kept {
            // The time since the beginning, as scripts have it, and the one that records have.
            let (steps, since, ms) = (self.steps, Since(at), at.as_millis());
            kept.push(format!("{steps} {since} {ms} {line}"));
        }
        self.steps += 1;
    }

    /// How many lines there are.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash of the run, hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        self.mixer.hex()
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.kept.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(parts: &[&[u8]]) -> String {
        let mut mixer = Mixer::default();
        parts.iter().for_each(|part| mixer.bytes(part));
        mixer.hex()
    }

    #[test]
    fn a_line_tells_the_time_as_scripts_do_and_its_hash_does_not() {
        let at = BEGINNING + std::time::Duration::from_millis(9_050);
        let mut traces = [true, false].map(Trace::new);
        for trace in &mut traces {
            trace.note(at, &format_args!("heal"));
        }
        let [kept, hashed] = traces;
        assert_eq!(kept.hash(), hashed.hash());
        // Of this line since there are traces: whatever is told besides leaves it alone.
        assert_eq!(kept.hash(), "88f4b1f80177beab17e23c3fe8b1e91a");
        assert_eq!(kept.into_lines(), ["0 +9.050s 1770000009050 heal"]);
        assert_eq!(Since(Timestamp::ZERO).to_string(), "+0.000s");
    }

    #[test]
    fn the_hash_depends_on_every_byte_and_on_the_borders() {
        assert_eq!(hash(&[b"abcdefghij"]), hash(&[b"abcdefghij"]));
        assert_ne!(hash(&[b"abcdefghij"]), hash(&[b"abcdefghiJ"]));
        assert_ne!(hash(&[b"abcdefghij"]), hash(&[b"Abcdefghij"]));
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"a"]), hash(&[b"a\0"]));
        assert_ne!(hash(&[]), hash(&[b""]));
    }
}
