//! The bounded pool of agent calls: a limit for all, a limit for each node, and turns between
//! nodes, so that a slow one delays no other.

use std::collections::{BTreeMap, VecDeque};

use crate::io::AgentCall;
use crate::model::id::{CallId, NodeId, WorkloadId};

/// Calls that wait and calls in flight.
#[derive(Debug, Default)]
pub(super) struct CallPool {
    queued: BTreeMap<NodeId, VecDeque<AgentCall>>,
    in_flight: BTreeMap<CallId, AgentCall>,
    per_node: BTreeMap<NodeId, usize>,
    /// The node whose turn was last.
    last: Option<NodeId>,
    waiting: usize,
}

impl CallPool {
    /// Queues a call.
    pub(super) fn push(&mut self, call: AgentCall) {
        self.waiting += 1;
        self.queued
            .entry(call.node.clone())
            .or_default()
            .push_back(call);
    }

    /// Takes the next call that may be made, node by node in turn.
    pub(super) fn next(&mut self, max: usize, max_per_node: usize) -> Option<AgentCall> {
        if self.in_flight.len() >= max || self.queued.is_empty() {
            return None;
        }
        let free = |node: &&NodeId, per_node: &BTreeMap<NodeId, usize>| {
            per_node.get(*node).copied().unwrap_or(0) < max_per_node
        };
        let after = self.last.as_ref().and_then(|last| {
            let range = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            self.queued
                .range::<NodeId, _>(range)
                .map(|(n, _)| n)
                .find(|n| free(n, &self.per_node))
        });
        let node = match after {
            Some(node) => node.clone(),
            None => self
                .queued
                .keys()
                .find(|n| free(n, &self.per_node))?
                .clone(),
        };
        let queue = self.queued.get_mut(&node)?;
        let call = queue.pop_front()?;
        if queue.is_empty() {
            self.queued.remove(&node);
        }
        self.waiting -= 1;
        self.last = Some(node);
        Some(call)
    }

    /// A call taken by [`Self::next`] is made.
    pub(super) fn start(&mut self, call: AgentCall) {
        *self.per_node.entry(call.node.clone()).or_default() += 1;
        self.in_flight.insert(call.id, call);
    }

    /// A call ended. `None`: it is not ours, or ended before.
    pub(super) fn finish(&mut self, id: CallId) -> Option<AgentCall> {
        let call = self.in_flight.remove(&id)?;
        if let Some(count) = self.per_node.get_mut(&call.node) {
            *count -= 1;
            if *count == 0 {
                self.per_node.remove(&call.node);
            }
        }
        Some(call)
    }

    /// Whether a mutation of this workload is in flight to this node.
    pub(super) fn mutates(&self, node: &NodeId, workload: &WorkloadId) -> bool {
        self.per_node.contains_key(node)
            && self.in_flight.values().any(|call| {
                call.op.is_mutation() && call.node == *node && call.op.workload() == Some(workload)
            })
    }

    /// Calls in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Calls that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::AgentOp;
    use crate::model::id::Epoch;

    fn call(id: u64, node: &str) -> AgentCall {
        AgentCall {
            id: CallId(id),
            node: node.parse().unwrap(),
            endpoint: String::new(),
            epoch: Epoch(1),
            timeout: Duration::from_secs(1),
            op: AgentOp::List,
        }
    }

    #[test]
    fn nodes_take_turns_within_their_limits() {
        let mut pool = CallPool::default();
        for id in 0..4 {
            pool.push(call(id, "a"));
        }
        pool.push(call(10, "b"));
        let mut started = Vec::new();
        while let Some(next) = pool.next(3, 2) {
            started.push(next.id.0);
            pool.start(next);
        }
        assert_eq!(started, [0, 10, 1]);
        assert!(pool.finish(CallId(10)).is_some());
        assert!(pool.finish(CallId(10)).is_none());
        assert!(pool.next(3, 2).is_none(), "node a is at its limit");
        assert!(pool.finish(CallId(0)).is_some());
        assert_eq!(pool.next(3, 2).map(|next| next.id.0), Some(2));
        assert_eq!((pool.waiting(), pool.in_flight()), (1, 1));
    }
    #[test]
    fn only_a_change_of_the_same_workload_on_the_same_node_is_one() {
        let (w, n) = ("w".parse().unwrap(), "a".parse().unwrap());
        let delete = |id, node, workload: &str| AgentCall {
            op: AgentOp::Delete {
                workload: workload.parse().unwrap(),
            },
            ..call(id, node)
        };
        let status = AgentCall {
            op: AgentOp::Status {
                workload: "w".parse().unwrap(),
            },
            ..call(5, "a")
        };
        for (others, mutates) in [
            (vec![], false),
            (vec![status.clone()], false),
            (vec![delete(1, "a", "v")], false),
            (vec![delete(1, "b", "w")], false),
            (vec![delete(1, "b", "w"), status], false),
            (vec![delete(1, "a", "v"), delete(2, "a", "w")], true),
        ] {
            let mut pool = CallPool::default();
            let count = others.len();
            for call in others {
                pool.start(call);
            }
            assert_eq!(pool.mutates(&n, &w), mutates);
            assert_eq!(pool.in_flight(), count);
        }
    }
}
