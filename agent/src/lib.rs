//! The reference node agent as one pure state machine.
//!
//! No I/O, no clock, no randomness, no unordered iteration: the host tells it what happened and
//! when, and carries out what it answers. The same machine runs in `berth agent`, in `berth dev`
//! and in the simulator.
//!
//! ```
//! use berth_agent::{AgentConfig, AgentInput, AgentMachine, AgentOutput, Restored};
//! use berth_core::Timestamp;
//!
//! let config = AgentConfig::new("node-1".parse().unwrap(), "127.0.0.1:50051");
//! let now = Timestamp::from_millis(1_000);
//! let mut agent = AgentMachine::new(config, Restored { now, ..Restored::default() });
//! loop {
//!     while let Some(output) = agent.poll_output() {
//!         match output {
//!             AgentOutput::Write { .. } => {}   // write, then AgentInput::Written
//!             AgentOutput::Runtime { .. } => {} // do it, then AgentInput::Runtime
//!             AgentOutput::Reply { .. } => {}   // answer the call
//!             AgentOutput::Control { .. } => {} // call the scheduler, then AgentInput::Control
//!         }
//!     }
//!     let Some(wake_at) = agent.poll_deadline() else { break };
//!     // Wait for something to happen, or until then:
//!     agent.handle(wake_at, AgentInput::Tick);
//!     # break;
//! }
//! ```
//!
//! The driving contract: `now` never goes back; outputs are drained after every call of `handle`;
//! writes are carried out in the order in which they come out. An output that is lost together
//! with the agent needs no care: the next one starts from what is durable and asks the runtime.

mod control;
mod epoch;
mod events;
pub mod failure;
pub mod fake;
pub mod io;
mod lane;
mod lane_io;
mod lanes;
mod machine;
pub mod record;
mod requests;
mod status;
mod tasks;

pub use failure::{Failure, FailureCode};
pub use fake::FakeRuntime;
pub use io::{
    AgentConfig, AgentInput, AgentOutput, AgentReply, AgentRequest, Caller, CommandId,
    ControlAnswer, ControlCall, ControlCallId, Exit, Found, Heartbeat, Refusal, RequestId,
    Restored, RuntimeCommand, RuntimeEvent, RuntimeNews, StartCommand, Write, WriteId,
};
pub use machine::AgentMachine;
pub use record::{Artifact, LaunchId, Phase, Record, SpecBlob, Stamp, Target, Want};
