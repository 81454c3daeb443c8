//! `berth sim exhaust`: every single thing that can go wrong, at every point of short scenarios.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use berth_sim::exhaust::{BOUNDS, KINDS, twisted, twists};
use berth_sim::script::{Counters, Twist};
use berth_sim::{Failure, Script, Verdict, scenarios};
use clap::Args;
use serde_json::{Value, json};

use super::out::{json as print_json, stdout};
use super::play::{Progress, each, play, threads};
use super::source::{WorldArgs, scenario_line, twist_option};
use super::{Format, OutputArgs, millis};

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
    /// Keep the first failing case of each scenario as a scenario file in this folder, which is
    /// made if it is not there
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
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

/// What became of one scenario.
struct Done<'a> {
    name: &'a str,
    /// It fails before anything is twisted: no case was tried.
    by_itself: Option<Failure>,
    sum: Sum,
    took: Duration,
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
    if let Some(folder) = &args.keep {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut all = Vec::new();
    for name in &names {
        let script = WorldArgs::scenario(name).source()?.script(None);
        let done = one(args, name, &script)?;
        if let (Some(folder), Some((_, twist, _))) = (&args.keep, done.sum.failed.first()) {
            let path = kept(folder, name);
            std::fs::write(&path, twisted(&script, *twist).to_yaml())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if args.output.output == Format::Text {
            done.tell(&mut stdout())?;
        }
        all.push(done);
    }
    let worst = all.iter().map(Done::verdict).max();
    let worst = worst.unwrap_or(Verdict::Clean);
    match args.output.output {
        Format::Json => print_json(&all_json(&all, worst))?,
        Format::Text => {
            let cases: u64 = all.iter().map(Done::cases).sum();
            let mut out = stdout();
            writeln!(out, "{cases} cases of {} scenarios: {worst:?}", all.len())?;
            writeln!(out, "tried: {BOUNDS}")?;
        }
    }
    Ok(ExitCode::from(worst.exit_code()))
}

/// Where the failing case of a scenario is kept, whether the scenario is a name or a path.
fn kept(folder: &Path, name: &str) -> PathBuf {
    let stem = Path::new(name).file_stem().unwrap_or(name.as_ref());
    folder.join(format!("{}-twisted.yaml", stem.display()))
}

fn one<'a>(args: &ExhaustArgs, name: &'a str, script: &Script) -> anyhow::Result<Done<'a>> {
    let again = |twist: Option<Twist>| scenario_line(name) + &twist_option(twist);
    let seed = script.world.seed;
    let outcome = |script: Script, twist: Option<Twist>| match play(script, false) {
        Ok(outcome) => (Failure::of(&outcome, || again(twist)), outcome.counters),
        Err(message) => {
            let crash = Failure::crash(seed, message, again(twist));
            (Some(crash), Counters::default())
        }
    };
    let (by_itself, counters) = outcome(script.clone(), None);
    let cases = match by_itself {
        Some(_) => Vec::new(),
        None => twists(&counters),
    };
    let every = usize::try_from(args.every)?;
    let cases: Vec<_> = cases.into_iter().step_by(every).collect();
    let progress = Progress::new(cases.len() as u64, "cases");
    if let Some(failure) = &by_itself {
        progress.tell(&format!("{name} by itself"), failure);
    }
    let work = |sum: &mut Sum, number: u64| {
        let Some((kind, twist)) = usize::try_from(number).ok().and_then(|n| cases.get(n)) else {
            return;
        };
        sum.cases[*kind] += 1;
        let (failure, _) = outcome(twisted(script, *twist), Some(*twist));
        progress.step(failure.is_some());
        if let Some(failure) = failure {
            progress.tell(&format!("{name} {twist}"), &failure);
            sum.failed.push((number, *twist, failure));
        }
    };
    let sum = each(threads(args.jobs), &progress, work, Sum::merge);
    Ok(Done {
        name,
        by_itself,
        sum,
        took: progress.elapsed(),
    })
}

/// Failures of a scenario that are told in full.
const TOLD_MAX: usize = 5;

impl Done<'_> {
    fn cases(&self) -> u64 {
        self.sum.cases.iter().sum()
    }

    fn failures(&self) -> impl Iterator<Item = &Failure> {
        let failed = self.sum.failed.iter().map(|(.., failure)| failure);
        self.by_itself.iter().chain(failed)
    }

    fn verdict(&self) -> Verdict {
        let worst = self.failures().map(|failure| failure.verdict).max();
        worst.unwrap_or(Verdict::Clean)
    }

    fn tell(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (name, took) = (self.name, self.took.as_secs_f64());
        if let Some(failure) = &self.by_itself {
            writeln!(out, "{name} fails by itself: {}", failure.message)?;
            return writeln!(out, "    {}", failure.reproduce);
        }
        let (cases, failed) = (self.cases(), self.sum.failed.len());
        writeln!(out, "{name}: {cases} cases, {failed} failed, {took:.1} s")?;
        for (kind, count) in KINDS.iter().zip(self.sum.cases) {
            writeln!(out, "{count:>8}  {kind}")?;
        }
        for (_, twist, failure) in self.sum.failed.iter().take(TOLD_MAX) {
            writeln!(out, "  {twist}: {}", failure.message)?;
            writeln!(out, "    {}", failure.reproduce)?;
        }
        if failed > TOLD_MAX {
            writeln!(out, "  and {} more (-o json tells all)", failed - TOLD_MAX)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let kinds = KINDS.iter().zip(self.sum.cases);
        let failed = self
            .sum
            .failed
            .iter()
            .map(|(_, twist, failure)| json!({"twist": twist.to_string(), "failure": failure}));
        json!({
            "scenario": self.name,
            "verdict": self.verdict(),
            "by_itself": self.by_itself,
            "cases": kinds.collect::<std::collections::BTreeMap<_, _>>(),
            "failed": failed.collect::<Vec<_>>(),
            "wall_ms": millis(self.took),
        })
    }
}

fn all_json(all: &[Done<'_>], worst: Verdict) -> Value {
    json!({
        "verdict": worst,
        "cases": all.iter().map(Done::cases).sum::<u64>(),
        "failed": all.iter().flat_map(Done::failures).count(),
        "wall_ms": all.iter().map(|done| millis(done.took)).sum::<u64>(),
        "bounds": BOUNDS,
        "scenarios": all.iter().map(Done::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGS: ExhaustArgs = ExhaustArgs {
        scenario: Vec::new(),
        jobs: Some(1),
        every: 2_000,
        keep: None,
        output: OutputArgs {
            output: Format::Text,
        },
    };

    fn told(done: &Done<'_>) -> String {
        let mut text = Vec::new();
        done.tell(&mut text).expect("memory takes it");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_case_is_kept_in_the_folder_wherever_its_scenario_is() {
        let folder = Path::new("kept");
        let expected = Path::new("kept/x-twisted.yaml");
        for name in ["x", "x.yaml", "/abs/x.yaml", "../x.yaml"] {
            assert_eq!(kept(folder, name), expected, "{name}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_fails_before_the_work_and_is_named() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let args = ExhaustArgs {
            scenario: vec!["no-such-scenario".to_owned()],
            keep: Some(Path::new(file).join("below")),
            ..ARGS
        };
        let error = exhaust(&args).expect_err("a file is no folder").to_string();
        assert!(error.contains("Cargo.toml/below"), "{error}");
    }

    #[test]
    fn a_scenario_that_fails_by_itself_ends_as_a_run_of_it_does() {
        let name = "agent-amnesia";
        let mut script = scenarios::named(name).expect("a scenario");
        let clean = one(&ARGS, name, &script).expect("it is run");
        assert_eq!(clean.verdict(), Verdict::Clean);
        assert!(clean.cases() > 0);
        // Nothing is done, so that nothing comes true of what it expects.
        script.acts.clear();
        let failing = one(&ARGS, name, &script).expect("it is run");
        assert_eq!(failing.cases(), 0);
        assert_eq!(failing.verdict(), Verdict::Safety);
        let text = told(&failing);
        assert!(text.contains("fails by itself"), "{text}");
        assert!(
            text.ends_with("  berth sim run --scenario agent-amnesia\n"),
            "{text}"
        );
        let json = all_json(&[clean, failing], Verdict::Safety);
        assert_eq!(
            (&json["verdict"], &json["failed"]),
            (&json!("safety"), &json!(1))
        );
    }

    #[test]
    fn a_failing_case_has_a_line_to_paste() {
        let twist = Twist::Drop(17);
        let again = scenario_line("x") + &twist_option(Some(twist));
        let done = Done {
            name: "x",
            by_itself: None,
            sum: Sum {
                failed: vec![(3, twist, Failure::crash(1, "so it goes", again.clone()))],
                ..Sum::default()
            },
            took: Duration::from_secs(1),
        };
        assert_eq!(again, "berth sim run --scenario x --twist drop:17");
        assert!(told(&done).contains(&again));
        let json = done.json();
        assert_eq!(json["failed"][0]["twist"], "drop:17");
        assert_eq!(json["failed"][0]["failure"]["reproduce"], again);
    }
}
