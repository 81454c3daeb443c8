//! The loop that owns the core: takes what is ready, feeds it, carries out what comes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use berth_core::drive::step;
use berth_core::io::Deposed;
use berth_core::{Input, Scheduler, Stats, StoreRevision};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::agents::FromAgent;
use crate::clock::Clock;
use crate::dispatch::Dispatcher;
use crate::handle::{Image, Submission};
use crate::metrics::DriverMetrics;
use crate::store::{FromStore, Leadership, Reporter, Source, Term};

/// Inputs of one turn.
const TURN_MAX: usize = 256;
/// While the store owes this many answers, no new requests are taken: they wait in their queue,
/// which is bounded.
const IN_FLIGHT_MAX: usize = 8_192;
/// A deadline waits for the requests that are already here, so that no heartbeat is judged missing
/// while it lies in the queue; but not longer than this.
const WAKE_LATE_MAX: Duration = Duration::from_millis(500);
/// How often the core's counters are published at most.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Where inputs come from, in the order in which they are taken.
pub(crate) struct Inbox {
    /// Fates and read-backs.
    pub(crate) answers: mpsc::Receiver<FromStore>,
    pub(crate) agents: mpsc::Receiver<FromAgent>,
    pub(crate) changes: mpsc::Receiver<FromStore>,
    pub(crate) leadership: mpsc::Receiver<Leadership>,
    pub(crate) submissions: mpsc::Receiver<Submission>,
}

impl Inbox {
    fn waiting(&self) -> usize {
        self.answers.len()
            + self.agents.len()
            + self.changes.len()
            + self.leadership.len()
            + self.submissions.len()
    }
}

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

/// One arrival.
enum Arrival {
    Store(FromStore),
    Agent(FromAgent),
    Leadership(Leadership),
    Submission(Submission),
    /// A deadline passed, or something is known already.
    Nothing,
    Shutdown,
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
            if dirty && Instant::now() >= publish_at {
                self.publish();
                publish_at = Instant::now() + STATS_INTERVAL;
                dirty = false;
            }
        }
        self.finish().await;
    }

    /// Waits for the next arrival.
    async fn arrival(&mut self, publish: Option<Instant>) -> Arrival {
        if !self.dispatcher.known.is_empty() {
            return Arrival::Nothing;
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
        let accepts = self.dispatcher.in_flight() < IN_FLIGHT_MAX;
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

    /// One turn: everything that is ready, up to a limit, at one instant. Answers whether there
    /// was anything.
    fn turn(&mut self, first: Option<Arrival>, accept: bool) -> bool {
        self.check_lease();
        let mut inputs: Vec<Input> = self.dispatcher.known.drain(..).collect();
        if let Some(arrival) = first {
            self.take(arrival, &mut inputs);
        }
        while inputs.len() < TURN_MAX {
            let Some(arrival) = self.next_ready(accept) else {
                break;
            };
            self.take(arrival, &mut inputs);
        }
        let (now, began) = (self.clock.now(), Instant::now());
        if let Some(deadline) = self.scheduler.poll_deadline() {
            let takes = accept && self.dispatcher.in_flight() < IN_FLIGHT_MAX;
            let is_drained = !takes || self.inbox.submissions.is_empty();
            if deadline <= now && (is_drained || now.since(deadline) > WAKE_LATE_MAX) {
                inputs.push(Input::Wake);
            }
        }
        if inputs.is_empty() {
            return false;
        }
        self.metrics.step_inputs.record(inputs.len() as u64);
        step(&mut self.scheduler, now, inputs, &mut self.dispatcher);
        self.metrics.step_time.record_duration(began.elapsed());
        self.show_image();
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

    /// What is ready, in order. Every turn ends, so none waits for ever behind another.
    fn next_ready(&mut self, accept: bool) -> Option<Arrival> {
        let inbox = &mut self.inbox;
        if let Ok(answer) = inbox.answers.try_recv() {
            return Some(Arrival::Store(answer));
        }
        if let Ok(result) = inbox.agents.try_recv() {
            return Some(Arrival::Agent(result));
        }
        if let Ok(change) = inbox.changes.try_recv() {
            return Some(Arrival::Store(change));
        }
        if let Ok(change) = inbox.leadership.try_recv() {
            return Some(Arrival::Leadership(change));
        }
        if accept
            && self.dispatcher.in_flight() < IN_FLIGHT_MAX
            && let Ok(asked) = inbox.submissions.try_recv()
        {
            return Some(Arrival::Submission(asked));
        }
        None
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
            Arrival::Leadership(change) => self.change_leadership(change, inputs),
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
        let now = self.clock.now();
        step(
            &mut self.scheduler,
            now,
            inputs.drain(..),
            &mut self.dispatcher,
        );
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
        aside(|| step(&mut self.scheduler, now, [input], &mut self.dispatcher));
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
    use berth_core::Epoch;
    use berth_core::io::Snapshot;
    use berth_core::io::request::{Query, Request, RequestError, Response};
    use tokio::sync::{broadcast, oneshot};
    use tokio::time::advance;

    use super::*;
    use crate::agents::{AgentClient, DirectConnect};
    use crate::handle::DriverHealth;
    use crate::store::{LeaseGuard, Term};

    /// A loop that leads for two seconds, and a way to ask it.
    fn leading() -> (
        CoreLoop,
        mpsc::Sender<Submission>,
        mpsc::UnboundedReceiver<crate::store::Order>,
    ) {
        let (ask, submissions) = mpsc::channel(4);
        let (called, agents) = mpsc::channel(4);
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
        (driven, ask, ordered)
    }

    fn asked(driven: &mut CoreLoop, request: Request) -> Result<Response, RequestError> {
        let (reply, mut answer) = oneshot::channel();
        let submission = Submission { request, reply };
        driven.turn(Some(Arrival::Submission(submission)), true);
        answer.try_recv().expect("answered at once")
    }

    #[tokio::test(start_paused = true)]
    async fn who_stood_still_past_the_lease_answers_as_one_who_does_not_lead() {
        let (mut driven, _ask, mut ordered) = leading();
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
