//! The systematic search: every single thing that can go wrong at every point of a short script.

use serde::Serialize;

use crate::script::{Counters, Script, Span, Twist};
use crate::world::{DOWN, LATE, PAUSED, RESYNC};

/// The kinds of twist, by name.
pub const KINDS: [&str; 11] = [
    "crash after a write",
    "crash after an output",
    "message lost",
    "message doubled",
    "message delayed past the next",
    "watch event hidden until the next connection",
    "read answered from an older revision",
    "commit unknown and committed",
    "commit unknown and not committed",
    "pause longer than the lease",
    "agent crash between an act and its record",
];

/// A stale read goes back at most so many revisions, one by one.
const BACK_MAX: u64 = 8;

/// How far the search goes: what is beyond was not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// So many things go wrong in a case.
    pub twists_a_case: u64,
    /// An old read is answered from at most so many revisions back.
    pub read_revisions_back_max: u64,
    /// A scheduler or an agent that dies is started again after so long.
    pub down: Span,
    /// What is late comes so much later.
    pub late: Span,
    /// What a watch tells is held back for so long.
    pub hidden: Span,
    /// A scheduler that stands still does so for so long.
    pub paused: Span,
}

/// What is tried.
pub const BOUNDS: Bounds = Bounds {
    twists_a_case: 1,
    read_revisions_back_max: BACK_MAX,
    down: Span::of(DOWN),
    late: Span::of(LATE),
    hidden: Span::of(RESYNC),
    paused: Span::of(PAUSED),
};

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            twists_a_case,
            read_revisions_back_max,
            down,
            late,
            hidden,
            paused,
        } = self;
        write!(
            f,
            "{twists_a_case} thing goes wrong in a case, before the faults stop; reads from at most \
             {read_revisions_back_max} older revisions; crashes of schedulers and agents of {down}; \
             messages {late} late; watches silent for {hidden}; pauses of {paused}"
        )
    }
}

/// Every twist of a run that passed so many points, with its kind's place in [`KINDS`].
#[must_use]
pub fn twists(counters: &Counters) -> Vec<(usize, Twist)> {
    let mut all = Vec::new();
    let mut each = |kind: usize, count: u64, twist: fn(u64) -> Twist| {
        all.extend((0..count).map(|at| (kind, twist(at))));
    };
    each(0, counters.writes, Twist::CrashAfterWrite);
    each(1, counters.outputs, Twist::CrashAfterOutput);
    each(2, counters.messages, Twist::Drop);
    each(3, counters.messages, Twist::Double);
    each(4, counters.messages, Twist::Delay);
    each(5, counters.watched, Twist::HideWatch);
    each(7, counters.commits, Twist::UnknownDone);
    each(8, counters.commits, Twist::UnknownNotDone);
    each(9, counters.steps, Twist::Pause);
    each(10, counters.deeds, Twist::CrashAgent);
    let reads = (0..counters.reads)
        .flat_map(|read| (1..=BACK_MAX).map(move |back| (6, Twist::StaleRead { read, back })));
    all.extend(reads);
    all
}

/// The script with this twist. What the scenario expects may not come true now, for instance
/// because a client's request was what got lost: the rules judge.
#[must_use]
pub fn twisted(script: &Script, twist: Twist) -> Script {
    let mut script = script.clone();
    script.twist = Some(twist);
    script.expect.clear();
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mark, World};

    #[test]
    fn every_point_of_every_kind_is_a_case() {
        let counters = Counters {
            writes: 1,
            outputs: 2,
            messages: 3,
            watched: 4,
            reads: 5,
            commits: 6,
            steps: 7,
            deeds: 8,
        };
        let twists = twists(&counters);
        assert_eq!(
            twists.len() as u64,
            1 + 2 + 3 * 3 + 4 + 5 * BACK_MAX + 2 * 6 + 7 + 8
        );
        let kinds: std::collections::BTreeSet<_> = twists.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds.len(), KINDS.len());
        let distinct: std::collections::BTreeSet<_> = twists.iter().map(|(_, t)| *t).collect();
        assert_eq!(distinct.len(), twists.len());
    }

    #[test]
    fn every_kind_happens_once_where_it_is_asked_for() {
        let script = crate::scenarios::named("there-and-back").expect("a scenario");
        let twist_lines = |twist: Twist| {
            let outcome = World::play(twisted(&script, twist), true).run();
            assert_eq!(outcome.violation, None, "{twist}");
            let lines = outcome.trace.iter();
            let told = lines.filter(|line| line.contains(" twist Some("));
            (told.count(), outcome.coverage.count(Mark::AgentCrash))
        };
        let plain = World::play(script.clone(), false).run();
        let all = twists(&plain.counters);
        for kind in 0..KINDS.len() {
            let (_, twist) = all.iter().find(|(of, _)| *of == kind).expect("a point");
            let crashes = plain.coverage.count(Mark::AgentCrash);
            let crashes = crashes + u64::from(matches!(twist, Twist::CrashAgent(_)));
            assert_eq!(twist_lines(*twist), (1, crashes), "{twist}");
        }
    }
}
