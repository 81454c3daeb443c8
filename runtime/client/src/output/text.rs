//! Amounts, ages and states in the words of people.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::Timestamp;
use berth_core::io::view::{DisplayStatus, NodeView};
use berth_core::model::node::{NodeRecord, NodeStatus};
use berth_core::model::units::{Gibibytes, Mebibytes, Millicores, Resources};

use super::console::Tone;
use super::table::Cell;

/// Cores with at most three decimals: `0.25`, `4`.
#[must_use]
pub fn cores(amount: Millicores) -> String {
    let (whole, rest) = (amount.0 / 1000, amount.0 % 1000);
    if rest == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{rest:03}");
    text.trim_end_matches('0').to_owned()
}

/// `512Mi`, `8Gi`, `1.5Gi`.
#[must_use]
pub fn memory(amount: Mebibytes) -> String {
    let mib = amount.0;
    if mib < 1024 {
        return format!("{mib}Mi");
    }
    let tenths = mib.saturating_mul(10) / 1024;
    if mib.is_multiple_of(1024) || tenths.is_multiple_of(10) {
        format!("{}Gi", tenths / 10)
    } else {
        format!("{}.{}Gi", tenths / 10, tenths % 10)
    }
}

/// `20Gi`.
#[must_use]
pub fn disk(amount: Gibibytes) -> String {
    format!("{}Gi", amount.0)
}

/// `0.5 CPU, 64Mi memory, 1Gi disk`; what is zero is left out.
#[must_use]
pub fn resources(amount: Resources) -> String {
    let mut parts = Vec::new();
    if amount.cpu != Millicores(0) {
        parts.push(format!("{} CPU", cores(amount.cpu)));
    }
    if amount.memory_mb != Mebibytes(0) {
        parts.push(format!("{} memory", memory(amount.memory_mb)));
    }
    if amount.disk_gb != Gibibytes(0) {
        parts.push(format!("{} disk", disk(amount.disk_gb)));
    }
    if parts.is_empty() {
        return "nothing".to_owned();
    }
    parts.join(", ")
}

/// The two largest units: `5s`, `3m20s`, `2h`, `4d`.
#[must_use]
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |big: u64, unit: char, small: u64, small_unit: char| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 => two(seconds / 60, 'm', seconds % 60, 's'),
        600..3600 => format!("{}m", seconds / 60),
        3600..36_000 => two(seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        36_000..86_400 => format!("{}h", seconds / 3600),
        _ => two(seconds / 86_400, 'd', seconds % 86_400 / 3600, 'h'),
    }
}

/// What a node's host uses of CPU, memory and disk; `None` from a server that does not lead: no node
/// tells it.
#[must_use]
pub fn used(view: &NodeView) -> Option<[String; 3]> {
    let used = view.usage;
    let told = [
        cores(used.cpu_used),
        memory(used.memory_used),
        disk(used.disk_used),
    ];
    (!view.freshness.stale).then_some(told)
}

/// How long ago; `-` for never.
#[must_use]
pub fn age(at: Timestamp, now: Timestamp) -> String {
    if at == Timestamp::ZERO {
        "-".to_owned()
    } else {
        duration(now.since(at))
    }
}

/// `a=1,b=2`; `-` for none.
#[must_use]
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    dash(pairs.join(","))
}

/// `-` for an empty text.
#[must_use]
pub fn dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

/// A text in one line of at most `max` characters.
#[must_use]
pub fn short(text: &str, max: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= max && line.len() == text.len() {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// How a workload's status is meant.
#[must_use]
pub const fn workload_tone(status: DisplayStatus) -> Tone {
    match status {
        DisplayStatus::Running => Tone::Good,
        DisplayStatus::Pending
        | DisplayStatus::Scheduled
        | DisplayStatus::Updating
        | DisplayStatus::RetryPending
        | DisplayStatus::Unknown => Tone::Busy,
        DisplayStatus::Failed => Tone::Bad,
        DisplayStatus::Stopped | DisplayStatus::Deleting => Tone::Dim,
    }
}

/// A node's status, with `Cordoned` when new placements are forbidden.
#[must_use]
pub fn node_status(record: &NodeRecord) -> Cell {
    let (word, tone) = match record.status {
        NodeStatus::Ready => ("Ready", Tone::Good),
        NodeStatus::NotReady => ("NotReady", Tone::Bad),
        NodeStatus::Draining => match record.drain.and_then(|drain| drain.completed_at) {
            Some(_) => ("Drained", Tone::Busy),
            None => ("Draining", Tone::Busy),
        },
    };
    let cordoned = !record.schedulable && record.status != NodeStatus::Draining;
    if cordoned {
        let tone = if tone == Tone::Good { Tone::Busy } else { tone };
        Cell::new(format!("{word},Cordoned"), tone)
    } else {
        Cell::new(word, tone)
    }
}

/// `used/total` as a bar: `[####......]  40 %`. An unknown total has no bar.
#[must_use]
pub fn bar(used: u64, total: u64, width: usize) -> Cell {
    if total == 0 {
        return Cell::new("unknown", Tone::Dim);
    }
    let percent = u64::try_from(u128::from(used) * 100 / u128::from(total)).unwrap_or(u64::MAX);
    let cells = u64::try_from(width).unwrap_or(u64::MAX);
    let filled = (percent.min(100) * cells).div_ceil(100);
    let filled = usize::try_from(filled).unwrap_or(width).min(width);
    let tone = match percent {
        0..70 => Tone::Good,
        70..90 => Tone::Busy,
        _ => Tone::Bad,
    };
    let (full, empty) = ("#".repeat(filled), ".".repeat(width - filled));
    Cell::new(format!("[{full}{empty}] {percent:>3} %"), tone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        assert_eq!(cores(Millicores(250)), "0.25");
        assert_eq!(cores(Millicores(4000)), "4");
        assert_eq!(cores(Millicores(1)), "0.001");
        assert_eq!(memory(Mebibytes(512)), "512Mi");
        assert_eq!(memory(Mebibytes(8192)), "8Gi");
        assert_eq!(memory(Mebibytes(1536)), "1.5Gi");
        assert_eq!(
            resources(Resources::new(500, 64, 0)),
            "0.5 CPU, 64Mi memory"
        );
        assert_eq!(resources(Resources::default()), "nothing");
    }

    #[test]
    fn ages() {
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(of(0), "0s");
        assert_eq!(of(59), "59s");
        assert_eq!(of(60), "1m");
        assert_eq!(of(200), "3m20s");
        assert_eq!(of(3599), "59m");
        assert_eq!(of(7260), "2h1m");
        assert_eq!(of(90_000), "1d1h");
        assert_eq!(age(Timestamp::ZERO, Timestamp::from_millis(1)), "-");
    }

    #[test]
    fn bars() {
        let text = |cell: Cell| {
            let mut table = crate::output::Table::new(&["X"]);
            table.row(vec![cell]);
            table.render(0, false).lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(text(bar(4, 10, 10)), "[####......]  40 %");
        assert_eq!(text(bar(0, 10, 10)), "[..........]   0 %");
        assert_eq!(text(bar(1, 1000, 10)), "[..........]   0 %");
        assert_eq!(text(bar(15, 10, 10)), "[##########] 150 %");
        assert_eq!(text(bar(1, 0, 10)), "unknown");
    }

    #[test]
    fn long_reasons_are_cut() {
        assert_eq!(short("abc", 3), "abc");
        assert_eq!(short("abcd", 3), "ab…");
        assert_eq!(short("ab\ncd", 10), "ab…");
    }
}
