//! The script, carried out: what breaks, and what ends being broken.

use std::time::Duration;

use crate::marks::Mark;
use crate::process::Process;
use crate::script::{Act, Deed, Lasting};

use super::message::Envelope;
use super::{Happening, World};

/// What is broken at the moment, beyond what the processes themselves know.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Nothing breaks any more.
    pub(super) healed: bool,
    /// Records that were corrupted, as they were before.
    pub(super) broken: Vec<(String, Vec<u8>)>,
    /// Watches that are held back.
    pub(super) hidden: std::collections::BTreeSet<usize>,
    /// What waits at cut links.
    pub(super) clogged: Vec<Envelope>,
}

impl World {
    /// An act begins. What it does at its end is foreseen now.
    pub(super) fn begin_act(&mut self, act: &Act) {
        if self.damage.healed && act.deed.breaks() {
            return;
        }
        self.note(&format_args!("{}", act.deed));
        if let Some(camera) = &mut self.camera {
            camera.acted(self.now, act);
        }
        let ever = act.lasting == Some(Lasting::Ever);
        if let Some(Lasting::For(span)) = act.lasting {
            let over = Happening::Over(Box::new(act.deed.clone()));
            self.queue.push(self.now + span.duration(), over);
        }
        self.begin_deed(&act.deed, ever);
    }

    fn begin_deed(&mut self, deed: &Deed, ever: bool) {
        match *deed {
            Deed::CrashScheduler { scheduler } => {
                self.mark(Mark::SchedulerCrash);
                self.crash_replica(scheduler);
                self.replicas[scheduler].dead |= ever;
                if ever {
                    self.mark(Mark::SchedulerDeadForGood);
                }
            }
            Deed::PauseScheduler { scheduler } => {
                if self.replicas[scheduler].up {
                    self.mark(Mark::SchedulerPause);
                    self.replicas[scheduler].paused = true;
                }
            }
            Deed::HideWatch { scheduler } => self.hide_watch(scheduler),
            Deed::CrashAgent { node } => {
                self.mark(Mark::AgentCrash);
                self.agents[node].crash();
                self.let_sleep(Process::Agent(node));
                self.lose_for_ever(node, ever);
            }
            Deed::RebootNode { node } => {
                self.mark(Mark::NodeReboot);
                self.reboot_node(node);
                self.lose_for_ever(node, ever);
            }
            Deed::ReplaceNode { node } => {
                self.mark(Mark::NodeReplaced);
                self.reboot_node(node);
                self.agents[node].lose_everything();
                self.oracle.node_replaced(node);
            }
            Deed::ResizeNode { node, percent } => {
                self.mark(Mark::AgentCapacity);
                self.reboot_node(node);
                self.agents[node].resize(percent, 100);
            }
            Deed::HangAgent { node } => {
                self.mark(Mark::AgentHang);
                self.agents[node].hung = true;
                self.lose_for_ever(node, ever);
            }
            Deed::Lie { node, answers } => self.agents[node].lies = answers,
            Deed::KillWorkload { node, which } => self.kill_workload(node, which),
            Deed::Cut { from, to } => {
                self.mark(Mark::Partition);
                self.network.cut(from, to);
                if ever {
                    self.cut_for_ever(from, to);
                }
            }
            Deed::StallStore => {
                self.mark(Mark::StoreStall);
                self.store.stalled = true;
            }
            Deed::LoseStoreAnswers { count } => {
                self.mark(Mark::StoreAnswersLost);
                self.store.lose_answers = count;
            }
            Deed::EditStore { edit, which } => self.edit_store(edit, which),
            Deed::Ask { .. } => self.client_does(deed),
            Deed::Cordon { .. }
            | Deed::Uncordon { .. }
            | Deed::Drain { .. }
            | Deed::CancelDrain { .. }
            | Deed::Fence { .. }
            | Deed::Purge { .. } => self.operator_does(deed),
        }
    }

    /// Something that lasted is over.
    pub(super) fn end_deed(&mut self, deed: &Deed) {
        if self.damage.healed {
            return;
        }
        self.note(&format_args!("over: {deed}"));
        match *deed {
            Deed::CrashScheduler { scheduler } => self.start_replica(scheduler),
            Deed::PauseScheduler { scheduler } => self.resume_replica(scheduler),
            Deed::HideWatch { scheduler } => self.compact_store(scheduler),
            Deed::CrashAgent { node }
            | Deed::RebootNode { node }
            | Deed::ReplaceNode { node }
            | Deed::ResizeNode { node, .. } => self.start_agent(node),
            Deed::HangAgent { node } if !self.agents[node].lost => {
                self.agents[node].hung = false;
                self.wake(Process::Agent(node), self.now);
            }
            Deed::Cut { from, to } => {
                self.network.mend(from, to);
                self.unclog(|waits| (waits.from, waits.to) == (from, to));
                self.reconnect(from, to);
            }
            Deed::StallStore => self.unstall_store(),
            // These are done in an instant.
            _ => {}
        }
    }

    /// Healing will not bring it back.
    fn lose_for_ever(&mut self, node: usize, ever: bool) {
        if ever {
            self.mark(Mark::NodeDeadForGood);
            self.agents[node].lost = true;
        }
    }

    /// A node that is cut off in either direction is as good as gone.
    fn cut_for_ever(&mut self, from: Process, to: Process) {
        self.network.cut_for_ever(from, to);
        for end in [from, to] {
            if let Process::Agent(node) = end {
                self.mark(Mark::NodeCutForGood);
                self.agents[node].lost = true;
            }
        }
    }

    pub(super) fn crash_replica(&mut self, at: usize) {
        self.replicas[at].crash();
        self.let_sleep(Process::Replica(at));
    }

    pub(super) fn start_replica(&mut self, at: usize) {
        if !self.replicas[at].up && !self.replicas[at].dead {
            self.replicas[at].up = true;
            self.wake(Process::Replica(at), self.now);
        }
    }

    pub(super) fn reboot_node(&mut self, at: usize) {
        self.agents[at].crash();
        self.agents[at].runtime.reboot();
        self.agents[at].off = true;
        self.let_sleep(Process::Agent(at));
    }

    pub(super) fn start_agent(&mut self, at: usize) {
        if !self.agents[at].lost && !self.agents[at].up {
            self.agents[at].off = false;
            self.agents[at].restart(self.now);
            self.wake(Process::Agent(at), self.now);
        }
    }

    fn kill_workload(&mut self, at: usize, which: u64) {
        let running: Vec<_> = self.agents[at]
            .runtime
            .artifacts()
            .map(|a| a.launch.workload.clone())
            .collect();
        let chosen = which.checked_rem(running.len() as u64);
        let Some(workload) = chosen.and_then(|n| running.get(usize::try_from(n).ok()?)) else {
            return;
        };
        self.mark(Mark::WorkloadKilled);
        self.agents[at].runtime.kill(self.now, workload, 137);
        if self.agents[at].up {
            self.wake(Process::Agent(at), self.now);
        }
    }

    /// What waited at a cut goes on: late, and after what was said meanwhile by others.
    fn unclog(&mut self, goes: impl Fn(&Envelope) -> bool) {
        let waiting = std::mem::take(&mut self.damage.clogged);
        let (released, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(goes);
        self.damage.clogged = waiting;
        for envelope in released {
            self.mark(Mark::MessageClogged);
            let at = self.now + self.network.delay();
            self.queue.push(at, Happening::Deliver(Box::new(envelope)));
        }
    }

    /// A connection to the store that lost something is made anew, and its watch with it.
    fn reconnect(&mut self, from: Process, to: Process) {
        if let (Process::Replica(at), Process::Store) | (Process::Store, Process::Replica(at)) =
            (from, to)
        {
            self.reset_store_connection(at);
        }
    }

    /// Everything works again, and stays so, but for what is lost for ever.
    pub(super) fn heal(&mut self) {
        self.note(&format_args!("heal"));
        self.damage.healed = true;
        self.network.heal();
        self.unclog(|_| true);
        self.store.lose_answers = 0;
        self.unstall_store();
        self.repair_records();
        for at in 0..self.replicas.len() {
            self.show_watch(at);
            self.resume_replica(at);
            if self.replicas[at].up {
                self.reset_store_connection(at);
            } else {
                self.start_replica(at);
            }
        }
        for at in 0..self.agents.len() {
            if self.agents[at].lost {
                continue;
            }
            self.agents[at].hung = false;
            self.agents[at].lies = 0;
            self.start_agent(at);
            self.wake(Process::Agent(at), self.now);
        }
        let operator = Process::Client(self.clients.len());
        self.wake(operator, self.now + Duration::from_secs(1));
    }
}
