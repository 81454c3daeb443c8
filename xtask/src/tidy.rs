//! The project's own rules: what rustfmt and clippy do not know.

mod files;
mod imports;
mod manifests;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether the check fails because of it.
    severity: Severity,
    /// The file, relative to the workspace.
    path: PathBuf,
    /// The line, from 1; 0: the file as a whole.
    line: usize,
    /// What is wrong and what to do.
    problem: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

impl Finding {
    fn error(path: &Path, line: usize, problem: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.to_owned(),
            line,
            problem: problem.into(),
        }
    }

    fn warning(path: &Path, problem: impl Into<String>) -> Self {
        let severity = Severity::Warning;
        Self {
            severity,
            path: path.to_owned(),
            line: 0,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Runs every rule over the workspace.
///
/// # Errors
/// When a rule is broken, or the workspace cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let texts = files::read_all(root)?;
    let mut findings = files::check(&texts);
    findings.extend(manifests::check(&texts)?);
    findings.extend(imports::check(root)?);

    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .count();
    let warnings = findings.len() - errors;
    println!(
        "tidy: {} files, {errors} errors, {warnings} warnings",
        texts.len()
    );
    if errors > 0 {
        bail!("the project's rules are broken in {errors} places");
    }
    Ok(())
}
