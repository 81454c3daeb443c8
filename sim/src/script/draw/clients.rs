//! What clients do.

use berth_core::WorkloadId;

use crate::options::Options;
use crate::rng::{Stream, Streams};
use crate::script::{Act, Ask, Deed, Span, Wish};

use super::{index, rate};

/// A client, as it draws its next deed.
struct Client {
    at: usize,
    stream: Stream,
    workloads: usize,
    /// How often it does the unusual, of a million; each run switches some off.
    doubles: u64,
    stale: u64,
    recreates: u64,
    hang_ups: u64,
    malformed: u64,
    /// What it asks for does not start, for one reason or other.
    failing: u64,
}

/// Everything that client `at` does while anything may break.
pub(super) fn draw(at: usize, options: &Options, streams: &Streams) -> Vec<Act> {
    let mut swarm = streams.fork(&format!("client {at} rates"));
    let mut client = Client {
        at,
        stream: streams.fork(&format!("client {at}")),
        workloads: options.workloads,
        doubles: rate(&mut swarm, 200_000),
        stale: rate(&mut swarm, 200_000),
        recreates: rate(&mut swarm, 300_000),
        hang_ups: rate(&mut swarm, 200_000),
        malformed: rate(&mut swarm, 100_000),
        failing: rate(&mut swarm, 150_000),
    };
    let until = Span::from(options.chaos).as_millis();
    let mut now = 8_000 + at as u64;
    let mut acts = Vec::new();
    while now < until {
        now = client.next(now, &mut acts);
    }
    ask_first(at, &mut acts, streams);
    acts.extend(reads(at, &acts, options, streams));
    acts.retain(|act| act.at.as_millis() < until);
    acts
}

/// Some of what client `at` asks for it asks about first.
fn ask_first(at: usize, acts: &mut [Act], streams: &Streams) {
    let mut stream = streams.fork(&format!("dry runs of client {at}"));
    for act in acts {
        if let Deed::Ask { ask, dry_run, .. } = &mut act.deed
            && matches!(ask, Ask::Apply | Ask::Start | Ask::Stop)
        {
            *dry_run = stream.chance(150_000);
        }
    }
}

/// In the calm, when only what is broken for ever is broken: workloads that nothing stands in the
/// way of.
pub(super) fn probes(options: &Options, streams: &Streams) -> Vec<Act> {
    let mut stream = streams.fork("probes");
    let (heal, calm) = (Span::from(options.chaos), Span::from(options.calm));
    let part = calm.as_millis() / 16;
    let probe = |n: u64| {
        let at = heal.as_millis() + (3 + n) * part + stream.below(part.max(1));
        let wish = Wish {
            start: Span::millis(stream.below(1_000)),
            cpu: 100,
            memory: 128,
            disk: 0,
            ..Wish::default()
        };
        let id = format!("probe-{n}");
        let id = id.parse().expect("a word and a number are an id");
        let client = index(&mut stream, options.clients);
        act(at, client, id, Ask::Apply, Some(wish))
    };
    (0..4).map(probe).collect()
}

/// Soon after some of what client `at` asks for, somebody reads what became of it.
fn reads(at: usize, asked: &[Act], options: &Options, streams: &Streams) -> Vec<Act> {
    let mut stream = streams.fork(&format!("reads after client {at}"));
    let mut reads = Vec::new();
    for asked in asked {
        let Deed::Ask { workload, .. } = &asked.deed else {
            continue;
        };
        while stream.chance(400_000) {
            let soon = asked.at.as_millis() + stream.below(3_000);
            let reader = index(&mut stream, options.clients);
            reads.push(act(soon, reader, workload.clone(), Ask::Read, None));
        }
    }
    reads
}

/// In one run of twelve: many workloads within a second, most of which go again; in half of these
/// runs nothing of them fits anywhere.
pub(super) fn burst(options: &Options, streams: &Streams) -> Vec<Act> {
    let mut stream = streams.fork("burst");
    let until = Span::from(options.chaos).as_millis();
    if !stream.chance(83_000) {
        return Vec::new();
    }
    let (count, fits) = (stream.between(40, 120), stream.chance(500_000));
    let begin = stream.between(10_000, until.max(10_001));
    let mut acts = Vec::new();
    for n in 0..count {
        let id: WorkloadId = format!("b-{n}")
            .parse()
            .expect("a letter and a number are an id");
        let client = index(&mut stream, options.clients);
        let wish = Wish {
            cpu: if fits { 10 } else { 900_000 },
            memory: 16,
            disk: 0,
            ..Wish::default()
        };
        let at = begin + stream.below(1_000);
        acts.push(act(at, client, id.clone(), Ask::Apply, Some(wish)));
        if stream.chance(800_000) {
            let at = at + stream.between(1_000, 60_000);
            acts.push(act(at, client, id, Ask::Delete, None));
        }
    }
    acts.retain(|act| act.at.as_millis() < until);
    acts
}

/// In a large world: each workload is created once, by one client after another, in bursts.
pub(super) fn create_all(options: &Options, streams: &Streams) -> Vec<Act> {
    let mut stream = streams.fork("mass creation");
    let from = 10_000;
    let span = (Span::from(options.chaos).as_millis() / 3).clamp(1_000, 60_000);
    let bursts = (options.workloads as u64).div_ceil(100);
    let act = |n: usize| {
        let burst = n as u64 / 100;
        let at = from + span * burst / bursts + stream.below(50);
        let client = n % options.clients;
        let wish = Wish {
            start: Span::millis(stream.below(3_000)),
            cpu: 100 * stream.between(1, 5),
            memory: 128 * stream.between(1, 4),
            ..Wish::default()
        };
        act(at, client, workload(n), Ask::Apply, Some(wish))
    };
    (0..options.workloads).map(act).collect()
}

fn workload(n: usize) -> WorkloadId {
    format!("w-{n}")
        .parse()
        .expect("a letter and a number are an id")
}

fn act(at: u64, client: usize, workload: WorkloadId, ask: Ask, wish: Option<Wish>) -> Act {
    Act::ask(Span::millis(at), client, workload, ask, wish)
}

impl Client {
    /// Adds what it does now; answers when it does the next thing.
    fn next(&mut self, now: u64, into: &mut Vec<Act>) -> u64 {
        let workload = workload(index(&mut self.stream, self.workloads));
        let ask = match self.stream.below(100) {
            0..=49 => Ask::Apply,
            50..=61 => Ask::Stop,
            62..=73 => Ask::Start,
            74..=79 => Ask::Retry,
            _ => Ask::Delete,
        };
        let wish = (ask == Ask::Apply).then(|| self.wish());
        let may_match = matches!(ask, Ask::Apply | Ask::Start | Ask::Stop | Ask::Delete);
        let mut first = act(now, self.at, workload.clone(), ask, wish);
        if let Deed::Ask {
            twice,
            hangs_up,
            if_match,
            ..
        } = &mut first.deed
        {
            *hangs_up = self.stream.chance(self.hang_ups);
            *twice = self.stream.chance(self.doubles);
            *if_match = may_match && self.stream.chance(self.stale);
        }
        into.push(first);
        if ask == Ask::Delete && self.stream.chance(self.recreates) {
            let soon = now + self.stream.between(1, 300);
            let wish = self.wish();
            into.push(act(soon, self.at, workload, Ask::Apply, Some(wish)));
        }
        now + self.stream.between(50, 8_000)
    }

    fn wish(&mut self) -> Wish {
        let stream = &mut self.stream;
        let mut wish = Wish {
            image: stream.below(3),
            cpu: 100 * stream.between(1, 10),
            memory: 128 * stream.between(1, 8),
            disk: stream.below(5),
            start: Span::millis(stream.below(3_000)),
            ..Wish::default()
        };
        if stream.chance(300_000) {
            wish.stop = Span::millis(stream.below(5_000));
        }
        if stream.chance(50_000) {
            wish.disk = stream.between(10, 30);
        }
        if stream.chance(100_000) {
            wish.fail_starts = Some(stream.between(1, 7));
        }
        if stream.chance(50_000) {
            wish.exit_after = Some(Span::millis(stream.between(1_000, 100_000)));
            wish.exit_code = Some(stream.below(2));
        }
        if stream.chance(self.failing) {
            match stream.below(4) {
                // Longer than anybody waits for a start, or as good as for ever.
                0 => {
                    let secs = stream.between(61, 150);
                    wish.start = Span::secs(if secs > 120 { 3_600 } else { secs });
                }
                1 => {
                    wish.fail_starts = Some(1_000_000);
                    wish.fail_reason = Some("IMAGE_NOT_FOUND".to_owned());
                }
                2 => {
                    wish.fail_starts = Some(stream.between(1, 20));
                    wish.fail_reason = Some("IMAGE_PULL_TIMEOUT".to_owned());
                }
                _ => {
                    wish.fail_starts = Some(stream.between(1, 3));
                    wish.fail_reason = Some("STORAGE_FULL".to_owned());
                }
            }
        }
        if stream.chance(self.malformed) {
            match stream.below(3) {
                0 => wish.cpu = u64::MAX,
                1 => wish.disk = u64::MAX / 2,
                _ => wish.pad = 1 << stream.between(13, 19),
            }
        }
        match stream.below(10) {
            0 => wish.zone = Some(["a", "b"][index(stream, 2)].to_owned()),
            1 => wish.spread = true,
            2 => wish.apart = Some("apart".to_owned()),
            _ => {}
        }
        wish.revision = stream.chance(500_000).then(|| "rev-1".to_owned());
        if stream.chance(150_000) {
            wish.tries = u32::try_from(stream.between(1, 6)).ok();
        }
        if stream.chance(150_000) {
            wish.priority = i32::try_from(stream.below(3)).unwrap_or(0) - 1;
        }
        wish
    }
}
