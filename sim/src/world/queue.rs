//! What happens next: by time, then by the order in which it was foreseen.

use std::collections::BTreeMap;

use berth_core::Timestamp;

/// A queue of what is to happen.
#[derive(Debug)]
pub(super) struct Queue<T> {
    entries: BTreeMap<(Timestamp, u64), T>,
    next: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), next: 0 }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, at: Timestamp, what: T) {
        self.entries.insert((at, self.next), what);
        self.next += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(Timestamp, T)> {
        self.entries.pop_first().map(|((at, _), what)| (at, what))
    }
}
