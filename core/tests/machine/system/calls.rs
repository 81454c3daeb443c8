//! Calls to agents: answered, refused, late, or lost.

use berth_core::io::agent::{AgentError, AgentReply};
use berth_core::io::{AgentCall, AgentOp};
use berth_core::model::workload::FailureKind;
use berth_core::{Epoch, Input};

use super::{Held, System};
use crate::transition::CallFate;

impl System {
    pub(super) fn call(&mut self, call: AgentCall) {
        assert_eq!(call.epoch, Epoch(self.epoch), "a former leader calls");
        if let (Some(id), true) = (call.op.workload(), call.op.is_mutation())
            && !self.is_unsure(id)
        {
            let (now, agents) = (self.now, &self.agents);
            self.watch.called(now, &self.store, &call, agents);
        }
        let agent = self.agents.get_mut(&call.node).expect("a known node");
        let answers = agent.up && !agent.deaf;
        let script = match call.op.is_mutation() && answers {
            true => agent.next_call.take(),
            false => None,
        };
        let deadline = self.now + call.timeout;
        let result = match script {
            None => self.execute(&call),
            Some(CallFate::Refused) => Ok(refusal(&call, FailureKind::NetworkError)),
            Some(CallFate::RefusedForGood) => Ok(refusal(&call, FailureKind::InvalidSpec)),
            Some(CallFate::TimeoutDone) => {
                let _ = self.execute(&call);
                Err(AgentError::Timeout)
            }
            Some(CallFate::TimeoutLost) => Err(AgentError::Timeout),
            Some(CallFate::Error) => Err(AgentError::Failed("internal".into())),
            Some(CallFate::LateCall) => {
                self.held.push_back(Held::Call {
                    call,
                    deadline,
                    given_up: false,
                });
                return;
            }
            Some(CallFate::LateAnswer) => {
                let result = self.execute(&call);
                self.held.push_back(Held::Answer {
                    call,
                    deadline,
                    result,
                });
                return;
            }
        };
        let call = call.id;
        self.inputs.push_back(Input::Agent { call, result });
    }

    pub(super) fn execute(&mut self, call: &AgentCall) -> Result<AgentReply, AgentError> {
        let agent = self.agents.get_mut(&call.node).expect("a known node");
        agent.execute(call, &mut self.broken)
    }

    /// Calls whose deadline is over have no answer.
    pub(super) fn give_up_calls(&mut self) {
        let now = self.now;
        let mut over = Vec::new();
        self.held.retain_mut(|held| match held {
            Held::Call {
                call,
                deadline,
                given_up,
            } => {
                if *deadline <= now && !std::mem::replace(given_up, true) {
                    over.push(call.id);
                }
                true
            }
            Held::Answer { call, deadline, .. } if *deadline <= now => {
                over.push(call.id);
                false
            }
            Held::Answer { .. } | Held::Commit { .. } | Held::Fate { .. } => true,
        });
        for call in over {
            let result = Err(AgentError::Timeout);
            self.feed(Input::Agent { call, result });
        }
    }
}

fn refusal(call: &AgentCall, failure: FailureKind) -> AgentReply {
    let message = "no".to_owned();
    match call.op {
        AgentOp::Delete { .. } => AgentReply::DeleteRefused { message },
        _ => AgentReply::ApplyRefused { failure, message },
    }
}
