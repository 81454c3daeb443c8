//! The network between the processes: delays, losses, duplicates, cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::Timestamp;

use crate::process::Process;
use crate::rng::{Stream, Streams};
use crate::script::Links;

/// What becomes of a message: when its copies arrive, usually one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Route {
    pub(super) first: Option<Timestamp>,
    pub(super) second: Option<Timestamp>,
    /// It arrives before one that was sent earlier.
    pub(super) overtakes: bool,
    /// Only a copy, if any, arrives.
    pub(super) lost: bool,
    /// It waits at the cut, and goes on when that is mended.
    pub(super) clogged: bool,
}

/// The network.
#[derive(Debug)]
pub(super) struct Network {
    stream: Stream,
    /// Directed links that lose everything.
    cut: BTreeSet<(Process, Process)>,
    /// Those of them that nothing mends.
    cut_for_ever: BTreeSet<(Process, Process)>,
    /// When the latest message of a link arrives.
    last: BTreeMap<(Process, Process), Timestamp>,
    /// Per million.
    loss: u64,
    duplicates: u64,
    delay_max: Duration,
}

impl Network {
    pub(super) fn new(links: Links, streams: &Streams) -> Self {
        Self {
            stream: streams.fork("network"),
            cut: BTreeSet::new(),
            cut_for_ever: BTreeSet::new(),
            last: BTreeMap::new(),
            loss: links.lost,
            duplicates: links.doubled,
            delay_max: links.delay.duration(),
        }
    }

    /// What becomes of a message.
    pub(super) fn route(&mut self, now: Timestamp, from: Process, to: Process) -> Route {
        let ordered = matches!((from, to), (Process::Store, _) | (_, Process::Store));
        if self.cut.contains(&(from, to)) {
            return Route {
                clogged: !ordered && self.stream.chance(300_000),
                ..Route::default()
            };
        }
        // etcd's clients speak over one ordered connection: nothing is lost or doubled alone.
        if ordered {
            let at = now + self.delay();
            let last = self.last.entry((from, to)).or_default();
            *last = at.max(*last);
            return Route {
                first: Some(*last),
                ..Route::default()
            };
        }
        let lost = self.stream.chance(self.loss);
        let first = (!lost).then(|| now + self.delay());
        let second = self
            .stream
            .chance(self.duplicates)
            .then(|| now + self.late());
        let last = self.last.entry((from, to)).or_default();
        let overtakes = first.is_some_and(|at| at < *last);
        *last = first.unwrap_or_default().max(*last);
        Route {
            first,
            second,
            overtakes,
            lost,
            clogged: false,
        }
    }

    /// Whether something that waited at a broken member of the store takes its time still.
    pub(super) fn strays(&mut self) -> Option<Duration> {
        self.stream
            .chance(300_000)
            .then(|| Duration::from_millis(self.stream.between(500, 5_000)))
    }

    /// A copy may come long after, past everything that was said meanwhile.
    fn late(&mut self) -> Duration {
        let quick = self.delay();
        if self.stream.chance(300_000) {
            quick + Duration::from_millis(self.stream.below(20_000))
        } else {
            quick
        }
    }

    /// How long a message takes.
    pub(super) fn delay(&mut self) -> Duration {
        let max = u64::try_from(self.delay_max.as_millis()).unwrap_or(u64::MAX);
        // Most are quick; a tenth take their time.
        let ms = if self.stream.chance(100_000) {
            self.stream.below(max + 1)
        } else {
            0
        };
        Duration::from_millis(1 + ms)
    }

    /// Cuts a link in one direction.
    pub(super) fn cut(&mut self, from: Process, to: Process) {
        self.cut.insert((from, to));
    }

    /// Cuts a link in one direction, for ever.
    pub(super) fn cut_for_ever(&mut self, from: Process, to: Process) {
        self.cut.insert((from, to));
        self.cut_for_ever.insert((from, to));
    }

    /// The directed links that lose everything.
    pub(super) const fn cuts(&self) -> &BTreeSet<(Process, Process)> {
        &self.cut
    }

    /// Mends a link in one direction.
    pub(super) fn mend(&mut self, from: Process, to: Process) {
        if !self.cut_for_ever.contains(&(from, to)) {
            self.cut.remove(&(from, to));
        }
    }

    /// Everything works, but for what is cut for ever.
    pub(super) fn heal(&mut self) {
        self.cut.clone_from(&self.cut_for_ever);
        self.loss = 0;
        self.duplicates = 0;
        self.delay_max = Duration::from_millis(2);
    }
}
