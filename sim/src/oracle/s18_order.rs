//! S18: of what leaves lost nodes in one step, the most urgent leaves first, and takes what room there is.

use std::collections::BTreeMap;

use berth_core::WorkloadId;

use super::rule::{Check, Finding};
use super::s18_eviction::is_eviction;
use super::view::{Flight, View, events};

/// What each scheduler evicted last: in which step, of what priority.
#[derive(Debug, Default)]
pub(crate) struct Order(BTreeMap<usize, (u64, i32)>);

impl Order {
    /// A scheduler asks for a commit.
    pub(crate) fn asked(
        &mut self,
        replica: usize,
        step: u64,
        view: &View,
        flight: &Flight,
    ) -> Check {
        let events: Vec<_> = events(&flight.txn).collect();
        for id in events.iter().filter_map(is_eviction) {
            let Some(record) = view.workloads.get(id) else {
                continue;
            };
            self.leaves(replica, step, id, record.priority)?;
        }
        Ok(())
    }

    fn leaves(&mut self, replica: usize, step: u64, id: &WorkloadId, priority: i32) -> Check {
        match self.0.insert(replica, (step, priority)) {
            Some((of, last)) if of == step && priority > last => {
                let expected = "the most urgent to leave lost nodes first";
                let seen = format!("priority {priority} leaves after priority {last}");
                Err(Finding::new(expected, seen).of(id))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_more_urgent_does_not_leave_later_in_the_same_step() {
        let mut order = Order::default();
        let mut leaves = |replica, step, priority| {
            let id = "w".parse().unwrap();
            order.leaves(replica, step, &id, priority).is_ok()
        };
        assert!(leaves(0, 7, 5));
        assert!(leaves(0, 7, 5));
        assert!(leaves(0, 7, -2));
        assert!(leaves(1, 7, 3), "another scheduler");
        assert!(leaves(0, 8, 3), "another step");
        assert!(!leaves(0, 8, 4));
    }
}
