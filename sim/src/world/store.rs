//! The store's process: the model of etcd behind messages, and what the oracle reads of it.

use berth_core::Timestamp;
use berth_kv::{Model, StreamId, WatchOutputKind};

use super::World;
use super::message::{Body, Process};

/// The store.
#[derive(Debug, Default)]
pub(super) struct StoreProcess {
    pub(super) model: Model,
    /// Requests arrive and nothing is answered: a leader change, a stall.
    pub(super) stalled: bool,
    /// What arrived while stalled.
    held: Vec<(Process, Body)>,
    /// Whether an applied request loses its answer, and how many more do.
    pub(super) lose_answers: u32,
}

/// Replica `at`'s stream of watches, in its life `life`.
pub(super) fn stream_of(at: usize, life: u64) -> StreamId {
    StreamId(((at as u64) << 32) | (life & 0xffff_ffff))
}

fn replica_of(stream: StreamId) -> usize {
    usize::try_from(stream.0 >> 32).unwrap_or(usize::MAX)
}

impl World {
    pub(super) fn store_receive(&mut self, from: Process, body: Body) {
        if self.store.stalled {
            self.store.held.push((from, body));
            return;
        }
        self.store_tick();
        let Body::StoreCall { call, request } = body else { return };
        let before = self.store.model.revision();
        let result = self.store.model.apply(millis(self.now), *request);
        if self.store.model.revision() != before {
            self.observe_store(before);
        }
        self.send_watch_output();
        if self.store.lose_answers > 0 {
            self.store.lose_answers -= 1;
            self.mark("store answer lost after it was applied");
            return;
        }
        self.send(Process::Store, from, Body::StoreAnswer { call, result: Box::new(result) });
    }

    /// Leases that ran out are expired before anything else happens.
    pub(super) fn store_tick(&mut self) {
        let before = self.store.model.revision();
        let expired = self.store.model.expire_leases(millis(self.now));
        if !expired.is_empty() {
            self.mark("lease expired");
        }
        if self.store.model.revision() != before {
            self.observe_store(before);
        }
        self.send_watch_output();
        if let Some(at) = self.store.model.next_lease_expiry() {
            self.wake(Process::Store, Timestamp::from_millis(at + 1));
        }
    }

    fn send_watch_output(&mut self) {
        while let Some(output) = self.store.model.poll_watch_output() {
            if let WatchOutputKind::Created = output.kind {
                continue;
            }
            let to = Process::Replica(replica_of(output.stream));
            self.send(Process::Store, to, Body::Watched { output: Box::new(output) });
        }
    }

    /// The store answers again: what arrived meanwhile is carried out late.
    pub(super) fn unstall_store(&mut self) {
        self.store.stalled = false;
        for (from, body) in std::mem::take(&mut self.store.held) {
            self.store_receive(from, body);
        }
    }
}

fn millis(at: Timestamp) -> u64 {
    at.as_millis()
}
