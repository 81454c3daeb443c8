//! The calm: everything heals but for what is lost for ever, and how soon all is well is judged. What
//! is lost in the calm begins those judgements anew.

use std::time::Duration;

use berth_core::Timestamp;

use crate::marks::Mark;
use crate::process::Process;

use super::replica::LEASE;
use super::{Happening, World};

/// After the faults have stopped somebody leads within a lease, and what a campaign takes.
const LED_WITHIN: Duration = Duration::from_secs(20);
/// Where everything else works, a leader that dies is replaced within a lease and this.
const TAKEOVER: Duration = Duration::from_secs(5);
/// After its deadline a drain has ended within this.
const DRAINED_SOON: Duration = Duration::from_secs(30);
/// When what runs stably has its tries forgotten, which is written.
const FORGETS: Duration = Duration::from_secs(60);

impl World {
    /// When what is to be judged in the calm is judged.
    pub(super) fn foresee_calm(&mut self, heal: Timestamp) {
        self.queue.push(heal, Happening::Heal);
        self.queue.push(heal + LED_WITHIN, Happening::Led);
        let given_up = heal + self.given_up_within();
        self.queue.push(given_up, Happening::GivenUp);
        // Those that ran stably for long enough have their tries forgotten, which is written.
        let settles = self.oracle.stable_after() + FORGETS;
        let half = self.script.world.calm.duration() / 2;
        self.oracle.idle_from(heal + half.max(settles));
    }

    /// Something is lost for good although everything else works.
    pub(super) fn lost_in_the_calm(&mut self) {
        self.mark(Mark::LostInTheCalm);
        self.damage.last_loss = Some(self.now);
        self.queue.push(self.now + LEASE + TAKEOVER, Happening::Led);
        let given_up = self.now + self.given_up_within();
        self.queue.push(given_up, Happening::GivenUp);
        self.oracle.leaves_later(given_up + FORGETS);
        let settles = self.oracle.stable_after() + FORGETS * 2;
        self.oracle.idle_not_before(given_up + settles);
    }

    /// A node is drained although everything works.
    pub(super) fn drained_in_the_calm(&mut self, node: usize, deadline: Duration) {
        self.operator.drains.insert(node);
        let over = self.now + deadline + DRAINED_SOON;
        self.queue.push(over, Happening::Drained { node });
        let settles = self.oracle.stable_after() + FORGETS * 2;
        self.oracle.idle_not_before(over + settles);
    }

    /// L1: a drain has ended by now, unless it began later, or something was lost beside it.
    pub(super) fn drain_is_due(&mut self, node: usize) {
        let id = self.agents[node].id.clone();
        let ended = match self.oracle.drain_ends_by(&id) {
            Some(due) if due + DRAINED_SOON > self.now => {
                self.queue
                    .push(due + DRAINED_SOON, Happening::Drained { node });
                return;
            }
            Some(due) => due,
            None => return,
        };
        let within = self.given_up_within() + DRAINED_SOON;
        let last = self.damage.last_loss;
        if self.agents[node].lost || last.is_some_and(|last| last + within > ended) {
            return;
        }
        if self.oracle.judge_drained(&id) {
            self.mark(Mark::DrainedInTime);
        }
    }

    /// By when a lost node is given up, whoever leads.
    fn given_up_within(&self) -> Duration {
        let graces = self.replicas.iter().map(|it| it.config.eviction_grace);
        let longest = graces.max().unwrap_or_default();
        self.oracle.lost_nodes_are_given_up_within(longest)
    }

    /// How long ago something was lost in the calm, if it was.
    fn since_last_loss(&self) -> Option<Duration> {
        self.damage.last_loss.map(|last| self.now.since(last))
    }

    /// L4, unless it is due later.
    pub(super) fn leader_is_due(&mut self) {
        if self
            .since_last_loss()
            .is_none_or(|ago| ago >= LEASE + TAKEOVER)
        {
            let end = self.end();
            self.oracle.judge_leader(&end);
        }
    }

    /// Nodes that are lost have been given up by now; what they had leaves soon.
    pub(super) fn lost_nodes_are_given_up(&mut self) {
        let within = self.given_up_within();
        let ago = self.since_last_loss();
        if ago.is_some_and(|ago| ago < within) {
            return;
        }
        let end = self.end();
        let moved = self.oracle.lost_nodes_are_left_by(&end, ago.is_some());
        self.queue.push(moved, Happening::Moved);
        if ago.is_some() {
            let settles = self.oracle.stable_after() + FORGETS;
            self.oracle.idle_not_before(moved + settles);
        }
    }

    /// L5, unless it is due later.
    pub(super) fn moves_are_due(&mut self) {
        let within = self.given_up_within();
        let later = self.since_last_loss().is_some_and(|ago| ago < within);
        if later || self.now < self.oracle.left_by() {
            return;
        }
        let end = self.end();
        if self.oracle.judge_moved(&end) {
            self.mark(Mark::MovedInTime);
        }
    }

    /// Everything works again, and stays so, but for what is lost for ever.
    pub(super) fn heal(&mut self) {
        self.note(&format_args!("heal"));
        self.damage.healed = true;
        self.network.heal();
        self.release(|_| true);
        self.damage.flapping.clear();
        for process in self.network.clogged() {
            self.unclog(process);
        }
        self.store.lose_answers = 0;
        self.store.refuse = 0;
        self.store.stale_reads = (0, 0);
        self.return_store();
        self.fill_store(false);
        self.regain_store();
        self.unstall_store();
        self.store.wandered.clear();
        self.repair_records();
        for at in 0..self.replicas.len() {
            self.show_watch(at);
            self.replicas[at].drift(self.now, 0);
            self.quicken_replica(at);
            self.resume_replica(at);
            if self.replicas[at].up && !self.replicas[at].dead {
                self.reset_store_connection(at);
            } else {
                self.start_replica(at);
            }
        }
        for at in 0..self.agents.len() {
            if self.agents[at].second {
                continue;
            }
            self.remove_second(at);
            if self.agents[at].lost {
                continue;
            }
            self.heal_agent(at);
            self.start_agent(at);
            self.wake(Process::Agent(at), self.now);
        }
        let operator = Process::Client(self.clients.len());
        self.wake(operator, self.now + Duration::from_secs(1));
    }
}
