//! S17: the store's live size stays within bounds that depend on what is alive, not on how long
//! it ran.

use std::time::Duration;

use berth_core::{Config, Key, Timestamp, WorkloadId};

use super::image::{Commit, Image, Writer};
use super::rule::{Check, Finding};

/// How far the events may be over their bound until the next pass removes the oldest.
const EVENTS_SLACK: usize = 128;

/// A burst may write more at once; the passes after it take it away.
const BURST: Duration = Duration::from_secs(20);

/// For how long there is more than there should be while somebody leads.
#[derive(Debug, Default)]
pub(crate) struct Bounded {
    over_for: Option<Duration>,
    judged_at: Timestamp,
}

impl Bounded {
    pub(crate) fn committed(
        &mut self,
        now: Timestamp,
        commit: &Commit,
        image: &Image,
        config: &Config,
    ) -> Check {
        if commit.writer == Writer::Stranger {
            // It tells nothing: perhaps nobody leads.
            return Ok(());
        }
        // In longer silence than between two passes perhaps nobody led either: a store that was
        // away carries out at its return what was asked for before.
        let since = now.since(self.judged_at).min(config.reconcile_interval);
        self.judged_at = now;
        // Whoever begins to lead has as long again: while nobody led, nobody could take any away.
        if image.events.len() <= config.events_max + EVENTS_SLACK
            || commit.writer == Writer::Election
        {
            self.over_for = None;
            return remains(commit, image);
        }
        let over_for = self.over_for.map_or(Duration::ZERO, |over| over + since);
        self.over_for = Some(over_for);
        if over_for > BURST {
            let expected = format!("about {} events at most", config.events_max);
            let seen = format!("{} of them for {BURST:?}", image.events.len());
            return Err(Finding::new(expected, seen));
        }
        remains(commit, image)
    }
}

/// Nothing is left of a workload that is gone, and nothing comes later.
fn remains(commit: &Commit, image: &Image) -> Check {
    let written = commit.workloads.keys().chain(commit.assignments.keys());
    let written = written.chain(commit.intents.keys());
    orphan(written.chain(commit.retries.keys()), image)
}

/// At the end: of no workload a record is left that belongs to nothing.
pub(crate) fn at_end(image: &Image) -> Check {
    let held = image.assignments.keys().chain(image.intents.keys());
    orphan(held.chain(image.retries.keys()), image)
}

fn orphan<'a>(mut ids: impl Iterator<Item = &'a WorkloadId>, image: &Image) -> Check {
    // A record that cannot be read is there all the same.
    let is_gone = |id: &WorkloadId| {
        !image.workloads.contains_key(id) && !image.unread.contains(&Key::Workload(id.clone()))
    };
    let is_left = |id: &WorkloadId| {
        image.assignments.contains_key(id)
            || image.intents.contains_key(id)
            || image.retries.contains_key(id)
    };
    match ids.find(|id| is_gone(id) && is_left(id)) {
        None => Ok(()),
        Some(id) => {
            let seen = "an assignment, intent or retry record without its workload";
            Err(Finding::new("nothing left of what is gone", seen).of(id))
        }
    }
}
