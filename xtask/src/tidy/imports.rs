//! Who may depend on whom. The pure crates know nothing of the runtime, and runtime and simulator
//! nothing of each other.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Finding;

/// Every crate of ours, and which of ours it may use (for its tests too), lowest first.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("berth-xtask", &[]),
    ("berth-mutants", &[]),
    ("berth-proto", &[]),
    ("berth-kv", &[]),
    ("berth-core", &["berth-proto"]),
    ("berth-agent", &["berth-proto", "berth-core"]),
    (
        "berth-sim",
        &["berth-proto", "berth-core", "berth-kv", "berth-agent"],
    ),
    ("berth-simcmd", &["berth-sim"]),
    ("berth-store", &["berth-kv"]),
    (
        "berth-agentd",
        &["berth-proto", "berth-core", "berth-agent"],
    ),
    ("berth-client", &["berth-core"]),
    (
        "berth-driver",
        &["berth-proto", "berth-core", "berth-store", "berth-kv"],
    ),
    (
        "berth-server",
        &[
            "berth-proto",
            "berth-core",
            "berth-driver",
            "berth-store",
            "berth-kv",
        ],
    ),
    (
        "berth-runtime",
        &[
            "berth-proto",
            "berth-core",
            "berth-agent",
            "berth-store",
            "berth-agentd",
            "berth-client",
            "berth-driver",
            "berth-server",
            "berth-simcmd",
        ],
    ),
    (
        "berth-benches",
        &[
            "berth-proto",
            "berth-core",
            "berth-kv",
            "berth-agent",
            "berth-sim",
        ],
    ),
    ("berth-tests", &["berth-proto", "berth-core"]),
    (
        "berth-turmoil",
        &[
            "berth-proto",
            "berth-core",
            "berth-kv",
            "berth-agent",
            "berth-sim",
            "berth-store",
            "berth-agentd",
            "berth-driver",
            "berth-server",
        ],
    ),
    (
        "berth-scale-tests",
        &["berth-proto", "berth-core", "berth-tests"],
    ),
    (
        "berth-faults",
        &["berth-proto", "berth-core", "berth-tests"],
    ),
];

/// The crates that are the same on every machine, and what they may use of others' crates.
const PURE: [&str; 4] = ["berth-core", "berth-kv", "berth-agent", "berth-sim"];
const PURE_MAY_USE: [&str; 15] = [
    "base64",
    "bytes",
    "humantime",
    "indexmap",
    "prost",
    "prost-types",
    "rand",
    "rand_chacha",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "serde_yaml_ng",
    "sha2",
    "strsim",
    "thiserror",
];

/// Every rule of this file.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let output = Command::new("cargo")
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    let mut findings: Vec<_> = packages
        .iter()
        .flat_map(|p| check_package(root, p))
        .collect();
    findings.extend(check_lints(root)?);
    Ok(findings)
}

fn check_package(root: &Path, package: &Value) -> Vec<Finding> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    let path = manifest.strip_prefix(root).unwrap_or(&manifest);
    let name = text(&package["name"]);
    let Some((_, may_use)) = MAY_USE.iter().find(|(n, _)| *n == name) else {
        let problem = format!("{name} has no place in the order of imports: see xtask");
        return vec![Finding::error(path, 0, problem)];
    };
    let mut findings = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let other = text(&dependency["name"]);
        let is_ours = other.starts_with("berth-");
        let only_for_tests = dependency["kind"] == "dev";
        if is_ours && !may_use.contains(&other.as_str()) {
            let problem = format!("{name} must not depend on {other}");
            findings.push(Finding::error(path, 0, problem));
        }
        let is_pure = PURE.contains(&name.as_str());
        if is_pure && !is_ours && !only_for_tests && !PURE_MAY_USE.contains(&other.as_str()) {
            let problem = format!("{name} is pure and must not depend on {other}");
            findings.push(Finding::error(path, 0, problem));
        }
    }
    findings
}

/// The pure crates have the same bans: their files differ in the comment's first line only.
fn check_lints(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut first: Option<String> = None;
    for name in PURE {
        let path = Path::new(name.trim_start_matches("berth-")).join("clippy.toml");
        let text = std::fs::read_to_string(root.join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let rules = text.lines().skip(1).collect::<Vec<_>>().join("\n");
        if first.get_or_insert_with(|| rules.clone()) != &rules {
            findings.push(Finding::error(&path, 0, "differs from core/clippy.toml"));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(name: &str, dependency: &str, kind: Value) -> usize {
        let package = json!({
            "name": name,
            "manifest_path": "a/Cargo.toml",
            "dependencies": [{"name": dependency, "kind": kind}],
        });
        check_package(Path::new(""), &package).len()
    }

    #[test]
    fn the_core_knows_no_runtime() {
        assert_eq!(problems("berth-core", "berth-proto", Value::Null), 0);
        assert_eq!(problems("berth-core", "berth-server", Value::Null), 1);
        assert_eq!(problems("berth-core", "tokio", Value::Null), 1);
        assert_eq!(problems("berth-core", "proptest", json!("dev")), 0);
        assert_eq!(problems("berth-server", "tokio", Value::Null), 0);
    }

    #[test]
    fn runtime_and_simulator_do_not_know_each_other() {
        assert_eq!(problems("berth-sim", "berth-driver", Value::Null), 1);
        assert_eq!(problems("berth-server", "berth-sim", Value::Null), 1);
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        assert_eq!(problems("berth-new", "serde", Value::Null), 1);
    }

    #[test]
    fn nobody_may_use_what_comes_later() {
        for (at, (name, may_use)) in MAY_USE.iter().enumerate() {
            for other in *may_use {
                let place = MAY_USE.iter().position(|(n, _)| n == other);
                assert!(place.is_some_and(|p| p < at), "{name} uses {other}");
            }
        }
    }
}
