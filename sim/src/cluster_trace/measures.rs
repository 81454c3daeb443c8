//! What a replay came to, in figures.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::Series;

use super::fragments::{Fragments, percent};
use super::life::{Life, Why};
use super::meter::Meter;
use super::sample::Samples;

/// What a replay came to. Times are virtual milliseconds; shares are percents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measures {
    /// How many nodes there were.
    pub nodes: usize,
    /// What they had together, in millicores.
    pub cpu_milli: u64,
    /// What they had together, in MiB.
    pub memory_mib: u64,
    /// How long pods came and went.
    pub window_ms: u64,
    /// What became of the pods.
    pub pods: Pods,
    /// Why those that were never placed were not, as the free room says: how many.
    pub why: BTreeMap<Why, u64>,
    /// Which filters had refused nodes to those, as the scheduler says: how many pods.
    pub filters: BTreeMap<String, u64>,
    /// How long things took.
    pub delays: Delays,
    /// CPU that was assigned.
    pub cpu: Shares,
    /// Memory that was assigned.
    pub memory: Shares,
    /// Standard deviation of the nodes' shares of assigned CPU: its mean over time.
    pub node_spread: f64,
    /// Fragmentation of the empty cluster.
    pub fragments_empty: Fragments,
    /// ... over time.
    pub fragments_mean: Fragments,
    /// ... when most CPU was assigned.
    pub fragments_fullest: Fragments,
    /// ... when the window ended.
    pub fragments_last: Fragments,
    /// What the scheduler did for it.
    pub work: Work,
    /// How it went.
    pub curves: Vec<Series>,
}

/// What became of the pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pods {
    /// How many clients asked for.
    pub asked: u64,
    /// How many of those had asked for GPUs in the trace.
    pub with_gpu: usize,
    /// How many were left out for that.
    pub left_out: usize,
    /// How many ran already when the window began.
    pub from_before: usize,
    /// How many the cluster of the trace had placed.
    pub placed_in_trace: usize,
    /// How many were accepted.
    pub accepted: u64,
    /// How many were refused, by what the client was told.
    pub refused: BTreeMap<String, u64>,
    /// How many were assigned to a node.
    pub placed: u64,
    /// ... in percent of those that were asked for.
    pub placed_percent: f64,
    /// ... by the transaction that accepted them.
    pub placed_at_once: u64,
    /// How many a node started.
    pub ran: u64,
    /// How many left before they had a place.
    pub left_waiting: u64,
    /// How many had no place at the end.
    pub waiting_at_end: u64,
    /// The most that waited for a place at an instant.
    pub waiting_peak: u64,
    /// ... over time.
    pub waiting_mean: f64,
    /// The most that ran at an instant, as the store says.
    pub running_peak: u64,
    /// ... over time.
    pub running_mean: f64,
}

/// How long things took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Delays {
    /// From asking to the answer.
    pub answered: Spread,
    /// From the answer to the first place, for all that had one.
    pub placed: Spread,
    /// ... for those that had to wait for it.
    pub waited: Spread,
    /// From the answer to the first start on a node.
    pub ran: Spread,
}

/// Quantiles of times, by nearest rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many there were.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// Half take no longer.
    pub median: u64,
    /// Nine of ten take no longer.
    pub p90: u64,
    /// 99 of a hundred take no longer.
    pub p99: u64,
    /// The most.
    pub max: u64,
}

/// How much of something was assigned, in percent of all there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Shares {
    /// Over time.
    pub mean: f64,
    /// The most at an instant.
    pub peak: f64,
    /// When that was.
    pub peak_at_ms: u64,
}

/// What the scheduler did for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Times that a pod that had a node was given another.
    pub moves: u64,
    /// Calls to agents, by kind.
    pub calls: BTreeMap<&'static str, u64>,
    /// Transactions of schedulers that changed the store.
    pub commits: u64,
}

impl Spread {
    fn new(mut all: Vec<u64>) -> Self {
        all.sort_unstable();
        let rank = |percent: usize| {
            let at = (all.len() * percent).div_ceil(100).max(1) - 1;
            all.get(at).copied().unwrap_or(0)
        };
        Self {
            count: all.len() as u64,
            min: rank(0),
            median: rank(50),
            p90: rank(90),
            p99: rank(99),
            max: rank(100),
        }
    }
}

impl Measures {
    /// What a meter saw.
    pub(crate) fn new(meter: Meter) -> Self {
        let window_ms = u64::try_from((meter.plan.to - meter.plan.from).as_millis());
        let window_ms = window_ms.unwrap_or(u64::MAX).max(1);
        let lives: Vec<&Life> = meter.lives.values().filter(|l| l.asked.is_some()).collect();
        let (cpu_milli, memory_mib) = meter.plan.capacity;
        let shares = |sum: u64, peak: u64, of: u64, peak_at_ms| Shares {
            mean: percent(sum.into(), u128::from(of) * u128::from(window_ms)),
            peak: percent(peak.into(), of.into()),
            peak_at_ms,
        };
        let (sums, peaks) = (meter.sums, meter.peaks);
        let samples = &meter.looks.samples;
        Self {
            nodes: meter.plan.nodes,
            cpu_milli,
            memory_mib,
            window_ms,
            pods: pods(&meter, &lives, window_ms),
            why: why(&lives),
            filters: filters(&lives),
            delays: delays(&lives),
            cpu: shares(sums.cpu, peaks.most.cpu, cpu_milli, peaks.cpu_at),
            memory: shares(sums.memory, peaks.most.memory, memory_mib, peaks.memory_at),
            node_spread: samples[8].mean(),
            fragments_empty: meter.rooms.empty_fragments(&meter.sizes),
            fragments_mean: Fragments {
                cpu: samples[4].mean(),
                memory: samples[5].mean(),
                stranded_cpu: samples[6].mean(),
                stranded_memory: samples[7].mean(),
            },
            fragments_fullest: meter.looks.fullest.1,
            fragments_last: meter.looks.last,
            work: Work {
                moves: lives.iter().map(|life| life.moves).sum(),
                calls: meter.calls,
                commits: meter.commits,
            },
            curves: meter
                .looks
                .samples
                .into_iter()
                .map(Samples::curve)
                .collect(),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "means for people")]
fn pods(meter: &Meter, lives: &[&Life], window_ms: u64) -> Pods {
    let count =
        |what: &dyn Fn(&Life) -> bool| lives.iter().filter(|life| what(life)).count() as u64;
    let mut refused = BTreeMap::new();
    for reason in lives.iter().filter_map(|life| life.refused.as_ref()) {
        *refused.entry(reason.clone()).or_default() += 1;
    }
    let asked = lives.len() as u64;
    let placed = count(&|life| life.placed.is_some());
    let plan = &meter.plan;
    Pods {
        asked,
        with_gpu: plan.with_gpu,
        left_out: plan.left_out,
        from_before: plan.from_before,
        placed_in_trace: plan.placed_in_trace,
        accepted: count(&|life| life.told.is_some()),
        refused,
        placed,
        placed_percent: percent(placed.into(), asked.into()),
        placed_at_once: count(&|life| waited(life) == Some(0)),
        ran: count(&|life| life.ran.is_some()),
        left_waiting: count(&|life| life.placed.is_none() && life.left),
        waiting_at_end: count(&|life| life.waits),
        waiting_peak: meter.peaks.most.waiting,
        waiting_mean: meter.sums.waiting as f64 / window_ms as f64,
        running_peak: meter.peaks.most.running,
        running_mean: meter.sums.running as f64 / window_ms as f64,
    }
}

/// From the answer to the first place: what accepts it may place it too.
fn waited(life: &Life) -> Option<u64> {
    Some(life.placed?.saturating_sub(life.told?))
}

fn why(lives: &[&Life]) -> BTreeMap<Why, u64> {
    let mut all = BTreeMap::new();
    for why in never_placed(lives).filter_map(|life| life.why) {
        *all.entry(why).or_default() += 1;
    }
    all
}

fn filters(lives: &[&Life]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for filter in never_placed(lives).flat_map(|life| life.refusals.keys()) {
        *all.entry(format!("{filter:?}")).or_default() += 1;
    }
    all
}

fn never_placed<'a>(lives: &'a [&'a Life]) -> impl Iterator<Item = &'a Life> {
    lives.iter().copied().filter(|life| life.placed.is_none())
}

fn delays(lives: &[&Life]) -> Delays {
    let spread = |of: &dyn Fn(&Life) -> Option<u64>| {
        Spread::new(lives.iter().filter_map(|life| of(life)).collect())
    };
    Delays {
        answered: spread(&|life| Some(life.told? - life.asked?)),
        placed: spread(&waited),
        waited: spread(&|life| waited(life).filter(|ms| *ms > 0)),
        ran: spread(&|life| Some(life.ran?.saturating_sub(life.told?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_taken_by_nearest_rank() {
        assert_eq!(Spread::new(Vec::new()), Spread::default());
        let one = Spread::new(vec![7]);
        assert_eq!(
            (one.min, one.median, one.p90, one.p99, one.max),
            (7, 7, 7, 7, 7)
        );
        let all = Spread::new((1..=200).rev().collect());
        let seen = (all.count, all.min, all.median, all.p90, all.p99, all.max);
        assert_eq!(seen, (200, 1, 100, 180, 198, 200));
    }
}
