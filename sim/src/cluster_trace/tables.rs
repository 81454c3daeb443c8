//! Figures as tables for people.

use crate::record::Table;

use super::fragments::Fragments;
use super::measures::{Measures, Spread};

fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table {
        title: title.to_owned(),
        columns: columns.iter().map(|&name| name.to_owned()).collect(),
        rows,
    }
}

impl Table {
    /// As lines of a terminal, which Markdown reads as a table, too.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let width = |at: usize| {
            let cells = self.rows.iter().chain([&self.columns]);
            let widths = cells
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &[String]| {
            let cells = cells.iter().zip(&widths).enumerate();
            let padded = cells.map(|(at, (cell, &width))| match at {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("| {} |", padded.collect::<Vec<_>>().join(" | "))
        };
        let rule = widths.iter().enumerate().map(|(at, &width)| match at {
            0 => "-".repeat(width + 2),
            _ => format!("{}:", "-".repeat(width + 1)),
        });
        let rule = format!("|{}|", rule.collect::<Vec<_>>().join("|"));
        let mut lines = vec![line(&self.columns), rule];
        lines.extend(self.rows.iter().map(|row| line(row)));
        lines
    }
}

impl Measures {
    /// All figures but the curves.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut all = vec![self.pods_table(), self.use_table()];
        if !self.why.is_empty() {
            all.push(self.why_table());
        }
        all.extend([
            self.delays_table(),
            self.fragments_table(),
            self.work_table(),
        ]);
        all
    }

    fn pods_table(&self) -> Table {
        let pods = &self.pods;
        let row = |name: &str, value: String| vec![name.to_owned(), value];
        let mut rows = vec![
            row("asked for", pods.asked.to_string()),
            row(
                "of them with GPUs, by CPU and memory alone",
                pods.with_gpu.to_string(),
            ),
            row("left out for their GPUs", pods.left_out.to_string()),
            row("running before the window", pods.from_before.to_string()),
            row("accepted", pods.accepted.to_string()),
        ];
        for (reason, count) in &pods.refused {
            rows.push(row(&format!("refused: {reason}"), count.to_string()));
        }
        rows.extend([
            row(
                "placed",
                format!("{} ({:.2} %)", pods.placed, pods.placed_percent),
            ),
            row("placed at once", pods.placed_at_once.to_string()),
            row(
                "placed by the trace's own cluster",
                pods.placed_in_trace.to_string(),
            ),
            row("started by a node", pods.ran.to_string()),
            row(
                "left before they had a place",
                pods.left_waiting.to_string(),
            ),
            row(
                "without a place at the end",
                pods.waiting_at_end.to_string(),
            ),
        ]);
        table("Pods", &["pods", "count"], rows)
    }

    fn use_table(&self) -> Table {
        let row = |name: &str, mean: String, peak: String| vec![name.to_owned(), mean, peak];
        let share = |value: f64| format!("{value:.2} %");
        let rows = vec![
            row("CPU assigned", share(self.cpu.mean), share(self.cpu.peak)),
            row(
                "memory assigned",
                share(self.memory.mean),
                share(self.memory.peak),
            ),
            row(
                "spread of CPU over nodes",
                share(self.node_spread),
                String::new(),
            ),
            row(
                "pods running",
                format!("{:.1}", self.pods.running_mean),
                self.pods.running_peak.to_string(),
            ),
            row(
                "pods waiting for a place",
                format!("{:.1}", self.pods.waiting_mean),
                self.pods.waiting_peak.to_string(),
            ),
        ];
        let title = format!(
            "Use of {} nodes with {} CPUs and {} GiB, in {:.0} s",
            self.nodes,
            self.cpu_milli / 1_000,
            self.memory_mib / 1_024,
            seconds(self.window_ms)
        );
        table(&title, &["over time", "mean", "peak"], rows)
    }

    fn why_table(&self) -> Table {
        let why = self.why.iter();
        let mut rows: Vec<_> = why
            .map(|(why, count)| vec![why.to_string(), count.to_string()])
            .collect();
        let filters = self.filters.iter();
        rows.extend(filters.map(|(filter, count)| {
            vec![
                format!("nodes refused by the filter {filter}"),
                count.to_string(),
            ]
        }));
        table("Why pods were never placed", &["why", "pods"], rows)
    }

    fn delays_table(&self) -> Table {
        let row = |name: &str, of: &Spread| {
            let times = [of.min, of.median, of.p90, of.p99, of.max];
            let times = times.map(|ms| format!("{:.3}", seconds(ms)));
            let mut row = vec![name.to_owned(), of.count.to_string()];
            row.extend(times);
            row
        };
        let delays = &self.delays;
        let rows = vec![
            row("asked, until answered", &delays.answered),
            row("answered, until placed", &delays.placed),
            row("... those that had to wait", &delays.waited),
            row("answered, until started", &delays.ran),
        ];
        let columns = ["seconds", "pods", "min", "median", "p90", "p99", "max"];
        table("Waiting, in virtual time", &columns, rows)
    }

    fn fragments_table(&self) -> Table {
        let row = |name: &str, of: Fragments| {
            let values = [of.cpu, of.memory, of.stranded_cpu, of.stranded_memory];
            let mut row = vec![name.to_owned()];
            row.extend(values.map(|value| format!("{value:.2} %")));
            row
        };
        let rows = vec![
            row("of the empty cluster", self.fragments_empty),
            row("over time", self.fragments_mean),
            row("when fullest", self.fragments_fullest),
            row("when the window ended", self.fragments_last),
        ];
        let columns = [
            "free, and of no use",
            "CPU, to the average pod",
            "memory, to the average pod",
            "CPU, for want of memory",
            "memory, for want of CPU",
        ];
        table("Fragmentation", &columns, rows)
    }

    fn work_table(&self) -> Table {
        let row = |name: &str, value: u64| vec![name.to_owned(), value.to_string()];
        let mut rows = vec![
            row("pods moved", self.work.moves),
            row("transactions", self.work.commits),
        ];
        for (call, count) in &self.work.calls {
            rows.push(row(&format!("calls to agents: {call}"), *count));
        }
        table("Work", &["to the end of the calm", "count"], rows)
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
