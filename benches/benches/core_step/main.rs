//! What whole steps of the composed core cost: 500 nodes, 5,000 workloads, all running.

mod cluster;

use std::time::{Duration, Instant};

use berth_core::Input;
use cluster::Cluster;
use criterion::{Criterion, criterion_group, criterion_main};

const NODES: usize = 500;
const WORKLOADS: usize = 5_000;
/// New workloads that are measured before they are deleted again.
const BATCH: u64 = 100;

fn steps(c: &mut Criterion) {
    let mut cluster = Cluster::steady(NODES, WORKLOADS);
    let nodes = cluster.nodes();
    let mut group = c.benchmark_group("core_step");

    let mut turn = nodes.iter().cycle();
    group.bench_function("heartbeat", |b| {
        b.iter(|| cluster.heartbeat(turn.next().expect("it goes round")));
    });
    group.bench_function("idle wake", |b| b.iter(|| cluster.feed(Input::Wake)));

    group.bench_function("apply, dry run", |b| {
        b.iter(|| cluster.apply("new", "example:1", true));
    });
    group.bench_function("apply, new", |b| {
        b.iter_custom(|count| new_workloads(&mut cluster, count));
    });
    let mut version = 1_u64;
    let told = cluster.applies;
    group.bench_function("apply, new revision", |b| {
        b.iter(|| {
            version += 1;
            let name = format!("w-{:05}", version % WORKLOADS as u64);
            cluster.apply(&name, &format!("example:{version}"), false);
        });
    });

    assert_eq!(
        cluster.applies - told,
        version - 1,
        "each is carried out at once"
    );

    group.sample_size(10);
    group.bench_function("10 s of the whole cluster", |b| {
        b.iter(|| cluster.interval());
    });
    group.finish();
    let summary = cluster.summary();
    assert_eq!(summary.ready_nodes as usize, NODES, "{summary:?}");
    assert_eq!(summary.total_workloads as usize, WORKLOADS, "{summary:?}");
}

/// Creates `count` workloads. The cluster stays as it is: they are deleted again, unmeasured.
fn new_workloads(cluster: &mut Cluster, count: u64) -> Duration {
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let batch = left.min(BATCH);
        let told = cluster.applies;
        let began = Instant::now();
        for at in 0..batch {
            cluster.apply(&format!("new-{at}"), "example:1", false);
        }
        took += began.elapsed();
        assert_eq!(cluster.applies - told, batch, "each is carried out at once");
        for at in 0..batch {
            cluster.delete(&format!("new-{at}"));
        }
        while cluster.summary().total_workloads as usize > WORKLOADS {
            cluster.interval();
        }
        left -= batch;
    }
    took
}

criterion_group!(benches, steps);
criterion_main!(benches);
