//! What breaks.

use crate::options::Options;
use crate::process::Process;
use crate::rng::{Stream, Streams};
use crate::script::{Act, Deed, Edit, Lasting, Span};

use super::index;

/// The kinds of fault, each of which a run may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    SchedulerCrash,
    AgentCrash,
    NodeReboot,
    NodeReplacement,
    AgentHang,
    StorePartition,
    AgentPartition,
    StoreStall,
    LostAnswers,
    WorkloadDeath,
    SchedulerPause,
    NodeResize,
    AgentLies,
    Compaction,
    Edits,
    DeadForGood,
}

const KINDS: [Kind; 16] = [
    Kind::SchedulerCrash,
    Kind::AgentCrash,
    Kind::NodeReboot,
    Kind::NodeReplacement,
    Kind::AgentHang,
    Kind::StorePartition,
    Kind::AgentPartition,
    Kind::StoreStall,
    Kind::LostAnswers,
    Kind::WorkloadDeath,
    Kind::SchedulerPause,
    Kind::NodeResize,
    Kind::AgentLies,
    Kind::Compaction,
    Kind::Edits,
    Kind::DeadForGood,
];

pub(super) fn draw(options: &Options, streams: &Streams) -> Vec<Act> {
    let mut swarm = streams.fork("swarm");
    let on = |_: &Kind| swarm.chance(600_000);
    let mut adversary = Adversary {
        kinds: KINDS.into_iter().filter(on).collect(),
        stream: streams.fork("adversary"),
        schedulers: options.schedulers,
        nodes: options.nodes,
        acts: Vec::new(),
    };
    adversary.draw(Span::from(options.chaos).as_millis());
    adversary.acts
}

struct Adversary {
    stream: Stream,
    kinds: Vec<Kind>,
    schedulers: usize,
    nodes: usize,
    acts: Vec<Act>,
}

impl Adversary {
    fn draw(&mut self, until: u64) {
        let mut at = 10_000;
        while at < until && !self.kinds.is_empty() {
            at += self.stream.between(200, 25_000);
            let lasts = Span::millis(self.stream.between(50, 40_000));
            let Some(kind) = self.stream.pick(&self.kinds).copied() else {
                break;
            };
            self.one(kind, Span::millis(at), lasts);
        }
        self.acts.retain(|act| act.at.as_millis() < until);
        if self.kinds.contains(&Kind::DeadForGood) && self.nodes > 2 {
            self.for_ever(until);
        }
    }

    /// The calm heals a core that suffices; something else stays broken.
    fn for_ever(&mut self, until: u64) {
        let at = Span::millis(until - self.stream.between(1, (until / 4).max(1)));
        let node = index(&mut self.stream, self.nodes);
        let scheduler = index(&mut self.stream, self.schedulers);
        let kind = self.stream.below(5);
        let schedulers = self.schedulers;
        let mut push = |deed| {
            self.acts.push(Act {
                at,
                lasting: Some(Lasting::Ever),
                deed,
            });
        };
        match kind {
            0 => push(Deed::HangAgent { node }),
            1 => push(Deed::CrashAgent { node }),
            2 => {
                for scheduler in (0..schedulers).map(Process::Replica) {
                    let agent = Process::Agent(node);
                    push(Deed::Cut {
                        from: scheduler,
                        to: agent,
                    });
                    push(Deed::Cut {
                        from: agent,
                        to: scheduler,
                    });
                }
            }
            3 if schedulers > 1 => push(Deed::CrashScheduler { scheduler }),
            _ => push(Deed::RebootNode { node }),
        }
    }

    fn one(&mut self, kind: Kind, at: Span, lasts: Span) {
        let stream = &mut self.stream;
        let scheduler = index(stream, self.schedulers);
        let node = index(stream, self.nodes);
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
            },
            Kind::AgentLies => Deed::Lie {
                node,
                answers: small(stream, 6),
            },
            Kind::Compaction => Deed::HideWatch { scheduler },
            Kind::Edits => Deed::EditStore {
                edit: Edit::ALL[index(stream, Edit::ALL.len())],
                which: stream.below(1_000),
            },
            Kind::WorkloadDeath => Deed::KillWorkload {
                node,
                which: stream.below(1_000),
            },
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
