//! A trace of a real cluster, replayed: which files, which part of them, and what came of it.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use berth_sim::cluster_trace::{self, Measures, Replay, ReplayOptions};
use berth_sim::script::Span;
use clap::{Args, ValueEnum};

use super::source::WorldArgs;

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 256 * 1024 * 1024;

/// A trace to replay.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Replay a cluster's trace")]
pub(super) struct ReplayArgs {
    /// The nodes of a trace: sn,cpu_milli,memory_mib,gpu,…
    #[arg(long, value_name = "CSV", requires = "trace_workloads", conflicts_with_all = [
        "scenario", "nodes", "workloads", "clients", "duration", "no_faults", "twist",
    ])]
    trace_nodes: Option<PathBuf>,
    /// Its pods: name,cpu_milli,memory_mib,num_gpu,…,creation_time,deletion_time,scheduled_time
    #[arg(long, value_name = "CSV", requires = "trace_nodes")]
    trace_workloads: Option<PathBuf>,
    /// Begin so long after the trace; what ran then is created first
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0s",
        requires = "trace_nodes"
    )]
    trace_from: Span,
    /// So much of the trace; to its end by default
    #[arg(long, value_name = "TIME", requires = "trace_nodes")]
    trace_duration: Option<Span>,
    /// So many seconds of the trace pass in one
    #[arg(long, value_name = "N", default_value_t = 1, requires = "trace_nodes",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    trace_speedup: u64,
    /// At most so many pods, the earliest
    #[arg(long, value_name = "N", requires = "trace_nodes")]
    trace_limit: Option<usize>,
    /// At most so many nodes, taken evenly from all
    #[arg(long, value_name = "N", requires = "trace_nodes")]
    trace_nodes_limit: Option<usize>,
    /// Leave pods out
    #[arg(long, value_enum, value_name = "WHICH", requires = "trace_nodes")]
    trace_skip: Option<Skip>,
    /// Pods do not leave: the cluster fills up
    #[arg(long, requires = "trace_nodes")]
    trace_stay: bool,
    /// Things break, as the seed draws it
    #[arg(long, requires = "trace_nodes")]
    faults: bool,
}

/// Pods that are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Skip {
    /// Those that asked for GPUs
    Gpu,
}

impl ReplayArgs {
    /// The trace, if one is named.
    ///
    /// # Errors
    /// A file cannot be read, or is no trace.
    pub(super) fn replay(
        &self,
        seed: Option<u64>,
        world: &WorldArgs,
    ) -> anyhow::Result<Option<Replay>> {
        let (Some(nodes), Some(pods)) = (&self.trace_nodes, &self.trace_workloads) else {
            return Ok(None);
        };
        let named = |path: &Path| path.display().to_string();
        let nodes = cluster_trace::nodes(&named(nodes), &read(nodes)?)?;
        let pods = cluster_trace::pods(&named(pods), &read(pods)?)?;
        let options = ReplayOptions {
            seed: seed.unwrap_or(0),
            schedulers: world.schedulers.map_or(2, usize::from),
            from: self.trace_from.as_millis() / 1_000,
            duration: self.trace_duration.map(|span| span.as_millis() / 1_000),
            speedup: self.trace_speedup,
            pods_max: self.trace_limit,
            nodes_max: self.trace_nodes_limit,
            skip_gpu: self.trace_skip == Some(Skip::Gpu),
            stay: self.trace_stay,
            faults: self.faults,
        };
        let replay = cluster_trace::replay(&nodes, &pods, &options);
        replay.map(Some).map_err(anyhow::Error::msg)
    }

    /// The command that runs this again.
    pub(super) fn command_line(&self, seed: u64, world: &WorldArgs) -> String {
        let mut line = format!("berth sim run --seed {seed}");
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                line.push_str(&format!(" --{name} {value}"));
            }
        };
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        say("trace-nodes", path(&self.trace_nodes));
        say("trace-workloads", path(&self.trace_workloads));
        let from = self.trace_from;
        say(
            "trace-from",
            (from != Span::default()).then(|| from.to_string()),
        );
        say(
            "trace-duration",
            self.trace_duration.map(|span| span.to_string()),
        );
        let speedup = self.trace_speedup;
        say("trace-speedup", (speedup != 1).then(|| speedup.to_string()));
        say("trace-limit", self.trace_limit.map(|n| n.to_string()));
        say(
            "trace-nodes-limit",
            self.trace_nodes_limit.map(|n| n.to_string()),
        );
        say(
            "trace-skip",
            self.trace_skip.map(|Skip::Gpu| "gpu".to_owned()),
        );
        say("schedulers", world.schedulers.map(|n| n.to_string()));
        for (name, on) in [("trace-stay", self.trace_stay), ("faults", self.faults)] {
            if on {
                line.push_str(&format!(" --{name}"));
            }
        }
        line
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let about = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(about)?.len();
    anyhow::ensure!(
        size <= FILE_MAX,
        "{}: expected at most {FILE_MAX} bytes, found {size}",
        path.display()
    );
    std::fs::read_to_string(path).with_context(about)
}

/// The figures, as tables.
pub(super) fn tell(out: &mut impl Write, measures: &Measures) -> std::io::Result<()> {
    for table in measures.tables() {
        writeln!(out, "\n{}\n", table.title)?;
        for line in table.lines() {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
