//! S17: the store's live size stays within bounds that depend on what is alive, not on how long
//! it ran.

use berth_core::Config;

use super::image::Image;
use super::rule::{Check, Finding};

/// How far the events may be over their bound until the next pass removes the oldest.
const EVENTS_SLACK: usize = 256;

pub(crate) fn committed(image: &Image, config: &Config) -> Check {
    if image.events.len() > config.events_max + EVENTS_SLACK {
        let expected = format!("about {} events at most", config.events_max);
        return Err(Finding::new(expected, format!("{} of them", image.events.len())));
    }
    let orphans = image
        .assignments
        .keys()
        .chain(image.intents.keys())
        .chain(image.retries.keys())
        .find(|id| !image.workloads.contains_key(*id));
    match orphans {
        None => Ok(()),
        Some(id) => {
            let seen = "an assignment, intent or retry record without its workload";
            Err(Finding::new("nothing left of what is gone", seen).of(id))
        }
    }
}
