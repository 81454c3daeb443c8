//! A trace as a script: each pod is applied when it arrived and deleted when it left.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::WorkloadId;

use crate::options::Options;
use crate::script::{
    self, Act, Ask, Knobs, Links, NodeSetup, Nodes, Pace, Script, Setup, Span, Wish,
};

use super::fragments::Shape;
use super::names::Names;
use super::rows::{NodeRow, PodRow};

/// The nodes register before the first pod arrives.
const START_MS: u64 = 30_000;
/// What ran already when the window begins is created in bursts, so many at once, so often.
const BURST: u64 = 50;
const BURST_EVERY_MS: u64 = 100;
/// The trace does not tell how long a start takes.
const START_TAKES: Span = Span::secs(1);
const CALM: Span = Span::secs(600);
const CLIENTS: usize = 8;
/// The longest run, in virtual time.
const LENGTH_MS_MAX: u64 = 366 * 86_400_000;

/// Which part of a trace is replayed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Decides delays, clocks and faults.
    pub seed: u64,
    /// Schedulers that compete for leadership.
    pub schedulers: usize,
    /// The window begins so many seconds after the trace.
    pub from: u64,
    /// It is so many seconds long; to the end, if nothing is said.
    pub duration: Option<u64>,
    /// So many seconds of the trace pass in one.
    pub speedup: u64,
    /// At most so many pods, the earliest.
    pub pods_max: Option<usize>,
    /// At most so many nodes, taken evenly from all.
    pub nodes_max: Option<usize>,
    /// Pods that asked for GPUs are left out.
    pub skip_gpu: bool,
    /// Pods do not leave.
    pub stay: bool,
    /// Things break, as a seed draws it.
    pub faults: bool,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            schedulers: 1,
            from: 0,
            duration: None,
            speedup: 1,
            pods_max: None,
            nodes_max: None,
            skip_gpu: false,
            stay: false,
            faults: false,
        }
    }
}

/// A trace, ready to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// What happens.
    pub script: Script,
    /// What is measured.
    pub plan: Plan,
}

/// What is replayed, for those who measure it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// When the first pod may arrive, in virtual time.
    pub from: Duration,
    /// When the window ends.
    pub to: Duration,
    /// What each pod asks for, by size, with how many ask for that.
    pub shapes: Vec<Shape>,
    /// How many pods there are.
    pub pods: usize,
    /// How many of them asked for GPUs, and are replayed by their CPU and memory alone.
    pub with_gpu: usize,
    /// How many were left out because they asked for GPUs.
    pub left_out: usize,
    /// How many ran already when the window began.
    pub from_before: usize,
    /// How many the cluster of the trace had placed.
    pub placed_in_trace: usize,
    /// How many nodes there are.
    pub nodes: usize,
    /// What they have together: millicores and MiB.
    pub capacity: (u64, u64),
}

/// Turns a trace into a script.
///
/// # Errors
/// Nothing is left to replay, or it would take more than a year.
pub fn replay(
    nodes: &[NodeRow],
    pods: &[PodRow],
    options: &ReplayOptions,
) -> Result<Replay, String> {
    if options.speedup == 0 {
        return Err("the speed-up must be at least 1".to_owned());
    }
    let nodes = evenly(nodes, options.nodes_max);
    let window = Window::new(pods, options);
    let (chosen, left_out) = window.choose(pods, options);
    if nodes.is_empty() || chosen.is_empty() {
        let Window { from, to } = window;
        return Err(format!(
            "nothing is left to replay: {} nodes, and no pods between {from} s and {to} s of the trace",
            nodes.len()
        ));
    }
    let length = window.length(options.speedup);
    if length > LENGTH_MS_MAX {
        return Err(format!(
            "{} s of the trace are more than a year: a shorter window or a speed-up is needed",
            window.to - window.from
        ));
    }
    let plan = plan(&nodes, &chosen, &window, length, left_out);
    let mut script = Script {
        about: String::new(),
        world: Setup {
            seed: options.seed,
            schedulers: options.schedulers,
            clocks: Vec::new(),
            nodes: Nodes::Each(nodes.iter().enumerate().map(node).collect()),
            clients: CLIENTS,
            chaos: Span::millis(START_MS + length + 1_000),
            calm: CALM,
            pace: Pace::Production,
            knobs: Knobs::default(),
            patient: true,
            orderly: true,
        },
        links: Links {
            delay: Span::millis(2),
            ..Links::default()
        },
        acts: window.acts(&chosen, options),
        expect: Vec::new(),
        twist: None,
    };
    if options.faults {
        let drawn = faults(options, &script);
        script::add_faults(&mut script, &drawn);
    }
    script.acts.sort_by_key(|act| act.at);
    script.check()?;
    Ok(Replay { script, plan })
}

fn faults(options: &ReplayOptions, script: &Script) -> Options {
    Options {
        schedulers: options.schedulers,
        nodes: script.world.nodes.count(),
        clients: CLIENTS,
        chaos: script.world.chaos.duration(),
        calm: script.world.calm.duration(),
        ..Options::small(options.seed)
    }
}

/// At most `max` of these, spread evenly over all.
fn evenly(rows: &[NodeRow], max: Option<usize>) -> Vec<&NodeRow> {
    let count = max.unwrap_or(rows.len()).min(rows.len());
    (0..count)
        .map(|at| &rows[at * rows.len() / count])
        .collect()
}

fn node((at, row): (usize, &&NodeRow)) -> NodeSetup {
    NodeSetup {
        cpu: row.cpu,
        memory: row.memory,
        disk: 0,
        ..NodeSetup::usual(at)
    }
}

fn plan(
    nodes: &[&NodeRow],
    pods: &[&PodRow],
    window: &Window,
    length: u64,
    left_out: usize,
) -> Plan {
    let mut shapes: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for pod in pods {
        *shapes.entry((pod.cpu, pod.memory)).or_default() += 1;
    }
    let shape = |((cpu, memory), pods)| Shape { cpu, memory, pods };
    let count = |what: &dyn Fn(&PodRow) -> bool| pods.iter().filter(|pod| what(pod)).count();
    Plan {
        from: Duration::from_millis(START_MS),
        to: Duration::from_millis(START_MS + length),
        shapes: shapes.into_iter().map(shape).collect(),
        pods: pods.len(),
        with_gpu: count(&|pod| pod.gpus > 0),
        left_out,
        from_before: count(&|pod| pod.created < window.from),
        placed_in_trace: count(&|pod| pod.scheduled.is_some()),
        nodes: nodes.len(),
        capacity: nodes.iter().fold((0, 0), |(cpu, memory), node| {
            (cpu + node.cpu, memory + node.memory)
        }),
    }
}

/// The part of the trace that is replayed, in its seconds.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: u64,
    to: u64,
}

impl Window {
    fn new(pods: &[PodRow], options: &ReplayOptions) -> Self {
        let last = |pod: &PodRow| match pod.deleted {
            Some(deleted) if !options.stay => deleted,
            Some(_) | None => pod.created,
        };
        // The last instant belongs to it.
        let end = pods.iter().map(last).max().unwrap_or(0) + 1;
        let from = options.from;
        let to = options
            .duration
            .map_or(end, |duration| from.saturating_add(duration));
        Self {
            from,
            to: to.max(from),
        }
    }

    /// The pods that are alive in the window, in the order of their arrival; and how many are left
    /// out for their GPUs.
    fn choose<'a>(&self, pods: &'a [PodRow], options: &ReplayOptions) -> (Vec<&'a PodRow>, usize) {
        let alive = |pod: &&PodRow| {
            let arrives = (self.from..self.to).contains(&pod.created);
            let stays = options.stay || pod.deleted.is_none_or(|deleted| deleted > self.from);
            arrives || (pod.created < self.from && stays)
        };
        let mut alive: Vec<&PodRow> = pods.iter().filter(alive).collect();
        let all = alive.len();
        alive.retain(|pod| !(options.skip_gpu && pod.gpus > 0));
        let left_out = all - alive.len();
        alive.sort_by_key(|pod| pod.created);
        alive.truncate(options.pods_max.unwrap_or(usize::MAX));
        (alive, left_out)
    }

    /// In virtual milliseconds.
    fn length(&self, speedup: u64) -> u64 {
        (self.to - self.from)
            .saturating_mul(1_000)
            .div_ceil(speedup)
            .max(1)
    }

    /// When that second of the trace comes, in virtual milliseconds.
    fn at(&self, second: u64, speedup: u64) -> u64 {
        START_MS + (second - self.from) * 1_000 / speedup
    }

    fn acts(&self, pods: &[&PodRow], options: &ReplayOptions) -> Vec<Act> {
        let mut acts = Vec::new();
        let mut names = Names::default();
        let mut earlier = 0;
        for (number, pod) in pods.iter().enumerate() {
            let id = names.id(&pod.name);
            let from = if pod.created < self.from {
                earlier += 1;
                START_MS + (earlier - 1) / BURST * BURST_EVERY_MS
            } else {
                self.at(pod.created, options.speedup)
            };
            let client = number % CLIENTS;
            let wish = Wish {
                cpu: pod.cpu,
                memory: pod.memory,
                disk: 0,
                start: START_TAKES,
                ..Wish::default()
            };
            acts.push(act(from, client, id.clone(), Ask::Apply, Some(wish)));
            let leaves = pod.deleted.filter(|at| *at < self.to && !options.stay);
            if let Some(second) = leaves {
                let to = self.at(second, options.speedup).max(from);
                acts.push(act(to, client, id, Ask::Delete, None));
            }
        }
        acts
    }
}

fn act(at: u64, client: usize, workload: WorkloadId, ask: Ask, wish: Option<Wish>) -> Act {
    Act::ask(Span::millis(at), client, workload, ask, wish)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, created: u64, deleted: Option<u64>, gpus: u64) -> PodRow {
        PodRow {
            name: name.to_owned(),
            cpu: 1_000,
            memory: 512,
            gpus,
            created,
            deleted,
            scheduled: None,
        }
    }

    fn some_nodes(count: usize) -> Vec<NodeRow> {
        let one = |at: usize| NodeRow {
            name: format!("n-{at}"),
            cpu: 1_000 * (at as u64 + 1),
            memory: 4_096,
            gpus: 0,
        };
        (0..count).map(one).collect()
    }

    fn told(replay: &Replay) -> Vec<(u64, String)> {
        let acts = replay.script.acts.iter();
        acts.map(|act| match &act.deed {
            crate::script::Deed::Ask { workload, ask, .. } => {
                (act.at.as_millis(), format!("{ask:?} {workload}"))
            }
            other => (act.at.as_millis(), other.to_string()),
        })
        .collect()
    }

    fn has(told: &[(u64, String)], at: u64, what: &str) {
        assert!(
            told.contains(&(at, what.to_owned())),
            "{at} {what}: {told:?}"
        );
    }

    #[test]
    fn a_window_is_compressed_and_what_ran_before_comes_first() {
        let pods = [
            row("Early/One", 0, Some(150), 0),
            row("gone", 0, Some(100), 0),
            row("inside", 120, Some(140), 0),
            row("later", 190, Some(260), 1),
            row("after", 200, None, 0),
        ];
        let options = ReplayOptions {
            from: 100,
            duration: Some(100),
            speedup: 10,
            ..ReplayOptions::default()
        };
        let replay = super::replay(&some_nodes(3), &pods, &options).unwrap();
        let told = told(&replay);
        has(&told, 30_000, "Apply early-one");
        has(&told, 35_000, "Delete early-one");
        has(&told, 32_000, "Apply inside");
        has(&told, 34_000, "Delete inside");
        has(&told, 39_000, "Apply later");
        assert_eq!(told.len(), 5, "{told:?}");
        let plan = &replay.plan;
        assert_eq!((plan.pods, plan.with_gpu, plan.from_before), (3, 1, 1));
        assert_eq!(plan.to, Duration::from_secs(40));
    }

    #[test]
    fn options_choose_what_is_replayed() {
        let pods = [
            row("a", 0, Some(9), 0),
            row("b", 5, Some(9), 2),
            row("c", 7, Some(9), 0),
        ];
        let with = |options| super::replay(&some_nodes(10), &pods, &options);
        let usual = ReplayOptions::default();
        let stay = with(ReplayOptions {
            stay: true,
            ..usual.clone()
        })
        .unwrap();
        assert!(
            told(&stay)
                .iter()
                .all(|(_, what)| what.starts_with("Apply"))
        );
        let no_gpu = with(ReplayOptions {
            skip_gpu: true,
            ..usual.clone()
        })
        .unwrap();
        assert_eq!((no_gpu.plan.pods, no_gpu.plan.left_out), (2, 1));
        let few = ReplayOptions {
            pods_max: Some(1),
            nodes_max: Some(5),
            ..usual.clone()
        };
        let few = with(few).unwrap();
        assert_eq!((few.plan.pods, few.plan.nodes), (1, 5));
        // Every other node: 1, 3, 5, 7 and 9 cores.
        assert_eq!(few.plan.capacity.0, 25_000);
        let nothing = with(ReplayOptions {
            from: 100,
            ..usual.clone()
        });
        assert!(nothing.unwrap_err().contains("nothing is left"));
        let broken = with(ReplayOptions {
            faults: true,
            ..usual
        })
        .unwrap();
        assert!(broken.script.acts.len() > 6, "faults are drawn");
    }
}
