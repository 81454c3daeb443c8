//! The log of events: bounded by age and count, cleaned by one range delete.

use std::sync::Arc;

use crate::io::Output;
use crate::model::event::EventRecord;
use crate::model::id::{EventId, WorkloadId};
use crate::planted::{Bug, planted};

use super::Scheduler;
use super::commit::Staged;
use super::timers::Timer;

impl Scheduler {
    /// The fate of a transaction's events is known. They are told in the order of their ids: one
    /// that is committed waits for those before it whose fate is open, so that a reader who goes
    /// on after an id misses nothing (S11).
    pub(super) fn close_events(&mut self, events: Vec<EventRecord>, committed: bool) {
        for event in events {
            self.open_events.remove(&event.id);
            if committed {
                self.stats.events += 1;
                self.held_events.insert(event.id.clone(), event);
            }
        }
        let open = self.open_events.first();
        while let Some(entry) = self.held_events.first_entry() {
            if open.is_some_and(|open| open < entry.key()) {
                break;
            }
            let (id, event) = entry.remove_entry();
            self.events.insert(id, Arc::new(event.clone()));
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// Removes what is too old or too many, a share at a time so that it is rare.
    pub(super) fn retain_events(&mut self) {
        let under_way = self
            .in_flight
            .values()
            .any(|txn| matches!(txn.staged, Staged::Retention { .. }));
        if under_way || self.events.is_empty() || planted(Bug::RetentionForgotten) {
            return;
        }
        let cutoff = self.now - self.config.event_retention;
        let oldest = self.events.values().next().map(|event| event.timestamp);
        // Some slack, so that an old cluster does not clean up at every pass.
        let slack = self.config.event_retention / 20;
        let too_old = oldest.is_some_and(|at| at + slack < cutoff);
        let too_many = self.events.len().saturating_sub(self.config.events_max);
        let too_many = too_many > self.config.events_max / 20;
        if !too_old && !too_many {
            return;
        }
        // Not by the time in its id, which may be later than the event: it is after those of former leaders.
        let mut events = self.events.iter();
        let young = events.find(|(_, event)| event.timestamp >= cutoff);
        let by_age = match (young, self.events.keys().next_back()) {
            (Some((id, _)), _) => id.clone(),
            (None, last) => EventId::from_text(&format!("{}~", last.map_or("", EventId::as_str))),
        };
        let excess = self.events.len().saturating_sub(self.config.events_max);
        let by_count = self.events.keys().nth(excess).cloned();
        let before = by_count.map_or(by_age.clone(), |id| id.max(by_age));
        self.stage_retention(before);
    }

    /// Drops everything that the image holds of a workload whose record is gone.
    pub(super) fn forget_workload(&mut self, id: &WorkloadId) {
        self.finish_move(id);
        self.forget_waiting(id);
        self.timers.clear(&Timer::Workload(id.clone()));
        self.timers.clear(&Timer::Ghosts(id.clone()));
        self.unsettled.remove(id);
        self.suggestions.remove(id);
        let waiting = self.workloads.remove(id).map(|workload| workload.waiting);
        // Who asked meanwhile is answered on what is now: an apply creates it anew.
        for (request, mutation) in waiting.into_iter().flatten() {
            self.queue_mutation(request, id, mutation);
        }
    }
}
