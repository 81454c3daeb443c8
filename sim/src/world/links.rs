//! Links that break: cut for groups at once, by turns, or held back and released in a burst.

use std::time::Duration;

use crate::marks::Mark;
use crate::process::Process;

use super::message::Envelope;
use super::{Happening, World};

impl World {
    /// A link loses everything in this direction.
    pub(super) fn cut(&mut self, from: Process, to: Process) {
        self.mark(match (from, to) {
            (Process::Agent(_), Process::Replica(_)) if !self.network.is_cut(to, from) => {
                Mark::ControlPartition
            }
            (Process::Client(_), _) | (_, Process::Client(_)) => Mark::ClientPartition,
            _ => Mark::Partition,
        });
        self.network.cut(from, to);
    }

    /// It works again; a connection to the store that lost something is made anew, and its watch
    /// with it.
    pub(super) fn mend(&mut self, from: Process, to: Process) {
        self.network.mend(from, to);
        self.release(|waits| (waits.from, waits.to) == (from, to));
        if let (Process::Replica(at), Process::Store) | (Process::Store, Process::Replica(at)) =
            (from, to)
        {
            self.reset_store_connection(at);
        }
    }

    /// What waited at a cut goes on: late, and after what was said meanwhile by others.
    pub(super) fn release(&mut self, goes: impl Fn(&Envelope) -> bool) {
        let waiting = std::mem::take(&mut self.damage.waiting);
        let (released, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(goes);
        self.damage.waiting = waiting;
        for envelope in released {
            self.mark(Mark::MessageClogged);
            let at = self.now + self.network.delay();
            self.queue.push(at, Happening::Deliver(Box::new(envelope)));
        }
    }

    /// Two groups do not hear each other.
    pub(super) fn split(&mut self, these: &[Process], those: &[Process], one_way: bool) {
        self.mark(Mark::GroupPartition);
        for (from, to) in pairs(these, those) {
            self.network.cut(from, to);
            if !one_way {
                self.network.cut(to, from);
            }
        }
    }

    /// They hear each other again.
    pub(super) fn join(&mut self, these: &[Process], those: &[Process]) {
        for (from, to) in pairs(these, those) {
            self.mend(to, from);
            self.mend(from, to);
        }
    }

    /// A link is cut and mended by turns.
    pub(super) fn flap(&mut self, from: Process, to: Process, every: Duration) {
        self.mark(Mark::Flapping);
        self.damage.flapping.insert((from, to));
        self.turn(from, to, every);
    }

    /// A link that flaps turns.
    pub(super) fn turn(&mut self, from: Process, to: Process, every: Duration) {
        if !self.damage.flapping.contains(&(from, to)) {
            return;
        }
        if self.network.is_cut(from, to) {
            self.mend(from, to);
        } else {
            self.network.cut(from, to);
        }
        let turn = Happening::Turn { from, to, every };
        self.queue.push(self.now + every, turn);
    }

    /// A link that flapped works.
    pub(super) fn settle(&mut self, from: Process, to: Process) {
        self.damage.flapping.remove(&(from, to));
        self.mend(from, to);
    }

    /// What was held back of a process arrives, all at once.
    pub(super) fn unclog(&mut self, process: Process) {
        let freed = self.network.unclog(self.now, process);
        if !freed.is_empty() {
            self.mark(Mark::Clogged);
        }
        for (at, envelope) in freed {
            let arrives = Happening::Deliver(Box::new(envelope));
            self.queue.push(at, arrives);
        }
    }
}

fn pairs<'a>(
    these: &'a [Process],
    those: &'a [Process],
) -> impl Iterator<Item = (Process, Process)> + 'a {
    these
        .iter()
        .flat_map(move |from| those.iter().map(move |to| (*from, *to)))
}
