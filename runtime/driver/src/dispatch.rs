//! Carries out what the core asks for. Nothing here waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use berth_core::drive::Sink;
use berth_core::io::request::{RequestError, Response};
use berth_core::io::{AgentCall, AgentError, Fate, Txn};
use berth_core::{Epoch, EventRecord, Input, Key, RequestId, TxnId};
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use crate::agents::AgentClient;
use crate::metrics::DriverMetrics;
use crate::store::{LeaseGuard, Order, Pending, Term};

/// Where an answer goes.
type Reply = oneshot::Sender<Result<Response, RequestError>>;

/// The hands of the core.
pub(crate) struct Dispatcher {
    agents: AgentClient,
    events: broadcast::Sender<EventRecord>,
    metrics: Arc<DriverMetrics>,
    term: Option<(Term, CancellationToken)>,
    /// A term whose lease ran out, until the store client ends it, too.
    lapsed: Option<Term>,
    replies: BTreeMap<RequestId, Reply>,
    last_request: u64,
    /// Inputs that are known without asking anybody; taken at the next turn.
    pub(crate) known: VecDeque<Input>,
    /// Transactions and read-backs that the store has not answered.
    in_flight: usize,
}

impl Dispatcher {
    pub(crate) fn new(
        agents: AgentClient,
        events: broadcast::Sender<EventRecord>,
        metrics: Arc<DriverMetrics>,
    ) -> Self {
        Self {
            agents,
            events,
            metrics,
            term: None,
            lapsed: None,
            replies: BTreeMap::new(),
            last_request: 0,
            known: VecDeque::new(),
            in_flight: 0,
        }
    }

    /// A term begins; what is asked for from now on belongs to it.
    pub(crate) fn begin(&mut self, term: Term) {
        self.end();
        self.term = Some((term, CancellationToken::new()));
    }

    /// The term is over: calls that have not been answered are dropped, and so is what waits for
    /// the store.
    pub(crate) fn end(&mut self) {
        self.lapse();
        self.lapsed = None;
    }

    /// The lease ran out: as at the end of the term, but the store client has not heard of it yet.
    pub(crate) fn lapse(&mut self) {
        if let Some((term, calls)) = self.term.take() {
            calls.cancel();
            self.lapsed = Some(term);
        }
        self.known.clear();
        self.set_in_flight(0);
    }

    /// The epoch of the term.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.term.as_ref().map(|(term, _)| term.epoch)
    }

    /// The epoch of the term, and the lease that it stands on.
    pub(crate) fn tenure(&self) -> Option<(Epoch, LeaseGuard)> {
        let term = self.term.as_ref();
        term.map(|(term, _)| (term.epoch, term.lease.clone()))
    }

    /// Names a request, and keeps where its answer goes.
    pub(crate) fn expect_reply(&mut self, reply: Reply) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.replies.insert(id, reply);
        id
    }

    /// The store answered an order.
    pub(crate) fn answered(&mut self) {
        self.set_in_flight(self.in_flight.saturating_sub(1));
    }

    /// Orders that the store has not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn set_in_flight(&mut self, count: usize) {
        self.in_flight = count;
        self.metrics.commits_in_flight.store(count as u64, Relaxed);
    }

    /// Hands an order to the store. `false`: the term is over.
    fn order(&mut self, order: Order) -> bool {
        let sent = match &self.term {
            Some((term, _)) => term.orders.send(order).is_ok(),
            None => false,
        };
        if sent {
            self.set_in_flight(self.in_flight + 1);
        }
        sent
    }
}

impl Sink for Dispatcher {
    fn commit(&mut self, txn: Txn) {
        let id = txn.id;
        let current = self.epoch() == Some(txn.epoch);
        if !current || !self.order(Order::Commit(Pending::new(txn))) {
            // It was never sent. Saying so would invite another try; that nobody knows makes the
            // core wait for the store, or for the end of the term, which is about to come.
            let fate = Fate::Unknown;
            self.known.push_back(Input::Commit { txn: id, fate });
        }
    }

    fn read_back(&mut self, txn: TxnId, keys: Vec<Key>) {
        // Without a term there is no answer; the next term's snapshot is one.
        self.order(Order::ReadBack(txn, keys));
    }

    fn call(&mut self, call: AgentCall) {
        match &self.term {
            Some((term, calls)) if term.epoch == call.epoch => {
                self.agents.call(call, term.lease.clone(), calls.clone());
            }
            Some(_) | None => {
                let result = Err(AgentError::Unreachable(
                    "this replica does not lead".to_owned(),
                ));
                let call = call.id;
                self.known.push_back(Input::Agent { call, result });
            }
        }
    }

    fn reply(&mut self, request: RequestId, result: Box<Result<Response, RequestError>>) {
        match self.replies.remove(&request) {
            // Whoever asked may not be waiting any more.
            Some(reply) => drop(reply.send(*result)),
            None => tracing::error!(request = request.0, "a second answer to one request"),
        }
    }

    fn event(&mut self, event: EventRecord) {
        // Nobody may be watching.
        let _ = self.events.send(event);
    }
}
