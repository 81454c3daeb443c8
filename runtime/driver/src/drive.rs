//! The loop that owns the core: takes what is ready, feeds it, carries out what comes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use berth_core::drive::step;
use berth_core::io::Deposed;
use berth_core::{Input, Scheduler, Stats, StoreRevision};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::agents::FromAgent;
use crate::clock::Clock;
use crate::dispatch::Dispatcher;
use crate::handle::{Image, Submission};
use crate::inbox::{Arrival, Inbox};
use crate::metrics::DriverMetrics;
use crate::store::{FromStore, Leadership, Reporter, Source, Term};

/// Inputs of one turn.
const TURN_MAX: usize = 256;
/// What the inputs of one turn may cost; the last one may exceed it. What a turn's inputs ask for is
/// carried out at its end: a client's write does not wait for the listings of all nodes.
const TURN_COST_MAX: usize = 2_048;
/// What costs as much waits until all that was taken before it has been carried out.
const LARGE: usize = 256;
/// A step that takes longer is worth a line of the log, at level debug.
const SLOW_STEP: Duration = Duration::from_millis(20);
/// While the store owes this many answers, no new requests are taken: they wait in their queue,
/// which is bounded.
const IN_FLIGHT_MAX: usize = 8_192;
/// A deadline waits for the requests that are already here, so that no heartbeat is judged missing
/// while it lies in the queue; but not longer than this.
const WAKE_LATE_MAX: Duration = Duration::from_millis(500);
/// How often the core's counters are published at most.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// They are counted over all workloads: whatever is ready goes first, but not for longer than this.
const STATS_LATE_MAX: Duration = Duration::from_secs(5);

/// The loop.
pub(crate) struct CoreLoop {
    pub(crate) scheduler: Scheduler,
    pub(crate) clock: Clock,
    pub(crate) inbox: Inbox,
    pub(crate) dispatcher: Dispatcher,
    /// The round of following, if somebody else is known to lead.
    pub(crate) round: Option<u64>,
    pub(crate) stats: watch::Sender<Arc<Stats>>,
    pub(crate) image: watch::Sender<Image>,
    pub(crate) health: Reporter,
    pub(crate) metrics: Arc<DriverMetrics>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) shutdown_grace: Duration,
}

impl CoreLoop {
    /// Runs until shut down; then the core has been deposed and has answered everybody.
    pub(crate) async fn run(mut self) {
        let mut publish_at = Instant::now();
        let mut dirty = true;
        loop {
            let publish = dirty.then_some(publish_at);
            let arrival = self.arrival(publish).await;
            if matches!(arrival, Arrival::Shutdown) {
                break;
            }
            dirty |= self.turn(Some(arrival), true);
            let busy = self.inbox.is_ready(self.accepts());
            if busy {
                // Whom this turn answered, and the lease's renewal, go on meanwhile.
                yield_now().await;
            }
            let now = Instant::now();
            let overdue = now >= publish_at + STATS_LATE_MAX;
            if dirty && now >= publish_at && (overdue || !busy) {
                self.publish();
                publish_at = Instant::now() + STATS_INTERVAL;
                dirty = false;
            }
        }
        self.finish().await;
    }

    /// Whether requests are taken.
    fn accepts(&self) -> bool {
        self.dispatcher.in_flight() < IN_FLIGHT_MAX
    }

    /// The next arrival, whose turn it is if there are several, or the first that comes.
    async fn arrival(&mut self, publish: Option<Instant>) -> Arrival {
        if self.shutdown.is_cancelled() {
            return Arrival::Shutdown;
        }
        if !self.dispatcher.known.is_empty() {
            return Arrival::Nothing;
        }
        let accepts = self.accepts();
        if let Some(arrival) = self.inbox.next_ready(accepts) {
            return arrival;
        }
        let deadline = self
            .scheduler
            .poll_deadline()
            .map(|at| self.clock.instant_of(at));
        let wake = [publish, deadline].into_iter().flatten().min();
        let asleep = async {
            match wake {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let inbox = &mut self.inbox;
        tokio::select! { biased;
            Some(answer) = inbox.answers.recv() => Arrival::Store(answer),
            Some(result) = inbox.agents.recv() => Arrival::Agent(result),
            Some(change) = inbox.changes.recv() => Arrival::Store(change),
            Some(change) = inbox.leadership.recv() => Arrival::Leadership(change),
            () = self.shutdown.cancelled() => Arrival::Shutdown,
            Some(asked) = inbox.submissions.recv(), if accepts => Arrival::Submission(asked),
            () = asleep => Arrival::Nothing,
        }
    }

    /// One turn: everything that is ready, up to a limit. Answers whether there was anything.
    fn turn(&mut self, first: Option<Arrival>, accept: bool) -> bool {
        self.check_lease();
        let mut inputs: Vec<Input> = self.dispatcher.known.drain(..).collect();
        let (mut fed, mut cost) = (false, 0);
        let mut next = first;
        while let Some(arrival) = next {
            if arrival.cost() >= LARGE {
                fed |= self.feed(&mut inputs);
            }
            cost += arrival.cost();
            self.take(arrival, &mut inputs);
            if inputs.len() >= TURN_MAX || cost >= TURN_COST_MAX {
                break;
            }
            let accepts = accept && self.accepts();
            next = self.inbox.next_ready(accepts);
        }
        let now = self.clock.now();
        if let Some(deadline) = self.scheduler.poll_deadline() {
            let takes = accept && self.accepts();
            let is_drained = !takes || self.inbox.submissions.is_empty();
            if deadline <= now && (is_drained || now.since(deadline) > WAKE_LATE_MAX) {
                inputs.push(Input::Wake);
            }
        }
        fed |= self.feed(&mut inputs);
        self.show_image();
        fed
    }

    /// Feeds inputs and carries out what comes of them. Answers whether there was any.
    fn feed(&mut self, inputs: &mut Vec<Input>) -> bool {
        let count = inputs.len();
        if count == 0 {
            return false;
        }
        let (now, began) = (self.clock.now(), Instant::now());
        self.metrics.step_inputs.record(count as u64);
        step(
            &mut self.scheduler,
            now,
            inputs.drain(..),
            &mut self.dispatcher,
        );
        let took = began.elapsed();
        self.metrics.step_time.record_duration(took);
        if took > SLOW_STEP {
            tracing::debug!(?took, inputs = count, "a long step of the core");
        }
        true
    }

    /// A process that stood still finds itself deposed before it acts or answers, and does not wait
    /// until the store client has noticed.
    fn check_lease(&mut self) {
        let Some((epoch, lease)) = self.dispatcher.tenure() else {
            return;
        };
        if lease.is_valid() {
            return;
        }
        tracing::warn!(epoch = epoch.0, "the leadership lease ran out unnoticed");
        self.dispatcher.lapse();
        self.health.update(|health| health.leading = false);
        let reason = Deposed::StoreUnavailable;
        let (now, input) = (self.clock.now(), Input::Deposed { reason });
        step(&mut self.scheduler, now, [input], &mut self.dispatcher);
        self.show_image();
    }

    /// Tells what the image stands on, if that is news.
    fn show_image(&self) {
        let (revision, epoch) = (self.scheduler.revision(), self.dispatcher.epoch());
        self.image.send_if_modified(|shown| {
            let news =
                shown.revision != revision || shown.term.as_ref().map(|(epoch, _)| *epoch) != epoch;
            if news {
                shown.revision = revision;
                shown.term = self.dispatcher.tenure();
            }
            news
        });
    }

    /// Turns an arrival into an input, if it is still of use.
    fn take(&mut self, arrival: Arrival, inputs: &mut Vec<Input>) {
        match arrival {
            Arrival::Store(FromStore { source, input }) => {
                let current = match source {
                    Source::Term(epoch) => self.dispatcher.epoch() == Some(epoch),
                    Source::Round(round) => self.round == Some(round),
                };
                if current {
                    if matches!(input, Input::Commit { .. } | Input::ReadBack { .. }) {
                        self.dispatcher.answered();
                    }
                    inputs.push(input);
                }
            }
            Arrival::Agent(FromAgent {
                epoch,
                call,
                result,
            }) => {
                if self.dispatcher.epoch() == Some(epoch) {
                    inputs.push(Input::Agent { call, result });
                }
            }
            Arrival::Leadership(change) => {
                for told in self.inbox.told_before() {
                    self.take(Arrival::Store(told), inputs);
                }
                self.change_leadership(change, inputs);
            }
            Arrival::Submission(Submission { request, reply }) => {
                let id = self.dispatcher.expect_reply(reply);
                inputs.push(Input::Request { id, request });
            }
            Arrival::Nothing | Arrival::Shutdown => {}
        }
    }

    /// A term begins or ends. The inputs taken before are fed now: what they ask for belongs to
    /// the term in which they came.
    fn change_leadership(&mut self, change: Leadership, inputs: &mut Vec<Input>) {
        self.feed(inputs);
        let now = self.clock.now();
        let input = match change {
            Leadership::Lead {
                term,
                snapshot,
                taken,
            } => {
                let epoch = term.epoch;
                self.begin_term(term);
                // If nobody waits for it, the term is over and its end is about to be told.
                let _ = taken.send(());
                Input::Lead { epoch, snapshot }
            }
            Leadership::TakeOver {
                term,
                round,
                records,
                taken,
            } => {
                let epoch = term.epoch;
                let won_at = StoreRevision(epoch.create_revision());
                let is_exact = self.scheduler.follows_as_far_as(won_at);
                if self.round != Some(round) || !is_exact {
                    tracing::warn!(epoch = epoch.0, "the followed image is not far enough");
                    return;
                }
                let held = self.scheduler.records_held();
                if held != records {
                    // Some versions of etcd keep a removal to themselves (etcd-io/etcd#18089).
                    tracing::warn!(
                        held,
                        records,
                        "the followed image is not what the store holds"
                    );
                    // Whoever waits hears of it by the end of `taken`.
                    return;
                }
                self.begin_term(term);
                let _ = taken.send(self.scheduler.revision());
                Input::TakeOver { epoch }
            }
            Leadership::Follow {
                round,
                snapshot,
                taken,
            } => {
                self.dispatcher.end();
                self.round = Some(round);
                let _ = taken.send(());
                Input::Follow { snapshot }
            }
            Leadership::Deposed(reason) => {
                self.round = None;
                self.dispatcher.end();
                self.health.update(|health| health.leading = false);
                Input::Deposed { reason }
            }
        };
        let began = Instant::now();
        aside(|| step(&mut self.scheduler, now, [input], &mut self.dispatcher));
        tracing::debug!(took = ?began.elapsed(), "the core took up who leads");
        self.show_image();
    }

    fn begin_term(&mut self, term: Term) {
        let epoch = term.epoch;
        self.round = None;
        self.dispatcher.begin(term);
        self.health.update(|health| {
            health.leading = true;
            health.epoch = epoch.0;
        });
    }

    fn publish(&mut self) {
        let waiting = self.inbox.waiting();
        self.metrics.inputs_waiting.store(waiting as u64, Relaxed);
        self.health.update(|health| health.inputs_waiting = waiting);
        self.stats.send_replace(Arc::new(self.scheduler.stats()));
    }

    /// Takes no more requests, lets the store answer what it owes, deposes the core.
    async fn finish(mut self) {
        self.inbox.submissions.close();
        let deadline = Instant::now() + self.shutdown_grace;
        while self.dispatcher.in_flight() > 0 {
            let arrival = tokio::select! { biased;
                Some(answer) = self.inbox.answers.recv() => Arrival::Store(answer),
                Some(change) = self.inbox.leadership.recv() => Arrival::Leadership(change),
                () = sleep_until(deadline) => break,
            };
            self.turn(Some(arrival), false);
        }
        let mut inputs = Vec::new();
        self.change_leadership(Leadership::Deposed(Deposed::ShuttingDown), &mut inputs);
        // Those that came before the door was closed are answered: that it is closed.
        while let Ok(asked) = self.inbox.submissions.try_recv() {
            self.take(Arrival::Submission(asked), &mut inputs);
        }
        let now = self.clock.now();
        step(&mut self.scheduler, now, inputs, &mut self.dispatcher);
        self.publish();
    }
}

/// Does what may take long: an image of the whole store is taken up. Other tasks that this thread
/// would run next, such as the renewal of the lease, run on other threads meanwhile.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use berth_core::io::request::{Query, Request, RequestError, Response};
    use berth_core::io::{AgentReply, AgentState, AgentStatus, Snapshot};
    use berth_core::{CallId, Epoch};
    use tokio::sync::{broadcast, mpsc, oneshot};
    use tokio::time::advance;

    use super::*;
    use crate::agents::{AgentClient, DirectConnect};
    use crate::handle::DriverHealth;
    use crate::inbox::Turns;
    use crate::store::{LeaseGuard, Term};

    /// A loop that leads for two seconds, a way to ask it, and one to answer it as agents do.
    fn leading() -> (
        CoreLoop,
        mpsc::Sender<Submission>,
        mpsc::Sender<FromAgent>,
        mpsc::UnboundedReceiver<crate::store::Order>,
    ) {
        let (ask, submissions) = mpsc::channel(4);
        let (called, agents) = mpsc::channel(4);
        let answer = called.clone();
        let metrics = Arc::<DriverMetrics>::default();
        let connect = Arc::new(DirectConnect::default());
        let client = AgentClient::new(connect, Arc::clone(&metrics), called);
        let scheduler = Scheduler::new(berth_core::Config::default());
        let mut driven = CoreLoop {
            stats: watch::channel(Arc::new(scheduler.stats())).0,
            scheduler,
            clock: Clock::starting_at(berth_core::Timestamp::from_millis(1_000)),
            inbox: Inbox {
                answers: mpsc::channel(4).1,
                agents,
                changes: mpsc::channel(4).1,
                leadership: mpsc::channel(4).1,
                submissions,
                turns: Turns::default(),
            },
            dispatcher: Dispatcher::new(client, broadcast::channel(4).0, Arc::clone(&metrics)),
            round: None,
            image: watch::channel(Image::default()).0,
            health: Reporter::new(watch::channel(DriverHealth::default()).0),
            metrics,
            shutdown: CancellationToken::new(),
            shutdown_grace: Duration::ZERO,
        };
        let (orders, ordered) = mpsc::unbounded_channel();
        let lead = Leadership::Lead {
            term: Term {
                epoch: Epoch(7),
                lease: LeaseGuard::until(Instant::now() + Duration::from_secs(2)),
                orders,
            },
            snapshot: Snapshot {
                revision: StoreRevision(7),
                records: Vec::new(),
                strangers: Vec::new(),
            },
            taken: oneshot::channel().0,
        };
        driven.turn(Some(Arrival::Leadership(lead)), true);
        (driven, ask, answer, ordered)
    }

    fn asked(driven: &mut CoreLoop, request: Request) -> Result<Response, RequestError> {
        let (reply, mut answer) = oneshot::channel();
        let submission = Submission { request, reply };
        driven.turn(Some(Arrival::Submission(submission)), true);
        answer.try_recv().expect("answered at once")
    }

    /// The listing of a large node. The core waits for none, and it costs what it costs.
    fn large_listing() -> FromAgent {
        let status = AgentStatus {
            workload: None,
            raw_id: String::new(),
            workload_type: None,
            revision: None,
            state: AgentState::Running,
            failure: None,
            message: String::new(),
        };
        FromAgent {
            epoch: Epoch(7),
            call: CallId(0),
            result: Ok(AgentReply::Listing(vec![status; 5_000].into())),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_waits_for_no_more_than_one_large_listing() {
        let (mut driven, ask, answer, _ordered) = leading();
        for _ in 0..4 {
            answer.try_send(large_listing()).unwrap();
        }
        let (reply, mut answered) = oneshot::channel();
        let request = Request::Read(Query::Summary);
        ask.try_send(Submission { request, reply }).unwrap();
        for _ in 0..2 {
            assert!(answered.try_recv().is_err());
            let arrival = driven.arrival(None).await;
            driven.turn(Some(arrival), true);
        }
        assert!(answered.try_recv().is_ok(), "a turn has a bound");
        assert_eq!(driven.inbox.agents.len(), 2, "listings wait still");
        for _ in 0..2 {
            let arrival = driven.arrival(None).await;
            driven.turn(Some(arrival), true);
        }
        assert_eq!(driven.inbox.waiting(), 0, "and none waits for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_before_leadership_is_taken_before_it() {
        let (mut driven, _ask, _answer, _ordered) = leading();
        let (change, changes) = mpsc::channel(4);
        let (lead, leadership) = mpsc::channel(4);
        (driven.inbox.changes, driven.inbox.leadership) = (changes, leadership);
        let revision = StoreRevision(9);
        let input = Input::Changed {
            revision,
            records: Vec::new(),
        };
        let source = Source::Term(Epoch(7));
        change.try_send(FromStore { source, input }).unwrap();
        let end = Leadership::Deposed(Deposed::LostLeadership);
        lead.try_send(end).unwrap();
        let arrival = driven.arrival(None).await;
        driven.turn(Some(arrival), true);
        assert!(!driven.scheduler.is_leading());
        assert_eq!(driven.scheduler.revision(), revision);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stood_still_past_the_lease_answers_as_one_who_does_not_lead() {
        let (mut driven, _ask, _answer, mut ordered) = leading();
        let summary = || Request::Read(Query::Summary);
        let stale = |answer| match answer {
            Ok(Response::Summary(summary)) => summary.freshness.stale,
            other => panic!("{other:?}"),
        };
        assert!(!stale(asked(&mut driven, summary())));
        // SIGSTOP, a virtual machine that was moved: nobody told it anything.
        advance(Duration::from_secs(2)).await;
        assert!(stale(asked(&mut driven, summary())));
        let cordon = Request::SetSchedulable {
            node: "node-1".parse().unwrap(),
            schedulable: false,
        };
        let refused = asked(&mut driven, cordon).unwrap_err();
        assert!(
            matches!(refused, RequestError::Unavailable { .. }),
            "{refused:?}"
        );
        // The store client ends the term by itself: until then its orders stay open.
        assert_eq!(
            ordered.try_recv().err(),
            Some(mpsc::error::TryRecvError::Empty)
        );
        let end = Leadership::Deposed(Deposed::StoreUnavailable);
        driven.turn(Some(Arrival::Leadership(end)), true);
        assert_eq!(
            ordered.try_recv().err(),
            Some(mpsc::error::TryRecvError::Disconnected)
        );
    }
}
