//! Deadlines: one for each thing that can have one, in the order of time.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{NodeId, WorkloadId};
use crate::model::time::Timestamp;

/// What is woken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A node's lease, grace, drain deadline or flush.
    Node(NodeId),
    /// The next listing of a node.
    Listing(NodeId),
    /// A workload's next step.
    Workload(WorkloadId),
    /// A workload's transactions of unknown fate are too old to be carried out.
    Ghosts(WorkloadId),
    /// The periodic pass.
    Pass,
    /// Evictions may go on.
    Evictions,
}

/// The deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Timestamp>,
    order: BTreeSet<(Timestamp, Timer)>,
}

impl Timers {
    /// Wakes `timer` at `at`, and at no other time.
    pub(super) fn set(&mut self, timer: Timer, at: Timestamp) {
        if let Some(before) = self.at.insert(timer.clone(), at) {
            if before == at {
                return;
            }
            self.order.remove(&(before, timer.clone()));
        }
        self.order.insert((at, timer));
    }

    /// Wakes `timer` at `at` unless it wakes earlier.
    pub(super) fn set_at_latest(&mut self, timer: Timer, at: Timestamp) {
        if self.at.get(&timer).is_none_or(|before| at < *before) {
            self.set(timer, at);
        }
    }

    /// Does not wake `timer`.
    pub(super) fn clear(&mut self, timer: &Timer) {
        if let Some(at) = self.at.remove(timer) {
            self.order.remove(&(at, timer.clone()));
        }
    }

    /// Forgets all.
    pub(super) fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// Takes one whose time has come.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, _) = self.order.first()?;
        if *at > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }

    /// The earliest.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_deadline_for_each_in_the_order_of_time() {
        let at = Timestamp::from_millis;
        let node = |id: &str| Timer::Node(id.parse().unwrap());
        let mut timers = Timers::default();
        timers.set(node("a"), at(30));
        timers.set(node("b"), at(20));
        timers.set(node("a"), at(10));
        timers.set_at_latest(node("b"), at(40));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(15)), Some(node("a")));
        assert_eq!(timers.pop_due(at(15)), None);
        timers.clear(&node("b"));
        assert_eq!(timers.next(), None);
    }
}
