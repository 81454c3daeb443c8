//! `berth sim report`: one run as a page that needs nothing else.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use berth_sim::hunt::{AVAILABLE, Bug, plant};
use berth_sim::{Recording, Verdict, World};
use clap::Args;

use super::hunt::{NOT_AVAILABLE, bug};
use super::play::{Quiet, guarded};
use super::replay::ReplayArgs;
use super::source::WorldArgs;

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/page.css");
const MODEL: &str = include_str!("report/model.js");
const DRAW: &str = include_str!("report/draw.js");
const ACT: &str = include_str!("report/act.js");

/// `berth sim report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The seed, from which everything follows
    #[arg(long, required_unless_present_any = ["scenario", "trace_nodes"])]
    seed: Option<u64>,
    #[command(flatten)]
    world: WorldArgs,
    /// Plant this bug first, to see what it does; only in a build that is made for it
    #[arg(long, value_name = "ID", value_parser = bug)]
    bug: Option<Bug>,
    /// Where the page is written
    #[arg(short, long, value_name = "FILE", default_value = "report.html",
          value_parser = super::output_file)]
    output: PathBuf,
    // Last: its heading goes on to the end.
    #[command(flatten)]
    replay: ReplayArgs,
}

pub(super) fn report(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    if args.bug.is_some() && !AVAILABLE {
        bail!(NOT_AVAILABLE);
    }
    let _planting = args.bug.and_then(plant);
    let (mut world, seed, mut again) = world(args)?;
    let what = args.world.what(seed);
    if let Some(bug) = args.bug {
        again = format!("berth sim report --seed {seed} --bug {bug}");
    }
    let quiet = Quiet::new();
    let (violation, crash) = match guarded(|| world.live()) {
        Ok(violation) => (violation, None),
        Err(message) => (None, Some(message)),
    };
    drop(quiet);
    let verdict = match &crash {
        Some(_) => Verdict::Crash,
        None => Verdict::of(violation.as_ref()),
    };
    let mut recording = world
        .take_recording(again, violation.as_ref(), crash)
        .context("nothing was recorded")?;
    if let Some(measures) = world.take_measures() {
        let mut tables = measures.tables();
        tables.append(&mut recording.tables);
        recording.tables = tables;
        recording.series.extend(measures.curves);
    }
    let page = page(&recording).context("cannot write the recording as text")?;
    std::fs::write(&args.output, &page)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let mut out = super::out::stdout();
    match (&violation, &recording.header.crash) {
        (Some(violation), _) => writeln!(out, "{what}: {violation}")?,
        (None, Some(message)) => writeln!(out, "{what}: it panicked: {message}")?,
        (None, None) => writeln!(out, "{what}: every rule held")?,
    }
    writeln!(
        out,
        "{}: {} items of {} lanes, {} KiB",
        args.output.display(),
        recording.items.len(),
        recording.lanes.len(),
        page.len() / 1_024
    )?;
    Ok(ExitCode::from(verdict.exit_code()))
}

/// The world, its seed, and the command that runs it again.
fn world(args: &ReportArgs) -> anyhow::Result<(World, u64, String)> {
    if let Some(replay) = args.replay.replay(args.seed, &args.world)? {
        let seed = replay.script.world.seed;
        let again = args.replay.command_line(seed, &args.world);
        let world = World::recorded(replay.script).measured(replay.plan);
        return Ok((world, seed, again));
    }
    let source = args.world.source()?;
    let script = source.script(args.seed);
    let seed = script.world.seed;
    let again = source.command_line(seed);
    Ok((World::recorded(script), seed, again))
}

/// The page: the template with its parts put in, from the front to the back, so that nothing in
/// a part is taken for a place.
fn page(recording: &Recording) -> serde_json::Result<String> {
    // In JSON a `<` stands in texts only; written like this it cannot end the element around it.
    let data = serde_json::to_string(recording)?.replace('<', "\\u003c");
    let script = [MODEL, DRAW, ACT].concat();
    let parts = [
        ("{{style}}", STYLE),
        ("{{recording}}", data.as_str()),
        ("{{script}}", script.as_str()),
    ];
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + data.len() + script.len());
    let mut rest = PAGE;
    for (place, part) in parts {
        let (before, after) = rest.split_once(place).unwrap_or((rest, ""));
        page.push_str(before);
        page.push_str(part);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use berth_sim::record::Broken;
    use berth_sim::{Options, script};
    use serde_json::Value;

    use super::*;

    fn recording(seed: u64) -> Recording {
        let mut world = World::recorded(script::draw(&Options::small(seed)));
        let violation = world.live();
        let recording = world.take_recording("again".to_owned(), violation.as_ref(), None);
        recording.expect("it was asked for")
    }

    /// What stands between the tags of the recording.
    fn data(page: &str) -> Value {
        let (_, rest) = page
            .split_once(r#"<script type="application/json" id="recording">"#)
            .expect("the recording is there");
        let (data, _) = rest.split_once("</script>").expect("its element ends");
        serde_json::from_str(data).expect("it is JSON")
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = page(&recording(1)).expect("only text and numbers");
        let words = [
            "http:", "https:", "src=", "href=", "url(", "@import", "import(", "fetch(",
        ];
        for word in words {
            assert!(!page.contains(word), "{word}");
        }
        assert!(!page.contains("{{"), "a place is empty");
        assert_eq!(page.matches("</script>").count(), 2);
        assert_eq!(data(&page)["header"]["verdict"], "clean");
        assert_eq!(data(&page)["header"]["command"], "again");
    }

    #[test]
    fn a_violation_is_told_and_no_text_ends_the_element() {
        let mut recording = recording(1);
        let hostile = "</script><!-- <script> {{script}} \u{2028}";
        recording.header.verdict = "safety".to_owned();
        recording.header.violation = Some(Broken {
            rule: "S3".to_owned(),
            title: "capacity".to_owned(),
            expected: hostile.to_owned(),
            seen: "more".to_owned(),
            entities: vec!["node-1".to_owned()],
            at: 5,
            step: 7,
        });
        let page = page(&recording).expect("only text and numbers");
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<!--"), "a comment would hide the rest");
        let told = &data(&page)["header"]["violation"];
        assert_eq!(told["expected"], hostile);
        assert_eq!(told["rule"], "S3");
    }

    /// The page has a style for every kind, and a title for every group and tone.
    #[test]
    fn the_page_knows_everything_that_can_be_recorded() {
        for kind in berth_sim::record::Kind::ALL {
            let name = kind.info().name;
            assert!(DRAW.contains(&format!("{name}: [\"#")), "{name}");
        }
        let words = serde_json::to_value(recording(1)).expect("only text and numbers");
        let named = |list: &str, field: &str| -> Vec<String> {
            let list = words[list].as_array().expect("a list");
            let names = list.iter().filter_map(|entry| entry[field].as_str());
            names.map(str::to_owned).collect()
        };
        for group in named("lanes", "group") {
            assert!(MODEL.contains(&format!("{group}: \"")), "{group}");
        }
        for tone in named("story", "tone") {
            assert!(MODEL.contains(&format!("{tone}: [\"")), "{tone}");
        }
    }
}
