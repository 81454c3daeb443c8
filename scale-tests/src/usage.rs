//! What a process used, from `/proc`.

use std::time::Duration;

/// `/proc` counts processor time in hundredths of a second, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What a process used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time, of the program and of the kernel for it.
    pub(crate) cpu: Duration,
    /// Peak resident memory, KiB.
    pub(crate) rss_kib_max: u64,
}

impl Usage {
    /// `None`: there is no such process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        Self::parse(&read("stat")?, &read("status")?)
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name may hold spaces and brackets; the numbers follow its last bracket.
        let mut numbers = stat.rsplit_once(") ")?.1.split_whitespace().skip(11);
        let user: u32 = numbers.next()?.parse().ok()?;
        let system: u32 = numbers.next()?.parse().ok()?;
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        let rss_kib_max = peak.trim().trim_end_matches(" kB").parse().ok()?;
        Some(Self {
            cpu: TICK * (user + system),
            rss_kib_max,
        })
    }

    /// What was used since an earlier look; the peak stays the peak.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            rss_kib_max: self.rss_kib_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_understood() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0 1 2 3";
        let status = "Name:\ta\nVmHWM:\t   2048 kB\nVmRSS:\t 1024 kB\n";
        let usage = Usage::parse(stat, status).unwrap();
        assert_eq!(
            usage,
            Usage {
                cpu: Duration::from_secs(2),
                rss_kib_max: 2048
            }
        );
        assert!(Usage::of(std::process::id()).is_some());
        assert!(Usage::parse("", "").is_none());
    }
}
