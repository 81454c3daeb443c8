//! How full a node is, in integers.

use super::types::{Candidate, Ppm};

/// The mean of CPU, memory and disk reserved over total, before anything is added.
///
/// Each ratio is rounded down to parts per million and never exceeds [`Ppm::FULL`]; so is their
/// mean. A total of zero counts as full. An unknown disk leaves the mean of the other two.
#[must_use]
pub fn utilization(node: &Candidate<'_>) -> Ppm {
    let cpu = ratio(node.reserved.cpu.0, node.capacity.cpu_total.0);
    let memory = ratio(node.reserved.memory_mb.0, node.capacity.memory_total.0);
    Ppm(match node.capacity.disk_total {
        Some(total) => (cpu + memory + ratio(node.reserved.disk_gb.0, total.0)) / 3,
        None => (cpu + memory) / 2,
    })
}

/// `part` of `total` in parts per million, rounded down, at most [`Ppm::FULL`].
fn ratio(part: u64, total: u64) -> u64 {
    if part >= total {
        return Ppm::FULL.0;
    }
    let ppm = u128::from(part) * u128::from(Ppm::FULL.0) / u128::from(total);
    u64::try_from(ppm).expect("part is below total, so the ratio is below a million")
}
