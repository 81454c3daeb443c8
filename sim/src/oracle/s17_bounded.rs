//! S17: the store's live size stays within bounds that depend on what is alive, not on how long
//! it ran.

use berth_core::Config;

use super::image::{Commit, Image, Writer};
use super::rule::{Check, Finding};

/// How far the events may be over their bound until the next pass removes the oldest.
const EVENTS_SLACK: usize = 128;

pub(crate) fn committed(commit: &Commit, image: &Image, config: &Config) -> Check {
    if image.events.len() > config.events_max + EVENTS_SLACK {
        let expected = format!("about {} events at most", config.events_max);
        return Err(Finding::new(
            expected,
            format!("{} of them", image.events.len()),
        ));
    }
    if commit.writer == Writer::Stranger {
        return Ok(());
    }
    let orphans = commit
        .workloads
        .keys()
        .filter(|id| !image.workloads.contains_key(*id))
        .find(|id| {
            image.assignments.contains_key(*id)
                || image.intents.contains_key(*id)
                || image.retries.contains_key(*id)
        });
    match orphans {
        None => Ok(()),
        Some(id) => {
            let seen = "an assignment, intent or retry record without its workload";
            Err(Finding::new("nothing left of what is gone", seen).of(id))
        }
    }
}
