//! How fast the simulator is: steps a second, over a world of 10 nodes and 100 workloads and one of
//! 100 and 1,000, each with faults.

use std::hint::black_box;
use std::time::Duration;

use berth_sim::{Options, World};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn options(nodes: usize, minutes: u64) -> Options {
    Options {
        nodes,
        workloads: nodes * 10,
        chaos: Duration::from_secs(minutes * 60),
        ..Options::small(4)
    }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator");
    group.sample_size(10);
    for (nodes, minutes) in [(10, 10), (100, 2)] {
        let options = options(nodes, minutes);
        let outcome = World::new(options.clone()).run();
        assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
        // Criterion shows elements a second: steps.
        group.throughput(Throughput::Elements(outcome.steps));
        let name = format!("{nodes} nodes, {} workloads", options.workloads);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| black_box(World::new(options.clone()).run().steps));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
