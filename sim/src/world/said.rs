//! What a node says of its workloads is the same again and again: while it is, it is put on the wire
//! once, and read from there once. The bytes travel all the same.

use std::sync::Arc;

use berth_agent::Heartbeat;
use berth_core::io::{AgentError, AgentReply, AgentStatus};
use berth_core::wire;
use berth_proto::{agent::v1 as agent, control::v1 as control};
use bytes::Bytes;
use prost::Message;

use super::message::ControlMessage;

/// What a node said last, and what was read of it last.
#[derive(Debug, Default)]
pub(super) struct Said {
    statuses: Option<(Arc<Vec<control::WorkloadStatus>>, Bytes)>,
    listing: Option<(Arc<agent::ListWorkloadsResponse>, Bytes)>,
    hints: Option<(Bytes, Arc<[AgentStatus]>)>,
    listed: Option<(Bytes, AgentReply)>,
}

impl Said {
    /// A heartbeat as it travels: what it says of workloads comes last, as any order of fields may.
    pub(super) fn heartbeat(&mut self, said: &Heartbeat) -> ControlMessage {
        let statuses = match &self.statuses {
            Some((last, bytes)) if Arc::ptr_eq(last, &said.statuses) => bytes.clone(),
            Some(_) | None => {
                let message = control::HeartbeatRequest {
                    workload_statuses: said.statuses.to_vec(),
                    ..control::HeartbeatRequest::default()
                };
                let bytes = Bytes::from(message.encode_to_vec());
                self.statuses = Some((Arc::clone(&said.statuses), bytes.clone()));
                bytes
            }
        };
        let head = said.head.encode_to_vec();
        ControlMessage::Heartbeat { head, statuses }
    }

    /// A listing as it travels.
    pub(super) fn listing(&mut self, said: Arc<agent::ListWorkloadsResponse>) -> Bytes {
        match &self.listing {
            Some((last, bytes)) if Arc::ptr_eq(last, &said) => bytes.clone(),
            Some(_) | None => {
                let bytes = Bytes::from(said.encode_to_vec());
                self.listing = Some((said, bytes.clone()));
                bytes
            }
        }
    }

    /// What a heartbeat says of workloads.
    pub(super) fn read_hints(
        &mut self,
        bytes: &Bytes,
    ) -> Result<Arc<[AgentStatus]>, prost::DecodeError> {
        match &self.hints {
            Some((last, hints)) if last == bytes => Ok(Arc::clone(hints)),
            Some(_) | None => {
                let message = control::HeartbeatRequest::decode(&bytes[..])?;
                let hints = wire::control_in::hints(&message.workload_statuses);
                self.hints = Some((bytes.clone(), Arc::clone(&hints)));
                Ok(hints)
            }
        }
    }

    /// What a listing says.
    pub(super) fn read_listing(&mut self, bytes: &Bytes) -> Result<AgentReply, AgentError> {
        match &self.listed {
            Some((last, reply)) if last == bytes => Ok(reply.clone()),
            Some(_) | None => {
                let message = agent::ListWorkloadsResponse::decode(&bytes[..]);
                let message = message.map_err(|e| AgentError::Failed(e.to_string()))?;
                let reply = wire::agent_in::listing(&message)?;
                self.listed = Some((bytes.clone(), reply.clone()));
                Ok(reply)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(states: &[&str]) -> Heartbeat {
        let status = |state: &&str| control::WorkloadStatus {
            workload_id: "w-1".to_owned(),
            state: (*state).to_owned(),
            ..control::WorkloadStatus::default()
        };
        Heartbeat {
            head: Box::new(control::HeartbeatRequest {
                node_id: "node-1".to_owned(),
                ..control::HeartbeatRequest::default()
            }),
            statuses: Arc::new(states.iter().map(status).collect()),
        }
    }

    #[test]
    fn both_parts_together_are_the_message() {
        let said = heartbeat(&["Running", "Failed"]);
        let ControlMessage::Heartbeat { head, statuses } = Said::default().heartbeat(&said) else {
            panic!("a heartbeat")
        };
        let whole = [&head[..], &statuses[..]].concat();
        let message = control::HeartbeatRequest::decode(&whole[..]).unwrap();
        assert_eq!(message, said.into_message());
    }

    #[test]
    fn what_changed_is_said_and_read_anew() {
        let mut node = Said::default();
        let mut read = |said: &Heartbeat| {
            let ControlMessage::Heartbeat { statuses, .. } = node.heartbeat(said) else {
                panic!("a heartbeat")
            };
            node.read_hints(&statuses).unwrap()
        };
        let first = heartbeat(&["Running"]);
        let hints = read(&first);
        assert!(Arc::ptr_eq(&hints, &read(&first)));
        let other = read(&heartbeat(&["Failed"]));
        assert_ne!(hints, other);
        assert_eq!(hints, read(&first));
    }
}
