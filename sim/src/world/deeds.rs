//! The script, carried out: what breaks, and what ends being broken.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_core::Timestamp;

use crate::marks::Mark;
use crate::process::Process;
use crate::script::{Act, Breakage, Deed, Lasting, Span};

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
    pub(super) hidden: BTreeSet<usize>,
    /// What waits at cut links.
    pub(super) waiting: Vec<Envelope>,
    /// Links that are cut and mended by turns.
    pub(super) flapping: BTreeSet<(Process, Process)>,
    /// When something was lost for good last although everything worked.
    pub(super) last_loss: Option<Timestamp>,
}

impl World {
    /// An act begins. What it does at its end is foreseen now.
    pub(super) fn begin_act(&mut self, act: &Act) {
        if self.damage.healed && act.deed.breaks() && !act.is_a_loss() {
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
        if self.damage.healed && act.is_a_loss() {
            self.lost_in_the_calm();
        }
        if let Deed::Drain { node, deadline, .. } = act.deed
            && self.damage.healed
        {
            self.drained_in_the_calm(node, deadline.duration());
        }
    }

    pub(super) fn begin_deed(&mut self, deed: &Deed, ever: bool) {
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
                let (up, dead) = (self.replicas[scheduler].up, self.replicas[scheduler].dead);
                self.replicas[scheduler].dead |= ever;
                if up {
                    self.mark(Mark::SchedulerPause);
                    self.replicas[scheduler].paused = true;
                }
                match (ever && !dead, up) {
                    (true, true) => self.mark(Mark::SchedulerPausedForGood),
                    // It was down, and is not started again.
                    (true, false) => self.mark(Mark::SchedulerDeadForGood),
                    (false, _) => {}
                }
            }
            Deed::HideWatch { scheduler } => self.hide_watch(scheduler),
            Deed::LagWatch { scheduler, by } => {
                self.mark(Mark::WatchLags);
                self.network.lag_watch(scheduler, by.duration());
            }
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
            Deed::ResizeNode {
                node,
                percent,
                alive,
            } => {
                self.mark(Mark::AgentCapacity);
                if alive {
                    self.agents[node].crash();
                    self.let_sleep(Process::Agent(node));
                } else {
                    self.reboot_node(node);
                }
                self.agents[node].resize(percent, 100);
            }
            Deed::SwapAddresses { node, other } => {
                self.mark(Mark::AddressesSwapped);
                for at in [node, other] {
                    self.agents[at].crash();
                    self.let_sleep(Process::Agent(at));
                }
                self.swap_addresses(node, other);
            }
            Deed::HangAgent { node } => {
                self.mark(Mark::AgentHang);
                self.agents[node].hung = true;
                self.lose_for_ever(node, ever);
            }
            Deed::Lie { node, answers } => self.agents[node].lies = answers,
            Deed::SlowAgent { node, by } => self.agents[node].slow = by.duration(),
            Deed::LoseAgentAnswers { node, count } => self.agents[node].mute = count,
            Deed::FullAgent { node, calls } => self.agents[node].full = calls,
            Deed::ReplayReport { node } => self.agents[node].replay = Some(None),
            Deed::SkewAgent { node, ms } => {
                self.mark(Mark::AgentClock);
                self.skew_agent(node, ms);
            }
            Deed::RelabelNode { node, ref zone } => {
                self.mark(Mark::AgentLabels);
                self.relabel(node, zone);
            }
            Deed::SecondAgent { node } => self.add_second(node),
            Deed::RestartAgents => {
                self.mark(Mark::MassRegistration);
                for at in 0..self.agents.len() {
                    self.agents[at].crash();
                    self.let_sleep(Process::Agent(at));
                }
            }
            Deed::LoseNodes { ref nodes } => {
                self.mark(Mark::NodesLostAtOnce);
                nodes.iter().for_each(|at| self.reboot_node(*at));
            }
            Deed::BreakRuntime { node, how } => {
                self.mark(match how {
                    Breakage::DiskFull => Mark::DiskFull,
                    Breakage::NoRuntime => Mark::NoRuntime,
                    Breakage::NoRegistry => Mark::NoRegistry,
                    Breakage::StateUnwritten => Mark::StateUnwritten,
                    Breakage::StateSlow => Mark::StateSlow,
                });
                self.break_runtime(node, Some(how));
            }
            Deed::FailRemovals { node, count } => {
                self.mark(Mark::RemovalsFail);
                self.agents[node].runtime.fail_removals(count);
            }
            Deed::Vanish { node, which } => self.vanish(node, which),
            Deed::Reconfigure {
                scheduler,
                grace,
                calls,
            } => {
                self.mark(Mark::Reconfigured);
                self.crash_replica(scheduler);
                self.replicas[scheduler].reconfigure(grace.duration(), calls as usize);
                self.start_replica(scheduler);
            }
            Deed::KillWorkload { node, which } => self.kill_workload(node, which),
            Deed::SlowScheduler { scheduler, by } => {
                self.mark(Mark::SchedulerSlow);
                self.replicas[scheduler].slow = by.duration();
            }
            Deed::RestartSchedulers { down, every } => self.restart_schedulers(down, every),
            Deed::DriftClock { scheduler, ppm } => {
                self.mark(Mark::ClockDrift);
                self.replicas[scheduler].drift(self.now, ppm);
            }
            Deed::ResetConnections { scheduler } => {
                self.mark(Mark::ConnectionsReset);
                self.reset_connections(scheduler);
            }
            Deed::Cut { from, to } => {
                self.cut(from, to);
                if ever {
                    self.cut_for_ever(from, to);
                }
            }
            Deed::Split {
                ref these,
                ref those,
                one_way,
            } => self.split(these, those, one_way),
            Deed::Flap { from, to, every } => self.flap(from, to, every.duration()),
            Deed::Clog { process } => self.network.clog(process),
            Deed::StallStore => {
                self.mark(Mark::StoreStall);
                self.store.stalled = true;
            }
            Deed::LoseStoreAnswers { count } => {
                self.mark(Mark::StoreAnswersLost);
                self.store.lose_answers = count;
            }
            Deed::ElectStore => {
                self.mark(Mark::StoreElection);
                self.lose_store();
            }
            Deed::RestartStore => {
                self.mark(Mark::StoreRestart);
                self.lose_store();
                // Nothing is said on connections that are gone.
                self.store.last_words_until = self.now;
            }
            Deed::SlowStore { by } => {
                self.mark(Mark::StoreSlow);
                self.network.slow_store(by.duration());
            }
            Deed::RevokeLease => self.revoke_lease(),
            Deed::RepeatWatch { scheduler, back } => {
                self.mark(Mark::WatchRepeated);
                self.repeat_watch(scheduler, back);
            }
            Deed::FillStore => self.fill_store(true),
            Deed::RestoreStore { age } => self.restore_store(age.duration()),
            Deed::RefuseWrites { count } => self.store.refuse = count,
            Deed::ReadStale { count, back } => {
                self.store.stale_reads = (count, i64::try_from(back).unwrap_or(0));
            }
            Deed::EditStore { edit, which } => self.edit_store(edit, which),
            Deed::Ask { .. } => self.client_does(deed),
            Deed::AskMany { .. } => {
                for (after, ask) in deed.each_ask(self.clients.len()) {
                    let next = Happening::Next(Box::new(ask));
                    self.queue.push(self.now + after.duration(), next);
                }
            }
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
            Deed::LagWatch { scheduler, .. } => self.network.lag_watch(scheduler, Duration::ZERO),
            Deed::CrashAgent { node }
            | Deed::RebootNode { node }
            | Deed::ReplaceNode { node }
            | Deed::ResizeNode { node, .. } => self.start_agent(node),
            Deed::SwapAddresses { node, other } => {
                self.start_agent(node);
                self.start_agent(other);
            }
            Deed::HangAgent { node } if !self.agents[node].lost => {
                self.agents[node].hung = false;
                self.wake(Process::Agent(node), self.now);
            }
            Deed::SlowAgent { node, .. } => self.agents[node].slow = Duration::ZERO,
            Deed::ReplayReport { node } => self.replay_report(node),
            Deed::SkewAgent { node, .. } => self.skew_agent(node, 0),
            Deed::RelabelNode { node, .. } => {
                let zone = self.own_zone(node);
                self.relabel(node, &zone);
            }
            Deed::SecondAgent { node } => self.remove_second(node),
            Deed::RestartAgents => {
                for at in 0..self.agents.len() {
                    if !self.agents[at].off {
                        self.start_agent(at);
                    }
                }
            }
            Deed::LoseNodes { ref nodes } => nodes.iter().for_each(|at| self.start_agent(*at)),
            Deed::BreakRuntime { node, .. } => self.break_runtime(node, None),
            Deed::SlowScheduler { scheduler, .. } => self.quicken_replica(scheduler),
            Deed::DriftClock { scheduler, .. } => self.replicas[scheduler].drift(self.now, 0),
            Deed::Cut { from, to } => self.mend(from, to),
            Deed::Split {
                ref these,
                ref those,
                ..
            } => self.join(these, those),
            Deed::Flap { from, to, .. } => self.settle(from, to),
            Deed::Clog { process } => self.unclog(process),
            Deed::ElectStore | Deed::RestartStore => self.regain_store(),
            Deed::SlowStore { .. } => self.network.slow_store(Duration::ZERO),
            Deed::FillStore => self.fill_store(false),
            Deed::RestoreStore { .. } => self.return_store(),
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
        if let (Process::Replica(_), Process::Store) | (Process::Store, Process::Replica(_)) =
            (from, to)
        {
            self.mark(Mark::SchedulerCutForGood);
        }
        for end in [from, to] {
            if let Process::Agent(node) = end {
                self.mark(Mark::NodeCutForGood);
                self.agents[node].lost = true;
            }
        }
    }

    /// One scheduler after another goes down and comes up again.
    fn restart_schedulers(&mut self, down: Span, every: Span) {
        self.mark(Mark::RollingRestart);
        let mut at = self.now;
        for scheduler in 0..self.replicas.len() {
            let crash = Deed::CrashScheduler { scheduler };
            let next = Happening::Next(Box::new(crash.clone()));
            self.queue.push(at, next);
            let over = Happening::Over(Box::new(crash));
            self.queue.push(at + down.duration(), over);
            at = at + every.duration();
        }
    }

    pub(super) fn crash_replica(&mut self, at: usize) {
        let shown = self.replicas[at].clock(self.now);
        self.replicas[at].crash();
        if self.replicas[at].clock(self.now) + Duration::from_secs(1) < shown {
            self.mark(Mark::ClockBack);
        }
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
        let Some(workload) = self.workload_on(at, which) else {
            return;
        };
        self.mark(Mark::WorkloadKilled);
        self.agents[at].runtime.kill(self.now, &workload, 137);
        if self.agents[at].up {
            self.wake(Process::Agent(at), self.now);
        }
    }
}
