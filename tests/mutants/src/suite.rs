//! The tests as they are with no mutant on: how long each takes, and which mutants it reaches.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::compile::{Binary, Built};
use crate::process::{End, Job, Usual, run};

/// The file that takes what is reached; `mutant_switch.rs` knows the name.
const REACHED: &str = "BERTH_MUTANT_REACHED";
/// These want a real etcd.
const LEFT_OUT: &str = "real_etcd";
/// One seed for every property: the same mutants are noticed in every run. A failure is not made
/// smaller, and not kept.
const PROPERTIES: [(&str, &str); 3] = [
    ("PROPTEST_RNG_SEED", "2026"),
    ("PROPTEST_MAX_SHRINK_TIME", "1"),
    ("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1"),
];
/// What the simulator searches when no test has noticed a mutant: the strongest test there is.
const SEARCHES: [&[&str]; 4] = [
    &["--seeds", "0..40"],
    &["--seeds", "1000..1040", "--schedulers", "3"],
    &["--seeds", "40..400"],
    &["--seeds", "1040..1200", "--schedulers", "3", "--nodes", "8"],
];
/// A run of a test has an end even before it is known how long it takes.
const FIRST: Usual = Usual {
    processor: Duration::from_secs(120),
    wall: Duration::from_secs(120),
};

/// A test, or a search of the simulator.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    /// Its binary's place in the suite.
    pub(crate) binary: usize,
    /// A test's name; a search's arguments.
    pub(crate) what: What,
    pub(crate) usual: Usual,
    pub(crate) reached: BTreeSet<u32>,
    /// What a search says of all that happened in it.
    pub(crate) traces: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Test(String),
    Search(Vec<String>),
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) binaries: Vec<Binary>,
    pub(crate) tests: Vec<Test>,
}

/// What every run has in its environment.
pub(crate) fn environment() -> Vec<(&'static str, String)> {
    let fixed = PROPERTIES.iter();
    fixed
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

impl What {
    pub(crate) fn args(&self) -> Vec<String> {
        match self {
            Self::Test(name) => tests_args(&[name]),
            Self::Search(args) => args.clone(),
        }
    }
}

/// The arguments that run some tests of a binary.
pub(crate) fn tests_args(names: &[&str]) -> Vec<String> {
    let options = ["--test-threads=1", "--exact"].into_iter();
    options
        .chain(names.iter().copied())
        .map(str::to_owned)
        .collect()
}

impl Suite {
    /// Runs everything once, with no mutant on.
    ///
    /// # Errors
    /// A test fails.
    pub(crate) fn record(built: Built, scratch: &Path) -> Result<Self> {
        std::fs::create_dir_all(scratch).with_context(|| scratch.display().to_string())?;
        let mut suite = Self {
            binaries: built.tests,
            tests: Vec::new(),
        };
        for (at, binary) in suite.binaries.iter().enumerate() {
            for name in names(binary)? {
                suite
                    .tests
                    .push(record(at, binary, What::Test(name), scratch)?);
            }
        }
        let at = suite.binaries.len();
        for args in SEARCHES {
            let words = ["search"].iter().chain(args).chain(&["--jobs", "1"]);
            let search = What::Search(words.map(|w| (*w).to_owned()).collect());
            suite
                .tests
                .push(record(at, &built.simulator, search, scratch)?);
        }
        suite.binaries.push(built.simulator);
        Ok(suite)
    }

    /// Everything that some test reaches.
    pub(crate) fn reached(&self) -> BTreeSet<u32> {
        self.tests
            .iter()
            .flat_map(|t| &t.reached)
            .copied()
            .collect()
    }
}

fn names(binary: &Binary) -> Result<Vec<String>> {
    let job = Job {
        binary: &binary.path,
        folder: &binary.folder,
        args: vec!["--list".to_owned(), "--format=terse".to_owned()],
        env: Vec::new(),
        usual: FIRST,
    };
    let listed = run(&job)?;
    ensure!(
        listed.end == End::Passed,
        "{} --list failed",
        binary.path.display()
    );
    let names = listed.lines.iter().filter_map(|l| l.strip_suffix(": test"));
    Ok(names
        .filter(|name| !name.contains(LEFT_OUT))
        .map(str::to_owned)
        .collect())
}

fn record(at: usize, binary: &Binary, what: What, scratch: &Path) -> Result<Test> {
    let file: PathBuf = scratch.join("reached");
    let _ = std::fs::remove_file(&file);
    let mut env = environment();
    env.push((REACHED, file.display().to_string()));
    let job = Job {
        binary: &binary.path,
        folder: &binary.folder,
        args: what.args(),
        env,
        usual: FIRST,
    };
    let (started, used) = (Instant::now(), used()?);
    let ended = run(&job)?;
    ensure!(
        ended.end == End::Passed,
        "{} {what:?}: {:?} with no mutant on; make the tests pass first",
        binary.name,
        ended.end
    );
    let usual = Usual {
        processor: self::used()?.saturating_sub(used),
        wall: started.elapsed(),
    };
    let reached = std::fs::read_to_string(&file).unwrap_or_default();
    Ok(Test {
        binary: at,
        what,
        usual,
        reached: reached.lines().filter_map(|l| l.parse().ok()).collect(),
        traces: traces(&ended.lines),
    })
}

/// The line of a search that is the same if and only if everything in it happened in the same way.
pub(crate) fn traces(lines: &[String]) -> Option<String> {
    let hash = lines.iter().find_map(|l| l.strip_prefix("traces "));
    hash.map(str::to_owned)
}

/// What all children that have ended took of the processor.
fn used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}
