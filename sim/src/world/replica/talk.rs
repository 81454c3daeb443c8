//! What a scheduler says to agents and clients, and hears from them.

use berth_core::io::request::{Heartbeat, Request, RequestError, Response};
use berth_core::io::{AgentCall, AgentError, AgentOp, Input};
use berth_core::{CallId, RequestId, wire};
use bytes::Bytes;

use crate::marks::Mark;
use crate::oracle::Rule;
use crate::process::Process;
use crate::world::door::{ClientAnswer, ClientMessage};
use crate::world::inspect::agent_at;
use crate::world::message::{AgentAnswer, AgentMessage, Body, ControlMessage, ControlReply};
use crate::world::{Happening, World};

use super::Asker;

impl World {
    pub(super) fn request(&mut self, at: usize, asker: Asker, request: Request) {
        let replica = &mut self.replicas[at];
        let id = RequestId(replica.next_request);
        replica.next_request += 1;
        replica.requests.insert(id, asker);
        self.feed(at, vec![Input::Request { id, request }]);
    }

    /// A client calls: what the door refuses does not come to the core.
    pub(super) fn client_called(
        &mut self,
        at: usize,
        from: Process,
        call: u64,
        message: &ClientMessage,
        meant: &Request,
    ) {
        match message.read() {
            Ok((form, request)) => {
                if request != *meant {
                    let seen = format!("{meant:?} was read as {request:?}");
                    self.violate(Rule::S9, "a request to be read as it was meant", seen);
                }
                self.request(at, Asker::Client(from, call, form), request);
            }
            Err(answer) => {
                let body = Body::ClientAnswered { call, answer };
                self.send(Process::Replica(at), from, body);
            }
        }
    }

    pub(super) fn control_called(
        &mut self,
        at: usize,
        from: Process,
        call: u64,
        message: ControlMessage,
    ) {
        use berth_proto::control::v1 as control;
        use prost::Message;
        let malformed = |problem: String| Body::ControlAnswered {
            call,
            answer: Err((3, problem)),
        };
        let decoded = match &message {
            ControlMessage::Register(bytes) => control::RegisterNodeRequest::decode(&bytes[..])
                .map_err(|e| e.to_string())
                .and_then(|m| {
                    let boot = format!("boot-{from}");
                    let life = match from {
                        Process::Agent(agent) => self.agents[agent].life.to_string(),
                        _ => String::new(),
                    };
                    wire::control_in::register_request(m, &boot, &life).map_err(|e| e.to_string())
                })
                .map(|r| (Asker::Register(from, call), Request::Register(r))),
            ControlMessage::Heartbeat { head, statuses } => self
                .read_heartbeat(from, head, statuses)
                .map(|h| (Asker::Heartbeat(from, call), Request::Heartbeat(h))),
        };
        match decoded {
            Ok((asker, request)) => self.request(at, asker, request),
            Err(problem) => self.send(Process::Replica(at), from, malformed(problem)),
        }
    }

    fn read_heartbeat(
        &mut self,
        from: Process,
        head: &[u8],
        statuses: &Bytes,
    ) -> Result<Heartbeat, String> {
        use berth_proto::control::v1 as control;
        use prost::Message;
        let Process::Agent(agent) = from else {
            return Err("only agents have heartbeats".to_owned());
        };
        let head = control::HeartbeatRequest::decode(head).map_err(|e| e.to_string())?;
        let hints = self.agents[agent].said.read_hints(statuses);
        let mut heartbeat = wire::control_in::heartbeat_request(head).map_err(|e| e.to_string())?;
        heartbeat.statuses = hints.map_err(|e| e.to_string())?;
        Ok(heartbeat)
    }

    pub(super) fn answer(
        &mut self,
        at: usize,
        request: RequestId,
        result: Result<Response, RequestError>,
    ) {
        use berth_proto::control::v1 as control;
        use prost::Message;
        let Some(asker) = self.replicas[at].requests.remove(&request) else {
            let seen = format!("scheduler-{at} answered request {request} twice");
            self.violate(Rule::S8, "one answer to a request", seen);
            return;
        };
        let (to, body) = match asker {
            Asker::Client(to, call, form) => {
                let answer = Box::new(ClientAnswer::say(form, result));
                (to, Body::ClientAnswered { call, answer })
            }
            Asker::Register(to, call) => {
                let answer = match result {
                    Ok(Response::Registered {
                        heartbeat_interval,
                        lease_expires_at,
                    }) => {
                        let message = wire::control_out::register_response(
                            heartbeat_interval,
                            lease_expires_at,
                        );
                        Ok(ControlReply::Registered(message.encode_to_vec()))
                    }
                    Ok(_) => Err((13, "another answer".to_owned())),
                    Err(error) => Err((14, error.to_string())),
                };
                (to, Body::ControlAnswered { call, answer })
            }
            Asker::Heartbeat(to, call) => {
                let answer = match result {
                    Ok(Response::HeartbeatAck {
                        drain,
                        lease_expires_at,
                    }) => {
                        let message = control::HeartbeatResponse {
                            acknowledged: true,
                            drain_node: drain,
                            lease_expires_at: Some(wire::control_out::timestamp(lease_expires_at)),
                        };
                        Ok(ControlReply::Heartbeat(message.encode_to_vec()))
                    }
                    Ok(_) => Err((13, "another answer".to_owned())),
                    Err(RequestError::NoSuchNode(node) | RequestError::RegisterAgain(node)) => {
                        Err((5, node.to_string()))
                    }
                    Err(error) => Err((14, error.to_string())),
                };
                (to, Body::ControlAnswered { call, answer })
            }
        };
        self.send(Process::Replica(at), to, body);
    }

    pub(super) fn call_agent(&mut self, at: usize, call: AgentCall) {
        use prost::Message;
        use wire::agent_out::{AgentRequest, agent_request};
        let message = match agent_request(&call.op) {
            AgentRequest::Apply(m) => AgentMessage::Apply(m.encode_to_vec()),
            AgentRequest::Delete(m) => AgentMessage::Delete(m.encode_to_vec()),
            AgentRequest::Status(m) => AgentMessage::Status(m.encode_to_vec()),
            AgentRequest::List(m) => AgentMessage::List(m.encode_to_vec().into()),
        };
        let to = agent_at(&self.agents, &call.endpoint);
        let (id, epoch, timeout) = (call.id, call.epoch, call.timeout);
        let node = call.node.clone();
        let copies = match &call.op {
            AgentOp::Apply {
                workload,
                running: true,
                ..
            } => self.copies_of(workload),
            AgentOp::Apply { .. }
            | AgentOp::Delete { .. }
            | AgentOp::Status { .. }
            | AgentOp::List => Vec::new(),
        };
        let clock = self.replicas[at].clock(self.now);
        self.oracle.call_leaves(at, &call, clock, &copies);
        self.acts_over(at);
        if let Some(camera) = &mut self.camera {
            camera.calls(self.now, at, &call);
        }
        if let Some(meter) = &mut self.meter {
            meter.called(&call);
        }
        self.replicas[at].agent_calls.insert(id, call);
        let Some(to) = to else {
            let error = AgentError::Unreachable("no such host".into());
            self.end_agent_call(at, id, Err(error));
            return;
        };
        let life = self.replicas[at].life;
        let overdue = Happening::AgentOverdue {
            replica: at,
            life,
            call: id,
        };
        self.queue.push(self.now + timeout, overdue);
        self.send(
            Process::Replica(at),
            Process::Agent(to),
            Body::AgentCall {
                node,
                call: on_the_wire(life, id),
                epoch,
                message,
            },
        );
    }

    /// No answer in time.
    pub(in crate::world) fn agent_call_overdue(&mut self, at: usize, call: CallId) {
        if self.replicas[at].agent_calls.contains_key(&call) {
            self.mark(Mark::CallTimedOut);
        }
        self.end_agent_call(at, call, Err(AgentError::Timeout));
    }

    pub(super) fn agent_answered(
        &mut self,
        at: usize,
        from: Process,
        id: CallId,
        answer: AgentAnswer,
    ) {
        use berth_proto::agent::v1 as agent;
        use prost::Message;
        use wire::agent_in;
        let id = own_call(self.replicas[at].life, id);
        let call = id.and_then(|id| self.replicas[at].agent_calls.get(&id));
        let (Some(id), Some(call)) = (id, call) else {
            self.mark(Mark::LateAnswer);
            return;
        };
        let result = match answer {
            Err((code, message)) => agent_in::call_error(&call.op, code, &message, true),
            Ok(AgentMessage::Apply(bytes)) => agent::ApplyWorkloadResponse::decode(&bytes[..])
                .map(|m| agent_in::apply_reply(&m))
                .map_err(|e| AgentError::Failed(e.to_string())),
            Ok(AgentMessage::Delete(bytes)) => agent::DeleteWorkloadResponse::decode(&bytes[..])
                .map(|m| agent_in::delete_reply(&m))
                .map_err(|e| AgentError::Failed(e.to_string())),
            Ok(AgentMessage::Status(bytes)) => {
                let decoded = agent::GetWorkloadStatusResponse::decode(&bytes[..]);
                match (call.op.workload(), decoded) {
                    (Some(workload), Ok(m)) => agent_in::status_reply(workload, m),
                    (_, Err(e)) => Err(AgentError::Failed(e.to_string())),
                    (None, Ok(_)) => Err(AgentError::Failed("asked for something else".into())),
                }
            }
            Ok(AgentMessage::List(bytes)) => match from {
                Process::Agent(agent) => self.agents[agent].said.read_listing(&bytes),
                Process::Store | Process::Replica(_) | Process::Client(_) => return,
            },
        };
        self.end_agent_call(at, id, result);
    }

    /// Nobody listens where an agent was called.
    pub(super) fn agent_refused(&mut self, at: usize, id: CallId) {
        if let Some(id) = own_call(self.replicas[at].life, id) {
            let error = AgentError::Unreachable("connection refused".into());
            self.end_agent_call(at, id, Err(error));
        }
    }

    pub(super) fn end_agent_call(
        &mut self,
        at: usize,
        call: CallId,
        result: Result<berth_core::io::AgentReply, AgentError>,
    ) {
        if self.replicas[at].agent_calls.remove(&call).is_some() {
            if let Some(camera) = &mut self.camera {
                camera.call_ends(self.now, at, call, &result);
            }
            self.feed(at, vec![Input::Agent { call, result }]);
        }
    }
}

/// The number of a call to an agent while it is on its way. Every process counts its own from one,
/// and what answers a call of a former one goes to a connection that is no more.
const fn on_the_wire(life: u64, call: CallId) -> CallId {
    CallId(life << LIFE_AT | call.0)
}

/// The call of this life that has this number on its way.
fn own_call(life: u64, call: CallId) -> Option<CallId> {
    (call.0 >> LIFE_AT == life).then_some(CallId(call.0 & ((1 << LIFE_AT) - 1)))
}

/// Where the life stands in the number.
const LIFE_AT: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that was started anew once took the answer to another call for its own.
    #[test]
    fn a_call_of_another_life_is_another_call() {
        let call = on_the_wire(7, CallId(9));
        assert_eq!(own_call(7, call), Some(CallId(9)));
        assert_eq!(own_call(8, call), None);
        assert_eq!(own_call(0, call), None);
    }
}
