//! One thing that goes wrong at a counted point, for the systematic search.

use std::time::Duration;

use crate::marks::Mark;
use crate::process::Process;
use crate::script::{Counters, Twist};

use super::message::Envelope;
use super::{Happening, World};

/// How long after it died a process is started again.
pub(crate) const DOWN: Duration = Duration::from_secs(2);
/// What is delayed is later than what follows it.
pub(crate) const LATE: Duration = Duration::from_secs(4);
/// A watch is not believed for longer than this without a new connection.
pub(crate) const RESYNC: Duration = Duration::from_secs(15);
/// Longer than a leader's lease.
pub(crate) const PAUSED: Duration = Duration::from_secs(9);

/// What a twist means for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detour {
    /// Nothing.
    None,
    /// It is lost.
    Lost,
    /// It comes again, late.
    Again,
    /// It comes late.
    Late,
}

/// What a twist means for a call to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreTwist {
    /// Nothing.
    None,
    /// It never arrives.
    Lost,
    /// It is carried out, and its answer is lost.
    Mute,
    /// It is answered from so many revisions ago.
    Stale(i64),
}

impl World {
    /// Passes a point of a kind; answers its number while anything may break.
    fn pass(&mut self, kind: impl Fn(&mut Counters) -> &mut u64) -> Option<u64> {
        if self.damage.healed {
            return None;
        }
        let count = kind(&mut self.counters);
        let number = *count;
        *count += 1;
        Some(number)
    }

    fn twisted(&mut self, twist: Option<Twist>) -> bool {
        let here = twist.is_some() && twist == self.script.twist;
        if here {
            self.note(&format_args!("twist {twist:?}"));
        }
        here
    }

    /// A write of a scheduler took effect.
    pub(super) fn twist_write(&mut self, writer: usize) {
        let number = self.pass(|counters| &mut counters.writes);
        if self.twisted(number.map(Twist::CrashAfterWrite)) {
            self.crash_for_a_while(writer);
        }
    }

    /// An order of a core went out.
    pub(super) fn twist_output(&mut self, replica: usize) {
        let number = self.pass(|counters| &mut counters.outputs);
        if self.twisted(number.map(Twist::CrashAfterOutput)) {
            self.crash_for_a_while(replica);
        }
    }

    fn crash_for_a_while(&mut self, replica: usize) {
        self.mark(Mark::SchedulerCrash);
        self.crash_replica(replica);
        let start = Happening::Restart { replica };
        self.queue.push(self.now + DOWN, start);
    }

    /// An agent gives an order: to its runtime, or to its disk. Answers whether its
    /// process dies in that moment.
    pub(super) fn twist_deed(&mut self, agent: usize) -> bool {
        let number = self.pass(|counters| &mut counters.deeds);
        let dies = self.twisted(number.map(Twist::CrashAgent));
        if dies {
            self.mark(Mark::AgentCrash);
            self.agents[agent].crash();
            self.let_sleep(Process::Agent(agent));
            let life = self.agents[agent].life;
            let start = Happening::RestartAgent { agent, life };
            self.queue.push(self.now + DOWN, start);
        }
        dies
    }

    /// A message that is not to or from the store.
    pub(super) fn twist_message(&mut self) -> Detour {
        let Some(number) = self.pass(|counters| &mut counters.messages) else {
            return Detour::None;
        };
        if self.twisted(Some(Twist::Drop(number))) {
            self.mark(Mark::MessageLost);
            Detour::Lost
        } else if self.twisted(Some(Twist::Double(number))) {
            self.mark(Mark::MessageDoubled);
            Detour::Again
        } else if self.twisted(Some(Twist::Delay(number))) {
            self.mark(Mark::MessageOvertaken);
            Detour::Late
        } else {
            Detour::None
        }
    }

    /// A message that comes late.
    pub(super) fn send_late(&mut self, envelope: Envelope) {
        let arrives = Happening::Deliver(Box::new(envelope));
        self.queue.push(self.now + LATE, arrives);
    }

    /// A watch tells a scheduler something. Answers whether it is held back.
    pub(super) fn twist_watched(&mut self, replica: usize) -> bool {
        let number = self.pass(|counters| &mut counters.watched);
        if self.twisted(number.map(Twist::HideWatch)) {
            self.replicas[replica].watch_broken = true;
            let again = Happening::Reconnect { replica };
            self.queue.push(self.now + RESYNC, again);
        }
        self.replicas[replica].watch_broken
    }

    /// The connection that lost something is made anew.
    pub(super) fn reconnect_store(&mut self, replica: usize) {
        self.replicas[replica].watch_broken = false;
        self.reset_store_connection(replica);
    }

    /// A read of the store that may be old; `looks`: of who leads, and not a page of a load.
    pub(super) fn twist_read(&mut self, looks: bool) -> StoreTwist {
        let number = self.pass(|counters| &mut counters.reads);
        match (number, self.script.twist) {
            (Some(number), Some(Twist::StaleRead { read, back })) if number == read => {
                self.twisted(self.script.twist);
                StoreTwist::Stale(i64::try_from(back).unwrap_or(0))
            }
            // The driver loads by reads that a majority confirms: outside the systematic search
            // only who leads is answered from behind.
            _ if looks => self.stale_read(),
            _ => StoreTwist::None,
        }
    }

    fn stale_read(&mut self) -> StoreTwist {
        let (left, back) = self.store.stale_reads;
        if left == 0 {
            return StoreTwist::None;
        }
        self.mark(Mark::StoreStale);
        self.store.stale_reads = (left - 1, back);
        StoreTwist::Stale(back)
    }

    /// A transaction of a core is sent.
    pub(super) fn twist_commit(&mut self) -> StoreTwist {
        let number = self.pass(|counters| &mut counters.commits);
        if self.twisted(number.map(Twist::UnknownNotDone)) {
            StoreTwist::Lost
        } else if self.twisted(number.map(Twist::UnknownDone)) {
            StoreTwist::Mute
        } else {
            StoreTwist::None
        }
    }

    /// A core made a step.
    pub(super) fn twist_step(&mut self, replica: usize) {
        let number = self.pass(|counters| &mut counters.steps);
        if self.twisted(number.map(Twist::Pause)) && self.replicas[replica].up {
            self.mark(Mark::SchedulerPause);
            self.replicas[replica].paused = true;
            let go_on = Happening::Resume { replica };
            self.queue.push(self.now + PAUSED, go_on);
        }
    }

    /// Whether a message may be lost on its own: etcd's clients speak over one ordered connection.
    pub(super) const fn may_be_lost(from: Process, to: Process) -> bool {
        !matches!((from, to), (Process::Store, _) | (_, Process::Store))
    }
}
