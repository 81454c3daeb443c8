//! What breaks.

use std::time::Duration;

use crate::options::Options;
use crate::process::Process;
use crate::rng::{Stream, Streams};
use crate::script::{Act, Breakage, Deed, Edit, Lasting, Span};

use super::index;

macro_rules! kinds {
    ($($kind:ident,)+) => {
        /// The kinds of fault, each of which a run may leave out.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Kind {
            $($kind,)+
        }

        const KINDS: &[Kind] = &[$(Kind::$kind,)+];
    };
}

kinds! {
    SchedulerCrash,
    SchedulerPause,
    SchedulerSlow,
    RollingRestart,
    ClockDrift,
    ConnectionReset,
    AgentCrash,
    AgentHang,
    AgentLies,
    AgentSlow,
    AgentAnswersLost,
    AgentFull,
    AgentClock,
    AgentTwice,
    OldReport,
    MassRegistration,
    NodesLost,
    NodeRelabelled,
    NodeReboot,
    NodeReplacement,
    NodeResize,
    AddressesSwapped,
    DeadForGood,
    WorkloadDeath,
    WorkloadVanished,
    BrokenRuntime,
    FailingRemovals,
    StorePartition,
    AgentPartition,
    ControlPartition,
    ClientPartition,
    ZonePartition,
    Flapping,
    Clog,
    StoreStall,
    LostAnswers,
    StoreElection,
    StoreRestart,
    StoreSlow,
    StoreFull,
    WritesRefused,
    StaleReads,
    LeaseRevoked,
    WatchRepeated,
    WatchLag,
    Compaction,
    Edits,
    LaterVersion,
    Reconfiguration,
    StoreRestore,
}

pub(super) fn draw(options: &Options, streams: &Streams) -> Vec<Act> {
    let mut swarm = streams.fork("swarm");
    // One kind may be up to eight times as frequent as another.
    let mut weight = |kind: &Kind| {
        let (on, weight) = (swarm.chance(600_000), 1 << swarm.below(4));
        on.then_some((*kind, weight))
    };
    let kinds = KINDS.iter().filter_map(&mut weight).collect();
    let mut adversary = Adversary {
        kinds,
        gap_max: *swarm.pick(&GAPS_MAX).unwrap_or(&GAPS_MAX[0]),
        stream: streams.fork("adversary"),
        schedulers: options.schedulers,
        nodes: options.nodes,
        clients: options.clients,
        late: options.calm >= CALM_MIN && options.nodes < super::LARGE_NODES,
        acts: Vec::new(),
    };
    adversary.draw(Span::from(options.chaos).as_millis());
    adversary.acts
}

/// Between two faults at most, milliseconds.
const GAPS_MAX: [u64; 3] = [25_000, 15_000, 8_000];

struct Adversary {
    stream: Stream,
    /// What happens, and how often beside the others.
    kinds: Vec<(Kind, u64)>,
    gap_max: u64,
    schedulers: usize,
    nodes: usize,
    clients: usize,
    /// Whether something may be lost for good in the calm: it is long enough to judge what follows.
    late: bool,
    acts: Vec<Act>,
}

/// A calm of so long has time for a loss and for all that is judged after it.
pub(super) const CALM_MIN: Duration = Duration::from_secs(480);
/// When something is lost in the calm, milliseconds after everything healed.
const LATE: (u64, u64) = (25_000, 120_000);

impl Adversary {
    fn draw(&mut self, until: u64) {
        let mut at = 10_000;
        while at < until && !self.kinds.is_empty() {
            at += self.stream.between(200, self.gap_max);
            let lasts = Span::millis(self.stream.between(50, 40_000));
            let Some(kind) = self.pick() else {
                break;
            };
            self.one(kind, Span::millis(at), lasts);
        }
        self.acts.retain(|act| act.at.as_millis() < until);
        let dies = |(kind, _): &(Kind, u64)| *kind == Kind::DeadForGood;
        if self.kinds.iter().any(dies) && self.nodes > 2 {
            self.for_ever(until);
        }
    }

    /// The calm heals a core that suffices; something else stays broken, or breaks in the calm.
    fn for_ever(&mut self, until: u64) {
        let late = self.late && self.stream.chance(400_000);
        let at = Span::millis(match late {
            true => until + self.stream.between(LATE.0, LATE.1),
            false => until - self.stream.between(1, (until / 4).max(1)),
        });
        let node = index(&mut self.stream, self.nodes);
        let scheduler = index(&mut self.stream, self.schedulers);
        let schedulers = self.schedulers;
        // Of schedulers one must be left.
        let kind = self.stream.below(if schedulers > 1 { 9 } else { 5 });
        let agent = Process::Agent(node);
        let reports = (0..schedulers).map(|to| Deed::Cut {
            from: agent,
            to: Process::Replica(to),
        });
        let orders = (0..schedulers).map(|from| Deed::Cut {
            from: Process::Replica(from),
            to: agent,
        });
        let (this, store) = (Process::Replica(scheduler), Process::Store);
        let deeds = match kind {
            0 => vec![Deed::HangAgent { node }],
            1 => vec![Deed::CrashAgent { node }],
            2 => orders.chain(reports).collect(),
            // It hears what it is told, and is not heard.
            3 => reports.collect(),
            4 => vec![Deed::RebootNode { node }],
            5 => vec![Deed::CrashScheduler { scheduler }],
            6 => vec![Deed::PauseScheduler { scheduler }],
            7 => vec![Deed::Cut {
                from: this,
                to: store,
            }],
            _ => vec![Deed::Cut {
                from: store,
                to: this,
            }],
        };
        let lasting = Some(Lasting::Ever);
        let acts = deeds.into_iter().map(|deed| Act { at, lasting, deed });
        self.acts.extend(acts);
    }

    fn pick(&mut self) -> Option<Kind> {
        let sum = self.kinds.iter().map(|(_, weight)| weight).sum();
        let mut at = self.stream.below(sum);
        for (kind, weight) in &self.kinds {
            if at < *weight {
                return Some(*kind);
            }
            at -= weight;
        }
        None
    }

    fn one(&mut self, kind: Kind, at: Span, lasts: Span) {
        let scheduler = index(&mut self.stream, self.schedulers);
        let node = index(&mut self.stream, self.nodes);
        let stream = &mut self.stream;
        let deed = match kind {
            Kind::SchedulerCrash => Deed::CrashScheduler { scheduler },
            Kind::AgentCrash => Deed::CrashAgent { node },
            Kind::NodeReboot => Deed::RebootNode { node },
            Kind::NodeReplacement => Deed::ReplaceNode { node },
            Kind::AgentHang => Deed::HangAgent { node },
            Kind::StoreStall => Deed::StallStore,
            Kind::LostAnswers => Deed::LoseStoreAnswers {
                count: small(stream, 4),
            },
            Kind::SchedulerPause => Deed::PauseScheduler { scheduler },
            Kind::NodeResize => Deed::ResizeNode {
                node,
                percent: 50 * stream.between(1, 3),
                alive: stream.chance(500_000),
            },
            Kind::AddressesSwapped => {
                let other = index(stream, self.nodes);
                if other == node {
                    return;
                }
                Deed::SwapAddresses { node, other }
            }
            Kind::AgentLies => Deed::Lie {
                node,
                answers: small(stream, 16),
            },
            Kind::AgentSlow => Deed::SlowAgent {
                node,
                // A call is given up after 10 s.
                by: Span::millis(stream.between(100, 14_000)),
            },
            Kind::AgentAnswersLost => Deed::LoseAgentAnswers {
                node,
                count: small(stream, 4),
            },
            Kind::AgentFull => Deed::FullAgent {
                node,
                calls: small(stream, 6),
            },
            Kind::AgentClock => Deed::SkewAgent {
                node,
                ms: stream.between(0, 240_000).cast_signed() - 120_000,
            },
            Kind::AgentTwice => Deed::SecondAgent { node },
            Kind::OldReport => Deed::ReplayReport { node },
            Kind::MassRegistration => Deed::RestartAgents,
            Kind::NodesLost => {
                let nodes = self.some_nodes();
                if nodes.is_empty() {
                    return;
                }
                Deed::LoseNodes { nodes }
            }
            Kind::NodeRelabelled => Deed::RelabelNode {
                node,
                zone: ["a", "b", "c", "d"][index(stream, 4)].to_owned(),
            },
            Kind::WorkloadVanished => Deed::Vanish {
                node,
                which: stream.below(1_000),
            },
            Kind::BrokenRuntime => Deed::BreakRuntime {
                node,
                how: Breakage::ALL[index(stream, Breakage::ALL.len())],
            },
            Kind::FailingRemovals => Deed::FailRemovals {
                node,
                count: small(stream, 5),
            },
            Kind::Reconfiguration => Deed::Reconfigure {
                scheduler,
                grace: Span::secs(stream.between(10, 25)),
                calls: small(stream, 8),
            },
            Kind::LaterVersion => {
                // Often: what it adds must survive many rewrites.
                for later in 0..3 {
                    let edit = match stream.below(3) {
                        0 => Edit::AddFieldToNode,
                        _ => Edit::AddFields,
                    };
                    let which = stream.below(1_000);
                    self.acts.push(Act {
                        at: Span::millis(at.as_millis() + later),
                        lasting: None,
                        deed: Deed::EditStore { edit, which },
                    });
                }
                return;
            }
            Kind::Compaction => Deed::HideWatch { scheduler },
            Kind::Edits => {
                // One kind for all that somebody else may do: it has several tries.
                for _ in 0..3 {
                    let edit = Edit::ALL[index(stream, Edit::ALL.len())];
                    let which = stream.below(1_000);
                    let later = stream.below(3_000);
                    self.acts.push(Act {
                        at: Span::millis(at.as_millis() + later),
                        lasting: None,
                        deed: Deed::EditStore { edit, which },
                    });
                }
                return;
            }
            Kind::WorkloadDeath => Deed::KillWorkload {
                node,
                which: stream.below(1_000),
            },
            Kind::SchedulerSlow => Deed::SlowScheduler {
                scheduler,
                by: Span::millis(stream.between(5, 400)),
            },
            Kind::RollingRestart => Deed::RestartSchedulers {
                down: Span::millis(stream.between(50, 5_000)),
                every: Span::millis(stream.between(1_000, 15_000)),
            },
            Kind::ClockDrift => Deed::DriftClock {
                scheduler,
                ppm: stream.between(0, 100_000).cast_signed() - 50_000,
            },
            Kind::ConnectionReset => Deed::ResetConnections { scheduler },
            Kind::StoreElection => Deed::ElectStore,
            Kind::StoreRestart => Deed::RestartStore,
            Kind::StoreSlow => Deed::SlowStore {
                by: Span::millis(stream.between(20, 2_500)),
            },
            Kind::StoreFull => Deed::FillStore,
            Kind::WritesRefused => Deed::RefuseWrites {
                count: small(stream, 4),
            },
            Kind::StaleReads => Deed::ReadStale {
                count: small(stream, 4),
                back: stream.between(1, 30),
            },
            Kind::LeaseRevoked => Deed::RevokeLease,
            Kind::StoreRestore => Deed::RestoreStore {
                age: Span::secs(stream.between(1, 60)),
            },
            Kind::WatchRepeated => Deed::RepeatWatch {
                scheduler,
                back: stream.between(1, 5),
            },
            Kind::WatchLag => Deed::LagWatch {
                scheduler,
                // Mostly less than it takes to be asked whether it lives still.
                by: Span::millis(match stream.below(3) {
                    0 => stream.between(1_000, 12_000),
                    _ => stream.between(5, 1_000),
                }),
            },
            Kind::Clog => Deed::Clog {
                process: self.anybody(),
            },
            Kind::Flapping => {
                let (from, to) = self.link();
                Deed::Flap {
                    from,
                    to,
                    every: Span::millis(self.stream.between(100, 4_000)),
                }
            }
            Kind::ZonePartition => return self.cut_zone(at, lasts),
            Kind::ControlPartition => {
                let (from, to) = (Process::Agent(node), Process::Replica(scheduler));
                Deed::Cut { from, to }
            }
            Kind::ClientPartition => {
                let client = Process::Client(index(stream, self.clients));
                return self.cut(client, Process::Replica(scheduler), at, lasts);
            }
            Kind::StorePartition => {
                return self.cut(Process::Replica(scheduler), Process::Store, at, lasts);
            }
            Kind::AgentPartition => {
                let (from, to) = (Process::Replica(scheduler), Process::Agent(node));
                return self.cut(from, to, at, lasts);
            }
            // Drawn once, at the end.
            Kind::DeadForGood => return,
        };
        self.push(at, lasts, deed);
    }

    fn push(&mut self, at: Span, lasts: Span, deed: Deed) {
        let lasting = deed.lasts().then_some(Lasting::For(lasts));
        self.acts.push(Act { at, lasting, deed });
    }

    /// Some process or other.
    fn anybody(&mut self) -> Process {
        let stream = &mut self.stream;
        match stream.below(10) {
            0 => Process::Store,
            1..=3 => Process::Replica(index(stream, self.schedulers)),
            4 => Process::Client(index(stream, self.clients)),
            _ => Process::Agent(index(stream, self.nodes)),
        }
    }

    /// A link that is in use, in one direction.
    fn link(&mut self) -> (Process, Process) {
        let scheduler = Process::Replica(index(&mut self.stream, self.schedulers));
        let other = loop {
            let other = self.anybody();
            if !matches!(other, Process::Replica(_)) {
                break other;
            }
        };
        if self.stream.chance(500_000) {
            (scheduler, other)
        } else {
            (other, scheduler)
        }
    }

    /// A zone, or some nodes or other.
    fn some_nodes(&mut self) -> Vec<usize> {
        let zone = index(&mut self.stream, 3);
        let by_zone = self.stream.chance(500_000);
        let mut inside = |node: &usize| match by_zone {
            true => node % 3 == zone,
            false => self.stream.chance(500_000),
        };
        (0..self.nodes).filter(&mut inside).collect()
    }

    /// A zone, or some nodes or other, and all schedulers.
    fn cut_zone(&mut self, at: Span, lasts: Span) {
        let nodes = self.some_nodes();
        let these: Vec<_> = nodes.into_iter().map(Process::Agent).collect();
        if these.is_empty() {
            return;
        }
        let deed = Deed::Split {
            these,
            those: (0..self.schedulers).map(Process::Replica).collect(),
            one_way: self.stream.chance(250_000),
        };
        self.push(at, lasts, deed);
    }

    /// One way, the other, or both.
    fn cut(&mut self, from: Process, to: Process, at: Span, lasts: Span) {
        let ways = self.stream.below(3);
        if ways != 1 {
            self.push(at, lasts, Deed::Cut { from, to });
        }
        if ways != 2 {
            self.push(at, lasts, Deed::Cut { from: to, to: from });
        }
    }
}

fn small(stream: &mut Stream, most: u64) -> u32 {
    u32::try_from(stream.between(1, most)).unwrap_or(1)
}
