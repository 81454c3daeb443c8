//! What only the leader can answer, sent on to it by a replica that does not lead.
//!
//! One hop: the leader's side ([`ReplicaService`]) never sends anything on. What was certainly not
//! carried out is told from what may have been ([`AskError::NotKnown`]), and nothing that may have been
//! carried out is tried twice here: only who asked knows whether it may be. What was sent to one that
//! does not lead is sent once more, if the store names another one.

mod finder;
mod service;
mod wire;

#[cfg(test)]
mod finder_tests;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_core::io::request::{Effect, Request, RequestError, Response};
use berth_driver::agents::{describe, had_connection};
use berth_driver::{Connect, CoreHandle, Replica};
use berth_proto::replica::v1 as proto;
use berth_proto::replica::v1::forward_response::Outcome;
use berth_proto::replica::v1::replica_client::ReplicaClient;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::api::AskError;
use crate::call::Call;
use crate::grpc::RETRY_AFTER_MS;

use self::finder::{Finder, Lead};

pub(crate) use service::ReplicaService;

/// Bytes of a forwarded request or of its answer: a full heartbeat, or a long list, in JSON.
pub(crate) const FORWARD_BYTES_MAX: usize = 64 << 20;
/// When to try again after a leader was not found.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the answer of a leader is awaited that leads no more: its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How the other replicas are reached, and what this one is to them.
#[derive(Debug, Clone)]
pub struct Peers {
    /// This replica.
    pub own: Replica,
    /// How others are reached.
    pub connect: Arc<dyn Connect>,
}

/// Sends requests on to whoever leads.
#[derive(Debug)]
pub(crate) struct Forwarder {
    peers: Peers,
    core: CoreHandle,
    finder: Finder,
    places: Semaphore,
    /// The connection to the leader that was called last.
    line: Mutex<Option<Line>>,
}

#[derive(Debug)]
struct Line {
    leader: Replica,
    channel: Channel,
}

impl Forwarder {
    /// At most `in_flight_max` requests at once are on their way.
    pub(crate) fn new(peers: Peers, core: CoreHandle, in_flight_max: usize) -> Self {
        Self {
            peers,
            finder: Finder::new(core.clone()),
            core,
            places: Semaphore::new(in_flight_max),
            line: Mutex::new(None),
        }
    }

    /// This replica.
    pub(crate) const fn own(&self) -> &Replica {
        &self.peers.own
    }

    /// Another replica that is known to lead.
    pub(crate) fn leader(&self) -> Option<Replica> {
        Some(self.lead()?.leader)
    }

    fn lead(&self) -> Option<Lead> {
        self.finder.lead().filter(|lead| self.is_another(lead))
    }

    fn is_another(&self, lead: &Lead) -> bool {
        lead.leader.id != self.peers.own.id && !lead.leader.grpc_address.is_empty()
    }

    /// Asks the leader, at most until `until`. If it turns out not to lead, and the store names
    /// another one, that one is asked.
    ///
    /// # Errors
    /// What the leader's core says; that there is no leader; that the outcome is not known.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        call: &Call,
        until: Instant,
    ) -> Result<Response, AskError> {
        let Some(lead) = self.lead() else {
            return Err(unavailable("no replica leads now"));
        };
        let Ok(_place) = self.places.try_acquire() else {
            return Err(AskError::TooManyForwarded);
        };
        let missed = match self.call(&lead, request, call, until).await {
            Err(Failure::DoesNotLead(why)) => why,
            answer => return answer.map_err(AskError::from),
        };
        let instead = self.finder.instead_of(&lead.leader, until).await;
        match instead.filter(|lead| self.is_another(lead)) {
            Some(lead) => Ok(self.call(&lead, request, call, until).await?),
            None => Err(missed),
        }
    }

    /// Calls who is believed to lead, once.
    async fn call(
        &self,
        lead: &Lead,
        request: &Request,
        call: &Call,
        until: Instant,
    ) -> Result<Response, Failure> {
        let leader = &lead.leader;
        let read = matches!(request, Request::Read(_));
        let mut client = ReplicaClient::new(self.line(leader).map_err(unavailable)?)
            .max_decoding_message_size(FORWARD_BYTES_MAX)
            .max_encoding_message_size(FORWARD_BYTES_MAX);
        let began = Instant::now();
        let mut message = tonic::Request::new(proto::ForwardRequest {
            secret: leader.secret.expose().to_owned(),
            from: self.peers.own.id.clone(),
            caller: Some(wire::caller_out(&call.caller)),
            request: wire::encode(request)?,
            at_least_revision: call.at_least.0,
        });
        message.set_timeout(until - began);
        let answered = tokio::select! { biased;
            answered = client.forward(message) => answered,
            () = tokio::time::sleep_until(until) => {
                return Err(AskError::Timeout(until - began).into());
            }
            () = self.deposed(lead) => {
                let why = format!("{} leads no more and has not answered", leader.id);
                return Err(lost(read, why).into());
            }
        };
        match answered {
            Ok(answer) => match answer.into_inner().outcome {
                Some(Outcome::NotDone(proto::NotDone { reason })) => {
                    Err(Failure::DoesNotLead(unavailable(reason)))
                }
                outcome => Ok(wire::outcome(proto::ForwardResponse { outcome }, read)?),
            },
            Err(status) if status.code() == Code::DeadlineExceeded || Instant::now() >= until => {
                Err(AskError::Timeout(until - began).into())
            }
            Err(status) => Err(failed(leader, &status, read)),
        }
    }

    /// The connection to the leader; that to a former one is dropped.
    fn line(&self, leader: &Replica) -> Result<Channel, String> {
        // Nothing panics while it holds the lock.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = line.as_ref()
            && line.leader == *leader
        {
            return Ok(line.channel.clone());
        }
        let channel = self.peers.connect.channel(&leader.grpc_address)?;
        tracing::debug!(
            leader = leader.id,
            address = leader.grpc_address,
            "forwarding to it"
        );
        *line = Some(Line {
            leader: leader.clone(),
            channel: channel.clone(),
        });
        Ok(channel)
    }

    /// Waits until somebody else leads than this one, or nobody, and then for its last words. A watch
    /// that still names its predecessor says nothing about it.
    async fn deposed(&self, lead: &Lead) {
        let mut health = self.core.watch_health();
        let known = [Some(&lead.leader), Some(&lead.told)];
        let changed = health.wait_for(|health| !known.contains(&health.leader.as_ref()));
        // An error means that the driver ended: it knows of no leader any more.
        drop(changed.await);
        tokio::time::sleep(LAST_WORDS).await;
    }
}

/// Why a call has no answer.
#[derive(Debug)]
enum Failure {
    /// It was certainly not carried out, and may be because somebody else leads.
    DoesNotLead(AskError),
    /// Anything else.
    Other(AskError),
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for AskError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::DoesNotLead(error) | Failure::Other(error) => error,
        }
    }
}

/// What an error of gRPC's says of the request.
fn failed(leader: &Replica, status: &Status, read: bool) -> Failure {
    let name = &leader.id;
    if !had_connection(status) {
        let why = describe(status);
        let why = format!("{name}, which leads, cannot be reached: {why}");
        return Failure::DoesNotLead(unavailable(why));
    }
    let refused = || {
        let why = status.message();
        unavailable(format!("{name}, which leads, does not take it: {why}"))
    };
    // The leader's own refusals; a broken connection has no metadata.
    match status.code() {
        Code::PermissionDenied | Code::Unimplemented => Failure::DoesNotLead(refused()),
        _ if status.metadata().contains_key(RETRY_AFTER_MS) => Failure::Other(refused()),
        _ => {
            let why = format!("the connection to {name} broke: {}", describe(status));
            Failure::Other(lost(read, why))
        }
    }
}

/// It was certainly not carried out.
fn unavailable(reason: impl Into<String>) -> AskError {
    AskError::Core(RequestError::Unavailable {
        reason: reason.into(),
        retry_after: RETRY_AFTER,
        effect: Effect::None,
    })
}

/// There will be no answer. A read has no outcome that could be unknown.
fn lost(read: bool, reason: String) -> AskError {
    if read {
        unavailable(reason)
    } else {
        AskError::NotKnown(reason)
    }
}
