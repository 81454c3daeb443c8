//! Scripts that a seed draws. Each run leaves a random subset of the faults out, so that rare
//! combinations get their turn.

mod clients;
mod faults;
mod operator;

use crate::options::Options;
use crate::rng::{Stream, Streams};

use super::knobs::Knobs;
use super::setup::{Links, NodeSetup, Nodes, Pace, Setup};
use super::{Script, Span};

/// From so many nodes or workloads on a world is large: it has the scheduler's usual times, and
/// its clients create everything at the start.
const LARGE_NODES: usize = 50;
const LARGE_WORKLOADS: usize = 100;

/// The script of these options.
#[must_use]
pub fn draw(options: &Options) -> Script {
    let streams = Streams::new(options.seed);
    let large = options.nodes >= LARGE_NODES;
    let setup = Setup {
        seed: options.seed,
        schedulers: options.schedulers,
        clocks: clocks(options, &streams),
        nodes: nodes(options, &streams),
        clients: options.clients,
        patient: false,
        orderly: false,
        chaos: options.chaos.into(),
        calm: options.calm.into(),
        pace: if large { Pace::Production } else { Pace::Quick },
        knobs: if large {
            Knobs::default()
        } else {
            knobs(options, &streams)
        },
    };
    let mut acts = Vec::new();
    if options.workloads >= LARGE_WORKLOADS {
        acts.extend(clients::create_all(options, &streams));
    }
    for at in 0..options.clients {
        acts.extend(clients::draw(at, options, &streams));
    }
    if options.faults {
        acts.extend(clients::burst(options, &streams));
        let faults = faults::draw(options, &streams);
        acts.extend(clients::probes(options, &streams));
        acts.extend(operator::draw(options, &streams, &faults));
        acts.extend(operator::in_the_calm(options, &streams));
        acts.extend(faults);
    }
    acts.sort_by_key(|act| act.at);
    Script {
        about: String::new(),
        world: setup,
        links: links(options, &streams),
        acts,
        expect: Vec::new(),
        twist: None,
    }
}

/// Lets things break in a script as the seed of these options draws it.
pub(crate) fn add_faults(script: &mut Script, options: &Options) {
    let streams = Streams::new(options.seed);
    script.world.clocks = clocks(options, &streams);
    script.links = links(options, &streams);
    let faults = faults::draw(options, &streams);
    script
        .acts
        .extend(operator::draw(options, &streams, &faults));
    script.acts.extend(faults);
    script.acts.sort_by_key(|act| act.at);
}

/// How often something unusual happens, of a million; 0 in four runs of ten.
fn rate(swarm: &mut Stream, most: u64) -> u64 {
    if swarm.chance(600_000) {
        swarm.below(most)
    } else {
        0
    }
}

fn links(options: &Options, streams: &Streams) -> Links {
    if !options.faults {
        return Links {
            delay: Span::millis(2),
            ..Links::default()
        };
    }
    let mut swarm = streams.fork("network rates");
    Links {
        lost: rate(&mut swarm, 30_000),
        doubled: rate(&mut swarm, 30_000),
        delay: Span::millis(2 + rate(&mut swarm, 1_000)),
        wandering: rate(&mut swarm, 60_000),
        parted: rate(&mut swarm, 300_000),
    }
}

/// In every other run the scheduler is configured otherwise.
fn knobs(options: &Options, streams: &Streams) -> Knobs {
    let usual = Knobs::default();
    let mut stream = streams.fork("knobs");
    if !options.faults || stream.chance(500_000) {
        return usual;
    }
    let mut secs = |least, most| Span::secs(stream.between(least, most));
    let knobs = Knobs {
        heartbeat: secs(1, 4),
        grace: secs(5, 20),
        missing: secs(8, 25),
        listing: secs(5, 40),
        stable: secs(20, 90),
        flush: secs(20, 60),
        backoff: secs(2, 8),
        exclusion: secs(10, 90),
        ..usual
    };
    let mut count = |least: usize, most: usize| index(&mut stream, most + 1 - least) + least;
    Knobs {
        tries: u32::try_from(count(2, 6)).unwrap_or(usual.tries),
        calls_per_node: count(1, 4),
        missed: u32::try_from(count(2, 4)).unwrap_or(usual.missed),
        unreachable: u32::try_from(count(1, 4)).unwrap_or(usual.unreachable),
        evictions: u32::try_from(count(1, 3)).unwrap_or(usual.evictions),
        events: count(40, 200),
        ..knobs
    }
}

fn clocks(options: &Options, streams: &Streams) -> Vec<Span> {
    if !options.faults {
        return Vec::new();
    }
    let spread = |at| match streams.fork(&format!("clock of scheduler {at}")).below(3) {
        0 => Span::secs(3),
        1 => Span::secs(60),
        _ => Span::default(),
    };
    (0..options.schedulers).map(spread).collect()
}

fn nodes(options: &Options, streams: &Streams) -> Nodes {
    let one = |at| {
        let mut stream = streams.fork(&format!("node {at}"));
        // In a large world everything fits, or little of it would run.
        let scale = (options.workloads / options.nodes / 3).max(1) as u64;
        NodeSetup {
            cpu: 1_000 * stream.between(2, 4) * scale,
            memory: 1_024 * stream.between(2, 8) * scale,
            disk: 10 * stream.between(2, 6) * scale,
            ..NodeSetup::usual(at)
        }
    };
    Nodes::Each((0..options.nodes).map(one).collect())
}

/// A place in a list.
fn index(stream: &mut Stream, of: usize) -> usize {
    usize::try_from(stream.below(of as u64)).unwrap_or(0)
}
