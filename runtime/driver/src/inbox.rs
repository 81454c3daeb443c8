//! What waits for the core, and whose turn it is: each source gets its share of the core's work, so
//! that none waits for ever behind another one that always has something.

use berth_core::Input;
use berth_core::io::AgentReply;
use berth_core::io::request::Request;
use tokio::sync::mpsc;

use crate::agents::FromAgent;
use crate::handle::Submission;
use crate::store::{FromStore, Leadership};

/// What one source may cost before the next one's turn, in units of [`Arrival::cost`].
const SHARE: i64 = 512;

/// Where inputs come from.
pub(crate) struct Inbox {
    /// Fates and read-backs.
    pub(crate) answers: mpsc::Receiver<FromStore>,
    pub(crate) agents: mpsc::Receiver<FromAgent>,
    pub(crate) changes: mpsc::Receiver<FromStore>,
    pub(crate) leadership: mpsc::Receiver<Leadership>,
    pub(crate) submissions: mpsc::Receiver<Submission>,
    pub(crate) turns: Turns,
}

/// One arrival.
#[derive(Debug)]
pub(crate) enum Arrival {
    Store(FromStore),
    Agent(FromAgent),
    Leadership(Leadership),
    Submission(Submission),
    /// A deadline passed, or something is known already.
    Nothing,
    Shutdown,
}

impl Inbox {
    pub(crate) fn waiting(&self) -> usize {
        self.answers.len()
            + self.agents.len()
            + self.changes.len()
            + self.leadership.len()
            + self.submissions.len()
    }

    /// What is ready and whose turn it is. Leadership comes first; whoever takes it takes what was
    /// told before it ([`Self::told_before`]). `accepts`: requests are taken, too.
    pub(crate) fn next_ready(&mut self, accepts: bool) -> Option<Arrival> {
        if let Ok(change) = self.leadership.try_recv() {
            return Some(Arrival::Leadership(change));
        }
        let lane = self.turns.next(self.has(accepts))?;
        let arrival = match lane {
            Lane::Answers => self.answers.try_recv().ok().map(Arrival::Store),
            Lane::Agents => self.agents.try_recv().ok().map(Arrival::Agent),
            Lane::Changes => self.changes.try_recv().ok().map(Arrival::Store),
            Lane::Submissions => self.submissions.try_recv().ok().map(Arrival::Submission),
        }?;
        self.turns.charge(lane, arrival.cost());
        Some(arrival)
    }

    /// Which lanes have something that is taken.
    fn has(&self, accepts: bool) -> [bool; LANES.len()] {
        [
            !self.answers.is_empty(),
            !self.agents.is_empty(),
            !self.changes.is_empty(),
            accepts && !self.submissions.is_empty(),
        ]
    }

    /// Whether there is anything that [`Self::next_ready`] would give.
    pub(crate) fn is_ready(&self, accepts: bool) -> bool {
        !self.leadership.is_empty() || self.has(accepts).contains(&true)
    }

    /// What the store's tasks told before they told of leadership: answers of the term that ends,
    /// and the changes up to the election that this replica won.
    pub(crate) fn told_before(&mut self) -> Vec<FromStore> {
        let (answers, changes) = (self.answers.len(), self.changes.len());
        let mut told = Vec::with_capacity(answers + changes);
        told.extend((0..answers).map_while(|_| self.answers.try_recv().ok()));
        told.extend((0..changes).map_while(|_| self.changes.try_recv().ok()));
        told
    }
}

impl Arrival {
    /// How much work it makes, about: one for each workload that is looked at because of it.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Store(FromStore { input, .. }) => match input {
                Input::Changed { records, .. } | Input::ReadBack { records, .. } => {
                    1 + records.len()
                }
                _ => 1,
            },
            Self::Agent(FromAgent { result, .. }) => match result {
                Ok(AgentReply::Listing(statuses)) => 1 + statuses.len(),
                Ok(_) | Err(_) => 1,
            },
            Self::Submission(Submission { request, .. }) => match request {
                Request::Heartbeat(heartbeat) => 1 + heartbeat.statuses.len(),
                _ => 1,
            },
            Self::Leadership(_) | Self::Nothing | Self::Shutdown => 0,
        }
    }
}

/// A source of inputs that may have something all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Answers,
    Agents,
    Changes,
    Submissions,
}

const LANES: [Lane; 4] = [
    Lane::Answers,
    Lane::Agents,
    Lane::Changes,
    Lane::Submissions,
];

/// Whose turn it is. Each lane may cost [`SHARE`] before the next one's turn; what a lane took
/// beyond, because nobody knows what a thing costs before it is there, it lets the others have first.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    at: usize,
    left: [i64; LANES.len()],
}

impl Turns {
    /// Whose turn it is among those that have something.
    fn next(&mut self, has: [bool; LANES.len()]) -> Option<Lane> {
        if !has.contains(&true) {
            // Nobody waited for what was taken.
            self.left = [0; LANES.len()];
            return None;
        }
        loop {
            if has[self.at] && self.left[self.at] > 0 {
                return Some(LANES[self.at]);
            }
            self.at = (self.at + 1) % LANES.len();
            let left = &mut self.left[self.at];
            // Who has nothing saves nothing up.
            *left = (*left + SHARE).min(SHARE);
        }
    }

    fn charge(&mut self, lane: Lane, cost: usize) {
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        self.left[lane as usize] = self.left[lane as usize].saturating_sub(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays turns with what waits in each lane, as costs, and tells whose turn each was.
    fn play(turns: &mut Turns, mut waiting: [Vec<usize>; 4]) -> Vec<Lane> {
        let mut taken = Vec::new();
        while let Some(lane) = turns.next([0, 1, 2, 3].map(|at| !waiting[at].is_empty())) {
            let cost = waiting[lane as usize].remove(0);
            turns.charge(lane, cost);
            taken.push(lane);
        }
        taken
    }

    #[test]
    fn a_lane_that_is_alone_has_every_turn() {
        let mut turns = Turns::default();
        let alone = play(&mut turns, [vec![], vec![5_000; 20], vec![], vec![]]);
        assert_eq!(alone, [Lane::Agents; 20]);
    }

    #[test]
    fn who_took_much_lets_the_others_go_first() {
        let mut turns = Turns::default();
        let taken = play(&mut turns, [vec![], vec![5_000; 3], vec![], vec![1; 6_000]]);
        let at = |lane| {
            let found = taken.iter().enumerate().filter(move |(_, l)| **l == lane);
            found.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let listings = at(Lane::Agents);
        assert_eq!(listings.len(), 3);
        // Between two listings the others have about as much.
        assert!(listings[0] <= 512, "{listings:?}");
        assert!(
            (4_000..6_000).contains(&(listings[1] - listings[0])),
            "{listings:?}"
        );
        assert_eq!(at(Lane::Submissions).len(), 6_000, "and nobody starves");
    }

    #[test]
    fn nobody_saves_up_and_nobody_owes_where_nobody_waits() {
        let mut turns = Turns::default();
        // Answers come alone for long; then the others are not kept waiting for it.
        play(&mut turns, [vec![1; 10_000], vec![], vec![], vec![]]);
        let taken = play(&mut turns, [vec![1; 2_000], vec![], vec![], vec![1]]);
        let at = taken.iter().position(|lane| *lane == Lane::Submissions);
        assert!(at.is_some_and(|at| at <= 512), "{at:?}");
        play(&mut turns, [vec![], vec![1_000_000], vec![], vec![]]);
        let taken = play(&mut turns, [vec![], vec![1], vec![], vec![1; 2_000]]);
        let at = taken.iter().position(|lane| *lane == Lane::Agents);
        assert!(at.is_some_and(|at| at <= 512), "{at:?}");
    }
}
