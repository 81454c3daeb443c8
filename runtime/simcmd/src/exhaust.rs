//! `berth sim exhaust`: every single thing that can go wrong, at every point of short scenarios.

use std::process::ExitCode;
use std::time::Duration;

use berth_sim::exhaust::{KINDS, twisted, twists};
use berth_sim::script::Twist;
use berth_sim::{Failure, Script, Verdict, scenarios};
use clap::Args;
use serde_json::json;

use super::play::{Progress, each, play, threads};
use super::source::WorldArgs;
use super::{Format, OutputArgs, millis, print_json};

/// `berth sim exhaust`
#[derive(Debug, Args)]
pub struct ExhaustArgs {
    /// The scenarios, by name or file; all named ones by default
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Vec<String>,
    /// Threads; all processors by default
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Only every so-manyth case
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Keep the first failing case of each scenario as a scenario file in this folder
    #[arg(long, value_name = "FOLDER")]
    keep: Option<std::path::PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What the cases of one scenario came to.
#[derive(Debug, Default)]
struct Sum {
    cases: [u64; KINDS.len()],
    failed: Vec<(u64, Twist, Failure)>,
}

impl Sum {
    fn merge(&mut self, other: Self) {
        for (sum, count) in self.cases.iter_mut().zip(other.cases) {
            *sum += count;
        }
        self.failed.extend(other.failed);
        self.failed.sort_by_key(|(number, ..)| *number);
    }
}

pub(super) fn exhaust(args: &ExhaustArgs) -> anyhow::Result<ExitCode> {
    let names: Vec<String> = if args.scenario.is_empty() {
        let short = scenarios::ALL
            .iter()
            .filter(|(name, _)| scenarios::is_short(name));
        short.map(|(name, _)| (*name).to_owned()).collect()
    } else {
        args.scenario.clone()
    };
    let mut worst = Verdict::Clean;
    let mut all = Vec::new();
    let mut total = 0;
    for name in &names {
        let world = WorldArgs::scenario(name);
        let script = world.source()?.script(None);
        let (sum, took) = one(args, name, &script)?;
        worst = worst.max(
            sum.failed
                .iter()
                .map(|(.., f)| f.verdict)
                .max()
                .unwrap_or(worst),
        );
        total += sum.cases.iter().sum::<u64>();
        if let (Some(folder), Some((_, twist, _))) = (&args.keep, sum.failed.first()) {
            let path = folder.join(format!("{name}-twisted.yaml"));
            std::fs::write(&path, twisted(&script, *twist).to_yaml())?;
        }
        match args.output.output {
            Format::Text => tell(name, &sum, took),
            Format::Json => all.push(json!({
                "scenario": name,
                "cases": KINDS.iter().zip(sum.cases).collect::<std::collections::BTreeMap<_, _>>(),
                "failed": sum.failed.iter().map(|(_, twist, failure)| json!({
                    "twist": twist, "failure": failure,
                })).collect::<Vec<_>>(),
                "wall_ms": millis(took),
            })),
        }
    }
    match args.output.output {
        Format::Json => print_json(&all.into())?,
        Format::Text => println!("{total} cases of {} scenarios: {worst:?}", names.len()),
    }
    Ok(ExitCode::from(worst.exit_code()))
}

fn one(args: &ExhaustArgs, name: &str, script: &Script) -> anyhow::Result<(Sum, Duration)> {
    let plain = play(script.clone(), false).map_err(|m| anyhow::anyhow!("{name} panicked: {m}"))?;
    if let Some(violation) = &plain.violation {
        anyhow::bail!("{name} fails by itself: {violation}");
    }
    let cases = twists(&plain.counters);
    let cases: Vec<_> = cases
        .into_iter()
        .step_by(usize::try_from(args.every)?)
        .collect();
    let progress = Progress::new(cases.len() as u64, "cases");
    let work = |sum: &mut Sum, number: u64| {
        let Some((kind, twist)) = usize::try_from(number).ok().and_then(|n| cases.get(n)) else {
            return;
        };
        sum.cases[*kind] += 1;
        let seed = script.world.seed;
        let again = format!("berth sim exhaust --scenario {name} --keep FOLDER");
        let failure = match play(twisted(script, *twist), false) {
            Ok(outcome) => Failure::of(&outcome, || again),
            Err(message) => Some(Failure::crash(seed, message, again)),
        };
        progress.step(failure.is_some());
        sum.failed
            .extend(failure.map(|failure| (number, *twist, failure)));
    };
    let sum = each(threads(args.jobs), &progress, work, Sum::merge);
    Ok((sum, progress.elapsed()))
}

/// Failures of a scenario that are told in full.
const TOLD_MAX: usize = 5;

fn tell(name: &str, sum: &Sum, took: Duration) {
    let cases: u64 = sum.cases.iter().sum();
    let failed = sum.failed.len();
    println!(
        "{name}: {cases} cases, {failed} failed, {:.1} s",
        took.as_secs_f64()
    );
    for (kind, count) in KINDS.iter().zip(sum.cases) {
        println!("{count:>8}  {kind}");
    }
    for (_, twist, failure) in sum.failed.iter().take(TOLD_MAX) {
        println!("  {twist:?}: {}", failure.message);
    }
    if let Some((.., failure)) = sum.failed.first() {
        println!("  {}", failure.reproduce);
    }
}
