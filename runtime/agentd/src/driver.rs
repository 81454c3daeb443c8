//! Drives the machine: everything that happens arrives here, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_agent::{
    AgentInput, AgentMachine, AgentOutput, AgentReply, AgentRequest, Caller, RequestId, RuntimeNews,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::disk::Writer;
use crate::runtime::Runtime;
use crate::scheduler::SchedulerClient;

/// A call that waits for its answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) request: AgentRequest,
    pub(crate) reply: oneshot::Sender<AgentReply>,
}

/// Everything that a machine needs around it.
pub(crate) struct Driver {
    pub(crate) clock: Clock,
    pub(crate) machine: AgentMachine,
    pub(crate) runtime: Runtime,
    pub(crate) writer: Writer,
    pub(crate) scheduler: Option<Arc<SchedulerClient>>,
    /// Calls of the agent's own service.
    pub(crate) calls: mpsc::Receiver<Call>,
    /// What the runtime says.
    pub(crate) news: mpsc::UnboundedReceiver<RuntimeNews>,
    /// What everything else says: writes, the scheduler, the host's utilisation.
    pub(crate) inputs: mpsc::UnboundedReceiver<AgentInput>,
    pub(crate) inputs_sender: mpsc::UnboundedSender<AgentInput>,
    pub(crate) ended: CancellationToken,
}

impl Driver {
    /// Runs until the agent ends. Calls that are not answered by then are dropped.
    pub(crate) async fn run(mut self) {
        let mut waiting = BTreeMap::new();
        let mut requests = 0;
        loop {
            self.carry_out(&mut waiting);
            let wake = self.clock.sleep_until(self.machine.poll_deadline());
            let input = tokio::select! {
                biased;
                () = self.ended.cancelled() => return,
                Some(input) = self.inputs.recv() => input,
                Some(news) = self.news.recv() => AgentInput::Runtime(news),
                Some(call) = self.calls.recv() => {
                    requests += 1;
                    let id = RequestId(requests);
                    waiting.insert(id, call.reply);
                    AgentInput::Request { id, caller: call.caller, request: call.request }
                }
                () = wake => AgentInput::Tick,
            };
            self.machine.handle(self.clock.now(), input);
        }
    }

    fn carry_out(&mut self, waiting: &mut BTreeMap<RequestId, oneshot::Sender<AgentReply>>) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                AgentOutput::Write { id, write } => {
                    if self.writer.send((id, write)).is_err() {
                        let result = Err("the writer has ended".to_owned());
                        drop(self.inputs_sender.send(AgentInput::Written { id, result }));
                    }
                }
                AgentOutput::Runtime { id, command } => self.runtime.execute(id, command),
                AgentOutput::Reply { id, reply } => {
                    if let Some(caller) = waiting.remove(&id) {
                        // A caller that went away needs no answer.
                        drop(caller.send(reply));
                    }
                }
                AgentOutput::Control { id, call } => {
                    let Some(scheduler) = self.scheduler.clone() else {
                        continue;
                    };
                    let inputs = self.inputs_sender.clone();
                    tokio::spawn(async move {
                        let result = scheduler.call(call).await;
                        drop(inputs.send(AgentInput::Control { id, result }));
                    });
                }
            }
        }
    }
}
