//! Agents that answer wrongly.

use std::sync::Arc;

use berth_agent::Heartbeat;
use berth_proto::agent::v1 as proto;
use berth_proto::control::v1 as control;
use prost::Message;

use crate::marks::Mark;

use super::World;
use super::message::{AgentAnswer, AgentMessage};

impl World {
    /// The next wrong answer of an agent that lies.
    pub(super) fn lie(&mut self, at: usize, answer: AgentAnswer) -> AgentAnswer {
        self.mark(Mark::AgentLies);
        let which = self.agents[at].lies;
        if which % 4 == 3
            && let Some((id, revision_id)) = self.of_others(at)
        {
            let claimed = proto::WorkloadStatus {
                id,
                revision_id,
                actual_state: proto::ActualState::Running.into(),
                ..proto::WorkloadStatus::default()
            };
            match &answer {
                Ok(AgentMessage::List(bytes)) => {
                    if let Ok(mut listing) = proto::ListWorkloadsResponse::decode(&bytes[..]) {
                        listing.workloads.push(claimed);
                        self.mark(Mark::AgentSpeaksForOthers);
                        return Ok(AgentMessage::List(listing.encode_to_vec().into()));
                    }
                }
                Ok(AgentMessage::Status(_)) => {
                    let status = proto::GetWorkloadStatusResponse {
                        status: Some(claimed),
                    };
                    self.mark(Mark::AgentSpeaksForOthers);
                    return Ok(AgentMessage::Status(status.encode_to_vec()));
                }
                Ok(AgentMessage::Apply(_) | AgentMessage::Delete(_)) | Err(_) => {}
            }
        }
        wrong(which, answer)
    }

    /// A heartbeat of an agent that lies tells of a workload of another node.
    pub(super) fn lie_in_heartbeat(&mut self, at: usize, heartbeat: &mut Heartbeat) {
        if self.agents[at].lies == 0 {
            return;
        }
        if let Some((workload_id, _)) = self.of_others(at) {
            self.mark(Mark::AgentSpeaksForOthers);
            Arc::make_mut(&mut heartbeat.statuses).push(control::WorkloadStatus {
                workload_id,
                state: "Running".to_owned(),
                ..control::WorkloadStatus::default()
            });
        }
    }

    /// A workload that is assigned to another node, and its revision.
    fn of_others(&self, at: usize) -> Option<(String, String)> {
        let own = &self.agents[at].id;
        let homes = self
            .oracle
            .image
            .assignments
            .values()
            .map(|held| &held.record);
        let others: Vec<_> = homes.filter(|home| home.node_id != *own).collect();
        let which = (self.agents[at].lies as usize).checked_rem(others.len())?;
        let home = others.get(which)?;
        Some((home.workload_id.to_string(), home.revision_id.to_string()))
    }
}

/// An answer that says nothing true, and nothing that could be believed: another call's answer,
/// bytes that are no message, a status out of the blue.
fn wrong(which: u32, answer: AgentAnswer) -> AgentAnswer {
    match (which % 4, answer) {
        (0, Ok(AgentMessage::Apply(_))) => Ok(AgentMessage::Apply(vec![0xff; 7])),
        (0, Ok(AgentMessage::Delete(_))) => Ok(AgentMessage::Delete(vec![0xff; 7])),
        (0, Ok(AgentMessage::Status(_))) => Ok(AgentMessage::Status(vec![0xff; 7])),
        (0, Ok(AgentMessage::List(_))) => Ok(AgentMessage::List(vec![0xff; 7].into())),
        (1, _) => Err((13, "internal".to_owned())),
        (2, _) => Err((2, "something went wrong".to_owned())),
        // Numbers that name no state and no kind of workload.
        (_, Ok(AgentMessage::List(bytes))) => {
            let mut listing = proto::ListWorkloadsResponse::decode(&bytes[..]).unwrap_or_default();
            for status in &mut listing.workloads {
                (status.actual_state, status.r#type) = (99, 77);
            }
            Ok(AgentMessage::List(listing.encode_to_vec().into()))
        }
        (_, _) => Err((77, String::new())),
    }
}
