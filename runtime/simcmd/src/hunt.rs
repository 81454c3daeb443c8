//! `berth sim hunt`: bugs are planted in the product, and the simulator must find each.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use berth_sim::hunt::{AVAILABLE, Bag, Bug, By, Caught, Hunted, attempt, is_clean};
use clap::Args;
use serde_json::{Value, json};

use super::out::{json as print_json, stdout};
use super::play::{Progress, each, guarded, threads};
use super::search::seeds;
use super::source::{Source, WorldArgs};
use super::{Format, OutputArgs};

pub(super) const NOT_AVAILABLE: &str = "\
no bug can be planted in this build; hunt in one that is made for it:
  cargo run --profile simulation -p berth-simcmd --features planted -- hunt
or simply: make hunt";

/// `berth sim hunt`
#[derive(Debug, Args)]
pub struct HuntArgs {
    /// A bug by its id; all of them if none is named
    #[arg(long, value_name = "ID", value_parser = bug)]
    bug: Vec<Bug>,
    /// The seeds that are tried for each: from the first to the one before the last
    #[arg(long, value_name = "A..B", value_parser = seeds, default_value = "0..1000")]
    seeds: std::ops::Range<u64>,
    /// Threads; all processors by default
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Say which bugs there are, and hunt none
    #[arg(long)]
    list: bool,
    /// Write a table of what was found into this file, in Markdown
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    table: Option<PathBuf>,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn bug(id: &str) -> Result<Bug, String> {
    Bug::from_id(id).ok_or_else(|| "no such bug; --list names all".to_owned())
}

pub(super) fn hunt(args: &HuntArgs) -> anyhow::Result<ExitCode> {
    if args.list {
        list(args.output.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !AVAILABLE {
        bail!(NOT_AVAILABLE);
    }
    let bugs = if args.bug.is_empty() {
        Bug::ALL
    } else {
        &args.bug
    };
    let source = args.world.source()?;
    let scene = |bug: &Bug| bug.scene().map(Source::scenario).transpose();
    let scenes: Vec<Option<Source>> = bugs.iter().map(scene).collect::<Result<_, _>>()?;
    let progress = Progress::new(bugs.len() as u64, "bugs");
    let work = |bag: &mut BTreeMap<u64, Hunted>, number: u64| {
        let at = usize::try_from(number).unwrap_or(0);
        let scene = scenes[at].as_ref().unwrap_or(&source);
        let hunted = one(bugs[at], scene, args.seeds.clone());
        progress.step(hunted.caught.is_none());
        bag.insert(number, hunted);
    };
    let hunts = each(threads(args.jobs), &progress, work, |all, own| {
        all.extend(own);
    });
    let bag = Bag {
        hunts: hunts.into_values().collect(),
    };
    match args.output.output {
        Format::Json => print_json(&bag_json(&bag)?)?,
        Format::Text => print(&bag, &mut stdout())?,
    }
    if let Some(path) = &args.table {
        let text = bag.markdown();
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if is_complete(&bag, args.bug.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Every bug was noticed; and of the whole list, each rule that can noticed one first: what the
/// others are worth nobody knows.
fn is_complete(bag: &Bag, whole: bool) -> bool {
    bag.missed().next().is_none() && (!whole || bag.idle_rules().next().is_none())
}

/// Hunts one bug, until a seed finds it that is clean without it.
fn one(bug: Bug, source: &Source<'_>, seeds: std::ops::Range<u64>) -> Hunted {
    let mut hunted = Hunted::new(bug);
    let began = processor_time();
    for seed in seeds {
        let script = source.script(Some(seed));
        hunted.seeds += 1;
        let twice = hunted.seeds == 1;
        let (by, message) = match guarded(|| attempt(bug, &script, twice)) {
            Ok(None) => continue,
            Ok(Some(violation)) => (By::Rule(violation.rule), violation.to_string()),
            Err(panic) => (By::Crash, panic),
        };
        if guarded(|| is_clean(&script)) == Ok(true) {
            hunted.caught = Some(Caught { by, seed, message });
            break;
        }
    }
    hunted.cpu = processor_time().saturating_sub(began);
    hunted
}

/// What this thread has cost so far: what else the machine does is no matter. Where the system
/// does not tell, the time that passed.
fn processor_time() -> Duration {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let began = BEGAN.get_or_init(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat");
    let nanos = told
        .ok()
        .and_then(|text| text.split(' ').next().and_then(|n| n.parse().ok()));
    nanos.map_or_else(|| began.elapsed(), Duration::from_nanos)
}

fn list(format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => {
            let all = Bug::ALL
                .iter()
                .map(|bug| json!({"bug": bug.id(), "wrong": bug.wrong(), "rule": bug.rule()}));
            print_json(&all.collect())
        }
        Format::Text => {
            let mut out = stdout();
            for bug in Bug::ALL {
                writeln!(out, "{bug:<28} {:<4} {}", bug.rule(), bug.wrong())?;
            }
            Ok(())
        }
    }
}

/// The longest message that is told: a rule may quote whole records.
const MESSAGE_MAX: usize = 160;

fn print(bag: &Bag, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "bug                          seeds  CPU s  for it  noticed first by"
    )?;
    for hunt in &bag.hunts {
        let by = match &hunt.caught {
            None => "NOBODY".to_owned(),
            Some(Caught { by, seed, message }) => {
                let message: String = message.chars().take(MESSAGE_MAX).collect();
                format!("{by:<5} in seed {seed}: {message}")
            }
        };
        let (bug, seeds, cpu) = (hunt.bug, hunt.seeds, hunt.cpu.as_secs_f64());
        let expected = hunt.expected;
        writeln!(out, "{bug:<28} {seeds:>5} {cpu:>6.1}  {expected:<6}  {by}")?;
    }
    writeln!(out, "\n{bag}")
}

fn bag_json(bag: &Bag) -> anyhow::Result<Value> {
    let first = bag.first();
    let first = first.iter().map(|(by, count)| (by.to_string(), *count));
    let idle: Vec<_> = bag.idle_rules().map(berth_sim::Rule::id).collect();
    Ok(json!({
        "hunts": serde_json::to_value(&bag.hunts)?,
        "found": bag.hunts.len() - bag.missed().count(),
        "median_cpu_s": bag.median_cpu().as_secs_f64(),
        "noticed_first": first.collect::<BTreeMap<_, _>>(),
        "rules_that_noticed_none_first": idle,
    }))
}

#[cfg(test)]
mod tests {
    use berth_sim::Rule;

    use super::*;

    #[test]
    fn bugs_are_known_by_their_ids() {
        assert_eq!(bug("tie-break"), Ok(Bug::TieBreak));
        assert!(bug("no-such-bug").is_err());
    }

    /// A bag in which each of these rules noticed a bug first, and the last bug is missed or not.
    fn bag(rules: &[Rule], missed: bool) -> Bag {
        let caught = |rule: &Rule| Hunted {
            caught: Some(Caught {
                by: By::Rule(*rule),
                seed: 1,
                message: "seen".to_owned(),
            }),
            ..Hunted::new(Bug::TieBreak)
        };
        let missed = missed.then(|| Hunted::new(Bug::NoGrace));
        Bag {
            hunts: rules.iter().map(caught).chain(missed).collect(),
        }
    }

    #[test]
    fn a_rule_that_noticed_nothing_first_fails_the_whole_list_and_no_part_of_it() {
        let cannot = [Rule::L8, Rule::Scene];
        let all = Rule::ALL.iter().copied();
        let all: Vec<_> = all.filter(|rule| !cannot.contains(rule)).collect();
        assert!(is_complete(&bag(&all, false), true));
        assert!(!is_complete(&bag(&all, true), true), "a bug is left");
        assert!(!is_complete(&bag(&all[1..], false), true), "a rule is left");
        assert!(is_complete(&bag(&all[1..], false), false), "of some bugs");
    }

    #[test]
    fn the_rule_for_a_bug_stands_beside_the_one_that_noticed() {
        let mut text = Vec::new();
        print(&bag(&[Rule::L2], false), &mut text).expect("memory takes it");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains("S5      L2    in seed 1: seen"), "{text}");
    }
}
