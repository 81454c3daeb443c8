//! How fast a scheduler's process is: it stands still, goes on, takes its time, and loses its
//! connections.

use std::time::Duration;

use berth_core::StoreRevision;
use berth_core::io::AgentError;

use crate::marks::Mark;
use crate::process::Process;
use crate::world::message::Envelope;
use crate::world::{Happening, World};

impl World {
    /// The process goes on: what arrived meanwhile is handled, and its timers are late.
    pub(in crate::world) fn resume_replica(&mut self, at: usize) {
        if self.replicas[at].dead || !std::mem::take(&mut self.replicas[at].paused) {
            return;
        }
        if self.stopped_in_time(at) {
            self.mark(Mark::WokeUpDeposed);
        }
        self.catch_up(at);
        let calls: Vec<_> = self.replicas[at].calls.keys().copied().collect();
        for call in calls {
            self.replica_overdue(at, call);
        }
        let calls: Vec<_> = self.replicas[at].agent_calls.keys().copied().collect();
        for call in calls {
            self.agent_call_overdue(at, call);
        }
        self.let_sleep(Process::Replica(at));
        self.wake(Process::Replica(at), self.now);
    }

    /// Handles everything that waits for it.
    fn catch_up(&mut self, at: usize) {
        for envelope in std::mem::take(&mut self.replicas[at].backlog) {
            self.deliver(envelope);
        }
    }

    /// A message arrives at a process that stands still or takes its time. Answers whether it
    /// waits there.
    pub(in crate::world) fn waits(&mut self, at: usize, envelope: Envelope) -> Option<Envelope> {
        let replica = &mut self.replicas[at];
        let busy = replica.paused || !replica.slow.is_zero();
        if !busy {
            return Some(envelope);
        }
        if replica.paused && replica.dead {
            // Nobody will read it.
            return None;
        }
        replica.backlog.push_back(envelope);
        if replica.backlog.len() == 1 && !replica.paused {
            self.handle_next_later(at);
        }
        None
    }

    fn handle_next_later(&mut self, at: usize) {
        let replica = &self.replicas[at];
        let next = Happening::HandleNext {
            replica: at,
            life: replica.life,
        };
        self.queue.push(self.now + replica.slow, next);
    }

    /// A slow process comes to the next message.
    pub(in crate::world) fn handle_next(&mut self, at: usize, life: u64) {
        let replica = &mut self.replicas[at];
        // One that stands still handles everything when it goes on.
        if !replica.is_alive(life) {
            return;
        }
        let Some(envelope) = replica.backlog.pop_front() else {
            return;
        };
        self.deliver(envelope);
        if self.replicas[at].is_alive(life) && !self.replicas[at].backlog.is_empty() {
            self.handle_next_later(at);
        }
    }

    /// A slow process is slow no more.
    pub(in crate::world) fn quicken_replica(&mut self, at: usize) {
        self.replicas[at].slow = Duration::ZERO;
        if !self.replicas[at].paused {
            self.catch_up(at);
        }
    }

    /// All its connections are made anew: what it asked for ends without an answer, although it
    /// may have been carried out.
    pub(in crate::world) fn reset_connections(&mut self, at: usize) {
        let replica = &self.replicas[at];
        if !replica.up || replica.paused {
            return;
        }
        let life = replica.life;
        let calls: Vec<_> = replica.calls.keys().copied().collect();
        let agent_calls: Vec<_> = replica.agent_calls.keys().copied().collect();
        for call in calls {
            self.replica_overdue(at, call);
        }
        for call in agent_calls {
            if self.replicas[at].life == life {
                let error = AgentError::Failed("gRPC code 14: connection reset".into());
                self.end_agent_call(at, call, Err(error));
            }
        }
        self.reset_store_connection(at);
    }

    /// Its watch is made anew, and tells again what it told before.
    pub(in crate::world) fn repeat_watch(&mut self, at: usize, back: u64) {
        let replica = &mut self.replicas[at];
        if replica.up && replica.is_watching() {
            let seen = replica.seen.0;
            let back = i64::try_from(back).unwrap_or(i64::MAX);
            replica.seen = StoreRevision(seen.saturating_sub(back).max(0));
            self.reset_store_connection(at);
            self.replicas[at].seen = StoreRevision(seen);
        }
    }
}
