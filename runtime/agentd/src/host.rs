//! The host: its identity, its totals, what is used of them.

use std::fs;
use std::path::Path;

use berth_core::NodeId;
use berth_core::model::units::Resources;
use berth_proto::control::v1::NodeUsage;
use nix::sys::statvfs::statvfs;

use crate::config::CapacityOverride;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The id that the machine got with its boot; `unknown` where the kernel has none.
pub(crate) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The host's name, made to fit the rule of ids; `node` when nothing of it fits.
#[must_use]
pub fn default_node_id() -> NodeId {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    fit_id(&name)
}

/// Makes an id of any text: lower case, `-` for what is not allowed, no separators at the ends.
fn fit_id(text: &str) -> NodeId {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || ".-_".contains(c) {
            c
        } else {
            '-'
        }
    };
    let mapped: String = text
        .trim()
        .to_ascii_lowercase()
        .chars()
        .map(allowed)
        .take(128)
        .collect();
    let trimmed = mapped.trim_matches(['.', '-', '_']);
    let fallback = || "node".parse().expect("follows the rule");
    trimmed.parse().unwrap_or_else(|_| fallback())
}

/// The node's totals: the host's, or what is told instead.
pub(crate) fn capacity(over: CapacityOverride, data_dir: &Path) -> Resources {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = u64::try_from(cores).unwrap_or(1);
    Resources::new(
        over.cpu_millicores.unwrap_or(cores * 1_000),
        over.memory_mb.unwrap_or_else(|| memory().total / MIB),
        over.disk_gb.unwrap_or_else(|| disk(data_dir).total / GIB),
    )
}

/// An amount in bytes, and what is used of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) total: u64,
    pub(crate) used: u64,
}

impl Used {
    /// For people.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn percent(self) -> f64 {
        if self.total == 0 {
            0.0
        } else {
            self.used as f64 * 100.0 / self.total as f64
        }
    }
}

/// The host's memory in bytes; 0 when the kernel does not tell.
pub(crate) fn memory() -> Used {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |key: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let (total, available) = (kib("MemTotal:") * 1024, kib("MemAvailable:") * 1024);
    Used {
        total,
        used: total.saturating_sub(available),
    }
}

/// The file system that holds the agent's data, in bytes; 0 when the kernel does not tell.
pub(crate) fn disk(data_dir: &Path) -> Used {
    let Ok(stat) = statvfs(data_dir) else {
        return Used::default();
    };
    let block = stat.fragment_size();
    let total = stat.blocks().saturating_mul(block);
    Used {
        total,
        used: total.saturating_sub(stat.blocks_free().saturating_mul(block)),
    }
}

/// Samples the host's CPU: each sample tells of the time since the one before.
#[derive(Debug, Default)]
pub(crate) struct CpuSampler {
    last: Option<(u64, u64)>,
}

impl CpuSampler {
    /// What was used, in thousandths of all CPUs together; 0 for the first sample.
    pub(crate) fn sample(&mut self) -> u64 {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let Some((busy, total)) = cpu_ticks(&text) else {
            return 0;
        };
        let share = self.last.map_or(0, |(old_busy, old_total)| {
            let passed = total.saturating_sub(old_total);
            let busy = busy.saturating_sub(old_busy).min(passed);
            (busy * 1_000).checked_div(passed).unwrap_or(0)
        });
        self.last = Some((busy, total));
        share
    }
}

/// Busy and all ticks since boot, of the first line of `/proc/stat`.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // Guests' time is in user's already.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|n| n.parse().ok())
        .collect();
    let total: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((total - idle, total))
}

/// The host's utilisation as heartbeats tell it.
pub(crate) fn usage(cpu: &mut CpuSampler, capacity: Resources, data_dir: &Path) -> NodeUsage {
    let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    NodeUsage {
        cpu_used_millicores: whole(capacity.cpu.0.saturating_mul(cpu.sample()) / 1_000),
        memory_used_mb: whole(memory().used / MIB),
        disk_used_gb: whole(disk(data_dir).used / GIB),
        ..NodeUsage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_an_id() {
        for (name, id) in [
            ("host-1", "host-1"),
            ("Laptop.LOCAL\n", "laptop.local"),
            ("-x y-", "x-y"),
            ("", "node"),
            ("äöü", "node"),
        ] {
            assert_eq!(fit_id(name).as_str(), id, "{name:?}");
        }
        assert_eq!(fit_id(&"x".repeat(500)).as_str().len(), 128);
    }

    #[test]
    fn this_host_has_something() {
        let data = std::env::temp_dir();
        let capacity = capacity(CapacityOverride::default(), &data);
        assert!(
            capacity.cpu.0 >= 1_000 && capacity.memory_mb.0 > 0,
            "{capacity:?}"
        );
        let over = CapacityOverride {
            cpu_millicores: Some(500),
            ..Default::default()
        };
        assert_eq!(super::capacity(over, &data).cpu.0, 500);
        assert!(memory().used > 0 && memory().used < memory().total);
        assert!(!boot_id().is_empty());
    }

    #[test]
    fn cpu_time_is_read_from_the_first_line() {
        assert_eq!(
            cpu_ticks("cpu  10 0 20 60 10 0 0 0 5 0\ncpu0 1\n"),
            Some((30, 100))
        );
        assert_eq!(cpu_ticks("nonsense"), None);
    }
}
