//! What happens next: by time, then by the order in which it was foreseen.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use berth_core::Timestamp;

/// A queue of what is to happen.
#[derive(Debug)]
pub(super) struct Queue<T> {
    entries: BinaryHeap<Entry<T>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Timestamp,
    number: u64,
    what: T,
}

// The greatest leaves the heap first: what is sooner is greater.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            entries: BinaryHeap::new(),
            next: 0,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, at: Timestamp, what: T) {
        self.entries.push(Entry {
            at,
            number: self.next,
            what,
        });
        self.next += 1;
    }

    /// Sets so many places in the order aside, and answers with the first: what takes them later
    /// comes before what was pushed meanwhile for the same time.
    pub(super) fn reserve(&mut self, count: usize) -> u64 {
        let first = self.next;
        self.next += count as u64;
        first
    }

    /// Takes a place that was set aside.
    pub(super) fn push_reserved(&mut self, at: Timestamp, number: u64, what: T) {
        self.entries.push(Entry { at, number, what });
    }

    /// When the next one happens.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.entries.peek().map(|entry| entry.at)
    }

    /// How much is foreseen.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn pop(&mut self) -> Option<(Timestamp, T)> {
        self.entries.pop().map(|entry| (entry.at, entry.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_set_aside_comes_before_what_was_pushed_later() {
        let mut queue = Queue::default();
        let first = queue.reserve(2);
        queue.push(Timestamp::from_millis(5), 'c');
        queue.push_reserved(Timestamp::from_millis(5), first + 1, 'b');
        queue.push_reserved(Timestamp::from_millis(5), first, 'a');
        let order: Vec<char> = std::iter::from_fn(|| queue.pop())
            .map(|(_, what)| what)
            .collect();
        assert_eq!(order, ['a', 'b', 'c']);
    }

    #[test]
    fn by_time_then_by_the_order_of_pushing() {
        let mut queue = Queue::default();
        let at = Timestamp::from_millis;
        for (when, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(at(when), what);
        }
        let order: Vec<char> = std::iter::from_fn(|| queue.pop())
            .map(|(_, what)| what)
            .collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
    }
}
