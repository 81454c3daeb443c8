//! The highest epoch that was heard: what it refuses, and what waits until it is durable (S2).

use std::collections::BTreeMap;

use berth_core::planted::{Bug, planted};
use berth_core::{Epoch, Timestamp};

use crate::io::{AgentOutput, AgentReply, Refusal, RequestId, Write};
use crate::lane::RETRY_AFTER;
use crate::machine::{AgentMachine, WriteOf};

/// More answers than this do not wait for one write.
const HELD_MAX: usize = 256;

/// The highest epoch that was seen, and whether that is durable.
///
/// Nothing is done or answered under an epoch that a restart might forget: who heard from the
/// agent under it counts on earlier leaders being refused from then on (S2).
#[derive(Debug, Default)]
pub(crate) struct EpochMemory {
    pub(crate) highest: Option<Epoch>,
    durable: Option<Epoch>,
    writing: bool,
    pub(crate) retry_at: Option<Timestamp>,
    /// Requests that came under an epoch that was not durable yet.
    asked: BTreeMap<RequestId, Epoch>,
    /// Their answers, in the order in which they were found.
    held: Vec<(RequestId, AgentReply)>,
}

impl EpochMemory {
    /// What was found on the disk; `durable`: in its own file.
    pub(crate) fn restored(highest: Option<Epoch>, durable: Option<Epoch>) -> Self {
        Self {
            highest,
            durable: durable.filter(|_| highest.is_some()),
            ..Self::default()
        }
    }

    /// Whether nothing that was decided must wait for its epoch.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable == self.highest || planted(Bug::AgentAnswersTooSoon)
    }

    /// Whether an answer must wait.
    fn holds(&self, id: RequestId) -> bool {
        let asked = self.asked.get(&id);
        asked.is_some_and(|epoch| Some(*epoch) > self.durable)
    }

    /// How many answers wait.
    pub(crate) const fn held_count(&self) -> usize {
        self.held.len()
    }

    /// The answers that need not wait any more.
    fn released(&mut self) -> Vec<(RequestId, AgentReply)> {
        let (asked, durable) = (&mut self.asked, self.durable);
        asked.retain(|_, epoch| Some(*epoch) > durable);
        let free = self.held.extract_if(.., |(id, _)| !asked.contains_key(id));
        free.collect()
    }

    /// The epoch could not be written: who waits for an answer hears that.
    fn refused(&mut self, reason: &str) -> Vec<(RequestId, AgentReply)> {
        let refusal = Refusal::NotDurable(reason.to_owned());
        let held = std::mem::take(&mut self.held).into_iter();
        let refused: Vec<_> = held
            .map(|(id, _)| (id, AgentReply::Refused(refusal.clone())))
            .collect();
        for (id, _) in &refused {
            self.asked.remove(id);
        }
        refused
    }
}

impl AgentMachine {
    /// Raises the highest epoch, or refuses a caller that is below it (S2).
    pub(crate) fn admit(&mut self, id: RequestId, epoch: Option<Epoch>) -> Result<(), Refusal> {
        match (epoch, self.epoch.highest) {
            (Some(got), Some(highest)) if got < highest && !planted(Bug::AgentObeysOldLeader) => {
                Err(Refusal::StaleEpoch { got, highest })
            }
            (Some(got), _) => {
                self.epoch.highest = Some(got);
                if !self.epoch.is_durable() {
                    self.epoch.asked.insert(id, got);
                }
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    /// Answers a request, once the epoch under which it came is durable.
    pub(crate) fn reply(&mut self, id: RequestId, reply: AgentReply) {
        if self.epoch.holds(id) {
            if self.epoch.held.len() < HELD_MAX {
                self.epoch.held.push((id, reply));
            } else {
                let busy = Refusal::NotDurable("too many calls wait for the disk".to_owned());
                self.refuse(id, AgentReply::Refused(busy));
            }
        } else {
            self.output(AgentOutput::Reply { id, reply });
        }
    }

    /// Writes the highest epoch, if it is not durable, nor being written.
    pub(crate) fn write_epoch(&mut self, now: Timestamp) {
        let waits = self.epoch.retry_at.is_some_and(|at| now < at);
        let Some(highest) = self.epoch.highest else {
            return;
        };
        if self.epoch.durable == Some(highest) || self.epoch.writing || waits {
            return;
        }
        self.epoch.retry_at = None;
        self.epoch.writing = true;
        self.begin_write(WriteOf::Epoch(highest), Write::Epoch(highest));
    }

    /// What waited for the epoch goes on.
    pub(crate) fn epoch_written(&mut self, now: Timestamp, epoch: Epoch) {
        self.epoch.writing = false;
        self.epoch.durable = Some(epoch);
        for (id, reply) in self.epoch.released() {
            self.output(AgentOutput::Reply { id, reply });
        }
        let waiting = self.lanes.iter().filter(|(_, lane)| !lane.is_durable());
        let waiting: Vec<_> = waiting.map(|(id, _)| id.clone()).collect();
        for id in waiting {
            self.settle(now, &id);
        }
    }

    /// It is tried again; who waits for an answer does not know what will come of the call.
    pub(crate) fn epoch_not_written(&mut self, now: Timestamp, reason: &str) {
        self.epoch.writing = false;
        self.epoch.retry_at = Some(now + RETRY_AFTER);
        for (id, reply) in self.epoch.refused(reason) {
            self.output(AgentOutput::Reply { id, reply });
        }
        let waiting = self
            .lanes
            .iter()
            .filter(|(_, lane)| !lane.waiters.is_empty());
        let waiting: Vec<_> = waiting.map(|(id, _)| id.clone()).collect();
        for id in waiting {
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            if lane.writing.is_none() {
                for waiter in lane.refuse_waiters(lane.version, reason) {
                    self.refuse(waiter.id, waiter.reply);
                }
            }
        }
    }

    /// Answers that a call may have no effect: that needs nothing durable.
    pub(crate) fn refuse(&mut self, id: RequestId, reply: AgentReply) {
        self.epoch.asked.remove(&id);
        self.output(AgentOutput::Reply { id, reply });
    }
}
