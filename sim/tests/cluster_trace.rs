//! A trace is replayed, and the figures are what can be worked out without a scheduler.

use berth_sim::cluster_trace::{
    Measures, NodeRow, PodRow, ReplayOptions, Why, nodes, pods, replay,
};
use berth_sim::{Outcome, World};

const NODES: &str = include_str!("../data/small-trace/nodes.csv");
const PODS: &str = include_str!("../data/small-trace/pods.csv");

fn rows() -> (Vec<NodeRow>, Vec<PodRow>) {
    let nodes = nodes("nodes.csv", NODES).unwrap_or_else(|e| panic!("{e}"));
    let pods = pods("pods.csv", PODS).unwrap_or_else(|e| panic!("{e}"));
    (nodes, pods)
}

fn run(options: &ReplayOptions) -> Outcome {
    let (nodes, pods) = rows();
    let replay = replay(&nodes, &pods, options).unwrap_or_else(|e| panic!("{e}"));
    let world = World::play(replay.script, false).measured(replay.plan);
    let outcome = world.run();
    if let Some(violation) = &outcome.violation {
        panic!("{options:?}: {violation}");
    }
    outcome
}

fn measures(options: &ReplayOptions) -> Measures {
    *run(options).measures.expect("a replay is measured")
}

fn near(seen: f64, expected: f64, tolerance: f64, what: &str) {
    let distance = (seen - expected).abs();
    assert!(
        distance <= tolerance,
        "{what}: expected {expected}, seen {seen}"
    );
}

/// What use there must be if everything without GPUs is placed as it comes: the mean over the
/// window, and the peak, in percent.
fn expected_use(of: impl Fn(&PodRow) -> u64, all: u64, until: u64) -> (f64, f64) {
    let (_, pods) = rows();
    let fitting = || pods.iter().filter(|pod| pod.gpus == 0);
    let leaves = |pod: &PodRow| pod.deleted.map_or(until, |at| at.min(until));
    let alive = |at: u64| {
        let alive = fitting().filter(|pod| pod.created <= at && at < leaves(pod));
        alive.map(&of).sum::<u64>()
    };
    let sum: u64 = (0..until).map(alive).sum();
    let peak = (0..until).map(alive).max().unwrap_or(0);
    let percent = |part: u64, of: u64| part as f64 * 100.0 / of as f64;
    (percent(sum, all * until), percent(peak, all))
}

#[test]
fn with_room_for_all_the_use_is_what_the_trace_says() {
    let until = 2_700;
    let seen = measures(&ReplayOptions {
        duration: Some(until),
        skip_gpu: true,
        ..ReplayOptions::default()
    });
    // 45 pods arrive in 45 minutes, 11 of them with GPUs.
    assert_eq!((seen.pods.asked, seen.pods.left_out), (34, 11));
    assert_eq!((seen.pods.accepted, seen.pods.placed), (34, 34));
    assert_eq!((seen.pods.placed_at_once, seen.pods.ran), (34, 34));
    assert_eq!(
        (seen.pods.placed_in_trace, seen.pods.waiting_at_end),
        (34, 0)
    );
    assert!(seen.why.is_empty(), "{:?}", seen.why);
    assert_eq!((seen.cpu_milli, seen.memory_mib), (640_000, 1_966_080));
    let (mean, peak) = expected_use(|pod| pod.cpu, seen.cpu_milli, until);
    near(seen.cpu.mean, mean, 0.5, "mean CPU");
    near(seen.cpu.peak, peak, 0.01, "peak CPU");
    let (mean, peak) = expected_use(|pod| pod.memory, seen.memory_mib, until);
    near(seen.memory.mean, mean, 0.5, "mean memory");
    near(seen.memory.peak, peak, 0.01, "peak memory");
    // A start takes a second, and nobody waits for a place.
    assert_eq!(seen.delays.waited.count, 0);
    assert!(
        (900..1_100).contains(&seen.delays.ran.median),
        "{:?}",
        seen.delays
    );
    assert_eq!(seen.work.calls.get("apply"), Some(&34));
    assert_eq!(seen.work.moves, 0);
}

#[test]
fn of_the_empty_cluster_only_what_large_pods_cannot_use_is_fragmented() {
    let seen = measures(&ReplayOptions {
        duration: Some(60),
        stay: true,
        ..ReplayOptions::default()
    });
    // One pod of 4 cores and 8 GiB: every node could take it, so nothing is fragmented.
    assert_eq!(seen.pods.asked, 1);
    near(seen.fragments_empty.cpu, 0.0, 1e-9, "one small pod");
    let seen = measures(&ReplayOptions {
        from: 39 * 60,
        duration: Some(1),
        ..ReplayOptions::default()
    });
    // By hand from the rows: a share of the free CPU, weighed by the pods that fit nowhere on it.
    let (nodes, pods) = rows();
    let (from, to) = (39 * 60, 39 * 60 + 1);
    let alive = |pod: &&PodRow| pod.created < to && pod.deleted.is_some_and(|at| at > from);
    let alive: Vec<&PodRow> = pods.iter().filter(alive).collect();
    assert_eq!(seen.pods.asked, alive.len() as u64);
    let (mut lost, mut all) = (0.0, 0.0);
    for node in &nodes {
        let unfit = alive
            .iter()
            .filter(|pod| pod.cpu > node.cpu || pod.memory > node.memory);
        lost += node.cpu as f64 * unfit.count() as f64 / alive.len() as f64;
        all += node.cpu as f64;
    }
    near(
        seen.fragments_empty.cpu,
        lost * 100.0 / all,
        1e-6,
        "fragmentation",
    );
    assert!(seen.fragments_empty.cpu > 1.0);
}

#[test]
fn what_does_not_fit_waits_and_says_why() {
    let options = ReplayOptions {
        speedup: 60,
        ..ReplayOptions::default()
    };
    let outcome = run(&options);
    let hash = run(&options).trace_hash;
    assert_eq!(outcome.trace_hash, hash, "the same twice");
    let seen = *outcome.measures.expect("a replay is measured");
    let pods = &seen.pods;
    assert_eq!((pods.asked, pods.accepted), (120, 120));
    assert_eq!(pods.placed + pods.left_waiting + pods.waiting_at_end, 120);
    assert!(
        pods.placed_at_once < pods.placed,
        "some had to wait: {pods:?}"
    );
    assert!(seen.delays.waited.max > 1_000, "{:?}", seen.delays);
    assert_eq!(seen.why.get(&Why::TooLarge), Some(&3));
    assert_eq!(
        seen.why.values().sum::<u64>(),
        pods.left_waiting + pods.waiting_at_end
    );
    for share in [seen.cpu, seen.memory] {
        assert!(share.mean < share.peak && share.peak <= 100.0, "{share:?}");
    }
    let fullest = seen.fragments_fullest;
    assert!(fullest.cpu > seen.fragments_empty.cpu, "{fullest:?}");
    // Everything left in the end: the last look is at an empty cluster, but for what was too slow.
    near(
        seen.fragments_last.cpu,
        seen.fragments_empty.cpu,
        2.0,
        "in the end",
    );
    for curve in &seen.curves {
        assert!((200..=300).contains(&curve.points.len()), "{}", curve.name);
    }
    let text: Vec<String> = seen
        .tables()
        .iter()
        .flat_map(|table| table.lines())
        .collect();
    assert!(
        text.iter()
            .any(|line| line.contains("larger than every node")),
        "{text:?}"
    );
}

#[test]
fn faults_are_drawn_over_the_nodes_of_a_trace() {
    let options = ReplayOptions {
        seed: 3,
        schedulers: 2,
        duration: Some(7_200),
        speedup: 20,
        faults: true,
        ..ReplayOptions::default()
    };
    let outcome = run(&options);
    let faults = outcome
        .coverage
        .iter()
        .filter(|(mark, count)| mark.name().starts_with("fault ") && *count > 0);
    assert!(faults.count() > 2, "{:?}", outcome.coverage);
    let seen = outcome.measures.expect("a replay is measured");
    assert_eq!(seen.pods.asked, 120);
    // Clients ask until they are answered.
    assert_eq!(seen.pods.accepted, 120);
}
