//! Manifests of workloads.

use serde_json::{Value, json};

/// A container workload that runs `command`.
#[must_use]
pub fn container(id: &str, command: &[&str], cpu: f64, memory_mb: u64) -> Value {
    json!({
        "id": id,
        "type": "container",
        "spec": {"image": "busybox:1", "command": command},
        "resources": {"cpu": cpu, "memory_mb": memory_mb, "disk_gb": 0},
    })
}

/// A small container workload that sleeps.
#[must_use]
pub fn sleeper(id: &str) -> Value {
    container(id, &["sleep", "3600"], 0.05, 8)
}

/// A container workload that adds a line to `file` when it starts, then sleeps. The line ends
/// with the time of the start in nanoseconds.
#[must_use]
pub fn starter(id: &str, file: &std::path::Path) -> Value {
    let script = format!(
        "echo {id} $$ $(date +%s%N) >> {}; exec sleep 3600",
        file.display()
    );
    container(id, &["sh", "-c", &script], 0.05, 8)
}

/// Where each workload is assigned: pairs of workload and node, in the order of workloads.
#[must_use]
pub fn assignments(workloads: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut pairs: Vec<_> = workloads
        .iter()
        .map(|w| (text(&w["id"]), text(&w["assigned_node"])))
        .collect();
    pairs.sort();
    pairs
}

/// Every line of the file of [`starter`]: the workload.
#[must_use]
pub fn starts(file: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|l| l.split_whitespace().next().map(ToOwned::to_owned))
        .collect()
}
