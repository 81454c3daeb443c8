//! Every mutant of the core in one build, and every test against each. See the README.

mod compile;
mod constants;
mod edit;
mod lines;
mod list;
mod process;
mod remembered;
mod report;
mod results;
mod rewrite;
mod suite;
mod tree;
mod trial;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use regex::Regex;

use compile::{Places, Refused};
use list::Mutant;
use results::{Record, Results};
use suite::Suite;
use tree::Tree;
use trial::{Outcome, Stage, Tried, run_mutant};

/// Every mutant of the core in one build, and every test against each
#[derive(Debug, Parser)]
struct Cli {
    /// Only mutants whose name matches: `retry.rs`, `replace == with !=`
    #[arg(long, value_name = "REGEX")]
    filter: Option<Regex>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Mutants that are tried at the same time
    #[arg(long, value_name = "J", default_value_t = 1)]
    jobs: usize,
    /// Every n-th, from the k-th
    #[arg(long, value_name = "K/N", value_parser = shard, default_value = "0/1")]
    shard: Shard,
    /// Try again what no test noticed: after a test was added
    #[arg(long)]
    retry: bool,
    /// Where everything is written
    #[arg(long, value_name = "FOLDER", default_value = "target/mutants")]
    folder: PathBuf,
    /// Where the copy is built; a folder inside the other one by default
    #[arg(long, value_name = "FOLDER")]
    target: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shard {
    part: usize,
    of: usize,
}

fn shard(text: &str) -> Result<Shard, String> {
    let parsed = text.split_once('/').and_then(|(part, of)| {
        let (part, of) = (part.parse().ok()?, of.parse().ok()?);
        (part < of).then_some(Shard { part, of })
    });
    parsed.ok_or_else(|| "expected k/n with k from 0 to n-1, such as 7/40".to_owned())
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let root = std::env::current_dir().context("no current folder")?;
    ensure!(
        root.join("core/src/lib.rs").is_file(),
        "run this in the root of the workspace"
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let cargo = Path::new(&cargo);
    let folder = root.join(&cli.folder);
    let (tree_folder, scratch) = (folder.join("tree"), folder.join("scratch"));
    std::fs::create_dir_all(&tree_folder).with_context(|| folder.display().to_string())?;

    let mutants = list::ask(cargo, &root)?;
    let chosen = chosen(cli, &mutants);
    eprintln!("{} mutants, {} of them chosen", mutants.len(), chosen.len());
    let (results, mut known) = Results::open(&folder.join("results.jsonl"))?;
    if cli.retry {
        known.retain(|_, r| !matches!(r.outcome, Outcome::NotNoticed | Outcome::NotReached));
    }

    let tree = Tree::copy(&root, &tree_folder, &mutants)?;
    let target = cli.target.clone().unwrap_or_else(|| folder.join("build"));
    let places = Places {
        cargo,
        tree: &tree_folder,
        target: &target,
        remembered: &folder.join("refused.json"),
    };
    let mut built = compile::build(&places, &tree, &mutants)?;
    let refused = std::mem::take(&mut built.refused);
    let suite = Suite::record(built, &scratch)?;
    eprintln!(
        "{} tests reach {} mutants",
        suite.tests.len(),
        suite.reached().len()
    );
    note_refused(&chosen, &refused, &results, &mut known)?;
    // The quick ones for all, before the long ones for what is left.
    for stage in Stage::ALL {
        let open = |m: &&Mutant| match known.get(&m.name) {
            None => stage == Stage::Quick,
            Some(r) => r.outcome == Outcome::NotNoticed && r.stage < stage,
        };
        let left: Vec<_> = chosen.iter().copied().filter(open).collect();
        eprintln!("{stage:?}: {} mutants", left.len());
        try_all(cli.jobs, stage, &suite, &left, &results, &mut known)?;
    }
    report::write(&folder, &chosen, &known)
}

fn chosen<'a>(cli: &Cli, mutants: &'a [Mutant]) -> Vec<&'a Mutant> {
    let matches = |m: &&Mutant| cli.filter.as_ref().is_none_or(|f| f.is_match(&m.name));
    let part = mutants.iter().skip(cli.shard.part).step_by(cli.shard.of);
    part.filter(matches)
        .take(cli.limit.unwrap_or(usize::MAX))
        .collect()
}

/// What is not in the build has its result already.
fn note_refused(
    chosen: &[&Mutant],
    refused: &Refused,
    results: &Results,
    known: &mut BTreeMap<String, Record>,
) -> Result<()> {
    let kinds = [
        (&refused.unviable, Outcome::Unviable),
        (&refused.unswitched, Outcome::NotSwitched),
    ];
    for (ids, outcome) in kinds {
        for mutant in chosen {
            let Some(why) = ids.get(&mutant.id) else {
                continue;
            };
            let by = why.clone();
            if known.get(&mutant.name).is_none_or(|r| r.outcome != outcome) {
                let record = results.add(&mutant.name, Tried { outcome, by }, 0.0, Stage::Quick)?;
                known.insert(mutant.name.clone(), record);
            }
        }
    }
    Ok(())
}

/// Tries them, several at a time, and says how far it is.
fn try_all(
    jobs: usize,
    stage: Stage,
    suite: &Suite,
    mutants: &[&Mutant],
    results: &Results,
    known: &mut BTreeMap<String, Record>,
) -> Result<()> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let started = Instant::now();
    let work = || -> Result<Vec<Record>> {
        let mut records = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = mutants.get(at) else {
                break;
            };
            let began = Instant::now();
            let record = run_mutant(suite, mutant.id, stage)
                .and_then(|tried| {
                    let seconds = began.elapsed().as_secs_f64();
                    results.add(&mutant.name, tried, seconds, stage)
                })
                .inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            let noticed = matches!(record.outcome, Outcome::Noticed | Outcome::Timeout);
            let last = at + 1 == mutants.len();
            if !noticed {
                eprintln!("{}: {:?} {}", record.name, record.outcome, record.by);
            }
            if (at + 1) % 50 == 0 || last {
                let seconds = started.elapsed().as_secs();
                eprintln!("{} of {} in {seconds} s", at + 1, mutants.len());
            }
            records.push(record);
        }
        Ok(records)
    };
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|t| t.join());
        ended.collect::<Vec<_>>()
    });
    for records in all {
        let records = records.map_err(|_| anyhow::anyhow!("a thread of this tool panicked"))?;
        known.extend(records?.into_iter().map(|r| (r.name.clone(), r)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_a_part_of_parts() {
        assert_eq!(shard("7/40"), Ok(Shard { part: 7, of: 40 }));
        for wrong in ["", "7", "40/40", "a/b", "-1/2", "0/0"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
