//! Fragmentation: how much of what is free nobody could use.

use serde::Serialize;

/// A size that pods have, and how many have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Millicores.
    pub cpu: u64,
    /// MiB.
    pub memory: u64,
    /// How many pods.
    pub pods: u64,
}

/// What is free on one node: millicores and MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) cpu: u64,
    pub(super) memory: u64,
}

/// How much of what is free nobody could use, in percent of all that is free.
///
/// *Fragmented*: a pod drawn at random from those that are replayed does not fit on a node; what
/// is free there counts for it as often as that happens. (The measure of "fragmentation gradient
/// descent", with CPU or memory in place of GPU.)
///
/// *Stranded*: the other resource is exhausted: less of it is free on the node than the median pod
/// asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Fragments {
    /// Free CPU that the average pod cannot use.
    pub cpu: f64,
    /// Free memory that the average pod cannot use.
    pub memory: f64,
    /// Free CPU on nodes whose memory is exhausted.
    pub stranded_cpu: f64,
    /// Free memory on nodes whose CPU is exhausted.
    pub stranded_memory: f64,
}

/// The sizes of all pods, prepared for asking what fits.
#[derive(Debug)]
pub(super) struct Sizes {
    shapes: Vec<Shape>,
    pods: u64,
    median_cpu: u64,
    median_memory: u64,
}

impl Sizes {
    pub(super) fn new(shapes: &[Shape]) -> Self {
        Self {
            shapes: shapes.to_vec(),
            pods: shapes.iter().map(|shape| shape.pods).sum(),
            median_cpu: median(shapes, |shape| shape.cpu),
            median_memory: median(shapes, |shape| shape.memory),
        }
    }

    /// How fragmented these nodes are.
    pub(super) fn fragments(&self, nodes: impl Iterator<Item = Free>) -> Fragments {
        let (mut all, mut lost, mut stranded) = ([0_u128; 2], [0_u128; 2], [0_u128; 2]);
        for free in nodes {
            let here = [u128::from(free.cpu), u128::from(free.memory)];
            let unfit = u128::from(self.unfit(free));
            for at in 0..2 {
                all[at] += here[at];
                lost[at] += here[at] * unfit;
            }
            if free.memory < self.median_memory {
                stranded[0] += here[0];
            }
            if free.cpu < self.median_cpu {
                stranded[1] += here[1];
            }
        }
        let pods = u128::from(self.pods.max(1));
        Fragments {
            cpu: percent(lost[0], all[0] * pods),
            memory: percent(lost[1], all[1] * pods),
            stranded_cpu: percent(stranded[0], all[0]),
            stranded_memory: percent(stranded[1], all[1]),
        }
    }

    /// How many pods would not fit there.
    fn unfit(&self, free: Free) -> u64 {
        let fits = |shape: &&Shape| shape.cpu <= free.cpu && shape.memory <= free.memory;
        let fitting: u64 = self.shapes.iter().filter(fits).map(|s| s.pods).sum();
        self.pods - fitting
    }
}

/// The amount that half of the pods do not pass.
fn median(shapes: &[Shape], of: impl Fn(&Shape) -> u64) -> u64 {
    let mut sorted: Vec<(u64, u64)> = shapes.iter().map(|s| (of(s), s.pods)).collect();
    sorted.sort_unstable();
    let half = sorted.iter().map(|(_, pods)| pods).sum::<u64>().div_ceil(2);
    let mut seen = 0;
    let reaches = |(_, pods): &&(u64, u64)| {
        seen += pods;
        seen >= half
    };
    sorted.iter().find(reaches).map_or(0, |(amount, _)| *amount)
}

/// A share in percent; of nothing: 0.
#[allow(clippy::cast_precision_loss, reason = "percents for people")]
pub(super) fn percent(part: u128, of: u128) -> f64 {
    if of == 0 {
        0.0
    } else {
        part as f64 * 100.0 / of as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 2] = [
        Shape {
            cpu: 1_000,
            memory: 1_024,
            pods: 3,
        },
        Shape {
            cpu: 4_000,
            memory: 8_192,
            pods: 1,
        },
    ];

    fn fragments(nodes: &[(u64, u64)]) -> Fragments {
        let nodes = nodes.iter().map(|(cpu, memory)| Free {
            cpu: *cpu,
            memory: *memory,
        });
        Sizes::new(&SHAPES).fragments(nodes)
    }

    #[test]
    fn what_everybody_can_use_is_whole() {
        assert_eq!(
            fragments(&[(4_000, 8_192), (9_000, 9_000)]),
            Fragments::default()
        );
        assert_eq!(fragments(&[]), Fragments::default());
        assert_eq!(fragments(&[(0, 0)]), Fragments::default());
    }

    #[test]
    fn what_some_cannot_use_counts_by_their_number() {
        // One pod in four does not fit on the first node, none of them on the second.
        let seen = fragments(&[(3_000, 8_192), (1_000, 512)]);
        assert!((seen.cpu - 100.0 * (3_000.0 * 0.25 + 1_000.0) / 4_000.0).abs() < 1e-9);
        assert!((seen.memory - 100.0 * (8_192.0 * 0.25 + 512.0) / 8_704.0).abs() < 1e-9);
        assert!((seen.stranded_cpu - 25.0).abs() < 1e-9);
        assert!(seen.stranded_memory.abs() < 1e-9);
    }

    #[test]
    fn memory_without_cpu_is_stranded() {
        let seen = fragments(&[(500, 4_096), (4_000, 12_288)]);
        assert!((seen.stranded_memory - 25.0).abs() < 1e-9);
        assert!(seen.stranded_cpu.abs() < 1e-9);
    }

    #[test]
    fn the_median_pod_is_found_by_count() {
        assert_eq!(median(&SHAPES, |s| s.cpu), 1_000);
        let even = [
            SHAPES[0],
            Shape {
                pods: 4,
                ..SHAPES[1]
            },
        ];
        assert_eq!(median(&even, |s| s.memory), 8_192);
    }
}
