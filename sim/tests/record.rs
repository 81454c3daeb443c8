//! A recording is the same every time, and changes nothing of what happens.

use std::collections::BTreeSet;

use berth_sim::record::{Group, Kind, Tone};
use berth_sim::{Options, Outcome, Recording, World, script};

fn recorded(options: Options) -> (Outcome, Recording) {
    let command = options.command_line();
    let mut world = World::recorded(script::draw(&options));
    let violation = world.live();
    let recording = world
        .take_recording(command, violation.as_ref(), None)
        .expect("it was asked for");
    assert!(world.take_recording(String::new(), None, None).is_none());
    (world.outcome(violation), recording)
}

#[test]
fn the_same_seed_twice_gives_the_same_bytes_and_the_run_is_the_same_without() {
    for seed in [3, 17] {
        let (outcome, recording) = recorded(Options::small(seed));
        let (_, again) = recorded(Options::small(seed));
        let bytes = |recording| serde_json::to_string(recording).expect("only text and numbers");
        assert_eq!(bytes(&recording), bytes(&again), "seed {seed}");
        let without = World::new(Options::small(seed)).run();
        assert_eq!(outcome.trace_hash, without.trace_hash, "seed {seed}");
        assert_eq!(outcome.steps, without.steps);
        assert_eq!(recording.header.trace_hash, without.trace_hash);
    }
}

#[test]
fn everything_points_at_something_within_the_run() {
    let (outcome, recording) = recorded(Options::small(5));
    let end = recording.header.elapsed_ms;
    assert_eq!(u128::from(end), outcome.elapsed.as_millis());
    for item in &recording.items {
        assert!((item.lane as usize) < recording.lanes.len(), "{item:?}");
        assert!((item.text as usize) < recording.texts.len(), "{item:?}");
        assert!((item.detail as usize) < recording.texts.len(), "{item:?}");
        assert!(item.to.is_none_or(|to| item.from < to), "{item:?}");
        assert!(item.from <= end, "{item:?}");
    }
    for chapter in &recording.story {
        let lanes = recording.lanes.len();
        assert!(chapter.lane.is_none_or(|lane| (lane as usize) < lanes));
    }
    assert!(recording.story.is_sorted_by_key(|chapter| chapter.at));
}

/// Over a few seeds, everything that a page shows is there.
#[test]
fn every_group_and_most_kinds_are_seen() {
    let (mut groups, mut kinds, mut tones) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for seed in 0..12 {
        let (outcome, recording) = recorded(Options::small(seed));
        groups.extend(recording.lanes.iter().map(|lane| lane.group));
        kinds.extend(recording.items.iter().map(|item| item.kind));
        tones.extend(recording.story.iter().map(|chapter| chapter.tone));
        let clean = outcome.violation.is_none();
        assert_eq!(recording.header.verdict == "clean", clean, "seed {seed}");
        assert!(
            recording
                .series
                .iter()
                .all(|series| !series.points.is_empty())
        );
        assert!(recording.tables.iter().all(|table| !table.rows.is_empty()));
    }
    assert_eq!(groups.len(), 7, "{groups:?}");
    assert!(groups.contains(&Group::Network));
    let unseen: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| !kinds.contains(kind))
        .collect();
    assert!(unseen.len() <= 3, "never seen: {unseen:?}");
    for tone in [
        Tone::Fault,
        Tone::Mended,
        Tone::Leader,
        Tone::Node,
        Tone::Moved,
    ] {
        assert!(tones.contains(&tone), "{tone:?}");
    }
}
