//! Line coverage of the pure crates by their own tests, with the compiler's instrumentation and
//! the tools of the LLVM that this compiler was built with (Debian's `llvm-<major>`, or the
//! component `llvm-tools` of rustup).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Whose coverage is reported, each by its own tests and those of the crates after it.
const CRATES: [&str; 4] = ["berth-core", "berth-kv", "berth-agent", "berth-sim"];

/// Runs the tests instrumented and prints a table of line coverage per file.
///
/// # Errors
/// When the tools are missing or a test fails.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tools = Tools::find()?;
    let target = root.join("target/coverage");
    let profiles = target.join("profiles");
    let _ = std::fs::remove_dir_all(&profiles);
    let binaries = build(root, &target, &profiles)?;
    for (folder, binary) in &binaries {
        let status = Command::new(binary)
            .arg("--quiet")
            .current_dir(folder)
            .env("LLVM_PROFILE_FILE", profiles.join("tests-%p-%m.profraw"))
            .status()?;
        ensure!(status.success(), "{} failed", binary.display());
    }
    let merged = target.join("merged.profdata");
    let raw: Vec<_> = profiles
        .read_dir()?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|path| of_a_test(path))
        .collect();
    let merge = Command::new(&tools.profdata)
        .args(["merge", "-sparse", "-o"])
        .arg(&merged)
        .args(raw)
        .status()?;
    ensure!(merge.success(), "llvm-profdata failed");

    for name in CRATES {
        let folder = root.join(name.trim_start_matches("berth-")).join("src");
        println!("== {name}");
        let mut report = Command::new(&tools.cov);
        report.args([
            "report",
            "--show-region-summary=false",
            "--show-branch-summary=false",
        ]);
        report.arg(format!("--instr-profile={}", merged.display()));
        for (_, binary) in &binaries {
            report.arg("--object").arg(binary);
        }
        ensure!(
            report.arg("--sources").arg(&folder).status()?.success(),
            "llvm-cov failed"
        );
    }
    Ok(())
}

/// LLVM's two programs.
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
}

impl Tools {
    /// Of the sysroot, or with the major version of the compiler's LLVM in the name.
    fn find() -> Result<Self> {
        let say = |args: &[&str]| -> Result<String> {
            let output = Command::new("rustc")
                .args(args)
                .output()
                .context("cannot run rustc")?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let version = say(&["-vV"])?;
        let field = |name: &str| version.lines().find_map(|l| l.strip_prefix(name));
        let host = field("host: ").context("rustc names no host")?;
        let llvm = field("LLVM version: ").context("rustc names no LLVM")?;
        let major = llvm.split('.').next().unwrap_or(llvm);
        let sysroot = PathBuf::from(say(&["--print", "sysroot"])?.trim());
        let bin = sysroot.join("lib/rustlib").join(host).join("bin");
        if bin.join("llvm-cov").exists() {
            return Ok(Self {
                profdata: bin.join("llvm-profdata"),
                cov: bin.join("llvm-cov"),
            });
        }
        let cov = format!("llvm-cov-{major}");
        let found = Command::new(&cov).arg("--version").output().is_ok();
        ensure!(
            found,
            "{cov} is missing: `apt-get install llvm-{major}` or `rustup component add llvm-tools`"
        );
        Ok(Self {
            profdata: format!("llvm-profdata-{major}").into(),
            cov: cov.into(),
        })
    }
}

/// Builds the tests instrumented: each test binary with the folder of its crate.
///
/// Build scripts are instrumented too and run in the folders of their crates: without a place of
/// their own they would leave their profiles in the sources.
fn build(root: &Path, target: &Path, profiles: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut command = Command::new("cargo");
    command.args([
        "test",
        "--no-run",
        "--lib",
        "--tests",
        "--message-format=json",
    ]);
    for name in CRATES {
        command.args(["-p", name]);
    }
    let output = command
        .arg("--target-dir")
        .arg(target)
        .env("RUSTFLAGS", "-Cinstrument-coverage")
        .env("LLVM_PROFILE_FILE", profiles.join("build-%p-%m.profraw"))
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the instrumented build failed");
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(messages.lines().filter_map(test_binary).collect())
}

fn of_a_test(profile: &Path) -> bool {
    let name = profile.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("tests-"))
}

fn test_binary(message: &str) -> Option<(PathBuf, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let folder = Path::new(message["manifest_path"].as_str()?)
        .parent()?
        .to_owned();
    Some((folder, message["executable"].as_str()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_binaries_are_found_in_cargos_messages() {
        let message = r#"{"manifest_path":"a/b/Cargo.toml","executable":"t/deps/x-1"}"#;
        assert_eq!(
            test_binary(message),
            Some(("a/b".into(), "t/deps/x-1".into()))
        );
        let library = r#"{"manifest_path":"a/b/Cargo.toml","executable":null}"#;
        assert_eq!(test_binary(library), None);
        assert_eq!(test_binary("   Compiling x"), None);
    }
}
