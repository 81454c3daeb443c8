//! A run from a seed: clients at work while hosts and links fail, then everything heals, and then
//! all has to be well.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use berth_sim::rng::{Stream, Streams};
use tokio::time::{Instant, sleep_until};

use crate::api::Api;
use crate::hands::Hands;
use crate::hosts::{Shape, names};
use crate::trace::Summary;
use crate::world::World;

/// Clients beside the script.
const CLIENTS: u64 = 2;
/// Workloads of each client.
const WORKLOADS: u64 = 4;
/// Virtual seconds after which a run is a failure of liveness.
const LIMIT_S: u64 = 600;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Its trace.
    pub trace: Summary,
}

/// Something that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Crash,
    PowerCut,
    Shutdown,
    Cut,
    CutOneWay,
    Hold,
    Slow,
    /// A host is cut off from all others.
    Isolate,
    /// The store forgets its history.
    Compact,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Crash,
        Self::PowerCut,
        Self::Shutdown,
        Self::Cut,
        Self::CutOneWay,
        Self::Hold,
        Self::Slow,
        Self::Isolate,
        Self::Compact,
    ];
}

/// To what it happens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Host(String),
    Link(String, String),
}

/// Something that goes wrong for a while, in milliseconds after the start.
#[derive(Debug, Clone)]
struct Fault {
    from: u64,
    to: u64,
    kind: Kind,
    victim: Victim,
}

/// Plays a seed.
///
/// # Panics
/// When a rule is broken; the message tells the seed.
#[must_use]
pub fn play(seed: u64) -> Outcome {
    let streams = Streams::new(seed);
    let shape = shape(&mut streams.fork("shape"));
    let mut world = World::new(seed, shape.clone());
    let faults = faults(&mut streams.fork("faults"), &shape);
    let end = faults.iter().map(|fault| fault.to).max().unwrap_or(0);
    let wishes = Wishes::default();
    for number in 1..=CLIENTS {
        let (name, wishes) = (format!("client-{number}"), wishes.clone());
        let stream = streams.fork(&name);
        world.client(&name, async move |api| {
            work(number, api, stream, wishes, end).await;
        });
    }
    let trace = world.play(LIMIT_S, async move |mut hands| {
        bring_about(&hands, faults).await;
        hands
            .until("all clients are done", LIMIT_S, |_| {
                wishes.done.get() == CLIENTS
            })
            .await;
        // Calls that hang on connections of before come to their ends first.
        hands.sleep(20.0).await;
        let wished = wishes.last.borrow().clone();
        let wished: Vec<(&str, Option<&str>)> = wished
            .iter()
            .map(|(id, revision)| (id.as_str(), revision.as_deref()))
            .collect();
        hands.all_is_well(&wished).await;
    });
    Outcome { seed, trace }
}

/// Plays these seeds, and answers how many failed. Every failure prints the line that plays it
/// again.
pub fn range(seeds: std::ops::Range<u64>) -> usize {
    let mut failed = 0;
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| play(seed))).is_err() {
            failed += 1;
            eprintln!(
                "FAILED: BERTH_TURMOIL_SEEDS={seed}..{} cargo test -p berth-turmoil --test seeds",
                seed + 1
            );
        }
    }
    failed
}

/// What clients wish, as far as it was acknowledged.
#[derive(Clone, Default)]
struct Wishes {
    /// The revision of a workload, or that it is to be gone.
    last: Rc<RefCell<BTreeMap<String, Option<String>>>>,
    /// Clients that have nothing more to do.
    done: Rc<Cell<u64>>,
}

/// What a client does: applies, changes and deletes its workloads until all faults are over, each
/// as often as it takes.
async fn work(number: u64, mut api: Api, mut draw: Stream, wishes: Wishes, end: u64) {
    let began = Instant::now();
    let mut revision = 0;
    while began.elapsed() < Duration::from_millis(end) {
        tokio::time::sleep(Duration::from_millis(draw.between(200, 4_000))).await;
        let id = format!("w-{number}-{}", draw.between(1, WORKLOADS));
        let there = wishes.last.borrow().get(&id).is_some_and(Option::is_some);
        if there && draw.chance(350_000) {
            api.delete(&id).await;
            wishes.last.borrow_mut().insert(id, None);
        } else {
            revision += 1;
            let wished = format!("r-{revision}");
            api.apply(&id, &wished).await;
            wishes.last.borrow_mut().insert(id, Some(wished));
        }
    }
    wishes.done.set(wishes.done.get() + 1);
    // A client's host is there until the end, so that late answers find it.
    std::future::pending().await
}

fn shape(draw: &mut Stream) -> Shape {
    let count = |number| usize::try_from(number).unwrap_or(1);
    Shape {
        schedulers: count(draw.between(2, 3)),
        agents: count(draw.between(3, 5)),
        lease_ttl: Duration::from_secs(if draw.chance(500_000) { 5 } else { 15 }),
        write_pace: Duration::from_millis(draw.between(0, 40)),
        latency_max: Duration::from_millis(draw.between(2, 60)),
        store_quota: None,
    }
}

/// What goes wrong, in the order of its beginnings. No host and no link is hit twice at a time.
fn faults(draw: &mut Stream, shape: &Shape) -> Vec<Fault> {
    let on: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|_| draw.chance(600_000))
        .collect();
    let window = draw.between(15_000, 45_000);
    let mut faults: Vec<Fault> = Vec::new();
    for _ in 0..draw.between(4, 24) {
        let Some(kind) = draw.pick(&on).copied() else {
            break;
        };
        let from = draw.between(1_000, window);
        let most = if draw.chance(700_000) { 4_000 } else { 14_000 };
        let to = from + draw.between(50, most);
        let victim = victim(draw, kind, shape);
        let fault = Fault {
            from,
            to,
            kind,
            victim,
        };
        if !faults.iter().any(|other| clash(&fault, other)) {
            faults.push(fault);
        }
    }
    faults.sort_by_key(|fault| fault.from);
    faults
}

/// The same host or link at the same time, or a host that is isolated and a link of it.
fn clash(one: &Fault, other: &Fault) -> bool {
    let has = |link: &Fault, host: &Fault| match (&link.victim, &host.victim) {
        (Victim::Link(a, b), Victim::Host(host)) => host == a || host == b,
        _ => false,
    };
    let isolated = |host: &Fault, other: &Fault| {
        host.kind == Kind::Isolate && (has(other, host) || other.kind == Kind::Isolate)
    };
    let same = one.victim == other.victim || isolated(one, other) || isolated(other, one);
    same && other.from < one.to + 500 && one.from < other.to + 500
}

fn victim(draw: &mut Stream, kind: Kind, shape: &Shape) -> Victim {
    let mut number = |most: usize| usize::try_from(draw.between(1, most as u64)).unwrap_or(1);
    let scheduler = names::scheduler(number(shape.schedulers));
    let agent = names::agent(number(shape.agents));
    let which = number(4);
    match kind {
        Kind::Shutdown => Victim::Host(scheduler),
        Kind::Compact => Victim::Host(names::HANDS.to_owned()),
        Kind::Crash | Kind::PowerCut | Kind::Isolate => Victim::Host(match which {
            1 => names::STORE.to_owned(),
            2 | 3 => scheduler,
            _ => agent,
        }),
        Kind::Cut | Kind::CutOneWay | Kind::Hold | Kind::Slow => {
            let other = if which < 3 {
                names::STORE.to_owned()
            } else {
                agent
            };
            Victim::Link(scheduler, other)
        }
    }
}

async fn bring_about(hands: &Hands, faults: Vec<Fault>) {
    let began = Instant::now();
    let mut moments = BTreeSet::new();
    for (at, fault) in faults.iter().enumerate() {
        moments.insert((fault.from, at, true));
        moments.insert((fault.to, at, false));
    }
    for (moment, at, begins) in moments {
        sleep_until(began + Duration::from_millis(moment)).await;
        let fault = &faults[at];
        match &fault.victim {
            Victim::Host(host) if !begins => match fault.kind {
                Kind::Compact => {}
                Kind::Isolate => hands.rejoin(host).await,
                _ => hands.start(host).await,
            },
            Victim::Host(host) => match fault.kind {
                Kind::Compact => compact(hands).await,
                Kind::Isolate => hands.isolate(host).await,
                Kind::Shutdown => hands.shut_down(host),
                Kind::PowerCut => hands.cut_power(host).await,
                _ => hands.crash(host).await,
            },
            Victim::Link(a, b) if !begins => hands.heal(a, b).await,
            Victim::Link(a, b) => match fault.kind {
                Kind::Hold => hands.hold(a, b).await,
                Kind::Slow => hands.slow(a, b, 400).await,
                Kind::CutOneWay if at % 2 == 0 => hands.cut_one_way(b, a).await,
                Kind::CutOneWay => hands.cut_one_way(a, b).await,
                _ => hands.cut(a, b).await,
            },
        }
    }
}

/// Compacts all history away, if the store answers.
async fn compact(hands: &Hands) {
    let mut etcd = hands.etcd().await;
    let compacting = async {
        let answer = etcd.get("/", None).await.ok()?;
        let revision = answer.header()?.revision();
        etcd.compact(revision, None).await.ok()
    };
    // Whoever begins next does not wait for a store that is gone.
    let _ = tokio::time::timeout(Duration::from_millis(400), compacting).await;
}
