//! One way to drive the core, shared by the production runtime and the simulator, so that the two
//! cannot drift apart: feed what happened, then carry out everything that the core asks for.

use crate::io::request::{RequestError, Response};
use crate::io::{AgentCall, Input, Output, Txn};
use crate::{EventRecord, Key, RequestId, Scheduler, Timestamp, TxnId};

/// Carries out what the core asks for. No method may call the core: what comes of an order is fed
/// to it as an [`Input`] of a later step.
pub trait Sink {
    /// Commit a transaction; answer with [`Input::Commit`].
    fn commit(&mut self, txn: Txn);
    /// Read the keys of a transaction whose fate is unknown; answer with [`Input::ReadBack`].
    fn read_back(&mut self, txn: TxnId, keys: Vec<Key>);
    /// Call an agent; answer with [`Input::Agent`].
    fn call(&mut self, call: AgentCall);
    /// Answer a request. Nobody may be waiting for it any more.
    fn reply(&mut self, request: RequestId, result: Box<Result<Response, RequestError>>);
    /// Tell those who watch events that this one was committed.
    fn event(&mut self, event: EventRecord);
}

/// Feeds `inputs` in their order, all at the instant `now`, then hands everything that the core
/// asks for to `sink`, in the order in which it asks.
pub fn step(
    scheduler: &mut Scheduler,
    now: Timestamp,
    inputs: impl IntoIterator<Item = Input>,
    sink: &mut impl Sink,
) {
    for input in inputs {
        scheduler.handle(now, input);
    }
    drain(scheduler, sink);
}

/// Hands everything that the core asks for to `sink`.
pub fn drain(scheduler: &mut Scheduler, sink: &mut impl Sink) {
    while let Some(output) = scheduler.poll_output() {
        match output {
            Output::Commit(txn) => sink.commit(txn),
            Output::ReadBack { txn, keys } => sink.read_back(txn, keys),
            Output::Call(call) => sink.call(call),
            Output::Reply { request, result } => sink.reply(request, result),
            Output::Event(event) => sink.event(event),
        }
    }
}
