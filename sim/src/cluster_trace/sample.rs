//! What the nodes look like at an instant, and how that went over time.

use std::collections::BTreeMap;

use berth_core::NodeId;

use crate::record::Series;

use super::fragments::{Fragments, Free, Sizes};
use super::life::Why;

/// What one node has, and what is assigned to it: millicores and MiB.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    pub(super) cpu: u64,
    pub(super) memory: u64,
    pub(super) cpu_taken: u64,
    pub(super) memory_taken: u64,
    pub(super) open: bool,
}

impl Room {
    const fn free(&self) -> Free {
        Free {
            cpu: self.cpu.saturating_sub(self.cpu_taken),
            memory: self.memory.saturating_sub(self.memory_taken),
        }
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Rooms(pub(super) BTreeMap<NodeId, Room>);

impl Rooms {
    /// How fragmented they are; those that take nothing new have nothing free.
    pub(super) fn fragments(&self, sizes: &Sizes) -> Fragments {
        let open = self.0.values().filter(|room| room.open);
        sizes.fragments(open.map(Room::free))
    }

    /// How fragmented they were if nothing ran.
    pub(super) fn empty_fragments(&self, sizes: &Sizes) -> Fragments {
        let empty = self.0.values().map(|room| Free {
            cpu: room.cpu,
            memory: room.memory,
        });
        sizes.fragments(empty)
    }

    /// How far nodes' shares of CPU that are assigned are from their mean: the standard deviation,
    /// in points of a percent.
    #[allow(clippy::cast_precision_loss, reason = "percents for people")]
    pub(super) fn spread(&self) -> f64 {
        let shares = self.0.values().filter(|room| room.cpu > 0);
        let shares: Vec<f64> = shares
            .map(|room| room.cpu_taken as f64 * 100.0 / room.cpu as f64)
            .collect();
        let count = shares.len().max(1) as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let squares = shares.iter().map(|share| (share - mean) * (share - mean));
        (squares.sum::<f64>() / count).sqrt()
    }

    /// Why there is no place for so much.
    pub(super) fn why_not(&self, cpu: u64, memory: u64) -> Why {
        let open = || self.0.values().filter(|room| room.open);
        if open().next().is_none() {
            return Why::NoNode;
        }
        if !self
            .0
            .values()
            .any(|room| room.cpu >= cpu && room.memory >= memory)
        {
            return Why::TooLarge;
        }
        let free = || open().map(Room::free);
        if free().any(|free| free.cpu >= cpu && free.memory >= memory) {
            return Why::Room;
        }
        let has_cpu = free().any(|free| free.cpu >= cpu);
        let has_memory = free().any(|free| free.memory >= memory);
        match (has_cpu, has_memory) {
            (true, true) => Why::Scattered,
            (true, false) => Why::Memory,
            (false, true) => Why::Cpu,
            (false, false) => Why::Both,
        }
    }
}

/// Samples of one amount.
#[derive(Debug)]
pub(super) struct Samples {
    name: &'static str,
    unit: &'static str,
    points: Vec<(u64, f64)>,
}

impl Samples {
    pub(super) const fn new(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            points: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, at: u64, value: f64) {
        self.points.push((at, (value * 1_000.0).round() / 1_000.0));
    }

    /// The mean of what was taken at equal intervals.
    #[allow(clippy::cast_precision_loss, reason = "a few hundred")]
    pub(super) fn mean(&self) -> f64 {
        let sum: f64 = self.points.iter().map(|(_, value)| value).sum();
        sum / self.points.len().max(1) as f64
    }

    pub(super) fn curve(self) -> Series {
        Series {
            name: self.name.to_owned(),
            unit: self.unit.to_owned(),
            points: self.points,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(all: &[(u64, u64, u64, u64)]) -> Rooms {
        let room = |(at, of): (usize, &(u64, u64, u64, u64))| {
            let room = Room {
                cpu: of.0,
                memory: of.1,
                cpu_taken: of.2,
                memory_taken: of.3,
                open: true,
            };
            (format!("n-{at}").parse().unwrap(), room)
        };
        Rooms(all.iter().enumerate().map(room).collect())
    }

    #[test]
    fn why_there_is_no_place_is_found_in_what_is_free() {
        let mut two = rooms(&[(4_000, 8_000, 3_500, 0), (4_000, 8_000, 0, 7_500)]);
        assert_eq!(two.why_not(1_000, 1_000), Why::Scattered);
        assert_eq!(two.why_not(4_000, 8_000), Why::Scattered);
        assert_eq!(two.why_not(4_000, 9_000), Why::TooLarge);
        assert_eq!(two.why_not(500, 8_000), Why::Room);
        let full = rooms(&[(4_000, 8_000, 4_000, 1_000)]);
        assert_eq!(full.why_not(1, 1), Why::Cpu);
        assert_eq!(full.why_not(1, 7_500), Why::Both);
        let full = rooms(&[(4_000, 8_000, 1_000, 8_000)]);
        assert_eq!(full.why_not(1_000, 1), Why::Memory);
        two.0.values_mut().for_each(|room| room.open = false);
        assert_eq!(two.why_not(1, 1), Why::NoNode);
    }

    #[test]
    fn spread_is_the_standard_deviation_of_shares() {
        let even = rooms(&[(1_000, 1, 500, 0), (8_000, 1, 4_000, 0)]);
        assert!(even.spread().abs() < 1e-9);
        let uneven = rooms(&[(1_000, 1, 1_000, 0), (8_000, 1, 0, 0)]);
        assert!((uneven.spread() - 50.0).abs() < 1e-9);
    }
}
