//! The network between the processes: delays, losses, duplicates, cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::Timestamp;

use crate::process::Process;
use crate::rng::{Stream, Streams};
use crate::script::Links;

use super::message::{Body, Envelope};

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
    /// It is lost, and the other direction works.
    pub(super) half_open: bool,
}

/// What goes in order between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    Calls,
    Watch,
}

impl Channel {
    /// The one that a message takes.
    pub(super) const fn of(body: &Body) -> Self {
        match body {
            Body::Watched { .. } => Self::Watch,
            _ => Self::Calls,
        }
    }
}

/// The network.
#[derive(Debug)]
pub(super) struct Network {
    stream: Stream,
    /// Directed links that lose everything.
    cut: BTreeSet<(Process, Process)>,
    /// Those of them that nothing mends.
    cut_for_ever: BTreeSet<(Process, Process)>,
    /// Processes whose messages are held back, and those messages in their order.
    clogged: BTreeSet<Process>,
    held: Vec<Envelope>,
    /// The store's answers take so much longer.
    store_slow: Duration,
    /// What the watches of schedulers are told takes so much longer.
    watch_lag: BTreeMap<usize, Duration>,
    /// When the latest message of a link arrives. A watch is a stream of its own: what it tells may come
    /// before an answer that was sent earlier, and long after one that was sent later.
    last: BTreeMap<(Process, Process, Channel), Timestamp>,
    /// Per million.
    loss: u64,
    duplicates: u64,
    delay_max: Duration,
    /// Transactions that a member of the store hands on late, per million.
    wandering: u64,
    /// Changes that a watch is told in two parts, per million.
    parted: u64,
}

impl Network {
    pub(super) fn new(links: Links, streams: &Streams) -> Self {
        Self {
            stream: streams.fork("network"),
            cut: BTreeSet::new(),
            cut_for_ever: BTreeSet::new(),
            clogged: BTreeSet::new(),
            held: Vec::new(),
            store_slow: Duration::ZERO,
            watch_lag: BTreeMap::new(),
            last: BTreeMap::new(),
            loss: links.lost,
            duplicates: links.doubled,
            delay_max: links.delay.duration(),
            wandering: links.wandering,
            parted: links.parted,
        }
    }

    /// What becomes of a message.
    pub(super) fn route(
        &mut self,
        now: Timestamp,
        (from, to): (Process, Process),
        channel: Channel,
    ) -> Route {
        let ordered = matches!((from, to), (Process::Store, _) | (_, Process::Store));
        if self.cut.contains(&(from, to)) {
            return Route {
                clogged: !ordered && self.stream.chance(300_000),
                half_open: !self.cut.contains(&(to, from)),
                ..Route::default()
            };
        }
        // etcd's clients speak over one ordered connection: nothing is lost or doubled alone.
        if ordered {
            let slow = match from {
                Process::Store => self.store_slow,
                Process::Replica(_) | Process::Agent(_) | Process::Client(_) => Duration::ZERO,
            };
            let lag = match (channel, to) {
                (Channel::Watch, Process::Replica(at)) => self.watch_lag.get(&at).copied(),
                (Channel::Watch | Channel::Calls, _) => None,
            };
            let at = now + slow + lag.unwrap_or_default() + self.delay();
            return Route {
                first: Some(self.in_order((from, to), channel, at)),
                ..Route::default()
            };
        }
        let lost = self.stream.chance(self.loss);
        let first = (!lost).then(|| now + self.delay());
        let second = self
            .stream
            .chance(self.duplicates)
            .then(|| now + self.late());
        let last = self.last.entry((from, to, channel)).or_default();
        let overtakes = first.is_some_and(|at| at < *last);
        *last = first.unwrap_or_default().max(*last);
        Route {
            first,
            second,
            overtakes,
            lost,
            clogged: false,
            half_open: false,
        }
    }

    /// Whether a member of the store hands a transaction on late: a little, so that others go before it,
    /// or by far.
    pub(super) fn wanders(&mut self) -> Option<Duration> {
        if self.wandering == 0 || !self.stream.chance(self.wandering) {
            return None;
        }
        let far = self.stream.chance(150_000);
        let (least, most) = if far { (1_800, 8_000) } else { (1, 60) };
        Some(Duration::from_millis(self.stream.between(least, most)))
    }

    /// After how many of so many events a watch is told the rest by itself, as one that is large is.
    pub(super) fn parts(&mut self, events: usize) -> Option<usize> {
        let one = self.parted == 0 || events < 2 || !self.stream.chance(self.parted);
        let last = events.checked_sub(1).filter(|_| !one)?;
        usize::try_from(self.stream.between(1, last as u64)).ok()
    }

    /// Whether something that waited at a broken member of the store takes its time still.
    pub(super) fn strays(&mut self) -> Option<Duration> {
        self.stream
            .chance(300_000)
            .then(|| Duration::from_millis(self.stream.between(500, 5_000)))
    }

    /// When a message of an ordered connection arrives: not before those that were sent before it.
    fn in_order(
        &mut self,
        (from, to): (Process, Process),
        channel: Channel,
        at: Timestamp,
    ) -> Timestamp {
        let last = self.last.entry((from, to, channel)).or_default();
        *last = at.max(*last);
        *last
    }

    /// Whether a message is held back.
    pub(super) fn is_clogged(&self, from: Process, to: Process) -> bool {
        let clogged = self.clogged.contains(&from) || self.clogged.contains(&to);
        clogged && !self.cut.contains(&(from, to))
    }

    /// Holds a message back.
    pub(super) fn hold(&mut self, envelope: Envelope) {
        self.held.push(envelope);
    }

    /// What a process says and is told is held back from now on.
    pub(super) fn clog(&mut self, process: Process) {
        self.clogged.insert(process);
    }

    /// Messages flow again: what was held back, with the instants at which it arrives.
    pub(super) fn unclog(
        &mut self,
        now: Timestamp,
        process: Process,
    ) -> Vec<(Timestamp, Envelope)> {
        self.clogged.remove(&process);
        let (held, free): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| self.is_clogged(held.from, held.to));
        self.held = held;
        let soon = now + Duration::from_millis(1);
        let arrival = |envelope: Envelope| {
            let link = (envelope.from, envelope.to);
            let at = self.in_order(link, Channel::of(&envelope.body), soon);
            (at, envelope)
        };
        free.into_iter().map(arrival).collect()
    }

    /// The processes whose messages are held back.
    pub(super) fn clogged(&self) -> Vec<Process> {
        self.clogged.iter().copied().collect()
    }

    /// The store's answers take so much longer.
    pub(super) fn slow_store(&mut self, by: Duration) {
        self.store_slow = by;
    }

    /// What the watch of a scheduler is told takes so much longer.
    pub(super) fn lag_watch(&mut self, scheduler: usize, by: Duration) {
        self.watch_lag.insert(scheduler, by);
    }

    /// Whether a link is cut in this direction.
    pub(super) fn is_cut(&self, from: Process, to: Process) -> bool {
        self.cut.contains(&(from, to))
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

    /// Whether any link is.
    pub(super) fn is_cut_for_ever(&self) -> bool {
        !self.cut_for_ever.is_empty()
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
        self.store_slow = Duration::ZERO;
        self.watch_lag.clear();
        self.loss = 0;
        self.parted = 0;
        self.duplicates = 0;
        self.delay_max = Duration::from_millis(2);
    }
}
