//! Builds a recording: bounded, whatever happens.

use std::collections::BTreeMap;

use berth_core::Timestamp;

use super::kind::KEPT_ALWAYS;
use super::{Chapter, Group, Header, Item, Kind, Lane, Recording, Series, Table, Tone};

/// At most this many items: above it, what is least important goes.
const ITEMS_MAX: usize = 200_000;
/// At most this many chapters.
const CHAPTERS_MAX: usize = 5_000;
/// At most this many points of a curve.
const POINTS_MAX: u64 = 3_000;
/// Chapters of one kind about several, so close together, are one.
const SAME_CHAPTER_MS: u64 = 2_000;

/// A lane's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneId(u32);

/// What is said of an item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) text: String,
    pub(crate) detail: String,
    pub(crate) bad: bool,
}

impl Note {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(crate) const fn bad(mut self, bad: bool) -> Self {
        self.bad = bad;
        self
    }
}

/// What lasts now: one of a slot at a time. The name tells slots of one lane and row apart.
type Slot = (LaneId, u8, String);

/// Builds a recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    begun: Timestamp,
    items_max: usize,
    texts: Vec<String>,
    text_ids: BTreeMap<String, u32>,
    lanes: Vec<Lane>,
    lane_ids: BTreeMap<(Group, String), LaneId>,
    items: Vec<Item>,
    open: BTreeMap<Slot, (u64, Kind, Note)>,
    /// Kinds below this weight are not taken up any more.
    floor: u8,
    dropped: BTreeMap<Kind, u64>,
    story: Vec<Chapter>,
    chapters_dropped: BTreeMap<Tone, u64>,
    series: Vec<Series>,
    point_every: u64,
}

impl Recorder {
    /// A recorder of a run of about `length_ms`.
    pub(crate) fn new(begun: Timestamp, length_ms: u64) -> Self {
        Self::bounded(begun, length_ms, ITEMS_MAX)
    }

    fn bounded(begun: Timestamp, length_ms: u64, items_max: usize) -> Self {
        let mut recorder = Self {
            begun,
            items_max,
            texts: Vec::new(),
            text_ids: BTreeMap::new(),
            lanes: Vec::new(),
            lane_ids: BTreeMap::new(),
            items: Vec::new(),
            open: BTreeMap::new(),
            floor: 0,
            dropped: BTreeMap::new(),
            story: Vec::new(),
            chapters_dropped: BTreeMap::new(),
            series: Vec::new(),
            point_every: (length_ms / POINTS_MAX).max(1),
        };
        recorder.text("");
        recorder
    }

    /// Milliseconds from the beginning.
    pub(crate) fn ms(&self, at: Timestamp) -> u64 {
        u64::try_from(at.since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// The lane of this name.
    pub(crate) fn lane(&mut self, group: Group, name: &str) -> LaneId {
        let key = (group, name.to_owned());
        if let Some(id) = self.lane_ids.get(&key) {
            return *id;
        }
        let id = LaneId(u32::try_from(self.lanes.len()).unwrap_or(u32::MAX));
        self.lanes.push(Lane {
            group,
            name: name.to_owned(),
        });
        self.lane_ids.insert(key, id);
        id
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        let id = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.to_owned());
        self.text_ids.insert(text.to_owned(), id);
        id
    }

    /// Something happened at an instant.
    pub(crate) fn point(&mut self, lane: LaneId, kind: Kind, at: u64, note: &Note) {
        self.add(lane, kind, at, None, note);
    }

    /// Something lasted.
    pub(crate) fn span(&mut self, lane: LaneId, kind: Kind, from: u64, to: u64, note: &Note) {
        self.add(lane, kind, from, Some(to), note);
    }

    /// From now on this is so in that row of that lane, or nothing is.
    pub(crate) fn state(&mut self, lane: LaneId, track: u8, now: u64, what: Option<(Kind, Note)>) {
        self.state_of(lane, track, "", now, what);
    }

    /// The same where several of a row may overlap, each with a name.
    pub(crate) fn state_of(
        &mut self,
        lane: LaneId,
        track: u8,
        name: &str,
        now: u64,
        what: Option<(Kind, Note)>,
    ) {
        let slot = (lane, track, name.to_owned());
        let was = self.open.get(&slot).map(|(_, kind, note)| (kind, note));
        if was == what.as_ref().map(|(kind, note)| (kind, note)) {
            return;
        }
        if let Some((from, kind, note)) = self.open.remove(&slot) {
            self.close(lane, kind, from, now, &note);
        }
        if let Some((kind, note)) = what {
            self.open.insert(slot, (now, kind, note));
        }
    }

    fn close(&mut self, lane: LaneId, kind: Kind, from: u64, to: u64, note: &Note) {
        // What did not last was nothing to see.
        if from < to {
            self.add(lane, kind, from, Some(to), note);
        }
    }

    fn add(&mut self, lane: LaneId, kind: Kind, from: u64, to: Option<u64>, note: &Note) {
        if kind.weight() < self.floor {
            *self.dropped.entry(kind).or_default() += 1;
            return;
        }
        if self.items.len() >= self.items_max {
            self.make_room();
            self.add(lane, kind, from, to, note);
            return;
        }
        let (text, detail) = (self.text(&note.text), self.text(&note.detail));
        self.items.push(Item {
            lane: lane.0,
            kind,
            from,
            to,
            bad: note.bad,
            text,
            detail,
        });
    }

    /// What is least important goes, and never comes back.
    fn make_room(&mut self) {
        let weights = self.items.iter().map(|item| item.kind.weight());
        let least = weights.min().unwrap_or(0);
        if least >= KEPT_ALWAYS {
            // Only what must be seen is left: it may be more.
            self.items_max *= 2;
            return;
        }
        self.floor = least + 1;
        let (floor, dropped) = (self.floor, &mut self.dropped);
        self.items.retain(|item| {
            let stays = item.kind.weight() >= floor;
            if !stays {
                *dropped.entry(item.kind).or_default() += 1;
            }
            stays
        });
    }

    /// A happening for the story.
    pub(crate) fn tell(&mut self, at: u64, tone: Tone, lane: Option<LaneId>, text: String) {
        self.chapter(Chapter {
            at,
            tone,
            text,
            to: Vec::new(),
            lane: lane.map(|lane| lane.0),
        });
    }

    /// The same happens to several within a moment: one chapter.
    pub(crate) fn tell_of(&mut self, at: u64, tone: Tone, lane: LaneId, text: &str, whom: String) {
        let recent = self.story.iter_mut().rev().take(8);
        let same = |chapter: &&mut Chapter| {
            chapter.tone == tone && chapter.text == text && at - chapter.at <= SAME_CHAPTER_MS
        };
        if let Some(chapter) = recent.into_iter().find(same) {
            chapter.to.push(whom);
            return;
        }
        self.chapter(Chapter {
            at,
            tone,
            text: text.to_owned(),
            to: vec![whom],
            lane: Some(lane.0),
        });
    }

    fn chapter(&mut self, chapter: Chapter) {
        if self.story.len() >= CHAPTERS_MAX {
            // The last tone is the least important one.
            let least = self.story.iter().map(|chapter| chapter.tone).max();
            let (tone, dropped) = (least, &mut self.chapters_dropped);
            self.story.retain(|chapter| {
                let stays = Some(chapter.tone) != tone;
                if !stays {
                    *dropped.entry(chapter.tone).or_default() += 1;
                }
                stays
            });
        }
        if let Some(dropped) = self.chapters_dropped.get_mut(&chapter.tone) {
            *dropped += 1;
        } else {
            self.story.push(chapter);
        }
    }

    /// The value of a curve from now on.
    pub(crate) fn value(&mut self, name: &str, unit: &str, at: u64, value: f64) {
        let every = self.point_every;
        let same = |series: &&mut Series| series.name == name && series.unit == unit;
        let points = match self.series.iter_mut().find(same) {
            Some(series) => &mut series.points,
            None => {
                self.series.push(Series {
                    name: name.to_owned(),
                    unit: unit.to_owned(),
                    points: vec![(at, value)],
                });
                return;
            }
        };
        match points.last_mut() {
            Some((_, last)) if (*last - value).abs() < 1e-9 => {}
            // Within the width of a point the last value counts.
            Some((when, last)) if at - *when < every => *last = value,
            _ => points.push((at, value)),
        }
    }

    /// The recording, at its end.
    pub(crate) fn finish(mut self, now: u64, header: Header, tables: Vec<Table>) -> Recording {
        for ((lane, ..), (from, kind, note)) in std::mem::take(&mut self.open) {
            self.close(lane, kind, from, now, &note);
        }
        for item in &mut self.items {
            // What was foreseen to last longer did not.
            item.to = item.to.map(|to| to.min(now).max(item.from + 1));
        }
        self.items.sort_unstable();
        self.story.sort_by_key(|chapter| chapter.at);
        self.forget_unused_texts();
        let items = self.dropped.iter();
        let items = items.map(|(kind, count)| (kind.info().about.to_owned(), *count));
        let chapters = self.chapters_dropped.iter();
        let chapters = chapters.map(|(tone, count)| (format!("chapters: {tone:?}"), *count));
        Recording {
            header,
            kinds: Kind::ALL.iter().map(|kind| kind.info()).collect(),
            dropped: items.chain(chapters).collect(),
            texts: self.texts,
            lanes: self.lanes,
            items: self.items,
            story: self.story,
            series: self.series,
            tables,
        }
    }

    fn forget_unused_texts(&mut self) {
        let mut new = BTreeMap::new();
        let mut texts = Vec::new();
        let mut renumber = |id: &mut u32| {
            *id = *new.entry(*id).or_insert_with(|| {
                let text = self.texts.get_mut(*id as usize).map(std::mem::take);
                texts.push(text.unwrap_or_default());
                u32::try_from(texts.len() - 1).unwrap_or(u32::MAX)
            });
        };
        let mut empty = 0;
        renumber(&mut empty);
        for item in &mut self.items {
            renumber(&mut item.text);
            renumber(&mut item.detail);
        }
        self.texts = texts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(items_max: usize) -> Recorder {
        Recorder::bounded(Timestamp::ZERO, 3_000_000, items_max)
    }

    #[test]
    fn a_state_lasts_until_another_one() {
        let mut recorder = recorder(100);
        let lane = recorder.lane(Group::Workloads, "w-1");
        let running = |text: &str| Some((Kind::Running, Note::new(text)));
        recorder.state(lane, 0, 5, running("a"));
        recorder.state(lane, 0, 7, running("a"));
        recorder.state(lane, 0, 9, running("b"));
        recorder.state(lane, 0, 9, running("c"));
        recorder.state(lane, 0, 20, None);
        recorder.state(lane, 1, 21, running("d"));
        let recording = recorder.finish(30, Header::default(), Vec::new());
        let seen: Vec<_> = recording
            .items
            .iter()
            .map(|item| {
                let text = recording.texts[item.text as usize].as_str();
                (item.from, item.to, text)
            })
            .collect();
        let expected = [(5, Some(9), "a"), (9, Some(20), "c"), (21, Some(30), "d")];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_matters_least_goes_first_and_is_counted() {
        let mut recorder = recorder(10);
        let lane = recorder.lane(Group::Faults, "messages");
        let note = Note::default();
        for at in 0..8 {
            recorder.point(lane, Kind::MessageFate, at, &note);
        }
        for at in 0..8 {
            recorder.point(lane, Kind::Fault, at, &note);
        }
        recorder.point(lane, Kind::MessageFate, 9, &note);
        for at in 0..20 {
            recorder.point(lane, Kind::Fault, at, &note);
        }
        let recording = recorder.finish(30, Header::default(), Vec::new());
        assert_eq!(recording.items.len(), 28);
        assert!(recording.items.iter().all(|item| item.kind == Kind::Fault));
        assert_eq!(recording.dropped.len(), 1);
        assert_eq!(recording.dropped[0].1, 9);
        assert_eq!(recording.texts, [""]);
    }

    #[test]
    fn one_chapter_tells_of_all_that_move_in_a_moment() {
        let mut recorder = recorder(10);
        let lane = recorder.lane(Group::Workloads, "w-1");
        for (at, whom) in [(0, "w-1"), (1_000, "w-2"), (9_000, "w-3")] {
            recorder.tell_of(at, Tone::Moved, lane, "moved", whom.to_owned());
        }
        let story = recorder.finish(1, Header::default(), Vec::new()).story;
        let told: Vec<_> = story.iter().map(|chapter| chapter.to.len()).collect();
        assert_eq!(told, [2, 1]);
    }

    #[test]
    fn a_story_that_is_too_long_loses_its_least_important_chapters() {
        let mut recorder = recorder(10);
        for at in 0..CHAPTERS_MAX as u64 {
            let tone = if at % 2 == 0 {
                Tone::Moved
            } else {
                Tone::Fault
            };
            recorder.tell(at, tone, None, String::new());
        }
        recorder.tell(9, Tone::Leader, None, String::new());
        recorder.tell(9, Tone::Moved, None, String::new());
        let recording = recorder.finish(1, Header::default(), Vec::new());
        assert_eq!(recording.story.len(), CHAPTERS_MAX / 2 + 1);
        assert_eq!(recording.dropped[0].1, CHAPTERS_MAX as u64 / 2 + 1);
    }

    #[test]
    fn a_curve_has_few_points() {
        let mut recorder = recorder(10);
        for at in 0..100_000_u32 {
            recorder.value("cpu", "%", u64::from(at) * 30, f64::from(at));
        }
        let series = recorder.finish(1, Header::default(), Vec::new()).series;
        let count = series[0].points.len();
        assert!(count > 1_000 && count as u64 <= POINTS_MAX + 1, "{count}");
    }
}
